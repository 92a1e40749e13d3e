"""
Workers in real web servers: they join when these begin to serve, and end in good order with them.

The other workers have a heartbeat interval of a minute, and declare a worker dead after four. So
what they know at once is the effect of a hello or a goodbye.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import requests
import socketio

from tests.support.apps import in_thread
from tests.support.brokers import Broker
from tests.support.networks import TwoWebWorkers
from tests.support.outside import SLOW, peers
from tests.support.raw import RawClient
from tests.support.web_servers import COMMANDS, TIMEOUT, eventually, serving
from tests.support.workers import ROOMS_APP, Worker, cluster

MODE = os.environ.get("ROOMS_TEST_MODE", "threading")
#: run() is tested in all modes, and the others once.
SERVERS = ["run"]
if MODE == "threading":
    SERVERS = list(COMMANDS)
GUNICORN = [name for name in SERVERS if name.startswith("gunicorn")]

#: What the application writes down of one client.
THE_END = ["after hall", "disconnect server disconnect", "left hall disconnect"]


@pytest.fixture(name="network", scope="module")
def _network(redis_broker: Broker) -> Iterator[TwoWebWorkers]:
    with cluster(redis_broker.url, 2, ROOMS_APP, "", *SLOW) as workers:
        network = TwoWebWorkers(workers, ["red"])
        yield network
        network.close()


class Others:
    """What the other workers know, beside the one that is tested."""

    def __init__(self, network: TwoWebWorkers) -> None:
        self._network = network
        self._before = self._peers()

    def _peers(self) -> set[str]:
        return set(peers(self._network.here, self._network.other))

    def new(self) -> set[str]:
        """Return the workers that have joined since, and have not left."""
        return self._peers() - self._before

    def wait_for_a_new_one(self) -> None:
        """Return when a worker has joined."""
        eventually(self.new)

    def wait_until_gone(self, names: set[str]) -> None:
        """Return when these workers have left."""
        eventually(lambda: not names & self.new())


@pytest.fixture(name="others")
def _others(network: TwoWebWorkers) -> Others:
    return Others(network)


@pytest.fixture(name="web")
def _web(network: TwoWebWorkers) -> Worker:
    return network.here


class Client:
    """
    A client of a server, in a room.

    Args:
        url: The server.
        kind: How it is run.
        reconnects: Whether it connects again when the connection has ended.
    """

    def __init__(self, url: str, kind: str, *, reconnects: bool = False) -> None:
        urlopen(url, timeout=TIMEOUT).close()  # uWSGI listens before it has loaded the application
        self._http = requests.Session()
        self._websockets: list[Any] = []
        self._client = socketio.SimpleClient(
            reconnection=reconnects,
            reconnection_delay=0.1,
            request_timeout=TIMEOUT,
            http_session=self._http,
        )
        transport = "polling" if "polling" in kind else "websocket"
        self._client.connect(url, transports=[transport], wait_timeout=TIMEOUT)
        self.join()

    def join(self) -> None:
        """Join the room."""
        self._websockets.append(self._client.client.eio.ws)
        assert self._client.call("put", {"url": "/rooms/hall"})["statusCode"] == 200

    def send(self, event: str, data: Any) -> None:
        """Send an event, and wait for nothing."""
        self._client.emit(event, data)

    def close(self) -> None:
        """Close the connection."""
        self._client.client.shutdown()
        self._http.close()
        for websocket in self._websockets:
            if websocket is not None:
                websocket.shutdown()


@pytest.mark.parametrize("kind", SERVERS)
def test_a_worker_joins_before_any_request(
    kind: str, others: Others, web: Worker, tmp_path: Path
) -> None:
    with serving(kind, web, tmp_path):
        others.wait_for_a_new_one()

        assert len(others.new()) == 1


@pytest.mark.parametrize("kind", SERVERS)
def test_sigterm_runs_every_handler_and_says_goodbye(
    kind: str, others: Others, web: Worker, tmp_path: Path
) -> None:
    with serving(kind, web, tmp_path) as server:
        client = Client(server.url, kind)
        assert len(others.new()) == 1

        server.signal(signal.SIGTERM)
        server.wait()

        assert sorted(server.lines) == THE_END, server.log
        assert others.new() == set(), server.log
        client.close()


@pytest.mark.parametrize("kind", ["run", "flask run"] if MODE == "threading" else ["run"])
def test_so_does_sigint(kind: str, others: Others, web: Worker, tmp_path: Path) -> None:
    with serving(kind, web, tmp_path) as server:
        client = Client(server.url, kind)

        server.signal(signal.SIGINT)
        server.wait()

        assert sorted(server.lines) == THE_END, server.log
        assert others.new() == set(), server.log
        client.close()


def test_an_interruption_interrupts_no_guard_and_ends_the_worker(
    web: Worker, tmp_path: Path
) -> None:
    """Under eventlet and gevent it would be raised in the green thread of the guard."""
    with serving("run", web, tmp_path) as server:
        client = Client(server.url, "run")
        client.send("put", {"url": "/rooms/busy"})
        server.wait_for("guard")

        server.signal(signal.SIGINT)
        server.wait()

        assert "disconnect server disconnect" in server.lines, server.log
        assert "A guard has failed" not in server.log
        client.close()


def test_the_applications_own_handler_is_called_as_well(
    others: Others, web: Worker, tmp_path: Path
) -> None:
    with serving("run", web, tmp_path, ROOMS_TEST_OWN_HANDLER="yes") as server:
        client = Client(server.url, "run")

        server.signal(signal.SIGTERM)

        assert server.wait() == (0 if MODE == "eventlet" else 7)  # whose server takes SystemExit
        assert sorted(server.lines) == sorted([*THE_END, "own handler"]), server.log
        assert others.new() == set(), server.log
        client.close()


@pytest.mark.parametrize("kind", [name for name in SERVERS if "lazy" not in name])
def test_a_handler_that_hangs_does_not_keep_the_worker(
    kind: str, others: Others, web: Worker, tmp_path: Path
) -> None:
    bound = {"ROOMS_TEST_HANG": "yes", "FLASK_ROOMS_DRAIN_TIMEOUT": "0.3"}
    with serving(kind, web, tmp_path, **bound) as server:
        client = Client(server.url, kind)

        server.signal(signal.SIGTERM)
        server.wait()

        assert server.lines == ["disconnect server disconnect"], server.log
        assert others.new() == set(), server.log
        client.close()


def test_a_worker_in_which_nothing_happens_ends_as_well(web: Worker, tmp_path: Path) -> None:
    """No client and no broker wake eventlet, which sleeps for a minute."""
    with serving("run", web, tmp_path, FLASK_ROOMS_BACKEND_URL="memory://") as server:
        with pytest.raises(HTTPError) as unknown:
            urlopen(f"{server.url}/nowhere")
        unknown.value.close()

        server.signal(signal.SIGTERM)

        assert server.wait(30) == -signal.SIGTERM


def test_a_second_sigterm_waits_for_nothing(web: Worker, tmp_path: Path) -> None:
    bound = {"ROOMS_TEST_HANG": "yes", "FLASK_ROOMS_DRAIN_TIMEOUT": "600"}
    with serving("run", web, tmp_path, **bound) as server:
        client = Client(server.url, "run")
        server.signal(signal.SIGTERM)
        server.wait_for("disconnect server disconnect")

        server.signal(signal.SIGTERM)

        assert server.wait() == -signal.SIGTERM
        client.close()


@pytest.mark.skipif(MODE == "eventlet", reason="a fork ends Flask-SocketIO's own clients, too")
def test_a_forked_child_that_makes_a_call_keeps_its_hands_off_the_clients(
    web: Worker, tmp_path: Path
) -> None:
    """It leaves the cluster when it ends, and has copies of the parent's connections."""
    with serving("run", web, tmp_path) as server:
        client = Client(server.url, "run")

        for _ in range(2):
            forked = urlopen(Request(f"{server.url}/fork", method="POST"), timeout=TIMEOUT)
            assert json.load(forked) == {"exit": 0}

        client.join()
        assert server.lines == [], server.log
        client.close()


# -- gunicorn ---------------------------------------------------------------------------------

gunicorn = pytest.mark.skipif(MODE != "threading", reason="gunicorn has modes of its own")


@gunicorn
def test_a_request_that_is_running_finishes_with_the_cluster(
    others: Others, network: TwoWebWorkers, tmp_path: Path
) -> None:
    web, url = network.here, f"/slow/{network.other.sid}"
    with serving("gunicorn gthread", web, tmp_path) as server:
        client = Client(server.url, "gunicorn gthread")
        slow = in_thread(lambda: urlopen(server.url + url, timeout=TIMEOUT).read())
        server.wait_for("slow")

        server.signal(signal.SIGTERM)

        assert slow.result(TIMEOUT) == b"Outcome(changed=0, unchanged=1, unknown=())"
        server.wait()
        assert others.new() == set(), server.log
        client.close()


@gunicorn
def test_the_main_process_of_gunicorn_waits_after_a_second_signal_as_well(
    network: TwoWebWorkers, tmp_path: Path
) -> None:
    with serving("gunicorn gthread", network.here, tmp_path) as server:
        url = f"{server.url}/slow/{network.other.sid}"
        slow = in_thread(lambda: urlopen(url, timeout=TIMEOUT).read())
        server.wait_for("slow")
        server.signal(signal.SIGTERM)
        eventually(lambda: "Handling signal: term" in server.log)

        server.signal(signal.SIGTERM)

        assert slow.result(TIMEOUT) == b"Outcome(changed=0, unchanged=1, unknown=())"
        assert server.wait() == 0


@gunicorn
@pytest.mark.parametrize("why", ["reload", "max-requests"])
def test_the_clients_of_a_worker_that_is_replaced_connect_to_the_next_one(
    why: str, others: Others, web: Worker, tmp_path: Path
) -> None:
    arguments = ["--max-requests", "30"] if why == "max-requests" else []
    with serving("gunicorn gthread", web, tmp_path, *arguments) as server:
        urlopen(server.url).close()
        former = others.new()
        client = Client(server.url, "gunicorn gthread", reconnects=True)

        if why == "reload":
            server.signal(signal.SIGHUP)
        for _ in range(29 if why == "max-requests" else 0):
            urlopen(server.url).close()

        server.wait_for("after hall")
        others.wait_until_gone(former)
        client.join()
        assert len(others.new() - former) == 1
        client.close()


@gunicorn
def test_what_a_socket_logs_is_in_the_log_after_that_was_rotated(
    web: Worker, tmp_path: Path
) -> None:
    log = tmp_path / "errors.log"
    with (
        serving("gunicorn gthread", web, tmp_path, "--error-logfile", str(log)) as server,
        RawClient(server.url) as client,
    ):

        def said_over_http() -> bool:
            """Whether the worker has opened a new log, as gunicorn's main process tells it to."""
            urlopen(f"{server.url}/say/http").close()
            return log.exists() and "in a request: http" in log.read_text(encoding="utf-8")

        log.rename(tmp_path / "errors.log.1")
        server.signal(signal.SIGUSR1)
        eventually(said_over_http)

        answer = client.answer(client.ask("get", {"url": "/say/socket"}))
        assert answer["statusCode"] == 200
        assert client.answer(client.ask("say", "event")) == "event"
        said = log.read_text(encoding="utf-8")
        assert "in a request: socket" in said
        assert "in an event: event" in said


# -- drain() ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["run"])
def test_a_drained_worker_refuses_with_a_reason_and_is_out_of_the_cluster(
    kind: str, others: Others, web: Worker, tmp_path: Path
) -> None:
    with serving(kind, web, tmp_path) as server:
        client = Client(server.url, kind)

        done = urlopen(Request(f"{server.url}/drain/20.0", method="POST"), timeout=TIMEOUT)

        assert json.load(done) == {"done": True}
        assert sorted(server.lines) == THE_END
        assert others.new() == set(), server.log
        with pytest.raises(HTTPError) as refused:
            urlopen(f"{server.url}/socket.io/?EIO=4&transport=polling")
        assert refused.value.code == 503
        assert "connect again" in json.load(refused.value)["message"]
        assert urlopen(server.url).read() == b"here"
        client.close()
