"""The private names of other libraries are used in one module, with the versions tested."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from flask_socketio import SocketIO
from socketio.admin import InstrumentedServer
from socketio.manager import Manager

import flask_rooms
from flask_rooms.server import private

pytestmark = pytest.mark.mode_independent

PACKAGE = Path(flask_rooms.__file__).parent
MINIMUM = Path(__file__).parents[2].joinpath("minimum.txt").read_text(encoding="utf-8")

#: What a private attribute of a server, a connection or a SocketIO looks like.
TOUCH = re.compile(r"\b(?:server|eio|sio|socketio|session)\._(?!get_current_object)[a-z]\w*")

#: The classes of other libraries that have subclasses here.
BASES = (InstrumentedServer, Manager, SocketIO)


def touches(path: Path) -> list[str]:
    return TOUCH.findall(path.read_text(encoding="utf-8"))


def test_only_one_module_touches_private_names() -> None:
    modules = [path for path in PACKAGE.rglob("*.py") if touches(path)]

    assert [path.relative_to(PACKAGE).as_posix() for path in modules] == ["server/private.py"]


def test_subclasses_use_no_private_name_that_they_inherit() -> None:
    inherited = {name for base in BASES for name in dir(base) if re.match(r"_[a-z]", name)}
    for path in PACKAGE.rglob("*.py"):
        used = set(re.findall(r"\bself\.(_[a-z]\w*)", path.read_text(encoding="utf-8")))
        own = set(re.findall(r"\bdef (_[a-z]\w*)", path.read_text(encoding="utf-8")))

        assert not (used & inherited) - own, path


@pytest.mark.parametrize("library", ["python-socketio", "python-engineio"])
def test_it_says_from_which_version_on_it_was_tested(library: str) -> None:
    oldest = re.findall(rf"^{library}==(\S+)$", MINIMUM, re.MULTILINE)

    assert f"{library} {oldest[0]} to" in " ".join((private.ServerInternals.__doc__ or "").split())
