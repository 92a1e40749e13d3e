"""How a test cluster has a say in the setup of applications that know nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from flask import Flask

from flask_rooms.backends.base import Backend


@dataclass(frozen=True)
class Overrides:
    """
    What is decided in place of an application's own configuration.

    Args:
        options: They take precedence over those of Rooms and of the application.
        connect: Makes the backend, from the application and its channel.
    """

    options: Mapping[str, Any]
    connect: Callable[[Flask, str], Backend]


#: Set by flask_rooms.testing while it calls an application's factory.
rehearsal: ContextVar[Overrides | None] = ContextVar("flask_rooms.rehearsal", default=None)
