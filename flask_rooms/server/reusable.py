"""A Flask-SocketIO whose handlers can serve several applications, as a factory needs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from flask_socketio import Namespace, SocketIO


class ReusableSocketIO(SocketIO):  # type: ignore[misc]  # Flask-SocketIO is not typed
    """
    Flask-SocketIO that remembers what was registered with it.

    A SocketIO has one server, so the second application that a factory makes would take the
    server away from the first. The second one gets a copy instead.
    """

    def __init__(self, **options: Any) -> None:
        self._registered: list[tuple[str, str | None, Callable[..., Any]]] = []
        self._namespaces: list[Namespace] = []
        self._options: dict[str, Any] = {}
        super().__init__(**options)

    def init_app(self, app: Any, **options: Any) -> None:
        """As in Flask-SocketIO."""
        self._options = dict(self.server_options)
        super().init_app(app, **options)

    def on(self, message: str, namespace: str | None = None) -> Callable[..., Any]:
        """As in Flask-SocketIO."""
        register = super().on(message, namespace)

        def decorator(handler: Callable[..., Any]) -> Any:
            self._registered.append((message, namespace, handler))
            return register(handler)

        return decorator

    def on_namespace(self, namespace_handler: Namespace) -> None:
        """As in Flask-SocketIO."""
        super().on_namespace(namespace_handler)
        self._namespaces.append(namespace_handler)

    def copy(self) -> ReusableSocketIO:
        """Return one that is not initialised yet, with the same options and handlers."""
        other = ReusableSocketIO(**self._options)
        for message, namespace, handler in self._registered:
            other.on(message, namespace)(handler)
        for namespace_handler in self._namespaces:
            other.on_namespace(copy.copy(namespace_handler))
        other.exception_handlers = dict(self.exception_handlers)
        other.default_exception_handler = self.default_exception_handler
        return other
