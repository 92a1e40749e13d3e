"""The routes of the admin page: the page, what it shows, and what operators do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, abort, g, jsonify, request
from werkzeug.exceptions import HTTPException

from flask_rooms.admin import reports
from flask_rooms.admin.acts import perform
from flask_rooms.admin.protection import Check, admit, protect
from flask_rooms.errors import BackendUnavailable, ConfigurationError, RoomsError, Unconfirmed
from flask_rooms.globals import current_parts
from flask_rooms.socket_requests.hosts import HostBlueprint

_STATIC = Path(__file__).with_name("static")
#: Report -> what it may be asked about.
_REPORTS: dict[Callable[..., Any], tuple[str, ...]] = {
    reports.cluster: (),
    reports.rooms: ("prefix", "namespace"),
    reports.room: ("name", "namespace"),
    reports.people: ("text", "namespace"),
    reports.person: ("id", "namespace"),
}
#: Bytes of the body of an act.
_BODY = 10_000


def blueprint(check: Check | None = None, *, host: str | None = None) -> Blueprint:
    """
    Return the blueprint of the admin page.

    Args:
        check: Called in each request; it returns the name of the operator, for the log of acts,
            or None if the visitor is none. It may also abort or raise.
        host: On which host it is, where the application is created with `host_matching=True`.

    Raises:
        ConfigurationError: *check* is not a function.
    """
    if not callable(check):
        raise ConfigurationError(
            "The admin page has no default that lets anyone in: give blueprint() a function that "
            "returns the name of the operator who makes the current request, or None."
        )
    bp = HostBlueprint("rooms_admin", __name__, host)
    bp.before_request(partial(admit, check))
    bp.after_request(protect)
    bp.register_error_handler(HTTPException, _refused)
    bp.register_error_handler(RoomsError, _failed)
    bp.add_url_rule("/", "page", partial(_file, "admin.html", "text/html"))
    for name in ("admin", "charts", "dom"):
        bp.add_url_rule(f"/{name}.js", name, partial(_file, f"{name}.js", "text/javascript"))
    bp.add_url_rule("/admin.css", "style", partial(_file, "admin.css", "text/css"))
    for report, fields in _REPORTS.items():
        bp.add_url_rule(
            f"/data/{report.__name__}", f"data_{report.__name__}", _view(report, fields)
        )
    bp.add_url_rule("/acts", "acts", _act, methods=["POST"])
    return bp


def _file(name: str, mimetype: str) -> Response:
    return Response((_STATIC / name).read_bytes(), mimetype=mimetype)


def _view(report: Callable[..., Any], fields: tuple[str, ...]) -> Callable[[], Response]:
    def view() -> Response:
        given = {field: request.args[field] for field in fields if field in request.args}
        return jsonify(report(current_parts(), **given))

    return view


def _act() -> Response:
    if (request.content_length or 0) > _BODY:
        abort(413)
    return jsonify(perform(current_parts(), g.rooms_operator, request.get_json()))


def _refused(error: HTTPException) -> Any:
    if error.response is not None:  # such as abort(redirect(...)) of the check
        return error.response
    return jsonify(error=error.description), error.code or 500


def _failed(error: RoomsError) -> tuple[Response, int]:
    if isinstance(error, ConfigurationError):
        raise error
    status = 503 if isinstance(error, BackendUnavailable | Unconfirmed) else 400
    return jsonify(error=str(error)), status
