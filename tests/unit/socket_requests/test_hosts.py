"""The blueprints of the extension are on one host of an application that matches hosts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Blueprint, Flask

from flask_rooms import ConfigurationError, Rooms, admin, monitoring
from tests.support.apps import SECRET

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]

BLUEPRINTS = [
    (monitoring.blueprint, "/health"),
    (lambda **options: admin.blueprint(lambda: "Eve", **options), "/"),
]


def make(host_matching: bool) -> Flask:
    static = "shop.example" if host_matching else None
    app = Flask(__name__, host_matching=host_matching, static_host=static)
    app.config["SECRET_KEY"] = SECRET
    Rooms(app)
    return app


@pytest.mark.parametrize(("blueprint", "path"), BLUEPRINTS)
def test_they_are_on_the_host_that_is_given(blueprint: Callable[..., Blueprint], path: str) -> None:
    app = make(host_matching=True)
    app.register_blueprint(blueprint(host="internal.example"), url_prefix="/rooms")
    browser = app.test_client()

    assert browser.get(f"http://internal.example/rooms{path}").status_code == 200
    assert browser.get(f"http://shop.example/rooms{path}").status_code == 404


@pytest.mark.parametrize(("blueprint", "path"), BLUEPRINTS)
@pytest.mark.parametrize(
    ("host_matching", "host", "remedy"),
    [(True, None, "the host= that it is to be on"), (False, "a.example", "leave out host=")],
)
def test_a_host_is_given_where_hosts_are_matched(
    blueprint: Callable[..., Blueprint],
    path: str,
    host_matching: bool,
    host: str | None,
    remedy: str,
) -> None:
    app, parent = make(host_matching), Blueprint("parent", __name__)

    with pytest.raises(ConfigurationError, match=remedy):
        app.register_blueprint(blueprint(host=host))
    parent.register_blueprint(blueprint(host=host))
    with pytest.raises(ConfigurationError, match=remedy):
        app.register_blueprint(parent)
