"""The routes of the extension's own scripts for browsers, at URLs that the application sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import Flask, Response, send_from_directory

from flask_rooms.config import Config

_STATIC = Path(__file__).parents[1] / "static"


def serve(app: Flask, config: Config) -> None:
    """Add the routes of `scripts_url` and `cookie_url` to *app*."""
    # Without a host, a rule of an application that matches hosts would match none.
    anywhere: dict[str, Any] = {"host": "<host>"} if app.url_map.host_matching else {}
    if config.scripts_url is not None:
        rule = config.scripts_url.rstrip("/") + "/<any('rooms.js', 'sails-adapter.js'):name>"
        app.add_url_rule(rule, "rooms_scripts", _script, **anywhere)
    if config.cookie_url is not None:
        app.add_url_rule(config.cookie_url, "rooms_cookie", _cookie, **anywhere)


def _script(name: str, host: str = "") -> Response:
    # Explicit, because the system's configuration may map ".js" to another type.
    return send_from_directory(_STATIC, name, mimetype="text/javascript")


def _cookie(host: str = "") -> Response:
    # sails.io.js loads this script before it connects to another origin, so that the browser gets
    # that origin's cookies, and waits for the call.
    response = Response("_sailsIoJSConnect();", mimetype="application/javascript")
    response.cache_control.no_store = True
    return response
