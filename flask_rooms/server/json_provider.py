"""The JSON of packets: dates, decimals, UUIDs and the like go as Flask's JSON provider says."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from flask import Flask, has_app_context


class ProviderJSON:
    """
    A JSON module for python-socketio that asks an application's provider what json cannot encode.

    Args:
        app: The application; its provider may be set at any time.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app

    def dumps(self, value: Any, **options: Any) -> str:
        """Return *value* as JSON; raises TypeError or ValueError for what is not JSON."""
        return json.dumps(value, default=self.default, allow_nan=False, **options)

    def loads(self, text: str | bytes) -> Any:
        """Return the value of JSON."""
        return json.loads(text)

    def default(self, value: Any) -> Any:
        """Return what *value* is in JSON, for the provider of the application."""
        # An acknowledgement is encoded after the context of its handler has ended.
        with nullcontext() if has_app_context() else self._app.app_context():
            return json.loads(self._app.json.dumps(value))


def refuse_not_json(text: str, namespace: str) -> None:
    """Raise ValueError for an encoded event or acknowledgement that browsers cannot decode."""
    if not text.isascii():
        text.encode()  # lone surrogates cannot be sent
    # Python's json and others write NaN and Infinity, which are not JSON.
    if "NaN" in text or "Infinity" in text:
        rest = text.partition(",")[2] if namespace != "/" else text
        json.loads(rest[rest.index("[") :], parse_constant=_refuse)


def replaced(value: Any, default: Callable[[Any], Any] | None = None) -> Any:
    """
    Return *value* with null for numbers, and U+FFFD for characters, that JSON does not have.

    Args:
        value: What could not be encoded.
        default: Returns what an object is in JSON, which may hold such a number, too.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {replaced(key): replaced(one, default) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [replaced(one, default) for one in value]
    if default is None or value is None or isinstance(value, int | bytes | bytearray):
        return value
    return replaced(default(value))


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
