"""The private names of other libraries are used in one module, with the versions tested."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import flask_rooms
from flask_rooms.server import private

pytestmark = pytest.mark.mode_independent

PACKAGE = Path(flask_rooms.__file__).parent
MINIMUM = Path(__file__).parents[2].joinpath("minimum.txt").read_text(encoding="utf-8")

#: What a private attribute of a server, a connection or a SocketIO looks like.
TOUCH = re.compile(r"\b(?:server|eio|sio|socketio|session)\._(?!get_current_object)[a-z]\w*")


def touches(path: Path) -> list[str]:
    return TOUCH.findall(path.read_text(encoding="utf-8"))


def test_only_one_module_touches_private_names() -> None:
    modules = [path for path in PACKAGE.rglob("*.py") if touches(path)]

    assert [path.relative_to(PACKAGE).as_posix() for path in modules] == ["server/private.py"]


@pytest.mark.parametrize("library", ["python-socketio", "python-engineio"])
def test_it_says_from_which_version_on_it_was_tested(library: str) -> None:
    oldest = re.findall(rf"^{library}==(\S+)$", MINIMUM, re.MULTILINE)

    assert f"{library} {oldest[0]} to" in " ".join((private.ServerInternals.__doc__ or "").split())
