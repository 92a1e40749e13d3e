"""Nothing secret is in the log, in an error or in a representation."""

from __future__ import annotations

import gc
import json
import traceback
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import msgpack
import pytest
from flask import Flask, make_response
from flask_socketio import SocketIO
from werkzeug.test import Client

from flask_rooms import ConfigurationError, Rooms
from flask_rooms.backends import from_url
from tests.support.apps import HEARTBEAT, PATIENCE, Worker, eventually, make_app
from tests.support.brokers import Broker
from tests.support.polling import PollingClient

pytestmark = pytest.mark.mode_independent

#: What is secret, by where it is. None of it occurs by chance.
SECRETS = {
    where: f"5ecret-of-{where}"
    for where in (
        *("key", "broker", "cookie", "header", "query", "auth", "set-cookie"),
        *("request-header", "request-data", "event"),
    )
}
#: What is in the packets of clients.
IN_PACKETS = {"auth", "request-header", "request-data", "event"}


def secrets_in(text: str) -> set[str]:
    """Return which secrets are in a text."""
    return {where for where, secret in SECRETS.items() if secret in text}


class Site:
    """An application, a client with secrets, and the errors that there may be."""

    def __init__(self, backend_url: str = "memory://", **options: Any) -> None:
        self.app = self._make_app()
        self.rooms = Rooms(
            self.app,
            SocketIO(**options),
            backend_url=backend_url,
            secret_keys=[SECRETS["key"]],
            heartbeat_interval=HEARTBEAT,
            confirm_timeout=HEARTBEAT,
        )
        self.socketio = self.rooms.socketio
        self.rooms.user_loader(lambda auth: "ann")
        self.rooms.guard("<name>")(lambda name: 1 / 0)
        self.rooms.after_disconnect(lambda reason, rooms: 1 / 0)
        self.rooms.socketio.on("event")(lambda data: object())
        self.worker = Worker(self.app, self.rooms)
        self.seen: list[tuple[str, str]] = []

    def _make_app(self) -> Flask:
        app = make_app()
        app.config["SECRET_KEY"] = SECRETS["key"]

        @app.put("/fail")
        def fail() -> str:
            raise ZeroDivisionError

        @app.put("/cookie")
        def cookie() -> Any:
            self.look_at_every_object()
            response = make_response("")
            response.set_cookie("own", SECRETS["set-cookie"])
            return response

        return app

    def look_at_every_object(self) -> None:
        """Note the objects of Flask-Rooms that show a secret."""
        for one in gc.get_objects():
            kind = type(one)
            # What extends a class of the application has the representation of that.
            if str(kind.__module__).startswith("flask_rooms") and kind.__name__ != "SocketRequest":
                self.seen += [(kind.__name__, where) for where in secrets_in(repr(one))]

    def connect(self) -> PollingClient:
        """Return a client that is connected."""
        browser = Client(self.app)
        browser.set_cookie("session", SECRETS["cookie"])
        headers = {"Authorization": f"Bearer {SECRETS['header']}"}
        query = f"&token={SECRETS['query']}"
        client = PollingClient(self.app, browser=browser, headers=headers, query=query)
        return client.connect({"token": SECRETS["auth"]})

    def run(self) -> None:
        """Do all that may be logged: what works, what fails, and what is malformed."""
        client = self.connect()
        request = {
            "data": {"password": SECRETS["request-data"]},
            "headers": {"Authorization": SECRETS["request-header"]},
        }
        assert client.request("put", "/cookie", **request)["statusCode"] == 200
        assert client.request("put", "/fail", **request)["statusCode"] == 500
        assert client.emit("event", SECRETS["event"])[0]["statusCode"] == 500
        for start in ("42x", "451-", "40/x,", "4", '42["put",', "429"):
            client.send(start + json.dumps(request)[:-1])
        assert self.rooms.sockets.join(client.sid, "red").exception(PATIENCE) is not None
        client.send("41")
        eventually(self.worker, lambda: not self.socketio.server.manager.rooms.get("/"))

    def stop(self) -> None:
        """Leave the broker."""
        self.worker.cluster.stop()


@pytest.fixture
def sites() -> Iterator[list[Site]]:
    """The sites of a test, which it adds."""
    sites: list[Site] = []
    yield sites
    for site in sites:
        site.stop()


def logged(caplog: pytest.LogCaptureFixture, *loggers: str) -> str:
    """Return what loggers have logged, without tracebacks."""
    records = [one for one in caplog.records if one.name.partition(".")[0] in loggers]
    return "\n".join(record.getMessage() for record in records)


@pytest.mark.parametrize("backend_url", ["memory://", "redis://user:{broker}@localhost:1/0"])
def test_nothing_secret_is_logged(
    sites: list[Site], caplog: pytest.LogCaptureFixture, backend_url: str
) -> None:
    """By Flask-Rooms at any level; nor by python-socketio, where its own logger is on."""
    caplog.set_level(1)
    for name in ("engineio.server", "socketio.server"):
        caplog.set_level(1, name)  # which an earlier server of the process may have silenced
    sites.append(Site(backend_url.format(**SECRETS), logger=True, engineio_logger=True))

    sites[0].run()

    ours = logged(caplog, "flask_rooms", "socketio", sites[0].app.name)
    assert "A guard has failed" in ours
    assert secrets_in(ours) == set()
    # Of what is printed with it on, an operator is warned: it is every packet.
    assert secrets_in(logged(caplog, "engineio")) == IN_PACKETS


def test_a_packet_that_is_malformed_is_not_quoted(
    sites: list[Site], caplog: pytest.LogCaptureFixture
) -> None:
    """As by the error of a decoder, which has all of it."""
    caplog.set_level(1)
    sites.append(Site(serializer="msgpack"))
    sites[0].worker.cluster.start()
    server = sites[0].socketio.server
    packet = msgpack.packb({"type": 0, "nsp": "/", "data": {"token": SECRETS["auth"], "x": "?!"}})

    server._handle_eio_message("nobody", packet.replace(b"?!", b"\xff\xff"))

    assert sites[0].rooms.refusals["malformed_packets"] == 1
    assert secrets_in(logged(caplog, "flask_rooms")) == set()


@pytest.mark.parametrize("kind", ["redis", "amqp"])
def test_a_password_that_a_broker_refuses_is_not_logged(
    request: pytest.FixtureRequest, sites: list[Site], caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    caplog.set_level(1)
    broker: Broker = request.getfixturevalue(f"{kind}_broker")
    url = urlsplit(broker.url)
    wrong = url._replace(netloc=f"somebody:{SECRETS['broker']}@{url.hostname}:{url.port}")
    sites.append(Site(wrong.geturl()))

    sites[0].worker.cluster.start()
    eventually(sites[0].worker, lambda: "The broker cannot be reached" in caplog.text)

    assert secrets_in(logged(caplog, "flask_rooms")) == set()


def test_no_object_of_a_running_worker_represents_a_secret(sites: list[Site]) -> None:
    """Looked at while a request of a socket runs, so that all there is of it is there."""
    sites.append(Site("redis://user:{broker}@localhost:1/0".format(**SECRETS)))

    sites[0].run()

    assert sites[0].seen == []


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:{broker}@localhost:port/0",
        "redis://user:{broker}@localhost:6379/x y",
        "redis://user:{broker}#@localhost",
        "redis://user:{broker}/@localhost:1",
        "amqp://user:{broker}@[localhost:5672//",
        "amqp://user:{broker}@localhost:99999999//",
        "nothing://user:{broker}@localhost",
        "user:{broker}@localhost",
        "redis://localhost;amqp://user:{broker}@localhost",
        "sentinel://user:{broker}@",
    ],
)
def test_a_password_in_a_url_is_in_no_error(url: str) -> None:
    """Neither in its text, nor in what is printed of what has caused it."""
    shown = []
    try:
        shown.append(repr(from_url(url.format(**SECRETS), channel="tests", options={})))
    except ConfigurationError as error:
        shown += [repr(error), *traceback.format_exception(error)]

    assert shown
    assert secrets_in("".join(shown)) == set()


@pytest.mark.parametrize(
    "wrong",
    [
        {"secret_keys": SECRETS["key"]},
        {"secret_keys": [SECRETS["key"], 1]},
        {"backend_options": SECRETS["broker"]},
        {"backend_url": ["redis://", {"password": SECRETS["broker"]}]},
    ],
    ids=str,
)
def test_a_setting_that_may_be_secret_is_not_quoted(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Rooms(make_app(), **wrong)

    assert secrets_in(f"{caught.value!r} {caught.value.__context__!r}") == set()
