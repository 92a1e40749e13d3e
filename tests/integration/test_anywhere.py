"""
Scripts, threads, child processes and the shell make the same calls, and leave with a goodbye.

The workers have a heartbeat interval of a minute, and declare a worker dead after four. What a
test observes at once is therefore the effect of a hello or a goodbye, and not of a heartbeat.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from uuid import uuid4

import pytest

from flask_rooms.server.async_mode import patched_for
from tests.support.brokers import Broker
from tests.support.clients import Client
from tests.support.documents import ROOT
from tests.support.networks import TwoWebWorkers
from tests.support.outside import SLOW, TIMEOUT, environment, peers, run_python
from tests.support.workers import ROOMS_APP, Worker, cluster

pytestmark = pytest.mark.mode_independent

MODE = patched_for() or "threading"

#: What starts a child process, its start method, and whether the parent has joined before.
CHILDREN = [
    ("process", "fork", ""),
    ("process", "fork", "joined"),
    ("process", "spawn", ""),
    ("executor", "fork", "joined"),
]
if MODE != "eventlet":  # eventlet supports no fork server
    CHILDREN.append(("process", "forkserver", ""))
if MODE == "threading":  # multiprocessing.Pool hangs with patched green threads
    CHILDREN += [("pool", "fork", "joined"), ("pool", "spawn", "")]


class WithOutsiders(TwoWebWorkers):
    """Two web workers, beside which programs join the cluster and leave it."""

    def is_in(self, client: Client, room: str) -> bool:
        """Return whether a client is in a room, and take it out."""
        return bool(self.here.post("/leave", sids=client.sid, rooms=room)["changed"])

    def heard(self) -> list[list[list[str]]]:
        """Return what each client has received by now."""
        for client in self.clients:
            self.here.post("/broadcast", rooms=client.sid, say=["fence"])
        return [until_fence(client) for client in self.clients]


def until_fence(client: Client) -> list[list[str]]:
    events = []
    while (event := client.receive()) != ["message", "fence"]:
        events.append(event)
    return events


@pytest.fixture(name="workers", scope="module")
def _workers(redis_broker: Broker) -> Iterator[list[Worker]]:
    with cluster(redis_broker.url, 2, ROOMS_APP, "", *SLOW) as workers:
        yield workers


@pytest.fixture(name="network")
def _network(workers: list[Worker]) -> Iterator[WithOutsiders]:
    """Two web workers; every other worker has said goodbye by the end of the test."""
    network = WithOutsiders(workers, ["red"])
    before = peers(network.here, network.other)
    yield network
    after = peers(network.here, network.other)
    network.close()
    assert network.there.name in after
    assert set(after) <= set(before)


# -- at once ----------------------------------------------------------------------------------

AT_ONCE = """
from flask_rooms.protocol.ids import new_sid, new_worker_name
from tests.support.outside_app import rooms
print("ready", flush=True)
input()
print({}, flush=True)
input()
"""
FIRST_CALLS = [
    'rooms.sockets.count("red").complete',
    'rooms.sockets.leave(new_sid(new_worker_name()), "red").result().unknown != ()',
]


@pytest.mark.parametrize("call", FIRST_CALLS, ids=["of all", "of one that has ended"])
def test_programs_that_start_at_the_same_moment_have_an_answer_to_their_first_call(
    workers: list[Worker], call: str
) -> None:
    """No other worker is on their channel, which could tell them who is."""
    own = environment(workers[0], FLASK_ROOMS_CHANNEL=uuid4().hex)
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", AT_ONCE.format(call)],
            cwd=ROOT,
            env=own,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]

    for expected in ("ready", "True"):
        assert [one.stdout and one.stdout.readline().strip() for one in programs] == [expected] * 3
        for one in programs:
            assert one.stdin is not None
            one.stdin.write("\n")
            one.stdin.flush()

    for one in programs:
        one.communicate(timeout=TIMEOUT)
        assert one.returncode == 0


# -- scripts ----------------------------------------------------------------------------------

BEGIN = "import sys; from tests.support.outside_app import app, cluster, rooms; sid = sys.argv[1]\n"


def script(network: WithOutsiders, program: str, returns: int = 0) -> str:
    return run_python(
        network.here, "-c", BEGIN + dedent(program), network.other.sid, returns=returns
    ).strip()


def test_a_script_needs_no_context_for_the_sockets_of_its_rooms(network: WithOutsiders) -> None:
    output = script(network, "print(rooms.sockets.leave(sid, 'red').result())")

    assert output == "Outcome(changed=1, unchanged=0, unknown=())"
    assert not network.is_in(network.other, "red")


def test_a_script_may_use_sockets_in_a_context(network: WithOutsiders) -> None:
    program = """
        from flask_rooms import sockets
        with app.app_context():
            print(sockets.leave(sid, "red").result())
            print(sockets.rooms_of(sid))
    """

    assert script(network, program).splitlines() == [
        "Outcome(changed=1, unchanged=0, unknown=())",
        "Answer(value=frozenset(), complete=True, missing=())",
    ]


def test_threads_of_a_script_share_its_worker(network: WithOutsiders) -> None:
    program = """
        from concurrent.futures import ThreadPoolExecutor

        def work(number):
            return rooms.sockets.join(sid, f"room {number}").result().changed, cluster.name

        with ThreadPoolExecutor(8) as threads:
            done = list(threads.map(work, range(20)))
        print(sum(changed for changed, _ in done), len({name for _, name in done}))
        print(len(rooms.sockets.rooms_of(sid).value))
    """

    assert script(network, program).split() == ["20", "1", "21"]


def test_what_a_script_says_last_is_heard_although_it_waits_for_nothing(
    network: WithOutsiders,
) -> None:
    script(network, "rooms.sockets.leave(sid, 'red')")

    assert not network.is_in(network.other, "red")


def test_a_broadcast_of_a_script_that_ends_at_once_reaches_every_worker(
    network: WithOutsiders,
) -> None:
    script(network, "rooms.sockets.broadcast('red', 'news', 42)")

    assert network.heard() == [[["news", 42]], [["news", 42]]]


@pytest.mark.parametrize(
    ("ending", "returns"),
    [("", 0), ("1 / 0", 1)],
    ids=["by itself", "by an exception"],
)
def test_a_script_that_has_only_joined_says_goodbye(
    network: WithOutsiders, ending: str, returns: int
) -> None:
    script(network, f"cluster.start()\n{ending}", returns)


def test_a_script_that_is_terminated_in_its_first_moment_is_heard(network: WithOutsiders) -> None:
    program = """
        import os, signal, threading
        rooms.sockets.leave(sid, "red")
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(30)
    """

    script(network, program, -signal.SIGTERM)

    assert not network.is_in(network.other, "red")


def test_the_shell_has_sockets(network: WithOutsiders) -> None:
    lines = f"""
        from flask_rooms import sockets
        print("outcome:", sockets.leave("{network.other.sid}", "red").result().changed)
        sockets.broadcast("red", "from the shell")
    """

    output = run_python(network.here, "-m", "flask", "shell", stdin=dedent(lines))

    assert "outcome: 1\n" in output
    assert network.heard() == [[["message", "from the shell"]], []]


# -- child processes --------------------------------------------------------------------------

PARENT = """
    import sys
    from tests.support.outside_app import cluster, rooms
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    def work(sid):
        changed = rooms.sockets.leave(sid, "red").result().changed
        return f"{changed} {cluster.name}"

    def process(context, sid):
        child = context.Process(target=work, args=(sid,))
        child.start()
        child.join()
        return "1 child" if child.exitcode == 0 else child.exitcode

    def pool(context, sid):
        with context.Pool(1) as pool:
            return pool.apply(work, (sid,))

    def executor(context, sid):
        with ProcessPoolExecutor(1, context) as executor:
            return executor.submit(work, sid).result()

    if __name__ == "__main__":
        way, method, joined, sid = sys.argv[1:]
        if joined:
            rooms.sockets.rooms_of(sid)
        print(globals()[way](get_context(method), sid), cluster.name)
"""


@pytest.mark.parametrize(("way", "method", "joined"), CHILDREN)
def test_a_child_is_a_worker_of_its_own_and_says_goodbye(
    network: WithOutsiders, tmp_path: Path, way: str, method: str, joined: str
) -> None:
    program = tmp_path / "children.py"
    program.write_text(dedent(PARENT), encoding="utf-8")

    changed, child, parent = run_python(
        network.here, program, way, method, joined, network.other.sid
    ).split()

    assert (changed, child != parent) == ("1", True)
    assert not network.is_in(network.other, "red")


# -- those that cannot say goodbye ------------------------------------------------------------


def test_what_waits_for_a_script_that_was_killed_completes(redis_broker: Broker) -> None:
    with cluster(redis_broker.url, 1, ROOMS_APP, "", "--heartbeat", "0.5") as (web,):
        program = BEGIN + "print(rooms.sockets.rooms_of(sid), flush=True); sys.stdin.read()"
        client = Client(web.url)
        process = subprocess.Popen(
            [sys.executable, "-c", program, client.sid],
            cwd=ROOT,
            env=environment(web, heartbeat=0.5),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with process:
            assert process.stdout is not None
            assert process.stdout.readline()  # it has been heard
            os.kill(process.pid, signal.SIGKILL)
        assert len(web.post("/peers")) == 1

        assert web.post("/members", room="red") == {"value": [], "complete": True, "missing": []}
        client.disconnect()
