"""Each metric is moved by the event that it counts, as Prometheus' own parser reads it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest
from prometheus_client.parser import text_string_to_metric_families

from flask_rooms import BackendUnavailable, Refused, Rooms, Unconfirmed, monitoring, signals
from flask_rooms.backends import MemoryBackend
from flask_rooms.globals import parts_of
from flask_rooms.membership import notifications
from flask_rooms.protocol.codec import VERSION
from flask_rooms.protocol.ids import new_sid
from tests.support.apps import PATIENCE, SECRET, LocalCluster, Worker, eventually, fence, make_app
from tests.support.documents import ROOT
from tests.support.faults import FaultyBackend
from tests.support.signing import signed

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]

#: The name of a sample and the values of its labels -> its value.
Samples = dict[tuple[str, ...], float]


def samples_of(worker: Worker) -> Samples:
    """Return the samples of a worker, each by its name and the values of its labels."""
    response = worker.app.test_client().get("/metrics")
    assert response.mimetype == "text/plain"
    families = list(text_string_to_metric_families(response.text))
    assert all(family.documentation for family in families)
    found = [sample for family in families for sample in family.samples]
    return {
        (one.name.removeprefix("flask_rooms_"), *one.labels.values()): one.value for one in found
    }


class Pair:
    """A worker that is watched, with its backend, beside another one."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster
        self.backend = FaultyBackend(cluster.hub)
        app = make_app()
        app.register_blueprint(monitoring.blueprint())
        options: dict[str, Any] = {"heartbeat_interval": 0.2, "confirm_timeout": 1.0}
        options["outbox_bytes"] = 2000
        self.rooms = Rooms(app, backend=self.backend, **options)
        self.here = cluster.adopt(app, self.rooms)
        self.there = cluster.worker()
        self.mine, self.other = self.here.connect(), self.there.connect()
        fence(self.here, self.other)

    def moved_by(self, event: Callable[[], object]) -> Samples:
        """
        Return by how much an event moves each sample, of those that it moves.

        Each is there before, as a 0: Prometheus sees no increase in what appears with a 1.
        """
        before = samples_of(self.here)
        event()
        after = samples_of(self.here)
        return {key: value - before[key] for key, value in after.items() if value != before[key]}

    def leave_again_and_again(self) -> None:
        """Make calls until the outbox is full."""
        for _ in range(1000):
            self.here.sockets.leave(self.other.sid, "red")

    def moves(self, event: Callable[[], object], *key: str) -> None:
        """Check that an event has one sample count up, soon after."""
        before = samples_of(self.here)[key]
        event()
        eventually(self.here, lambda: samples_of(self.here)[key] > before)


@pytest.fixture(name="cluster")
def _cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


@pytest.fixture(name="pair")
def _pair(cluster: LocalCluster) -> Pair:
    return Pair(cluster)


def test_sockets_rooms_memberships_and_users_are_those_of_this_worker(pair: Pair) -> None:
    pair.rooms.user_loader(lambda auth: "ann")
    socket = pair.here.connect()

    def join() -> None:
        pair.here.sockets.join([socket.sid, pair.mine.sid, pair.other.sid], ["red", "blue"]).result(
            PATIENCE
        )

    assert {("rooms",): 2, ("memberships",): 4}.items() <= pair.moved_by(join).items()
    moved = pair.moved_by(socket.disconnect)
    assert moved == {("sockets",): -1, ("memberships",): -2, ("users",): -1}
    assert samples_of(pair.here)[("sockets",)] == 1


@pytest.mark.slow
def test_calls_are_counted_by_action_and_outcome(pair: Pair) -> None:
    sockets = pair.here.sockets
    pair.rooms.guard("secret")(lambda: False)

    moved = pair.moved_by(lambda: sockets.leave(pair.mine.sid, "red"))
    assert moved == {("calls_total", "leave", "confirmed"): 1}

    def refused() -> None:
        with pytest.raises(Refused):
            sockets.join(pair.mine.sid, "secret").result(PATIENCE)

    assert pair.moved_by(refused) == {("calls_total", "join", "refused"): 1}

    def unconfirmed() -> None:
        pair.backend.mute = True
        with pytest.raises(Unconfirmed):
            sockets.disconnect(pair.other.sid).result(PATIENCE)

    assert pair.moved_by(unconfirmed)[("calls_total", "disconnect", "unconfirmed")] == 1


def test_what_has_not_happened_yet_is_a_zero(pair: Pair) -> None:
    found = samples_of(pair.here)

    assert found[("calls_total", "recheck", "unconfirmed")] == 0
    assert found[("dropped_messages_total", "version")] == 0


def test_a_confirmation_by_another_worker_is_timed(pair: Pair) -> None:
    moved = pair.moved_by(lambda: pair.here.sockets.leave(pair.other.sid, "red").result(PATIENCE))

    assert moved[("operations_total",)] == 1
    assert moved[("calls_total", "leave", "confirmed")] == 1
    assert moved[("confirmation_seconds_count",)] == 1
    assert moved[("confirmation_seconds_bucket", "+Inf")] == 1
    assert 0 < moved[("confirmation_seconds_sum",)] < PATIENCE


@pytest.mark.slow
def test_the_outbox_and_what_it_refuses_are_counted(pair: Pair) -> None:
    pair.backend.down = True
    pair.here.sockets.broadcast("red", "news")

    moved = pair.moved_by(lambda: pair.here.sockets.broadcast("red", "x" * 500))
    assert moved[("outbox_operations",)] >= 1
    assert moved[("outbox_bytes",)] >= 500
    assert moved[("events_sent_total",)] == 1

    def overflow() -> None:
        with pytest.raises(BackendUnavailable):
            pair.leave_again_and_again()

    assert pair.moved_by(overflow)[("calls_total", "leave", "unavailable")] == 1


@pytest.mark.slow
def test_queries_are_counted_by_kind_and_result(pair: Pair) -> None:
    moved = pair.moved_by(lambda: pair.here.sockets.rooms())
    assert moved == {("queries_total", "rooms", "complete"): 1, ("operations_total",): 1}

    pair.backend.mute = True
    moved = pair.moved_by(lambda: pair.here.sockets.rooms(timeout=0.01))
    assert moved[("queries_total", "rooms", "incomplete")] == 1


def test_the_state_of_the_worker_is_told(pair: Pair) -> None:
    found = samples_of(pair.here)
    state = {name: found[(name,)] for name in ("ready", "broker_up", "draining", "peers")}
    assert state == {"ready": 1, "broker_up": 1, "draining": 0, "peers": 1}

    pair.moves(lambda: pair.cluster.worker().connect(), "peers")
    pair.rooms.drain(0)
    found = samples_of(pair.here)
    assert (found[("ready",)], found[("draining",)]) == (0, 1)


def test_a_repetition_is_counted(pair: Pair) -> None:
    def lose_one() -> None:
        pair.backend.mute = True
        pair.here.sockets.broadcast("red", "lost")
        pair.backend.mute = False

    pair.moves(lose_one, "retransmissions_total")


def test_reconnects_and_restarts_are_counted(pair: Pair) -> None:
    def lose_connection() -> None:
        pair.here.cluster._transport.backend.deaf = True
        eventually(pair.here, lambda: pair.here.cluster.traffic.reconnects)
        pair.backend.deaf = False

    pair.moves(lose_connection, "reconnects_total")
    pair.moves(lambda: pair.here.cluster.restart("as the test wants it"), "restarts_total")


def of_a_worker(body: object) -> bytes:
    """Return what a worker with the key has sent."""
    return signed(msgpack.packb(body), SECRET, "flask-rooms")


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"nonsense", "unsigned"),
        (bytes(3_000_000), "oversized"),
        (of_a_worker([0, "old", "", 1, [], None, None]), "version"),
        (of_a_worker([VERSION, "new"]), "malformed"),
    ],
    ids=["unsigned", "oversized", "version", "malformed"],
)
def test_a_dropped_message_is_counted_by_its_reason(
    pair: Pair, payload: bytes, reason: str
) -> None:
    intruder = MemoryBackend("flask-rooms", hub=pair.cluster.hub.removeprefix("memory://"))
    intruder.open()

    pair.moves(lambda: intruder.publish(payload), "dropped_messages_total", reason)
    intruder.close()


def test_a_refusal_is_counted_by_its_limit(cluster: LocalCluster) -> None:
    app = make_app()
    app.register_blueprint(monitoring.blueprint())
    worker = cluster.worker(app, rooms_per_socket=1)
    client = worker.connect()
    limit = ("refusals_total", "rooms_per_socket")
    worker.sockets.join(client.sid, "red").result(PATIENCE)
    assert samples_of(worker)[limit] == 0

    with pytest.raises(Refused):
        worker.sockets.join(client.sid, "blue").result(PATIENCE)

    assert samples_of(worker)[limit] == 1


def test_signals_that_are_not_sent_are_counted(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "WAITING", 0)

    with signals.joined.connected_to(lambda sender, **about: None, sender=pair.here.app):
        pair.moves(lambda: pair.here.sockets.join(pair.mine.sid, "red"), "dropped_signals_total")


@pytest.mark.slow
def test_a_broker_that_is_down_is_told(pair: Pair) -> None:
    pair.backend.down = True
    pair.here.sockets.broadcast("red", "news")

    found = samples_of(pair.here)
    assert (found[("broker_up",)], found[("ready",)]) == (0, 0)


def test_failures_of_receivers_of_signals_are_counted(pair: Pair) -> None:
    def fail(sender: object, **about: object) -> None:
        raise ZeroDivisionError

    with signals.joined.connected_to(fail, sender=pair.here.app):
        join = lambda: pair.here.sockets.join(pair.mine.sid, "red").result(PATIENCE)  # noqa: E731
        pair.moves(join, "signal_failures_total")


def test_names_that_clients_choose_are_in_no_label(pair: Pair) -> None:
    pair.here.sockets.join(pair.mine.sid, 'evil"} 1\n').result(PATIENCE)
    pair.mine.ask("get", "/evil")
    pair.here.sockets.leave(new_sid(pair.there.name), "evil").result(PATIENCE)

    assert "evil" not in pair.here.app.test_client().get("/metrics").text


def test_the_dashboard_names_metrics_that_there_are(pair: Pair) -> None:
    pair.here.sockets.rooms()
    dashboard = (ROOT / "docs" / "grafana.json").read_text(encoding="utf-8")
    parts_of(pair.here.app).refusals.count("unread_bytes")
    pair.here.cluster.dropped["unsigned"] += 1
    named = set(re.findall(r"flask_rooms_(\w+)", dashboard))

    found = {key[0] for key in samples_of(pair.here)}
    assert named - {"info"} <= found
    assert found - named <= {"info", "confirmation_seconds_sum", "confirmation_seconds_count"}
    targets = [one for panel in json.loads(dashboard)["panels"] for one in panel["targets"]]
    assert all(one["expr"] for one in targets)


def test_the_table_of_metrics_is_complete(pair: Pair) -> None:
    table = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    table = table.partition("## The metrics")[2].partition("Worth an alert")[0]
    named = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    text = pair.here.app.test_client().get("/metrics").text
    types = dict(re.findall(r"^# TYPE flask_rooms_(\w+) (\w+)$", text, re.MULTILINE))

    assert named == set(types)
