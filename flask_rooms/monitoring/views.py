"""The routes for load balancers and for Prometheus; none of them is there by default."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response, abort, jsonify, request

from flask_rooms.errors import ConfigurationError
from flask_rooms.globals import current_parts
from flask_rooms.socket_requests.hosts import HostBlueprint


def blueprint(*, metrics: bool = True, host: str | None = None) -> Blueprint:
    """
    Return a blueprint with `/health`, `/ready` and `/metrics`, of the worker that is asked.

    Every client that can reach these URLs can read them; socket requests cannot.

    Args:
        metrics: Whether to add `/metrics`, which needs prometheus_client.
        host: On which host it is, where the application is created with `host_matching=True`.

    Raises:
        ConfigurationError: prometheus_client is not installed.
    """
    bp = HostBlueprint("rooms_monitoring", __name__, host)
    bp.before_request(_refuse_sockets)
    bp.after_request(_store_nothing)
    bp.add_url_rule("/health", "health", _health)
    bp.add_url_rule("/ready", "ready", _ready)
    if metrics:
        bp.add_url_rule("/metrics", "metrics", _metrics_view())
    return bp


def _refuse_sockets() -> None:
    current_parts()  # or there is no such attribute
    # The rules of a proxy about paths do not apply to socket requests.
    if request.is_socket:  # type: ignore[attr-defined]
        abort(404)


def _store_nothing(response: Response) -> Response:
    response.cache_control.no_store = True
    return response


def _health() -> Response:
    return Response("alive\n", mimetype="text/plain")


def _ready() -> tuple[Response, int]:
    health = current_parts().serving.health
    # Not the problem, which may name hosts: it is for `flask rooms check` and the log.
    told = {name: getattr(health, name) for name in ("ready", "joined", "broker", "draining")}
    return jsonify(told), 200 if health.ready else 503


def _metrics_view() -> Callable[[], Response]:
    try:
        from flask_rooms.monitoring.metrics import CONTENT_TYPE, exposition
    except ImportError:
        raise ConfigurationError(
            "/metrics needs prometheus_client: install Flask-Rooms[metrics], or give the "
            "blueprint metrics=False."
        ) from None

    def metrics() -> Response:
        return Response(exposition(current_parts()), content_type=CONTENT_TYPE)

    return metrics
