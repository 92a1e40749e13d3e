"""docs/architecture.md names every module of the package, in its own layer, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import flask_rooms

pytestmark = pytest.mark.mode_independent

TEXT = Path(__file__).parents[2].joinpath("docs", "architecture.md").read_text(encoding="utf-8")
PACKAGE = Path(flask_rooms.__file__).parent


def modules() -> set[str]:
    """Return the modules of the package, as the page names them."""
    paths = (path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py"))
    names = {".".join(path.parts) for path in paths}
    return {name for name in names if not name.endswith(".__init__")}


def section(heading: str) -> str:
    return TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_the_tables_name_every_module_once() -> None:
    named = re.findall(r"^\| `([\w.]+)` \|", section("The modules"), re.MULTILINE)

    assert sorted(named) == sorted(modules())


def test_the_table_of_layers_names_every_package_and_module_at_the_top_level() -> None:
    table, _, _ = section("The layers").partition("An application may import")
    named = set(re.findall(r"`(\w+)`", table.replace("`lint-imports`", "").replace("`style`", "")))

    assert named == {name.partition(".")[0] for name in modules()} - {"__init__"}


def test_the_walks_name_modules_that_exist() -> None:
    walks = TEXT.partition("\n## How a leave goes\n")[2]
    packages = {name.partition(".")[0] for name in modules() if "." in name}
    named = {n for n in re.findall(r"`(\w+\.\w+)`", walks) if n.partition(".")[0] in packages}

    assert named
    assert named <= modules()
