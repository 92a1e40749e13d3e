"""Overrides of an application's backend and options, for test clusters."""

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
    What replaces the configuration of an application.

    Args:
        options: Take precedence over those of Rooms and of the application.
        connect: Returns the backend; called with the application and its channel.
        history: Keeps the history of rooms.
    """

    options: Mapping[str, Any]
    connect: Callable[[Flask, str], Backend]
    history: Any


#: Set by flask_rooms.testing while it calls an application's factory.
current_overrides: ContextVar[Overrides | None] = ContextVar("flask_rooms.overrides", default=None)
