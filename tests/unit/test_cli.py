"""`flask rooms`: as a process beside real workers, and its errors."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import pytest
from click.testing import Result
from flask import Flask

import flask_rooms
from flask_rooms import Answer, Rooms
from flask_rooms.api.check import ONLY_ITSELF, STATUSES, kind_of_error, of_broker
from flask_rooms.cli.completion import complete_room
from flask_rooms.globals import parts_of
from flask_rooms.protocol.ids import new_sid
from flask_rooms.protocol.messages import Change
from tests.support.apps import LocalCluster, fence, make_app
from tests.support.apps import Worker as InProcessWorker
from tests.support.brokers import Broker, free_port
from tests.support.clients import Client
from tests.support.faults import FaultyBackend
from tests.support.networks import TwoWebWorkers
from tests.support.outside import run_flask, run_python
from tests.support.serving import HEARTBEAT
from tests.support.workers import ROOMS_APP, Worker, cluster

pytestmark = pytest.mark.mode_independent

# -- beside real workers ----------------------------------------------------------------------


class Terminal(TwoWebWorkers):
    """Two web workers, beside which commands run."""

    def rooms(self, *arguments: str) -> str:
        """Run `flask rooms` with these arguments, and return its output."""
        return run_flask(self.here, "rooms", *arguments)

    def completes(self, words: str, **variables: Any) -> str:
        """Have Bash complete the last of these words, and return what it gets."""
        flask = Path(sys.executable).with_name("flask")  # it looks at how it is called
        asked: dict[str, Any] = {
            "_FLASK_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": "3",
        }
        return run_python(self.here, flask, heartbeat=HEARTBEAT, errors=True, **asked, **variables)


@pytest.fixture(name="workers", scope="module")
def _workers(redis_broker: Broker) -> Iterator[list[Worker]]:
    with cluster(redis_broker.url, 2, ROOMS_APP) as workers:
        yield workers


@pytest.fixture(name="network")
def _network(workers: list[Worker]) -> Iterator[Terminal]:
    network = Terminal(workers, ["red", "blue"])
    yield network
    network.close()


def test_workers_are_named_and_this_command_is_one_of_them(network: Terminal) -> None:
    output = json.loads(network.rooms("workers", "--json"))

    assert output["complete"]
    assert set(output["value"]) == {network.here.name, network.there.name, output["this"]}
    found = output["value"][network.here.name]
    assert (found["host"], found["version"]) == (platform.node(), flask_rooms.__version__)
    assert found["pid"] == network.here.pid
    assert found["age"] > output["value"][output["this"]]["age"] >= 0
    assert found["heartbeat_interval"] == HEARTBEAT


def test_workers_are_a_table_of_where_to_find_them(network: Terminal) -> None:
    header, *rows = [line.split(maxsplit=5) for line in network.rooms("workers").splitlines()]

    assert header == ["WORKER", "PID", "HOST", "VERSION", "AGE", "NOTE"]
    places = {row[0]: (row[1:4], row[5:]) for row in rows}
    place = [str(network.there.pid), platform.node(), flask_rooms.__version__]
    assert places[network.there.name] == (place, [])
    assert [rest for _, rest in places.values()].count(["this command"]) == 1


def test_rooms_and_members_of_all_workers_are_shown(network: Terminal) -> None:
    assert network.rooms("list") == "MEMBERS  ROOM\n      2  blue\n      2  red\n"
    assert network.rooms("members", "red").split() == network.sids
    count, header, *rows, users = network.rooms("show", "red").splitlines()
    assert (count, header.split(), users) == (
        "2 sockets, 0 users",
        ["SOCKET", "WORKER", "PID", "HOST"],
        "USER",
    )
    owners = {one.name: [str(one.pid), platform.node()] for one in (network.here, network.there)}
    assert {tuple(row.split()[1:]) for row in rows} == {(name, *at) for name, at in owners.items()}
    assert network.rooms("of", network.sids[0]).split() == ["blue", "red"]


def test_sockets_of_any_worker_are_moved_and_disconnected(network: Terminal) -> None:
    assert network.rooms("leave", "red", *network.sids) == "changed: 2, unchanged: 0\n"
    assert network.here.post("/members", room="red")["value"] == []

    assert network.rooms("disconnect", network.sids[0]) == "changed: 1, unchanged: 0\n"

    gone = next(client for client in network.clients if client.sid == network.sids[0])
    assert gone.receive() == ["disconnect"]


def test_a_broadcast_is_with_every_worker_when_the_command_ends(network: Terminal) -> None:
    output = network.rooms("broadcast", "red", '{"a": 1}', "--parse", "--event", "news")
    assert output == "2 other workers have it.\n"
    network.here.post("/broadcast", rooms="red", say=["fence"])

    for client in network.clients:
        assert client.receive() == ["news", {"a": 1}]
        assert client.receive() == ["message", "fence"]


def test_so_is_what_is_sent_to_all(network: Terminal) -> None:
    told = json.loads(network.rooms("blast", "hello", "--json"))

    assert told == {"workers": 2, "complete": True, "missing": []}
    for client in network.clients:
        assert client.receive() == ["message", "hello"]


def test_top_shows_each_worker_with_its_numbers_and_rates(network: Terminal) -> None:
    lines = network.rooms("top", "--count", "2", "--interval", "0.2", "--json").splitlines()

    first, second = map(json.loads, lines)
    names = {network.here.name, network.there.name}
    workers = {one["worker"]: one for one in second["workers"]}
    assert names < set(workers)
    assert {workers[name]["sockets"] for name in names} == {1}
    assert {workers[name]["pid"] for name in names} == {network.here.pid, network.there.pid}
    assert second["rooms"] == {"blue": 2, "red": 2}
    assert {one["calls_per_second"] for one in first["workers"]} == {None}
    assert all(one["calls_per_second"] >= 0 for one in second["workers"])


@pytest.mark.parametrize("command", ["members", "leave-all", "show", "leave", "broadcast"])
def test_the_shell_completes_the_names_of_rooms(network: Terminal, command: str) -> None:
    assert network.completes(f"flask rooms {command} b") == "plain,blue\n"


def test_it_completes_nothing_without_the_broker(network: Terminal) -> None:
    nowhere = f"redis://127.0.0.1:{free_port()}"

    assert network.completes("flask rooms show b", FLASK_ROOMS_BACKEND_URL=nowhere).strip() == ""


def test_a_check_names_the_others(network: Terminal) -> None:
    output = network.rooms("check")

    assert network.here.name in output
    assert network.there.name in output


NO_HOST = "redis://no-such-host.invalid:6379"


@pytest.mark.parametrize(
    ("variables", "kind", "advice"),
    [
        ({"FLASK_SECRET_KEY": "another"}, "key", "a worker another SECRET_KEY?"),
        ({"FLASK_ROOMS_CHANNEL": "another"}, "elsewhere", "database 0, channel '{channel}'"),
        ({"FLASK_ROOMS_BACKEND_URL": "{other_database}"}, "elsewhere", "database 0, channel"),
        ({"FLASK_ROOMS_BACKEND_URL": "redis://u:secret@127.0.0.1:{port}"}, "refused", "start it"),
        ({"FLASK_ROOMS_BACKEND_URL": NO_HOST}, "name", "cannot be resolved"),
        ({"FLASK_ROOMS_BACKEND_URL": "{password}"}, "password", "the user or the password"),
        ({"FLASK_ROOMS_HEARTBEAT_INTERVAL": "2"}, "interval", "0.5 seconds for {here}"),
        ({"FLASK_ROOMS_HEARTBEAT_INTERVAL": "20"}, "interval", "the same on every worker"),
    ],
    ids=["key", "channel", "database", "broker", "host", "password", "interval", "long interval"],
)
def test_a_check_tells_what_is_wrong_by_its_kind(
    workers: list[Worker], variables: dict[str, str], kind: str, advice: str
) -> None:
    web = workers[0]
    parts = urlsplit(web.backend)
    known = {
        "port": free_port(),
        "channel": web.channel,
        "here": min(worker.name for worker in workers),
        "other_database": parts._replace(path="/7").geturl(),
        "password": parts._replace(netloc=f"nobody:secret@{parts.netloc}").geturl(),
    }
    variables = {name: value.format(**known) for name, value in variables.items()}
    status = STATUSES[kind]

    output = run_flask(web, "rooms", "check", returns=status, errors=True, **variables)
    told = json.loads(run_flask(web, "rooms", "check", "--json", returns=status, **variables))

    assert advice.format(**known) in output
    assert (told["kind"], told["status"]) == (kind, status)
    assert advice.format(**known) in told["message"]
    assert "secret" not in output


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("NoPermissionError: NOPERM No permissions to run 'publish'", "permission"),
        ("ReadOnlyError: You can't write against a read only replica.", "replica"),
        ("MovedError: MOVED 1234 10.0.0.1:6379", "redis-cluster"),
        ("SSLError: [SSL: CERTIFICATE_VERIFY_FAILED] unable to get local issuer", "tls"),
        ("NotAllowed: Connection.open: (530) NOT_ALLOWED - vhost shop not found", "vhost"),
        ("AccessRefused: (0, 0): (403) ACCESS_REFUSED - Login was refused", "password"),
        ("AccessRefused: ACCESS_REFUSED - read access to queue 'q' refused", "permission"),
        ("AccessRefused: Queue.bind: (403) ACCESS_REFUSED - in other words", "permission"),
        ("TimeoutError: Timeout reading from socket", "timeout"),
        ("OSError: something else", "broker"),
    ],
)
def test_the_reason_of_a_broker_has_a_kind(error: str, kind: str) -> None:
    assert kind_of_error(error)[0] == kind


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("{amqp}", "alone"),
        ("amqp://guest:wrong@{address}//", "password"),
        ("amqp://guest:guest@{address}/no-such-host", "vhost"),
    ],
)
def test_the_reasons_of_rabbitmq_too(
    workers: list[Worker], amqp_broker: Broker, url: str, kind: str
) -> None:
    address = urlsplit(amqp_broker.url).netloc.rpartition("@")[2]
    where = {"FLASK_ROOMS_BACKEND_URL": url.format(amqp=amqp_broker.url, address=address)}

    output = run_flask(
        workers[0], "rooms", "check", "--json", returns=STATUSES[kind], errors=True, **where
    )

    assert f'"kind": "{kind}"' in output


def test_a_worker_of_another_key_beside_others_is_not_taken_for_one_that_hangs(
    redis_broker: Broker,
) -> None:
    """The others answer and vouch for each other before it has sent its next heartbeat."""
    interval, other = "2", json.dumps({"SECRET_KEY": "another"})
    with (
        cluster(redis_broker.url, 2, ROOMS_APP, "", "--heartbeat", interval) as (web, _),
        cluster(
            redis_broker.url, 1, ROOMS_APP, web.channel, "--heartbeat", interval, "--config", other
        ),
    ):
        status, variables = STATUSES["key"], {"FLASK_ROOMS_HEARTBEAT_INTERVAL": interval}
        for _ in range(2):  # when the first one has ended, the others have listened long enough
            output = run_flask(web, "rooms", "check", returns=status, errors=True, **variables)
            assert "a worker another SECRET_KEY?" in output


def test_a_worker_that_is_stopped_is_named_or_counted(redis_broker: Broker) -> None:
    with cluster(redis_broker.url, 2, ROOMS_APP) as (here, there):
        there.pause()
        output = run_flask(here, "rooms", "check", returns=STATUSES["silent"], errors=True)
        there.resume()

    assert there.name in output or "the others hang or are stopped" in output


@pytest.mark.parametrize(
    "command", [("members", "red"), ("leave-all", "red"), ("leave", "red", new_sid("a" * 16))]
)
def test_what_a_worker_was_not_asked_is_not_said_to_be_done(
    redis_broker: Broker, command: tuple[str, ...]
) -> None:
    """It has another key, or is stopped for longer than it takes to count it as dead."""
    with cluster(redis_broker.url, 1, ROOMS_APP) as (web,):

        def fails(kind: str, **variables: str) -> str:
            status = STATUSES[kind]
            return run_flask(web, "rooms", *command, returns=status, errors=True, **variables)

        assert "a worker another SECRET_KEY?" in fails("key", FLASK_SECRET_KEY="another")
        web.pause()
        output = fails("silent")
        web.resume()

    assert "2 workers are connected to" in output
    assert "and 1 were heard" in output


def test_sockets_that_are_found_need_no_other_worker(redis_broker: Broker) -> None:
    with cluster(redis_broker.url, 2, ROOMS_APP) as (here, there):
        client = Client(here.url)
        there.pause()
        output = run_flask(here, "rooms", "leave", "red", client.sid)
        there.resume()
        client.disconnect()

    assert output == "changed: 0, unchanged: 1\n"


def test_every_kind_has_a_status_of_its_own_and_a_row_in_the_documentation() -> None:
    text = Path(__file__).parents[2].joinpath("docs", "anywhere.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| `([\w-]+)` \|", text, re.MULTILINE)

    assert {kind: int(status) for status, kind in rows} == STATUSES
    assert len(set(STATUSES.values())) == len(STATUSES)
    assert not {2} & set(STATUSES.values())  # Click's own


# -- in this process --------------------------------------------------------------------------


@pytest.fixture(name="local")
def _local() -> Iterator[LocalCluster]:
    with LocalCluster() as local:
        yield local


def invoke(worker: InProcessWorker, *arguments: str) -> Result:
    return worker.app.test_cli_runner().invoke(args=["rooms", *arguments])


def test_what_is_printed(local: LocalCluster) -> None:
    worker = local.worker()
    client = worker.connect()
    sid, unknown = client.sid, new_sid(worker.name)
    worker.sockets.join(sid, ["red", "blue"])

    def output(*arguments: str) -> str:
        result = invoke(worker, *arguments)
        assert result.exit_code == 0, result.output
        return result.output.partition(f"{ONLY_ITSELF}\n")[2]

    assert re.search(rf"^{worker.name} +{os.getpid()} .* this command$", output("workers"), re.M)
    assert output("list", "--prefix", "bl") == "MEMBERS  ROOM\n      1  blue\n"
    assert json.loads(output("list", "--json")) == {
        "value": {"blue": 1, "red": 1},
        "complete": True,
        "missing": [],
    }
    assert json.loads(output("members", "red", "--json"))["value"] == [sid]
    assert json.loads(output("join", "red", sid, unknown, "--json")) == {
        "changed": 0,
        "unchanged": 1,
        "unknown": [unknown],
    }
    assert output("leave", "red", unknown) == f"changed: 0, unchanged: 0\nunknown: {unknown}\n"
    output("broadcast", "blue", "hello")
    assert client.received() == [("message", "hello")]
    assert re.search(rf"^{worker.name} .*\n\nMEMBERS  ROOM\n", output("top", "--count", "1"), re.M)
    assert output("leave-all", "blue") == "changed: 2, unchanged: 0\n"
    worker.rooms.guard("vip")(lambda: False)
    parts_of(worker.app).registry.apply(Change("join", "/", (sid,), ("vip",)))
    assert output("recheck", "vip") == "changed: 1, unchanged: 0\n"


#: Command -> its arguments, and the keys of the JSON that it prints.
ANSWER, OUTCOME = {"value", "complete", "missing"}, {"changed", "unchanged", "unknown"}
AS_JSON: dict[str, tuple[list[str], set[str]]] = {
    "workers": ([], ANSWER | {"this"}),
    "list": ([], ANSWER),
    "members": (["red"], ANSWER),
    "show": (["red"], ANSWER | {"users"}),
    "of": (["SID"], ANSWER),
    "top": (["--count", "1"], {"workers", "rooms", "complete", "missing"}),
    "join": (["red", "SID"], OUTCOME),
    "leave": (["red", "SID"], OUTCOME),
    "leave-all": (["red"], OUTCOME),
    "disconnect": (["SID"], OUTCOME),
    "recheck": (["red"], OUTCOME),
    "broadcast": (["red", "news"], {"workers", "complete", "missing"}),
    "blast": (["news"], {"workers", "complete", "missing"}),
    "check": ([], {"kind", "status", "message", "this", "backend", "workers"}),
}


def test_every_command_prints_json_and_exits_with_its_status(local: LocalCluster) -> None:
    worker = local.worker()
    assert set(worker.app.cli.commands["rooms"].commands) == set(AS_JSON)  # type: ignore[attr-defined]
    for command, (arguments, keys) in AS_JSON.items():
        sid = worker.connect().sid
        worker.sockets.join(sid, "red")
        arguments = [sid if one == "SID" else one for one in arguments]

        result = invoke(worker, command, *arguments, "--json")

        told = json.loads(result.stdout)
        assert keys <= set(told), command
        assert result.exit_code == (STATUSES["memory"] if command == "check" else 0), command


def test_every_name_of_a_room_is_completed(local: LocalCluster) -> None:
    group: Any = local.worker().app.cli.commands["rooms"]
    names = [one for command in group.commands.values() for one in command.params]

    completed = {one.name for one in names if one._custom_shell_complete is complete_room}
    assert completed >= {"room"}
    assert all(one._custom_shell_complete is complete_room for one in names if one.name == "room")


def test_a_check_of_one_process_says_that_there_is_no_more_to_see(local: LocalCluster) -> None:
    result = invoke(local.worker(), "check")

    assert (result.exit_code, result.output) == (1, f"{ONLY_ITSELF}\n")


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (["members", " "], 1, "Error: A room's name cannot be empty."),
        (["members", "red", "--namespace", "chat"], 1, "Error: A namespace is a string"),
        (["of", "not-an-id"], 1, "Error: This is not a socket ID: `flask rooms members ROOM`"),
        (["leave", "red", "not-an-id"], 1, "Error: This is not a socket ID: `flask rooms members"),
        (["leave", "red"], 2, "Error: Give a socket ID, or several, or --user."),
        (["leave", "red", "abc", "--user", "7"], 1, "Error: Give either a socket or `user=`"),
        (["leave-all"], 2, "Error: Give a room, a socket ID, or --user."),
        (["top", "--interval", "0"], 2, "0 is not in the range"),
        (["broadcast", "red", "{", "--parse"], 2, "DATA is not JSON"),
        (["broadcast", "red", "x", "--event", "connect"], 1, "Error: 'connect' is Socket.IO's"),
        (["members"], 2, "Missing argument 'ROOM'"),
        (["dance"], 2, "No such command 'dance'"),
    ],
)
def test_bad_input_is_one_line_and_a_status(
    local: LocalCluster, arguments: list[str], status: int, complaint: str
) -> None:
    result = invoke(local.worker(), *arguments)

    assert result.exit_code == status
    assert complaint in result.output
    assert "Traceback" not in result.output


def test_a_broker_that_delivers_nothing_is_not_said_to_be_away(local: LocalCluster) -> None:
    """As RabbitMQ while it has an alarm: it takes what is published, and there is no error."""
    backend = FaultyBackend(local.hub)
    backend.mute = True
    worker = local.worker(make_app(), backend=backend, confirm_timeout=0.2)
    worker.cluster.start()

    found = of_broker(worker.cluster)

    assert found is not None
    assert found.kind == "broker"
    assert "rabbitmq-diagnostics alarms" in found.message


def test_a_mute_worker_is_named_and_what_the_others_say_is_shown(local: LocalCluster) -> None:
    here = local.worker(make_app(), heartbeat_interval=10, confirm_timeout=2)
    mute = local.worker(make_app(), backend=(backend := FaultyBackend(local.hub)))
    client = here.connect()
    fence(here, mute.connect())
    here.sockets.join(client.sid, "red")
    backend.deaf = True

    result = invoke(here, "members", "red")

    assert result.exit_code == STATUSES["silent"]
    described = f"{mute.name} (process {os.getpid()} on {platform.node()})"
    assert f"{client.sid}\nError: No answer from {described}:" in result.output


def test_a_change_that_is_not_confirmed_has_the_status_of_a_mute_worker(
    local: LocalCluster,
) -> None:
    here = local.worker(make_app(), confirm_timeout=0.5)
    mute = local.worker(make_app(), backend=(backend := FaultyBackend(local.hub)))
    client = mute.connect()
    fence(here, client)
    backend.deaf = True

    result = invoke(here, "leave", "red", client.sid)

    assert result.exit_code == STATUSES["silent"]
    assert mute.name in result.output


def test_workers_can_be_asked_for_from_code(local: LocalCluster) -> None:
    here, there = local.worker(), local.worker()

    names = frozenset({here.name, there.name})
    assert here.sockets.workers() == Answer(names, True)

    there.cluster.stop()
    assert here.sockets.workers() == Answer(frozenset({here.name}), True)


def test_a_namespace_is_kept_apart(local: LocalCluster) -> None:
    worker = local.worker()
    worker.socketio.on("connect", namespace="/chat")(lambda: None)
    client = worker.connect("/chat")

    assert "changed: 1" in invoke(worker, "join", "red", client.sid, "-n", "/chat").output
    assert "  1  red\n" in invoke(worker, "list", "-n", "/chat").output
    assert "red" not in invoke(worker, "list").output


def test_a_user_is_taken_in_place_of_sockets(local: LocalCluster) -> None:
    worker = local.worker()
    worker.rooms.user_loader(lambda auth: auth["user"])
    for _ in range(2):
        worker.connect(auth={"user": 7})

    assert "changed: 2" in invoke(worker, "join", "red", "--user", "7").output
    assert invoke(worker, "members", "red", "--users").output.endswith("\n7\n")
    assert "changed: 2" in invoke(worker, "disconnect", "--user", "7").output


def test_one_is_not_called_several(local: LocalCluster) -> None:
    here, there = local.worker(), local.worker()
    client = there.connect()
    there.sockets.join(client.sid, "red")
    fence(here, client)

    assert "\n1 socket, 0 users\n" in "\n" + invoke(here, "show", "red").output
    assert "\n1 other worker has it.\n" in "\n" + invoke(here, "blast", "hello").output


def test_names_that_clients_have_chosen_do_nothing_to_the_terminal(local: LocalCluster) -> None:
    worker = local.worker()
    worker.sockets.join(worker.connect().sid, "\x1b[2J\nred")

    output = invoke(worker, "list").output

    assert "  1  '\\x1b[2J\\nred'\n" in output
    assert "\x1b" not in output


def test_commands_of_that_name_that_the_application_has_stay() -> None:
    app = Flask("application")
    app.cli.add_command(click.Command("rooms", callback=lambda: click.echo("mine")))

    Rooms(app)

    assert app.test_cli_runner().invoke(args=["rooms"]).output == "mine\n"
