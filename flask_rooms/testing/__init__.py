"""Test support: clusters of your application in one process, and the contract of a backend."""

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

__all__ = [
    "BackendContract",
    "BreakConnection",
    "Client",
    "Faults",
    "LocalCluster",
    "MakeBackend",
    "ReconnectContract",
    "Response",
    "Worker",
    "Workers",
    "cluster",
]


def __getattr__(name: str) -> Any:
    # Imported on use, because the contract needs pytest, and cluster() does not.
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("flask_rooms.testing.contract"), name)
