"""The installed package is whole, and what it says of its dependencies is tested."""

from __future__ import annotations

import os
import re
import sys
from importlib.metadata import metadata, requires
from pathlib import Path

import pytest

import flask_rooms

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]

PACKAGE = Path(flask_rooms.__file__).parent
MINIMUM = Path(__file__).parents[1] / "minimum.txt"


def test_type_information_is_installed() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_the_scripts_for_browsers_and_their_types_are_installed() -> None:
    static = {path.name for path in (PACKAGE / "static").iterdir()}

    assert static == {"rooms.d.ts", "rooms.js", "sails-adapter.js"}


@pytest.mark.skipif("TOX_ENV_NAME" not in os.environ, reason="tox installs the wheel")
def test_the_wheel_is_tested_and_not_the_checkout() -> None:
    assert PACKAGE.is_relative_to(sys.prefix)


def test_the_running_python_is_one_that_the_package_names() -> None:
    python = f"Programming Language :: Python :: {sys.version_info.major}.{sys.version_info.minor}"

    assert python in (metadata("Flask-Rooms").get_all("Classifier") or [])


def test_the_oldest_dependencies_tested_are_the_lower_bounds_of_setup_py() -> None:
    ours, _, of_others = MINIMUM.read_text(encoding="utf-8").partition("# What those bring along")

    assert _pinned(ours) == _lower_bounds()
    assert not _pinned(of_others).keys() & _pinned(ours).keys()


def _pinned(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w-]+)==(\S+)$", text, re.MULTILINE))


def _lower_bounds() -> dict[str, str]:
    """Return the lower bounds by name; one that is no plain lower bound is a failure."""
    bounds = {}
    for requirement in requires("Flask-Rooms") or []:
        matched = re.fullmatch(
            r"([\w-]+)(?:\[[\w-]+\])?>=([\w.]+)(?:;.*)?", requirement.replace(" ", "")
        )
        assert matched, f"setup.py should name nothing but a lower bound: {requirement}"
        bounds[matched[1]] = matched[2]
    return bounds
