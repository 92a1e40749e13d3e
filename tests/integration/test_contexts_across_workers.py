"""
What runs for a socket has its own context, whichever process has called.

Each test asks the worker that has the socket, and another one, and both have to say the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.clients import Client
from tests.support.workers import Worker, cluster

callers = pytest.mark.parametrize("caller", [0, 1], ids=["owner", "another worker"])


class Site:
    """
    Two workers, and a socket of the first that hears what the application's functions see.

    Args:
        workers: The workers.
        on_server: Whether the sessions are on the server, and not in cookies.
        stack: Disconnects the clients.
    """

    def __init__(self, workers: list[Worker], on_server: bool, stack: ExitStack) -> None:
        self.workers = workers
        self.on_server = on_server
        self._stack = stack
        self._watcher = self.connect(requests.Session())
        self._watcher.request("post", "/watch")

    def browser(self, name: str | None = None) -> requests.Session:
        """Return a browser, in which somebody has logged in, at the worker without sockets."""
        browser = requests.Session()
        self._stack.callback(browser.close)
        if name is not None:
            browser.post(f"{self.workers[1].url}/login/{name}").raise_for_status()
        return browser

    def connect(self, browser: requests.Session) -> Client:
        """Return a socket of the first worker."""
        client = Client(self.workers[0].url, http_session=browser)
        self._stack.callback(client.disconnect)
        return client

    def act(self, caller: int, browser: requests.Session, deed: str, client: Client) -> Any:
        """Have somebody do something to a socket, and return the answer."""
        answer = browser.post(f"{self.workers[caller].url}/act/{deed}/{client.sid}")
        answer.raise_for_status()
        return answer.json()

    def log_out(self, browser: requests.Session, client: Client) -> None:
        """Log out where it counts for a socket: over HTTP, if the sessions are on the server."""
        if self.on_server:
            browser.post(f"{self.workers[1].url}/logout").raise_for_status()
        else:
            client.request("post", "/logout")

    def saw(self, client: Client, *names: str) -> dict[str, list[Any]]:
        """Return what functions have found about a socket since the last call, by their names."""
        found: dict[str, list[Any]] = {}
        while not found.keys() >= set(names):
            _, (name, sid, *about) = self._watcher.receive()
            # Before it is accepted, a socket has no ID yet.
            if sid == client.sid or (sid is None and name in names):
                assert found.setdefault(name, about) == about
        return found


@pytest.fixture(scope="module", params=["redis_broker", "amqp_broker"])
def broker(request: pytest.FixtureRequest) -> str:
    """The URL of a broker."""
    url: str = request.getfixturevalue(request.param).url
    return url


@pytest.fixture(scope="module", params=["cookies", "server"])
def _workers(
    request: pytest.FixtureRequest, broker: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[list[Worker], bool]]:
    on_server = request.param == "server"
    sessions: Path = tmp_path_factory.mktemp("sessions")
    config = {"SESSIONS": str(sessions)} if on_server else {}
    options = ("--config", json.dumps(config))
    with cluster(broker, 2, "tests.support.contexts_app", "", *options) as workers:
        yield workers, on_server


@pytest.fixture
def site(_workers: tuple[list[Worker], bool]) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(*_workers, stack)


ANN = ["ann", "ann", None]
NOBODY = [None, None, None]
CALLER = {
    "user": ["admin"] * 3,
    "g": "the caller's",
    "kept": True,
    "notes": ["the caller's"],
}
A_SIGNAL = [None, None, None]  # it has no request

DEEDS: dict[str, tuple[Any, dict[str, list[Any]]]] = {
    "join": (0, {"guard": ANN}),
    "whole room": (0, {"guard": ANN}),
    "recheck": (0, {"guard": ANN}),
    "leave": (1, {"signal": A_SIGNAL}),
    "disconnect": (1, {"disconnect": ANN, "after_disconnect": ANN, "signal": A_SIGNAL}),
    "flask_socketio.disconnect": (
        None,
        {"disconnect": ANN, "after_disconnect": ANN, "signal": A_SIGNAL},
    ),
}


@callers
@pytest.mark.parametrize("deed", DEEDS)
def test_each_function_sees_the_user_of_its_socket_and_leaves_the_caller_alone(
    site: Site, caller: int, deed: str
) -> None:
    """Whoever calls, and from wherever: with rows in the database that are not committed."""
    outcome, expected = DEEDS[deed]
    client = site.connect(site.browser("ann"))
    admin = site.browser("admin")
    assert site.act(0, admin, "join", client) == {"outcome": 1, **CALLER}
    assert site.saw(client, "before_connect", "user_loader", "guard", "signal") == {
        "before_connect": ANN,
        "user_loader": ANN,
        "guard": ANN,
        "signal": A_SIGNAL,
    }

    answer = site.act(caller, admin, deed, client)

    assert answer == {"outcome": outcome, **CALLER}
    assert site.saw(client, *expected) == expected


@callers
def test_nobody_gets_in_because_an_admin_calls(site: Site, caller: int) -> None:
    """And nobody becomes an admin by a call about one's socket."""
    stranger, hers = site.connect(site.browser()), site.connect(site.browser("admin"))

    refused = site.act(caller, site.browser("admin"), "join", stranger)
    joined = site.act(caller, site.browser(), "join", hers)

    assert refused == {"outcome": "refused", **CALLER}
    assert joined == {"outcome": 1, **CALLER, "user": NOBODY}


@callers
def test_after_a_logout_all_functions_see_nobody(site: Site, caller: int) -> None:
    """A logout over HTTP, if the sessions are on the server."""
    browser, admin = site.browser("ann"), site.browser("admin")
    client = site.connect(browser)
    assert site.act(caller, admin, "join", client)["outcome"] == 1
    site.saw(client, "before_connect", "user_loader", "guard", "signal")

    site.log_out(browser, client)

    assert site.act(caller, admin, "recheck", client) == {"outcome": 1, **CALLER}
    assert site.act(caller, admin, "join", client) == {"outcome": "refused", **CALLER}
    assert site.saw(client, "guard", "signal") == {"guard": NOBODY, "signal": A_SIGNAL}
    site.act(caller, admin, "disconnect", client)
    assert site.saw(client, "after_disconnect")["after_disconnect"] == NOBODY
