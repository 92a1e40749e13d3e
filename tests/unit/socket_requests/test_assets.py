"""What the extension serves to browsers, and that it is served only where it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask, url_for
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

import flask_rooms
from flask_rooms import ConfigurationError, Rooms
from tests.support.apps import SECRET, make_app

pytestmark = pytest.mark.mode_independent

STATIC = Path(flask_rooms.__file__).with_name("static")
SCRIPTS = ["rooms.js", "sails-adapter.js"]


def make(**options: Any) -> Flask:
    """Return an application with Rooms."""
    app = make_app()
    Rooms(app, **options)
    return app


def test_nothing_is_served_unless_asked_for() -> None:
    app = make()

    assert [rule.rule for rule in app.url_map.iter_rules()] == ["/static/<path:filename>"]


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("url", ["/js", "/js/", "/"])
def test_a_script_is_served_as_what_it_is(url: str, name: str) -> None:
    client = make(scripts_url=url).test_client()

    with client.get(f"{url.rstrip('/')}/{name}") as response:
        assert response.status_code == 200
        assert response.content_type == "text/javascript; charset=utf-8"
        assert response.data == (STATIC / name).read_bytes()


@pytest.mark.parametrize("path", ["/js/rooms.js", "/__getcookie"])
def test_they_are_served_on_each_host_of_an_application_that_matches_hosts(path: str) -> None:
    app = Flask("application", host_matching=True, static_host="static.example")
    app.config["SECRET_KEY"] = SECRET
    Rooms(app, scripts_url="/js", cookie_url="/__getcookie")

    for host in ("shop.example", "www.shop.example:8443", "localhost"):
        with app.test_client().get(path, base_url=f"https://{host}") as response:
            assert response.status_code == 200


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_that_a_browser_has_is_not_sent_again(name: str) -> None:
    client = make(scripts_url="/js").test_client()
    with client.get(f"/js/{name}") as first:
        assert first.cache_control.no_cache

    with client.get(f"/js/{name}", headers={"If-None-Match": first.headers["ETag"]}) as again:
        assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize("name", ["rooms.d.ts", "../served.py", "%2e%2e/served.py", "other.js", ""])
def test_nothing_else_is_served(name: str) -> None:
    assert make(scripts_url="/js").test_client().get(f"/js/{name}").status_code == 404


def test_a_mounted_application_serves_and_names_its_scripts() -> None:
    app = make(scripts_url="/js")
    app.add_url_rule("/where", "where", lambda: url_for("rooms_scripts", name="rooms.js"))
    client = Client(DispatcherMiddleware(Flask("outer"), {"/inner": app}))

    where = client.get("/inner/where").text

    assert where == "/inner/js/rooms.js"
    with client.get(where) as response:
        assert response.status_code == 200


def test_the_cookie_route_is_what_sails_io_js_loads() -> None:
    response = make(cookie_url="/__getcookie").test_client().get("/__getcookie")

    assert response.text == "_sailsIoJSConnect();"
    assert response.mimetype == "application/javascript"
    assert response.cache_control.no_store


@pytest.mark.parametrize("option", ["scripts_url", "cookie_url"])
@pytest.mark.parametrize("value", ["js", "", 5, True])
def test_a_url_is_a_path(option: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"ROOMS_{option.upper()} has to be a path"):
        make(**{option: value})
