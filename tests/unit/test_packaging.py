"""The installed package is whole, and what it says of its dependencies is tested."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from importlib.metadata import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import flask_rooms
from tests.conftest import pytest_ignore_collect
from tests.run import COPIED

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]

ROOT = Path(__file__).parents[2]
PACKAGE = Path(flask_rooms.__file__).parent
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

#: Seconds that a build may take, on a machine that is busy.
TIMEOUT = 60.0


def test_type_information_is_installed() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_the_scripts_for_browsers_and_their_types_are_installed() -> None:
    static = {path.name for path in (PACKAGE / "static").iterdir()}

    assert static == {"rooms.d.ts", "rooms.js", "sails-adapter.js"}
    page = {path.name for path in (PACKAGE / "admin" / "static").iterdir()}
    assert page == {"admin.css", "admin.html", "admin.js", "charts.js", "dom.js"}


@pytest.mark.skipif("TOX_ENV_NAME" not in os.environ, reason="tox installs the wheel")
def test_the_wheel_is_tested_and_not_the_checkout() -> None:
    assert PACKAGE.is_relative_to(sys.prefix)


@pytest.mark.skipif("TOX_ENV_NAME" not in os.environ, reason="a checkout may be of any version")
def test_the_version_is_that_of_the_distribution() -> None:
    assert metadata("Flask-Rooms")["Version"] == flask_rooms.__version__


def test_the_running_python_is_one_that_the_package_names() -> None:
    python = f"Programming Language :: Python :: {sys.version_info.major}.{sys.version_info.minor}"

    assert python in PYPROJECT["project"]["classifiers"]


@pytest.mark.slow
def test_the_source_distribution_is_whole(tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    wanted = _copy_sources(sources)

    names = _build_sdist(sources)

    made = {"PKG-INFO", "setup.cfg"} | {name for name in names if ".egg-info/" in name}
    assert {"tests/run.py", "docs/protocol.md", "CHANGES.md", "flask_rooms/py.typed"} <= names
    assert names - made == wanted


def test_the_links_of_the_readme_are_right_on_any_page() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    defined = dict(re.findall(r"^\[(.+)\]: (\S+)$", text, re.MULTILINE))
    ours = PYPROJECT["project"]["urls"]["Source"] + "/blob/main/"
    paths = [link.removeprefix(ours) for link in defined.values() if link.startswith(ours)]

    assert "docs/protocol.md" in paths
    # The package is elsewhere than the documents: where it is installed.
    places = (ROOT, PACKAGE.parent)
    assert [path for path in paths if not any((at / path).is_file() for at in places)] == []
    assert re.findall(r"\]\((?!https:)", text) == []
    assert [name for name in re.findall(r"\[([\w/-]+\.md)\]", text) if name not in defined] == []


def test_the_oldest_dependencies_tested_are_the_lower_bounds_of_pyproject_toml() -> None:
    text = (ROOT / "tests" / "minimum.txt").read_text(encoding="utf-8")
    ours, _, of_others = text.partition("# What those bring along")

    assert _pinned(ours) == _lower_bounds()
    assert not _pinned(of_others).keys() & _pinned(ours).keys()


def _copy_sources(target: Path) -> set[str]:
    """Make a clone of what the tests have of the repository; return the paths of its files."""
    ignore = shutil.ignore_patterns("__pycache__", "node_modules", "*.egg-info")
    for source in [*(ROOT / name for name in COPIED), PACKAGE]:
        if source.is_dir():
            shutil.copytree(source, target / source.name, ignore=ignore)
        else:
            shutil.copy(source, target / source.name)
    files = (path for path in target.rglob("*") if path.is_file())
    return {path.relative_to(target).as_posix() for path in files}


def _build_sdist(sources: Path) -> set[str]:
    """Build a source distribution of *sources*; return the paths of the files in it."""
    code = "from setuptools.build_meta import build_sdist; build_sdist('..')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=sources,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    (archive,) = sources.parent.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        return {entry.name.partition("/")[2] for entry in tar if entry.isfile()}


def _pinned(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w-]+)==(\S+)$", text, re.MULTILINE))


def _lower_bounds() -> dict[str, str]:
    """Return the lower bounds by name; one that is no plain lower bound is a failure."""
    bounds: dict[str, str] = {}
    for requirement in _requirements():
        matched = re.fullmatch(
            r"([\w-]+)(?:\[[\w-]+\])?>=([\w.]+)(?:;.*)?", requirement.replace(" ", "")
        )
        assert matched, f"pyproject.toml should name nothing but a lower bound: {requirement}"
        name, bound = matched.groups()
        assert bounds.setdefault(name, bound) == bound, f"two lower bounds of {name}"
    return bounds


def _requirements() -> Iterator[str]:
    """Yield what the package and its tests need; the tools of style and typing may be any."""
    project = PYPROJECT["project"]
    yield from project["dependencies"]
    for extra in project["optional-dependencies"].values():
        yield from extra
    groups = PYPROJECT["dependency-groups"]
    for group in ("test", "core", "beside"):
        yield from (requirement for requirement in groups[group] if isinstance(requirement, str))


def test_rows_that_run_tests_side_by_side_have_what_that_takes() -> None:
    """CI would not notice for a row that runs only when asked for."""
    tox = (ROOT / "tox.ini").read_text(encoding="utf-8")
    rows = set(re.findall(r"^    (\w+): python tests/run\.py -n ", tox, re.MULTILINE))
    (having,) = re.findall(r"^    ([\w,]+): pytest-xdist$", tox, re.MULTILINE)

    assert rows == set(having.split(","))


@pytest.mark.parametrize(
    ("expression", "is_left_out"),
    [
        ("", None),
        ("not program", None),
        ("not (program or slow)", None),
        ("every_python and not slow", None),
        ("oldest_dependencies or every_python", None),
        ("program", True),
        ("program and not every_python", True),
    ],
)
def test_a_file_is_left_out_only_if_no_test_in_it_can_be_asked_for(
    tmp_path: Path, expression: str, is_left_out: bool | None
) -> None:
    """Else a row, or a contributor, would run less than it says."""
    path = tmp_path / "test_some.py"
    path.write_text("pytestmark = [pytest.mark.every_python, pytest.mark.slow]")
    config: Any = SimpleNamespace(option=SimpleNamespace(markexpr=expression))

    assert pytest_ignore_collect(path, config) is is_left_out
