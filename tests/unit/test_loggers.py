"""Each package has one logger, of its own name, and docs/monitoring.md lists them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import flask_rooms
from tests.support.documents import ROOT

pytestmark = pytest.mark.mode_independent

PACKAGE = Path(flask_rooms.__file__).parent


def test_each_module_logs_to_the_logger_of_its_package() -> None:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        for name in re.findall(
            r"^logger = logging.getLogger\((.*)\)", path.read_text(encoding="utf-8"), re.MULTILINE
        ):
            found[path] = name.strip('"')
    packages = {
        path: ".".join(["flask_rooms", *path.parent.relative_to(PACKAGE).parts]) for path in found
    }

    assert found == packages

    text = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(flask_rooms[.\w]*)` \|", text, re.MULTILINE)
    assert sorted(listed) == sorted(set(packages.values()))
