"""What an application may import, by name: a change here is one that its authors notice."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

import pytest

import flask_rooms

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]

#: Applications import from these and from flask_rooms itself; see docs/architecture.md.
PUBLIC_MODULES = {"config", "errors", "extension", "globals", "results", "signals"}
PUBLIC_PACKAGES = {"admin", "backends", "cli", "client", "history", "monitoring", "testing"}
#: These have no name that applications may rely on.
INTERNAL_PACKAGES = {
    *["api", "cluster", "membership", "presence", "protocol", "server", "socket_requests"],
}

NAMES = {
    "flask_rooms": [
        *["Answer", "BackendError", "BackendUnavailable", "ConfigurationError", "InvalidArgument"],
        *["InvalidRoom", "InvalidSocket", "NotASocketRequest", "Outcome", "Refused", "Room"],
        *["Rooms", "RoomsError", "Unconfirmed", "request", "sockets"],
    ],
    "flask_rooms.admin": ["blueprint"],
    "flask_rooms.backends": ["Backend", "MemoryBackend", "from_url"],
    "flask_rooms.client": [
        *["AsyncRoomsClient", "Disconnected", "PresenceDifference", "Repetition", "RequestFailed"],
        *["RequestTimeout", "Response", "RoomsClient"],
    ],
    "flask_rooms.history": ["Bounds", "HistoryStore", "Kept", "MemoryHistory", "from_url"],
    "flask_rooms.monitoring": ["blueprint"],
    "flask_rooms.testing": [
        *[
            "BackendContract",
            "BreakConnection",
            "Client",
            "Faults",
            "HistoryContract",
            "LocalCluster",
        ],
        *["MakeBackend", "MakeHistory"],
        *["ReconnectContract", "Response", "Worker", "Workers", "cluster"],
    ],
}


def test_the_top_level_has_these_modules_and_no_others() -> None:
    found = list(iter_modules(flask_rooms.__path__))

    assert {one.name for one in found if not one.ispkg} == PUBLIC_MODULES
    assert {one.name for one in found if one.ispkg} == PUBLIC_PACKAGES | INTERNAL_PACKAGES
    assert len(found) <= 20


@pytest.mark.parametrize("module", NAMES)
def test_the_names_to_import_are_these(module: str) -> None:
    imported = import_module(module)

    assert sorted(imported.__all__) == sorted(NAMES[module])
    assert [name for name in NAMES[module] if not hasattr(imported, name)] == []


def test_no_module_is_hidden_by_a_name() -> None:
    modules = {one.name for one in iter_modules(flask_rooms.__path__)}

    assert modules.isdisjoint(flask_rooms.__all__)
