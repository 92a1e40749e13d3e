"""The application of requests_app.py, put behind a proxy that it trusts, after Rooms was set up."""

from __future__ import annotations

from typing import Any

from flask import Flask, request, url_for
from werkzeug.middleware.proxy_fix import ProxyFix

from tests.support import requests_app


def create_app(**config: Any) -> Flask:
    """Return the application."""
    app = requests_app.create_app(**config)
    app.add_url_rule("/where", view_func=where)
    app.add_url_rule("/kept", view_func=kept)
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1, x_prefix=1)  # type: ignore[method-assign]
    return app


def where() -> dict[str, Any]:
    """Return what the application knows of its client and of itself."""
    return {
        "address": request.remote_addr,
        "url": request.url,
        "here": url_for("where", _external=True),
    }


def kept() -> list[str]:
    """Return the keys of the environment that have an object, other than a text or a number."""
    return [key for key, value in request.environ.items() if not isinstance(value, str | int)]
