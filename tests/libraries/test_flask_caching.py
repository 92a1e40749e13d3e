"""Flask-Caching: a cached view answers over a socket, too, and is then not called."""

from __future__ import annotations

import pytest
from flask_caching import Cache

from flask_rooms import request
from tests.support.apps import LocalCluster, make_app

pytestmark = pytest.mark.mode_independent


def test_cached_views_are_shared_unless_they_are_about_the_socket(cluster: LocalCluster) -> None:
    app = make_app()
    cache = Cache(app, config={"CACHE_TYPE": "SimpleCache"})
    calls: list[str] = []

    @app.get("/news")
    @cache.cached()
    def news() -> dict[str, int]:
        calls.append("news")
        return {"calls": len(calls)}

    @app.get("/me")
    @cache.cached(unless=lambda: request.is_socket)
    def me() -> dict[str, str]:
        return {"me": request.sid if request.is_socket else "over HTTP"}

    worker = cluster.worker(app)
    one, two = worker.connect(), worker.connect()

    assert app.test_client().get("/news").json == one.ask("get", "/news")["body"] == {"calls": 1}
    assert one.ask("get", "/me")["body"] == {"me": one.sid}
    assert two.ask("get", "/me")["body"] == {"me": two.sid}
    assert app.test_client().get("/me").json == {"me": "over HTTP"}
