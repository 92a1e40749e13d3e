"""Test support: clusters of your application in one process, and contracts to be kept."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from flask_rooms.testing.bus import Faults
from flask_rooms.testing.client import Client, Response
from flask_rooms.testing.local_cluster import LocalCluster, cluster
from flask_rooms.testing.worker import Worker

if TYPE_CHECKING:
    from flask_rooms.testing.contract import (
        BackendContract,
        BreakConnection,
        MakeBackend,
        ReconnectContract,
        Workers,
    )
    from flask_rooms.testing.history import HistoryContract, MakeHistory

__all__ = [
    "BackendContract",
    "BreakConnection",
    "Client",
    "Faults",
    "HistoryContract",
    "LocalCluster",
    "MakeBackend",
    "MakeHistory",
    "ReconnectContract",
    "Response",
    "Worker",
    "Workers",
    "cluster",
]


#: The modules of the names that are imported on use: the contracts need pytest, and cluster() does
#: not.
_ON_USE = {
    **dict.fromkeys(("HistoryContract", "MakeHistory"), "history"),
    **dict.fromkeys(("BackendContract", "ReconnectContract"), "contract"),
    **dict.fromkeys(("BreakConnection", "MakeBackend", "Workers"), "contract"),
}


if not TYPE_CHECKING:  # for which every name would be there

    def __getattr__(name: str) -> Any:
        if name not in _ON_USE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"flask_rooms.testing.{_ON_USE[name]}"), name)
