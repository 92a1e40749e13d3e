"""The configuration is read once, and what cannot work is refused at the start."""

from __future__ import annotations

import math
import re
from dataclasses import fields
from typing import Any

import pytest
from flask import Flask
from flask_socketio import SocketIO

from flask_rooms import ConfigurationError, Rooms
from flask_rooms.backends import MemoryBackend
from flask_rooms.config import Config
from tests.support.apps import make_app

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]

DEFAULTS: dict[str, Any] = {
    "ROOMS_BACKEND_URL": "memory://",
    "ROOMS_CHANNEL": "flask-rooms",
    "ROOMS_CONFIRM_TIMEOUT": 5.0,
    "ROOMS_HEARTBEAT_INTERVAL": 2.0,
    "ROOMS_SECRET_KEYS": None,
    "ROOMS_OUTBOX_BYTES": 16 * 2**20,
    "ROOMS_REPAIR_LOG_BYTES": 16 * 2**20,
    "ROOMS_MESSAGE_BYTES": 2**20,
    "ROOMS_CONNECT_TIMEOUT": 20.0,
    "ROOMS_CONCURRENT_EVENTS": 32,
    "ROOMS_PACKETS_PER_SECOND": 1000,
    "ROOMS_SOCKETS_PER_CONNECTION": 20,
    "ROOMS_ROOMS_PER_SOCKET": 10_000,
    "ROOMS_CONNECTIONS_PER_USER": None,
    "ROOMS_CONNECTIONS": None,
    "ROOMS_UNREAD_BYTES": 16 * 2**20,
}

NO_SECONDS = [0, -1, 0.0, -0.5, "5", "", None, True, math.inf, math.nan, [], 5j]
NO_BYTES = [0, -1, 1.5, 1024.0, "1024", None, True, math.inf]

BAD_VALUES: dict[str, list[Any]] = {
    "confirm_timeout": NO_SECONDS,
    "heartbeat_interval": NO_SECONDS,
    "outbox_bytes": NO_BYTES,
    "repair_log_bytes": NO_BYTES,
    "message_bytes": NO_BYTES,
    "connect_timeout": NO_SECONDS,
    "concurrent_events": NO_BYTES,
    "packets_per_second": NO_BYTES,
    "sockets_per_connection": NO_BYTES,
    "rooms_per_socket": NO_BYTES,
    "connections_per_user": [value for value in NO_BYTES if value is not None],
    "connections": [value for value in NO_BYTES if value is not None],
    "unread_bytes": NO_BYTES,
    "channel": ["", None, 42, b"channel", ["channel"], True],
    "secret_keys": ["", "key", b"key", [], (), [""], [b""], [None], ["key", None], [42], 42, True],
    "backend_options": ["option", [1], 42, True, [("a", 1)]],
    "backend_url": ["", " ", "redis", "localhost:6379", None, 42, b"memory://", [], [""], [None]],
    "request_headers": ["X-Tag", 42, [1], ["Cookie"], ["X-Tag", "ORIGIN"], ["host"]],
}


def test_every_default_is_shown_in_the_configuration_of_the_application() -> None:
    app = make_app()

    Rooms(app)

    assert DEFAULTS.items() <= app.config.items()
    assert len([key for key in app.config if key.startswith("ROOMS_")]) == len(fields(Config))


def test_what_the_application_has_configured_stays() -> None:
    app = make_app()
    app.config["ROOMS_CHANNEL"] = "shop"

    assert Config.of(app, {}).channel == app.config["ROOMS_CHANNEL"] == "shop"


def test_an_option_of_rooms_takes_precedence() -> None:
    app = make_app()
    app.config["ROOMS_CHANNEL"] = "shop"

    config = Config.of(app, {"channel": "option", "confirm_timeout": 1})

    assert (config.channel, config.confirm_timeout, config.heartbeat_interval) == ("option", 1, 2.0)


def test_an_option_may_correct_what_the_application_has_wrong() -> None:
    app = make_app()
    app.config["ROOMS_CHANNEL"] = ""

    assert Config.of(app, {"channel": "option"}).channel == "option"


def test_an_unknown_option_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"chanel.*channel.*confirm_timeout") as caught:
        Rooms(make_app(), chanel="shop")

    assert {"backend", "history_store"} <= set(re.findall(r"\w+", str(caught.value)))


@pytest.mark.parametrize(
    "options",
    [
        {"cors_allowed_origins": "*"},
        {"async_mode": "threading"},
        {"ping_interval": 10, "logger": True},
        {"serializer": "msgpack"},
        {"manage_session": False},
        {"message_queue": "redis://localhost"},
    ],
)
def test_an_option_of_socketio_is_refused_with_where_it_belongs(options: dict[str, Any]) -> None:
    names = ", ".join(f"{name}=..." for name in sorted(options))

    with pytest.raises(ConfigurationError) as caught:
        Rooms(make_app(), **options)

    if "message_queue" in options:  # which SocketIO must not have either
        assert "backend_url=" in str(caught.value)
    else:
        assert f"Rooms(app, SocketIO({names}))" in str(caught.value)


def test_an_option_of_a_given_socketio_is_no_reason_for_another_one_without_its_handlers() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Rooms(make_app(), SocketIO(), path="ws", backend_url="memory://")

    assert "create yours as SocketIO(path=...)" in str(caught.value)
    assert "socketio.server_options.update(path=...) before Rooms()" in str(caught.value)
    assert "Rooms(app, SocketIO" not in str(caught.value)


@pytest.mark.parametrize("given_as", ["configuration", "option"])
@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD_VALUES.items() for value in values]
)
def test_a_bad_value_is_refused_and_leaves_the_application_alone(
    name: str, value: Any, given_as: str
) -> None:
    app = make_app()
    options = {name: value} if given_as == "option" else {}
    if given_as == "configuration":
        app.config[f"ROOMS_{name.upper()}"] = value

    with pytest.raises(ConfigurationError) as caught:
        Rooms(app, **options)

    if name != "backend_url":  # its message shows what URLs look like
        assert f"ROOMS_{name.upper()}" in str(caught.value)
    assert "rooms" not in app.extensions
    assert "socketio" not in app.extensions
    app.config.pop(f"ROOMS_{name.upper()}", None)
    Rooms(app)


@pytest.mark.parametrize(
    "options",
    [
        {"secret_keys": "hunter2"},
        {"secret_keys": ["hunter2", 42]},
        {"backend_url": "redis:hunter2"},
        {"backend_url": ["memory://hunter2", "redis://localhost"]},
        {"backend_url": "no-such-broker://user:hunter2@localhost"},
    ],
)
def test_secrets_stay_out_of_the_message(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Rooms(make_app(), **options)

    assert "hunter2" not in str(caught.value)


# -- keys -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "keys"),
    [
        ({"SECRET_KEY": "new"}, ["new"]),
        ({"SECRET_KEY": b"new"}, [b"new"]),
        ({"SECRET_KEY": "new", "SECRET_KEY_FALLBACKS": ["old", "older"]}, ["new", "old", "older"]),
        ({"SECRET_KEY": "new", "SECRET_KEY_FALLBACKS": None}, ["new"]),
        ({"SECRET_KEY": "new", "ROOMS_SECRET_KEYS": ["own", b"older"]}, ["own", b"older"]),
        ({"SECRET_KEY": None, "ROOMS_SECRET_KEYS": ["own"]}, ["own"]),
    ],
)
def test_messages_are_signed_with_the_newest_key(
    settings: dict[str, Any], keys: list[str | bytes]
) -> None:
    app = Flask("application")
    app.config.update(settings)

    assert Config.of(app, {}).keys(app, in_process=False) == keys


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("SECRET_KEY", 20261130),
        ("SECRET_KEY", 0),
        ("SECRET_KEY", ["hunter2"]),
        ("SECRET_KEY_FALLBACKS", "hunter2"),  # of which each letter would be a key
        ("SECRET_KEY_FALLBACKS", ["old", 20261130]),
        ("SECRET_KEY_FALLBACKS", 20261130),
        ("ROOMS_SECRET_KEYS", ["own", 20261130]),
    ],
)
@pytest.mark.parametrize("url", ["redis://localhost", "memory://"])
def test_a_key_is_a_string_or_bytes(setting: str, value: Any, url: str) -> None:
    """Flask reads environment variables as JSON, so that a key of digits is a number."""
    app = Flask("application")
    app.config.update({"SECRET_KEY": "new", setting: value})

    with pytest.raises(ConfigurationError, match=rf"^{setting} has to be") as caught:
        Rooms(app, backend_url=url)

    assert re.search("strings? or bytes", str(caught.value))
    assert "hunter2" not in str(caught.value)
    assert "20261130" not in str(caught.value)


@pytest.mark.parametrize("secret_key", [None, "", b""])
@pytest.mark.parametrize("url", ["redis://localhost", ["amqp://a", "amqp://b"]])
def test_a_broker_needs_a_key(url: Any, secret_key: Any) -> None:
    app = Flask("application")
    app.config["SECRET_KEY"] = secret_key

    with pytest.raises(ConfigurationError, match=r"SECRET_KEY.*ROOMS_SECRET_KEYS"):
        Rooms(app, backend_url=url)


@pytest.mark.parametrize("url", ["memory://", "memory://hub", ["memory://"]])
def test_inside_one_process_no_key_is_needed(url: Any) -> None:
    Rooms(Flask("application"), backend_url=url)


def test_a_backend_of_ones_own_needs_a_key_as_it_may_lead_anywhere() -> None:
    class OwnBackend(MemoryBackend):
        """Of a third party; for all that is known it is a broker at the other end of town."""

    with pytest.raises(ConfigurationError, match="SECRET_KEY"):
        Rooms(Flask("application"), backend=OwnBackend("channel"))
