"""The simulated cluster: real Nodes with sockets, in virtual time, driven as by Cluster."""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Literal, TypeVar

from flask_rooms.errors import BackendUnavailable
from flask_rooms.protocol.codec import encode_operation
from flask_rooms.protocol.events import Deliver, Event, Evicted, VerifyCount
from flask_rooms.protocol.ids import owner_of
from flask_rooms.protocol.lanes import Lanes, WaitingJoin
from flask_rooms.protocol.messages import (
    ANSWERS,
    FENCE,
    Change,
    Done,
    Emit,
    Frame,
    Goodbye,
    Operation,
    Query,
    Reply,
    Succeeds,
)
from flask_rooms.protocol.node import Node
from flask_rooms.protocol.pending import Completed, TimedOut
from flask_rooms.protocol.signing import BadSignature, Signer
from flask_rooms.protocol.stream import Limits
from tests.simulation.broadcasts import Message
from tests.simulation.bus import CALM, Bus, Weather, chances, number_of
from tests.simulation.changes import CONFIRM, HEARTBEAT, NOTICED, Call, Question
from tests.simulation.names import host_of
from tests.simulation.promises import Promises, Succession

WIDE = Limits(outbox=64 * 1024, log=64 * 1024, frame=4 * 1024)
TIGHT = Limits(outbox=600, log=400, frame=200)
#: How many dead workers each worker remembers.
MAX_DEAD = 2
#: The most seconds between two attempts to receive while the broker is away.
RETRY = 0.05
#: Seconds that a worker needs to be heard again after a silence.
RECOVERS = 1.0
#: Seconds between two times at which a worker asks how many are connected.
COUNT_INTERVAL = 0.1
#: Decides, with the seed, whether the broker can tell.
COUNTS = 77

Outcome = tuple[int, int, tuple[str, ...]]  # changed, unchanged, unknown
#: The purpose of all signatures.
PURPOSE = "simulation"

NodeFactory = Callable[[str, float, Limits, float], Node]
Then = Callable[[], None]
T = TypeVar("T")


def make_node(name: str, now: float, limits: Limits, heartbeat: float = HEARTBEAT) -> Node:
    """Return a Node with the timeout of the simulation."""
    return Node(name, now, heartbeat=heartbeat, confirm=CONFIRM, limits=limits, max_dead=MAX_DEAD)


def nothing() -> None:
    """Do nothing on the outcome."""


@dataclass(eq=False)
class Worker:
    """
    One life of a worker: its node, its sockets, and its pending calls.

    Args:
        host: The name that stays the same from life to life.
        node: The real Node.
        skew: Its clock minus the world's, in seconds.
        limits: The bounds of its stream.
        pace: Its heartbeat interval, in those of most workers.
        memberships: Socket ID -> rooms.
        serving: Whether its application is running.
        accepts: Whether it accepts sockets.
        unheard: Whether it accepts them although its hello has not echoed.
        born: The time at which this life began.
        down: Whether it has noticed that the broker is away, and has received nothing since.
        publishing: Whether a publish hangs.
        clients: The clients that wait to be accepted, each with what follows then.
        inbox: The frames that have arrived.
        busy_until: The time at which it has handled the last frame, if it is slow.
        wakes_at: The time of the next tick.
        calls: Number -> the pending call, and what follows on the outcome.
        lanes: What waits for guards.
        thinking: The joins that wait for guards, with what has brought them.
        counted_at: When it has last asked the broker how many workers are connected.
    """

    host: str
    node: Node
    skew: float
    limits: Limits
    pace: float
    born: float
    memberships: dict[str, set[str]] = field(default_factory=dict)
    serving: bool = False
    accepts: bool = False
    unheard: bool = False
    down: bool = False
    publishing: bool = False
    clients: list[tuple[str, Then]] = field(default_factory=list)
    inbox: deque[Frame] = field(default_factory=deque)
    busy_until: float = 0.0
    wakes_at: float = float("inf")
    calls: dict[int, tuple[Call | Question, Then]] = field(default_factory=dict)
    lanes: Lanes = field(default_factory=Lanes)
    thinking: dict[WaitingJoin, tuple[Deliver, Call]] = field(default_factory=dict)
    counted_at: float = float("-inf")

    @property
    def name(self) -> str:
        """The name of this life."""
        return self.node.name


class World:
    """
    Workers, sockets and the bus between them.

    Args:
        seed: Decides the fate of each frame.
        make: Makes the nodes; a mutant makes broken ones.

    Attributes:
        signer: Signs frames, and verifies them.
    """

    signer: type[Signer] = Signer

    def __init__(self, seed: int, make: NodeFactory = make_node) -> None:
        self.now = 0.0
        self.steps = 0
        self._moment = 0
        self._seed = seed
        self._make = make
        self._order = itertools.count()
        self._agenda: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._weather: list[Weather] = []
        self._down_until = 0.0
        self._thinks_until: defaultdict[str, float] = defaultdict(float)  # caller -> its guards
        self.bus = Bus(seed, lambda: self.now, self._at, self._arrive)
        self.workers: dict[str, Worker] = {}  # host -> its present life
        self.nodes: dict[str, Node] = {}  # of all lives
        self._lives: defaultdict[str, int] = defaultdict(int)
        self._former: dict[str, str] = {}  # life -> the one that was evicted before it
        self._ended: dict[str, tuple[float, bool]] = {}  # life -> when, and whether with a goodbye
        self.sids: dict[str, str] = {}  # client -> its latest socket ID
        self._paused: dict[str, float] = {}  # host -> until when
        self._slow: dict[str, tuple[float, float]] = {}  # host -> until when, seconds a frame
        #: Host -> until when its publish hangs, and whether it is carried.
        self._hangs: dict[str, tuple[float, bool]] = {}
        #: Host -> when it was last reconnected to the broker.
        self.back_at: defaultdict[str, float] = defaultdict(float)
        #: Host -> when it was last cut off from the broker.
        self.left_at: defaultdict[str, float] = defaultdict(lambda: float("-inf"))
        self._troubles: defaultdict[str, float] = defaultdict(float)  # host -> until when
        # Host -> when it could not send, from and until
        self._silences: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        self._rotations = 0
        self._verifies = cache(self._can_verify)
        self._keys: dict[str, tuple[str, ...]] = {}  # host -> its keys, newest first
        self._versions: dict[str, int] = {}  # host -> the version that it speaks
        #: The longest heartbeat interval of all workers, in those of most of them.
        self.slowest = 1.0
        #: Whether the broker can count the workers.
        self.counts = chances(seed, COUNTS)[0] < 0.5
        self.promises = Promises(self)

    # -- the application ---------------------------------------------------------

    def start(self, host: str, limits: Limits = WIDE, pace: float = 1.0, version: int = 1) -> None:
        """
        Start a new worker, with the newest key and the one before.

        Args:
            host: Its name.
            limits: The bounds of its stream.
            pace: Its heartbeat interval, in those of most workers.
            version: The version of the protocol that it speaks.
        """
        if host in self.workers:
            return
        self.slowest = max(self.slowest, pace)
        self._keys[host] = self._newest_keys()
        self._versions[host] = version
        worker = self._new_life(host, limits, pace)
        self.bus.subscribe(host)
        if self.now < self._down_until:
            self._cut_off(host, self._down_until - self.now)
        worker.down = self.bus.is_away(host)
        if worker.down:
            self._serve_unheard(worker)
        else:
            self._at(self.now + CONFIRM, self._serve_unheard, worker)
        self._flush(worker)

    def _newest_keys(self) -> tuple[str, ...]:
        return f"key {self._rotations}", f"key {self._rotations - 1}"

    def rotate(self) -> None:
        """Give the workers that start from now on a new key, unless a rotation is under way."""
        if all(self._keys[host] == self._newest_keys() for host in self.workers):
            self._rotations += 1

    def connect(self, client: str, host: str, then: Then = nothing) -> None:
        """Connect a client, as soon as the worker accepts it."""
        worker = self.workers.get(host)
        if worker is None or self._is_stopped(host):
            return
        if not worker.accepts:
            worker.clients.append((client, then))
            return
        self.disconnect(client)
        life = self._lives[client] = self._lives[client] + 1
        sid = f"{worker.name}_{client}" + (f".{life}" if life > 1 else "")
        self.sids[client] = sid
        worker.memberships[sid] = {sid}
        self.promises.connects(sid)
        then()

    def disconnect(self, client: str) -> None:
        """Disconnect a client."""
        owner = self.holder(self.sids.get(client, ""))
        if owner and not self._is_stopped(owner.host):
            del owner.memberships[self.sids[client]]

    def move(
        self,
        host: str,
        action: Literal["join", "leave"],
        clients: tuple[str, ...],
        room: str,
        then: Then = nothing,
        thinks: float = 0.0,
    ) -> None:
        """Let a worker change sockets: its own at once, and those of others by a call."""
        worker = self._active(host)
        sids = tuple(self.sids[client] for client in clients if client in self.sids)
        if worker is None or not sids:
            return
        own = tuple(sid for sid in sids if owner_of(sid) == worker.name)
        owners: defaultdict[str, tuple[str, ...]] = defaultdict(tuple)
        for sid in sids:
            if sid not in own:
                owners[owner_of(sid)] += (sid,)
        rest = tuple(sid for theirs in owners.values() for sid in theirs)
        if rest and not self._call(
            worker, Change(action, "/", rest, (room,)), dict(owners), rest, then, thinks
        ):
            return
        self._change_here(worker, Change(action, "/", own, (room,)))
        if not rest:
            then()
        self._flush(worker)

    def empty(self, host: str, room: str, then: Then = nothing) -> None:
        """Let a worker make all members leave a room."""
        worker = self._active(host)
        if worker is None:
            return
        change = Change("leave", "/", (), (room,), source=room)
        # A worker that was never heard closes its connections when it is.
        others = (one for one in self.workers.values() if one is not worker and not one.unheard)
        sids = tuple(sid for one in others for sid in one.memberships)
        if self._call(worker, change, None, sids, then):
            self._change_here(worker, change)
            self._flush(worker)

    def _call(
        self,
        worker: Worker,
        change: Change,
        owners: dict[str, tuple[str, ...]] | None,
        sids: tuple[str, ...],
        then: Then,
        thinks: float = 0.0,
    ) -> bool:
        make_call = partial(worker.node.call, change, owners, self._clock(worker))
        done = self._put(worker, change, make_call)
        if done is None:
            return False  # the outbox was full, and nothing has changed
        number, events = done
        call = self.promises.calls(worker, number, change, sids)
        call.thinks = thinks
        worker.calls[number] = call, then
        self._handle(worker, events)
        return True

    def _submit(self, worker: Worker, operation: Operation, *, bounded: bool = True) -> int | None:
        put = partial(worker.node.submit, operation, bounded=bounded)
        if isinstance(operation, ANSWERS):
            return put()
        return self._put(worker, operation, put)

    def _put(self, worker: Worker, operation: Operation, put: Callable[[], T]) -> T | None:
        size = len(encode_operation(operation))
        try:
            done = put()
        except BackendUnavailable:
            self.promises.refuses(worker, size)
            return None
        self.promises.accepts(worker, size)
        return done

    def _change_here(self, worker: Worker, change: Change) -> None:
        sids = tuple(sid for sid in self._meant(worker, change) if sid in worker.memberships)
        self.promises.changes_here(worker, change, sids)
        self._change(worker, change)

    def broadcast(self, host: str, room: str) -> None:
        """Let a worker send a broadcast to a room."""
        worker = self._active(host)
        if worker is None:
            return
        message = self.promises.sends(worker, room)
        emit = Emit("/", (str(message.tag),), (room,), (), 0)
        number = self._submit(worker, emit)
        if number is None:
            self.promises.not_sent(message)
        else:
            self.promises.submits(worker, number, emit, message)
        self._receive(worker, emit, worker.name)
        self.promises.has_sent(message)
        self._flush(worker)

    def ask(self, host: str, room: str) -> None:
        """Let a worker ask all workers about a room."""
        worker = self._active(host)
        if worker is not None:
            self._query(worker, Query("count", "/", room))

    def _query(self, worker: Worker, query: Query) -> None:
        make_call = partial(worker.node.call, query, None, self._clock(worker))
        done = self._put(worker, query, make_call)
        if done is not None:
            number, events = done
            worker.calls[number] = self.promises.asks(worker, number, query), nothing
            self._handle(worker, events)
            self._flush(worker)

    def stop(self, host: str) -> None:
        """Let a worker leave in good order."""
        worker = self._active(host)
        if worker is None:
            return
        self._submit(worker, Goodbye())
        self._flush(worker)
        # A receiver with a gap before it loses it, as the worker cannot retransmit any more.
        calm = self.calm_for("") > 2 * HEARTBEAT * self.slowest and not worker.publishing
        self._end(worker, goodbye=calm)

    def crash(self, host: str) -> None:
        """End a worker and its sockets without a goodbye."""
        if host in self.workers:
            self._end(self.workers[host], goodbye=False)

    def _end(self, worker: Worker, *, goodbye: bool) -> None:
        del self.workers[worker.host]
        self.bus.unsubscribe(worker.host)
        self._ended[worker.name] = self.now, goodbye
        self.promises.dies(worker)

    # -- what the promises query ---------------------------------------------------

    def moment(self) -> int:
        """Return a number higher than all before."""
        self._moment += 1
        return self._moment

    def holder(self, sid: str) -> Worker | None:
        """Return the worker that holds a socket, if it is connected."""
        worker = self.workers.get(owner_of(sid).partition("+")[0])
        return worker if worker and sid in worker.memberships else None

    def lives(self, name: str) -> bool:
        """Whether this life of a worker goes on."""
        worker = self.workers.get(name.partition("+")[0])
        return worker is not None and worker.name == name

    def first_life(self, name: str) -> str:
        """Return the name of the life from which this one comes by evictions."""
        return self.first_life(self._former[name]) if name in self._former else name

    def follows(self, sid: str, name: str) -> bool:
        """Whether the owner of a socket has followed the stream of a worker."""
        owner = self.workers.get(host_of(owner_of(sid)))
        delivery = owner.node._delivery if owner else None
        if delivery is None:
            return False
        link, ended = delivery._links.get(name), delivery._ended.get(name)
        is_linked = link is not None and link.inbound.expected is not None
        return is_linked or (ended is not None and ended.is_followed)

    def is_succeeded(self, name: str) -> bool:
        """Whether this life of a worker was evicted, and the next one has begun."""
        return name in self._former.values()

    def can_answer(self, name: str) -> bool:
        """Whether a worker is alive, or has said goodbye."""
        return name not in self._ended or self._ended[name][1]

    def calm_for(self, name: str) -> float:
        """Return for how many seconds there was no trouble, and this worker had not ended."""
        ended = self._ended.get(name, (0.0, True))[0]
        if not self.can_answer(name):  # workers that crashed later may have reported it
            ended = max(when for when, goodbye in self._ended.values() if not goodbye)
        return self.now - max(self.trouble_until(), ended)

    def well_for(self) -> float:
        """Return for how many seconds no trouble, crash or guard has held anybody up."""
        crashed = (when for when, goodbye in self._ended.values() if not goodbye)
        thinks_until = max(self._thinks_until.values(), default=0.0)
        return self.now - max(self.trouble_until(), thinks_until, *crashed)

    def decided_for(self, caller: str) -> float:
        """Return for how many seconds no guard has held up what a worker calls for."""
        return self.now - self._thinks_until[caller]

    def crashed_for(self) -> float:
        """Return for how many seconds no life of a worker has ended without a goodbye."""
        crashed = (when for when, goodbye in self._ended.values() if not goodbye)
        return self.now - max(crashed, default=float("-inf"))

    def trouble_of(self, host: str) -> float:
        """Return the end of this worker's own latest trouble."""
        return self._troubles[host]

    def was_silent(self, host: str, seconds: float, lately: float) -> bool:
        """Whether a worker could not send for so many seconds, and that has ended lately."""
        return any(
            min(end, self.now) - start >= seconds and self.now - end < lately
            for start, end in self._silences[host]
        )

    def away_of(self, host: str) -> float:
        """Return until when a worker was cut off from the broker, and aware of it."""
        return self.now if self.bus.is_away(host) else self.back_at[host]

    def _silence(self, host: str, seconds: float) -> None:
        start, end = self.now, self.now + seconds
        spans = self._silences[host]
        if spans and start - spans[-1][1] < RECOVERS:  # it had no time to be heard between
            start, end = spans[-1][0], max(end, spans.pop()[1])
        spans.append((start, end))

    def trouble_until(self) -> float:
        """Return the end of the latest trouble of any kind."""
        return max(self._troubles.values(), default=0.0)

    def is_slow(self, host: str) -> bool:
        """Whether a worker may receive old frames."""
        return bool(self._slow.get(host))

    def lags(self, name: str) -> bool:
        """Whether a worker is alive, and has had no time to do what is due."""
        worker = self.workers.get(name.partition("+")[0])
        return worker is not None and (
            self._is_stopped(worker.host) or self.now <= worker.busy_until
        )

    def speak_alike(self, *names: str) -> bool:
        """Whether workers, or all that there were if none is named, have the same version."""
        hosts = map(host_of, names) if names else self._versions
        return len({self._versions[host] for host in hosts}) == 1

    # -- faults ---------------------------------------------------------------------------

    def pause(self, host: str, seconds: float) -> None:
        """Stop a worker as SIGSTOP does; its frames wait."""
        self._paused[host] = max(self._paused.get(host, 0.0), self.now + seconds)
        self._silence(host, seconds)
        self._at(self._paused[host], self._resume, host)
        self.trouble(host, seconds)

    def slow_down(self, host: str, seconds: float, pace: float) -> None:
        """Let a worker take *pace* seconds for each frame."""
        self._slow[host] = (self.now + seconds, pace)
        self._silence(host, seconds + 10 * pace)
        self.trouble(host, seconds + 10 * pace)

    def hang(self, host: str, seconds: float, *, carried: bool) -> None:
        """
        Let a worker's next publish hang, and fail; meanwhile it receives.

        Args:
            host: The worker.
            seconds: For how long.
            carried: Whether it is carried although it fails.
        """
        self._hangs[host] = self.now + seconds, carried
        self._silence(host, seconds)
        self.trouble(host, seconds)

    def cut_off(self, hosts: tuple[str, ...], seconds: float, *, torn: bool) -> None:
        """
        Cut workers off from the broker; they notice.

        Args:
            hosts: The workers; all of them if it is empty.
            seconds: For how long; up to one second is added.
            torn: Whether their next publish is carried although it fails.
        """
        if not hosts:
            self._down_until = max(self._down_until, self.now + seconds)
            self.trouble("", seconds + 1)
        for host in hosts or tuple(self.workers):
            self._cut_off(host, seconds)
            if torn:
                self.bus.torn.add(host)
            if hosts:
                self.trouble(host, seconds + 1)

    def _cut_off(self, host: str, seconds: float) -> None:
        # Workers do not come back all at once.
        seconds += chances(self._seed, number_of(host), int(self.now * 1000))[0]
        self._silence(host, seconds)
        if not self.bus.is_away(host):
            self.left_at[host] = self.now
        until = self.bus.away[host] = max(self.bus.away.get(host, 0.0), self.now + seconds)
        self._at(until, self._subscribed, host)

    def make_deaf(self, host: str, seconds: float) -> None:
        """Let a worker receive nothing, without its knowing."""
        self.bus.deaf[host] = self.now + seconds
        self._silence(host, seconds)
        self.trouble(host, seconds)

    def make_mute(self, host: str, seconds: float) -> None:
        """Let no other worker receive a worker's frames, without its knowing."""
        self.bus.mute[host] = self.now + seconds
        self._silence(host, seconds)
        self.trouble(host, seconds)

    def cut(self, senders: tuple[str, ...], receivers: tuple[str, ...], seconds: float) -> None:
        """Let no frame of the senders reach the receivers."""
        for sender in senders:
            for receiver in receivers:
                if sender != receiver:
                    self.bus.cuts[sender, receiver] = self.now + seconds
                    self.trouble(sender, seconds)

    def replay(self, back: int, count: int = 1) -> None:
        """Deliver old frames again: for a while, their senders seem to be alive."""
        for later in range(min(count, back + 1)):
            self.bus.replay(back - later)
        self.trouble("", NOTICED * self.slowest)

    def change_weather(self, weather: Weather, seconds: float) -> None:
        """Delay, lose, duplicate and reorder frames for some time."""
        self._weather.append(weather)
        self._forecast()
        self._at(self.now + seconds, self._clear_up, weather)
        self.trouble("", seconds + 20 * max(weather.delay, 0.1))

    def _clear_up(self, weather: Weather) -> None:
        self._weather.remove(weather)
        self._forecast()

    def _forecast(self) -> None:
        self.bus.weather = Weather.worst_of(self._weather) if self._weather else CALM

    def trouble(self, host: str, seconds: float) -> None:
        """Record that a worker, or the broker if *host* is empty, is in trouble for some time."""
        self._troubles[host] = max(self._troubles[host], self.now + seconds)

    # -- time -----------------------------------------------------------------------------

    def run(self, until: float) -> None:
        """Let virtual time pass."""
        # Where many meet at once each introduces itself to each, and on this bus, which has no
        # addresses, a frame for one lands at all.
        count = len(self.workers)
        most = self.steps + (1000 + 10 * count**2 + count**3) * (10 + until - self.now)
        while self._agenda and self._agenda[0][0] <= until:
            self.now, _, action, arguments = heapq.heappop(self._agenda)
            self.steps += 1
            action(*arguments)
            self.promises.check_deadlines()
            assert self.steps < most, "the workers keep each other busy for ever"
        self.now = until

    def _at(self, when: float, action: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self._agenda, (when, next(self._order), action, arguments))

    def _clock(self, worker: Worker) -> float:
        return self.now + worker.skew

    # -- the life of a worker, as in Cluster ---------------------------------------------------

    def _active(self, host: str) -> Worker | None:
        worker = self.workers.get(host)
        return worker if worker and worker.serving and not self._is_stopped(host) else None

    def _is_stopped(self, host: str) -> bool:
        return self.now < self._paused.get(host, 0.0)

    def _new_life(self, host: str, limits: Limits, pace: float) -> Worker:
        life = self._lives[host] = self._lives[host] + 1
        name = host if life == 1 else f"{host}+{life}"
        skew = 7200 * (2 * chances(self._seed, number_of(host))[0] - 1)
        node = self._make(name, self.now + skew, limits, HEARTBEAT * pace)
        worker = Worker(host, node, skew, limits, pace, self.now)
        self.workers[host] = worker
        self.nodes[name] = worker.node
        return worker

    def _serve_unheard(self, worker: Worker) -> None:
        if self.lives(worker.name) and not worker.accepts:
            worker.unheard = True
            self._serve(worker)

    def _serve(self, worker: Worker) -> None:
        worker.serving = worker.accepts = True
        clients, worker.clients = worker.clients, []
        for client, then in clients:
            self.connect(client, worker.host, then)

    def _heard_itself(self, worker: Worker) -> None:
        if worker.unheard:
            worker.unheard = False
            self._move_sockets(worker, worker)
        if not worker.accepts:
            self._serve(worker)

    def _restart(self, worker: Worker, event: Evicted) -> None:
        self.promises.evicts(worker, event)
        self.promises.dies(worker)
        self._ended[worker.name] = self.now, False
        new = self._new_life(worker.host, worker.limits, worker.pace)
        self._former[new.name] = worker.name
        new.serving = True
        worker.calls.clear()
        moved = new.node.take_over(worker.node)
        for _, operation in moved:
            self.promises.accepts(new, len(encode_operation(operation)))
        self.promises.moves_on(worker, new, moved)
        self._move_sockets(worker, new)
        if self.bus.is_away(new.host):
            self._serve_unheard(new)
        else:
            self._at(self.now + CONFIRM, self._serve_unheard, new)
        self._reconnect(new)

    def _reconnect(self, worker: Worker) -> None:
        """Open a new connection to the broker; frames on their way on the old one are lost."""
        host = worker.host
        worker.down = True
        worker.inbox.clear()
        self.bus.deaf.pop(host, None)
        until = self.bus.away[host] = max(self.bus.away.get(host, 0.0), self.now + RETRY)
        self._at(until, self._subscribed, host)

    def _move_sockets(self, old: Worker, new: Worker) -> None:
        """Disconnect all sockets of a worker; their clients connect again."""
        clients = [client for client, sid in self.sids.items() if sid in old.memberships]
        old.memberships.clear()
        for client in clients:
            self.connect(client, new.host)

    # -- frames and ticks ----------------------

    def _arrive(self, host: str, frame: Frame) -> None:
        sender = host_of(frame.sender)
        if not self._verifies(self._keys[host], self._keys[sender]):
            return
        if self._versions[host] != self._versions[sender]:
            if not self._is_stopped(host):
                self.workers[host].node.note_foreign_version(frame.sender)
            return
        self.workers[host].inbox.append(frame)
        self._work(host)

    def _can_verify(self, keys: tuple[str, ...], keys_of_sender: tuple[str, ...]) -> bool:
        signed = self.signer(keys_of_sender, PURPOSE).sign(b"a frame")
        try:
            self.signer(keys, PURPOSE).unsign(signed)
        except BadSignature:
            return False
        return True

    def _work(self, host: str) -> None:
        while (worker := self.workers.get(host)) and worker.inbox and not self._is_stopped(host):
            if self.now < worker.busy_until:
                return
            self._hear(worker, worker.inbox.popleft())
            until, pace = self._slow.get(host, (0.0, 0.0))
            if self.now < until:
                self.workers[host].busy_until = self.now + pace
                self._at(self.now + pace, self._work, host)

    def _hear(self, worker: Worker, frame: Frame | None) -> None:
        now = self._clock(worker)
        if worker.down:
            worker.down = False
            worker.node.on_reconnect(now)
        events = worker.node.receive(frame, now) if frame else []
        events += worker.node.tick(now)
        if frame and frame.sender == worker.name and not frame.to:
            self._heard_itself(worker)
        self._handle(worker, events)
        worker = self.workers[worker.host]
        self._count_audience(worker)
        self._flush(worker)

    def _count_audience(self, worker: Worker) -> None:
        due = self.now - worker.counted_at >= COUNT_INTERVAL
        if self.counts and due and not (worker.down or worker.node.is_settled):
            worker.counted_at = self.now
            worker.node.note_audience(self.bus.audience(), self._clock(worker))

    def _tick(self, worker: Worker) -> None:
        worker.wakes_at = float("inf")
        if not self.lives(worker.name) or self._is_stopped(worker.host):
            return
        if self.now < worker.busy_until:
            self._wake(worker, worker.busy_until)
            return
        if self.bus.is_away(worker.host):
            worker.down = True
            self._handle(worker, worker.node.tick(self._clock(worker)))
            self._wake(worker, self.now + 0.5)
            return
        deaf = worker.node.is_deaf(self._clock(worker))
        self._hear(worker, None)
        if deaf and self.lives(worker.name):
            self._reconnect(worker)

    def _resume(self, host: str) -> None:
        if host in self.workers and not self._is_stopped(host):
            self._subscribed(host)
            self._work(host)
            self._tick(self.workers[host])

    def _subscribed(self, host: str) -> None:
        # It goes on with the first frame that arrives, or when none has arrived for a moment.
        worker = self.workers.get(host)
        if worker and host in self.bus.away and not self.bus.is_away(host):
            self.back_at[host] = self.bus.away.pop(host)
            worker.down = True
        if worker and worker.down:
            self._at(self.now + RETRY, self._listen, worker)

    def _listen(self, worker: Worker) -> None:
        host = worker.host
        waits = worker.down and self.lives(worker.name) and not self._is_stopped(host)
        if waits and not self.bus.is_away(host):
            self._hear(worker, None)

    def _flush(self, worker: Worker) -> None:
        if not self.lives(worker.name) or self._is_stopped(worker.host):
            return
        while not (worker.down or worker.publishing):
            frame = worker.node.take(self._clock(worker))
            if frame is None:
                break
            self.promises.publishes(worker, frame)
            until, carried = self._hangs.get(worker.host, (0.0, False))
            if self.now < until:
                worker.publishing = True
                if carried:
                    self.bus.publish(worker.host, frame)
                self._at(until, self._fail_late, worker, frame)
            elif self.bus.publish(worker.host, frame):
                self.promises.has_published(worker, frame)
            else:
                worker.node.give_back(frame, self._clock(worker))
                worker.down = True
        earliest = self.now + RETRY if worker.publishing else 0.0
        self._wake(worker, max(earliest, worker.node.wakes_at - worker.skew))

    def _fail_late(self, worker: Worker, frame: Frame) -> None:
        if not self.lives(worker.name):
            return
        if self._is_stopped(worker.host):
            self._at(self._paused[worker.host], self._fail_late, worker, frame)
            return
        worker.publishing = False
        worker.node.give_back(frame, self._clock(worker))
        self._at(self.now + RETRY, self._flush, worker)

    def _wake(self, worker: Worker, at: float) -> None:
        if at < worker.wakes_at:
            worker.wakes_at = at
            self._at(max(self.now + 1e-6, at), self._tick, worker)

    def _handle(self, worker: Worker, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Deliver):
                self._deliver(worker, event)
            elif isinstance(event, Completed | TimedOut):
                self._complete(worker, event)
            elif isinstance(event, Evicted):
                self._restart(worker, event)
            elif isinstance(event, VerifyCount):
                self._query(worker, FENCE)

    def _complete(self, worker: Worker, event: Completed | TimedOut) -> None:
        if event.number not in worker.calls:
            return
        call, then = worker.calls.pop(event.number)
        if isinstance(event, TimedOut):
            self.promises.times_out(call, event)
        elif isinstance(call, Question):
            self.promises.is_answered(worker, call, event)
        else:
            self.promises.completes(worker, call, event)
            then()

    def _deliver(self, worker: Worker, event: Deliver) -> None:
        self.promises.delivers(worker, event)
        if isinstance(event.operation, Succeeds):
            worker.lanes.succeed(event.sender, event.operation.former)
        elif not worker.lanes.hold(event):
            self._apply(worker, event)

    def _apply(self, worker: Worker, event: Deliver) -> None:
        what = self.promises.what(event)
        assert not isinstance(what, Succession)  # which _deliver() has carried out
        if isinstance(what, Message):
            self._receive(worker, event.operation, event.sender)
        elif isinstance(what, Question):
            what.answered.add(worker.name)
            self._submit(worker, Reply(event.sender, event.number, (), (0,), last=True))
        elif what.change.source is not None:
            self._hurry(worker, what)
            self._carry_out(worker, event, what)
        elif self._meant(worker, what.change):
            self._hurry(worker, what)
            if what.thinks > 0 and what.change.action == "join":
                self._think(worker, event, what)
            else:
                self._carry_out(worker, event, what)

    def _think(self, worker: Worker, event: Deliver, call: Call) -> None:
        """Let a join wait for its guards."""
        until = self.now + call.thinks
        self._thinks_until[event.sender] = max(self._thinks_until[event.sender], until)
        join = WaitingJoin(event.sender, call.change, self.now + CONFIRM)
        worker.lanes.begin(join)
        worker.thinking[join] = event, call
        self._at(self.now + call.thinks, self._decide, worker, join)

    def _hurry(self, worker: Worker, call: Call) -> None:
        """Decide about the joins that a change would undo; the model has no joins undone."""
        for join, (_, waiting) in list(worker.thinking.items()):
            if waiting.room == call.room:
                self._decide(worker, join)

    def _decide(self, worker: Worker, join: WaitingJoin) -> None:
        if join not in worker.thinking or not self.lives(worker.name):
            return
        event, call = worker.thinking.pop(join)
        self._carry_out(worker, event, call)
        worker.lanes.end(join)
        if worker.lanes.begin_drain(join.sender):
            while (held := worker.lanes.next(join.sender)) is not None:
                self._apply(worker, held)
        self._flush(worker)

    def _carry_out(self, worker: Worker, event: Deliver, call: Call) -> None:
        self._answer(worker, event, self._do(worker, call))

    def _do(self, worker: Worker, call: Call) -> Outcome:
        sids = self._meant(worker, call.change)
        self.promises.carries_out(call, sids)
        return self._change(worker, call.change)

    def _answer(self, worker: Worker, to: Deliver, outcome: Outcome) -> None:
        self._submit(worker, Done(to.sender, to.number, *outcome))

    def _receive(self, worker: Worker, emit: Operation, sender: str) -> None:
        assert isinstance(emit, Emit)
        assert emit.rooms is not None
        for sid, rooms in worker.memberships.items():
            if not rooms.isdisjoint(emit.rooms):
                self.promises.receives(sid, int(emit.packet[0]), sender)

    def _meant(self, worker: Worker, change: Change) -> tuple[str, ...]:
        if change.source is not None:
            return tuple(worker.memberships)
        return tuple(sid for sid in change.sids if owner_of(sid) == worker.name)

    def _change(self, worker: Worker, change: Change) -> Outcome:
        counts = {True: 0, False: 0}
        unknown: list[str] = []
        room = str(change.rooms[0])
        for sid in self._meant(worker, change):
            if sid not in worker.memberships:
                unknown.append(sid)
                continue
            changes = (room in worker.memberships[sid]) != (change.action == "join")
            counts[changes] += 1
            if changes:
                worker.memberships[sid] ^= {room}
            self.promises.check(sid, room)
        unchanged = counts[False] if change.source is None else 0
        return counts[True], unchanged, tuple(unknown)
