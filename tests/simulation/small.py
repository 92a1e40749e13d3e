"""
A small world: a few workers, a few operations and faults, and every order in which they can happen.

Unlike a World it has no schedule. It offers the choices that there are, and carries one out. A copy
is a pickle, and two worlds in the same state have the same key, so that a program can explore all.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, TypeAlias

from flask_rooms.protocol.calls import PendingCalls
from flask_rooms.protocol.clock import EchoClock
from flask_rooms.protocol.delivery import Delivery
from flask_rooms.protocol.events import Deliver, Event, Evicted, VerifyCount
from flask_rooms.protocol.ids import owner_of
from flask_rooms.protocol.lanes import Lanes, WaitingJoin
from flask_rooms.protocol.membership import Membership
from flask_rooms.protocol.messages import (
    FENCE,
    Change,
    Done,
    Emit,
    Frame,
    Goodbye,
    Query,
    Reply,
    Succeeds,
)
from flask_rooms.protocol.node import Node
from flask_rooms.protocol.pending import Completed, TimedOut
from flask_rooms.protocol.resolution import Resolution
from tests.simulation.changes import CONFIRM, HEARTBEAT
from tests.simulation.deaths import PATIENCE
from tests.simulation.demands import demand
from tests.simulation.names import host_of
from tests.simulation.world import COUNT_INTERVAL, WIDE, NodeFactory, make_node

ROOM = "r"
#: Seconds after which a worker that cannot send looks at the time again.
IDLE = 0.5
#: Seconds that a worker takes to leave at most, and a query that costs nothing.
LEAVING = 2.0
#: The parts of a node that others of its parts know.
PARTS = (EchoClock, Membership, Delivery, PendingCalls, Resolution)
#: Less than any two times differ by.
_EPSILON = 1e-6

#: The frames that were published, in all worlds, so that a copy of a world need not have them.
_frames: list[Frame] = []
_numbers: dict[Any, int] = {}


@dataclass(frozen=True)
class Act:
    """
    Something that a worker of the world is to do once: what it does follows what it did before.

    Args:
        worker: The host of the worker.
        what: "leave" and "join" are about the socket of another worker, "empty" has all members
            leave the room, "count" asks for them, and "say" broadcasts to them; "quit" ends the
            worker in good order.
        socket: The socket that joins or leaves.
        guarded: Whether a guard decides about the join, and takes its time.
    """

    worker: str
    what: Literal["leave", "join", "empty", "count", "say", "quit"]
    socket: str = ""
    guarded: bool = False


@dataclass(frozen=True)
class Fault:
    """
    Something that happens to a worker once.

    Args:
        worker: The host of the worker.
        what: "stall", "cut" (from the broker), "deaf" (it receives nothing, until it connects
            again), "crash", "start", or "copy" (of its hello).
        seconds: For how long it is stalled or cut.
    """

    worker: str
    what: Literal["stall", "cut", "deaf", "crash", "start", "copy"]
    seconds: float = 0.0


#: Something that can happen next.
Choice: TypeAlias = "tuple[str, str | Act | Fault]"


@dataclass
class Site:
    """One worker, with what a driver keeps of it."""

    node: Node
    lanes: Lanes
    rooms: dict[str, set[str]] = field(default_factory=dict)  # socket ID -> rooms
    inbox: deque[int] = field(default_factory=deque)  # numbers of frames
    thinking: list[tuple[WaitingJoin, Deliver]] = field(default_factory=list)
    calls: dict[int, Act] = field(default_factory=dict)
    accepts: bool = False
    down: bool = False  # it has noticed that the broker is away
    deaf: bool = False
    idle_until: float = 0.0
    leaves_by: float = float("inf")
    fenced: frozenset[str] = frozenset()  # the workers that it has asked before it leaves
    fence: int = 0  # the number of that query
    stalled_until: float = 0.0
    cut_until: float = 0.0
    counted_at: float = float("-inf")
    excused: bool = False  # it was silent for so long that it may be counted as dead
    was_cut: bool = False

    @property
    def is_leaving(self) -> bool:
        """Whether it is about to say goodbye."""
        return self.leaves_by < float("inf")


class Small:
    """
    The workers, and the broker between them.

    Args:
        hosts: The workers at the start, which have met.
        sockets: Host -> whether it has a socket that is in the room from the start; None for none.
        acts: What is to be done, in order for each worker.
        faults: What is to go wrong, in this order.
        counts: Whether the broker can count the workers.
        age: For how many seconds the workers have run.
        newer: The workers whose messages the others cannot read, and the other way round.
        make: Makes the nodes; a mutant makes broken ones.
        lanes: Makes what keeps the operations of each sender in order.
    """

    def __init__(
        self,
        hosts: str,
        sockets: Mapping[str, bool],
        acts: Iterable[Act],
        faults: Iterable[Fault],
        *,
        counts: bool = False,
        age: float = 11.0,
        newer: str = "",
        make: NodeFactory = make_node,
        lanes: type[Lanes] = Lanes,
    ) -> None:
        self.now = 0.0
        self.sites: dict[str, Site] = {}
        self.lives: dict[str, int] = {}
        self.acts = [*acts]
        self.faults = [*faults]
        self._sockets = dict(sockets)
        self._counts = counts
        self._newer = newer
        self._make = make
        self._make_lanes = lanes
        self._hellos: dict[str, int] = {}
        self._done: list[Act] = []  # what was begun
        self._left: set[str] = set()  # the sockets of which a caller knows that they have left
        self._unknown: set[str] = set()  # those that were called unknown
        self._answered: dict[Act, set[str]] = {}
        self._asked: dict[Act, frozenset[str]] = {}  # the workers that had sockets at a call
        self._barred: dict[Act, frozenset[str]] = {}  # a broadcast -> who must not receive it
        self._due: dict[Act, frozenset[str]] = {}  # a broadcast -> who has to
        self._quit: set[str] = set()
        self._timed_out: set[Act] = set()
        self._got: set[tuple[Act, str]] = set()
        for number, host in enumerate(hosts):
            self.now = 0.7 * number  # so that their heartbeats are not due at one moment
            self._start(host)
            self._run(until=self.now)
        self._run(until=age)

    # -- copies ---------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k not in ("_make", "_make_lanes")}

    def copy(self) -> Small:
        """Return an equal world."""
        other: Small = pickle.loads(pickle.dumps(self, pickle.HIGHEST_PROTOCOL))
        other._make, other._make_lanes = self._make, self._make_lanes
        return other

    def key(self) -> int:
        """Return the same number for worlds in the same state."""
        return hash(_frozen(self.__getstate__(), set()))

    # -- what can happen ------------------------------------------------------------------

    def choices(self) -> list[Choice]:
        """Return what can happen now. Time passes only if no worker has anything to do."""
        found: list[Choice] = [("step", host) for host in self.sites if self._has_work(host)]
        found += [("decide", host) for host in self.sites if self._decides(host)]
        passes: list[Choice] = [] if found else [("wait", "")]
        workers: set[str] = set()
        for act in self.acts:  # each worker does its acts in order
            if act.worker not in workers and self._can_act(act):
                found.append(("act", act))
            workers.add(act.worker)
        if self.faults and self._can_fail(self.faults[0]):
            found.append(("fault", self.faults[0]))
        return found + passes

    def _runs(self, host: str) -> bool:
        return host in self.sites and self.sites[host].stalled_until <= self.now + _EPSILON

    def _is_cut(self, host: str) -> bool:
        return self.sites[host].cut_until > self.now + _EPSILON

    def _has_work(self, host: str) -> bool:
        return self._runs(host) and self._wakes_at(host) <= self.now + _EPSILON

    def _wakes_at(self, host: str) -> float:
        site = self.sites[host]
        if site.down:
            return max(site.idle_until, self.now) if self._is_cut(host) else self.now
        if site.inbox:
            return self.now
        return max(min(site.node.wakes_at, site.leaves_by), self.now)

    def _decides(self, host: str) -> bool:
        return self._runs(host) and bool(self.sites[host].thinking)

    def _can_act(self, act: Act) -> bool:
        site = self.sites.get(act.worker)
        if site is None or not self._runs(act.worker) or not site.accepts or site.is_leaving:
            return False
        return not act.socket or self._has_existed(host_of(owner_of(act.socket)))

    def _has_existed(self, host: str) -> bool:
        """Whether the socket of a host has existed; nobody can know its ID before."""
        site = self.sites.get(host)
        return self.lives.get(host, 0) > (site is not None and not site.accepts)

    def _can_fail(self, fault: Fault) -> bool:
        if fault.what == "copy":
            return fault.worker in self._hellos
        return (fault.worker in self.sites) != (fault.what == "start")

    def do(self, choice: Choice) -> None:
        """
        Carry out a choice.

        Raises:
            BrokenPromise: A promise is broken.
        """
        what, which = choice
        if isinstance(which, Act):
            self.acts.remove(which)
            self._act(self.sites[which.worker], which)
        elif isinstance(which, Fault):
            self.faults.pop(0)
            self._fail(which)
        elif what == "decide":
            self._decide(which)
        elif what == "step":
            self._step(which)
        else:
            self._wait()

    def _next_time(self) -> float:
        soon = self.now + _EPSILON
        times = [self._wakes_at(host) for host in self.sites if self._runs(host)]
        for site in self.sites.values():
            times += [end for end in (site.stalled_until, site.cut_until) if end > soon]
        return min(times, default=self.now + IDLE)

    def _wait(self) -> None:
        self.now = self._next_time()
        for host, site in self.sites.items():
            if site.was_cut and not self._is_cut(host):
                site.was_cut, site.down = False, True  # it has to connect again

    def finish(self, seconds: float = 20.0) -> None:
        """Let the rest happen in one order, and check what has to hold at the end."""
        while acts := [choice for choice in self.choices() if choice[0] == "act"]:
            self.do(acts[0])
        self.faults.clear()
        self._run(until=self.now + seconds)
        last = [Act(host, "count", "at the end") for host in self.sites]
        for act in last:
            self._act(self.sites[act.worker], act)
        self._run(until=self.now + CONFIRM + IDLE)
        self._check_end(last)

    def _run(self, until: float) -> None:
        while True:
            choice = self.choices()[0]
            if choice[0] in ("act", "fault"):
                choice = ("wait", "")
            if choice[0] == "wait" and self._next_time() > until:
                self.now = until
                return
            self.do(choice)

    # -- faults ---------------------------------------------------------------------------

    def _fail(self, fault: Fault) -> None:
        if fault.what == "start":
            self._start(fault.worker)
        elif fault.what == "crash":
            del self.sites[fault.worker]
        elif fault.what == "copy":
            self._fan_out(self._hellos[fault.worker])
        elif fault.what == "deaf":
            self.sites[fault.worker].deaf = self.sites[fault.worker].excused = True
        else:
            site, until = self.sites[fault.worker], self.now + fault.seconds
            site.excused = site.excused or fault.seconds >= PATIENCE
            if fault.what == "stall":
                site.stalled_until = until
            else:
                site.cut_until, site.was_cut = until, True
                site.inbox.clear()

    # -- the life of a worker ---------------------------------------------------------------

    def _start(self, host: str) -> None:
        life = self.lives[host] = self.lives.get(host, 0) + 1
        name = host if life == 1 else f"{host}+{life}"
        node = self._make(name, self.now, WIDE, HEARTBEAT)
        site = self.sites[host] = Site(node, self._make_lanes())
        node.on_reconnect(self.now)
        self._flush(host, site)

    def _accept(self, host: str, site: Site) -> None:
        site.accepts = True
        joined = self._sockets.get(host)
        if joined is not None and self.lives[host] == 1:
            sid = f"{host}_s"
            site.rooms[sid] = {sid, ROOM} if joined else {sid}

    def _restart(self, host: str, event: Evicted) -> None:
        site = self.sites[host]
        demand("no eviction without cause", site.excused, f"{host}: {event.reason}")
        self._start_over(host, site)
        self.sites[host].node.take_over(site.node)

    def _start_over(self, host: str, old: Site) -> None:
        self._start(host)
        new = self.sites[host]
        new.accepts = True
        new.excused, new.cut_until, new.was_cut = old.excused, old.cut_until, old.was_cut

    # -- frames and ticks -------------------------------------------------------------------

    def _step(self, host: str) -> None:
        site = self.sites[host]
        node = site.node
        if self._is_cut(host):
            site.idle_until = self.now + IDLE
            self._handle(host, site, node.tick(self.now))
            self._flush(host, site)
            return
        if site.down:
            site.down = site.deaf = False
            node.on_reconnect(self.now)
        frame = _frames[site.inbox.popleft()] if site.inbox else None
        if frame and not self._can_read(host, frame.sender):
            node.note_foreign_version(frame.sender)
            frame = None
        site.down = frame is None and node.is_deaf(self.now)
        events = node.receive(frame, self.now) if frame else []
        events += node.tick(self.now)
        if frame and frame.sender == node.name and not (frame.to or site.accepts):
            self._accept(host, site)
        self._handle(host, site, events)
        site = self.sites[host]
        self._count_audience(site)
        if site.is_leaving:
            self._be_heard(host, site)
        self._flush(host, site)

    def _can_read(self, host: str, sender: str) -> bool:
        return (host in self._newer) == (host_of(sender) in self._newer)

    def _count_audience(self, site: Site) -> None:
        due = self.now - site.counted_at >= COUNT_INTERVAL
        if self._counts and due and not site.node.is_settled:
            site.counted_at = self.now
            count = sum(not self._is_cut(host) for host in self.sites)
            site.node.note_audience(count, self.now)

    def _flush(self, host: str, site: Site) -> None:
        if self.sites.get(host) is not site:
            return
        while not site.down and (frame := site.node.take(self.now)) is not None:
            if self._is_cut(host):
                site.node.give_back(frame, self.now)
                site.down, site.idle_until = True, self.now + IDLE
            else:
                self._publish(host, frame)

    def _publish(self, host: str, frame: Frame) -> None:
        number = _numbers.setdefault(_frozen(frame, set()), len(_frames))
        if number == len(_frames):
            _frames.append(frame)
        if frame.heartbeat is not None and frame.heartbeat.beat == 1:
            self._hellos.setdefault(host, number)
        self._fan_out(number)

    def _fan_out(self, number: int) -> None:
        to = _frames[number].to
        for host, site in self.sites.items():
            if not (self._is_cut(host) or site.deaf) and to in ("", site.node.name):
                site.inbox.append(number)

    def _handle(self, host: str, site: Site, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Deliver):
                if isinstance(event.operation, Succeeds):
                    site.lanes.succeed(event.sender, event.operation.former)
                elif not site.lanes.hold(event):
                    self._apply(host, site, event)
            elif isinstance(event, Completed | TimedOut):
                self._complete(site, event)
            elif isinstance(event, Evicted):
                self._restart(host, event)
            elif isinstance(event, VerifyCount):
                site.node.call(FENCE, None, self.now)

    # -- operations -------------------------------------------------------------------------

    def _act(self, site: Site, act: Act) -> None:
        node, owner = site.node, owner_of(act.socket)
        if act.what == "quit":
            site.leaves_by = self.now + LEAVING
            self._be_heard(act.worker, site)
        elif act.what == "say":
            self._say(act)
            self._done.append(act)
            node.submit(self._emit(act))
            self._receive(act.worker, site, act)
        elif act.what in ("leave", "join"):
            self._done.append(act)
            change = Change(act.what, "/", (act.socket,), (ROOM,), by="guarded" * act.guarded)
            self._call(site, act, change, {owner: (act.socket,)})
        else:
            self._asked[act] = frozenset(
                one.node.name for one in self.sites.values() if one is not site and one.accepts
            )
            self._answered[act] = set()
            self._done.append(act)
            change = Change("leave", "/", (), (ROOM,), source=ROOM)
            query = Query("count", "/", ROOM)
            self._call(site, act, query if act.what == "count" else change, None)
            if act.what == "empty":
                self._change(site, change)
        self._flush(act.worker, site)

    def _be_heard(self, host: str, site: Site) -> None:
        """Rule `heard-before-leaving`, as the driver keeps it: ask who is there, then leave."""
        node, known = site.node, site.node.known_workers
        is_answered = node.is_settled if not site.fenced else not node.unanswered_by(site.fence)
        is_heard = node.is_followed or (known <= site.fenced and is_answered)
        if is_heard or self.now >= site.leaves_by - _EPSILON:
            node.submit(Goodbye())
            self._flush(host, site)
            del self.sites[host]
            self._quit.add(host)
        elif not known <= site.fenced:
            site.fence, _ = node.call(FENCE, dict.fromkeys(known, ()), self.now)
            site.fenced |= known

    def _call(self, site: Site, act: Act, what: Change | Query, targets: Any) -> None:
        number, events = site.node.call(what, targets, self.now)
        site.calls[number] = act
        self._handle(act.worker, site, events)

    def _emit(self, act: Act) -> Emit:
        number = [one for one in self._done if one.what == "say"].index(act)
        return Emit("/", (str(number),), (ROOM,), (), 0)

    def _apply(self, host: str, site: Site, event: Deliver) -> None:
        operation = event.operation
        if isinstance(operation, Emit):
            says = [act for act in self._done if act.what == "say"]
            self._receive(host, site, says[int(str(operation.packet[0]))])
        elif isinstance(operation, Query):
            self._answer(event, host, site, Reply(event.sender, event.number, (), (0,), last=True))
        elif isinstance(operation, Change) and (operation.source or self._meant(site, operation)):
            if operation.by:
                join = WaitingJoin(event.sender, operation, self.now + CONFIRM)
                site.lanes.begin(join)
                site.thinking.append((join, event))
            else:
                self._carry_out(host, site, event, operation)

    def _carry_out(self, host: str, site: Site, event: Deliver, change: Change) -> None:
        outcome = self._change(site, change)
        self._answer(event, host, site, Done(event.sender, event.number, *outcome))

    def _answer(self, event: Deliver, host: str, site: Site, answer: Done | Reply) -> None:
        caller = self.sites.get(host_of(event.sender))
        act = caller.calls.get(event.number) if caller else None
        if act in self._answered and caller and caller.node.name == event.sender:
            self._answered[act].add(site.node.name)
        site.node.submit(answer)

    def _decide(self, host: str) -> None:
        site = self.sites[host]
        join, event = site.thinking.pop(0)
        self._carry_out(host, site, event, join.change)
        site.lanes.end(join)
        if site.lanes.begin_drain(join.sender):
            while (held := site.lanes.next(join.sender)) is not None:
                self._apply(host, site, held)
        self._flush(host, site)

    def _meant(self, site: Site, change: Change) -> tuple[str, ...]:
        if change.source is not None:
            return tuple(site.rooms)
        return tuple(sid for sid in change.sids if owner_of(sid) == site.node.name)

    def _change(self, site: Site, change: Change) -> tuple[int, int, tuple[str, ...]]:
        changed, meant = 0, self._meant(site, change)
        here = [sid for sid in meant if sid in site.rooms]
        for sid in here:
            changed += (ROOM in site.rooms[sid]) != (change.action == "join")
            site.rooms[sid].discard(ROOM)
            site.rooms[sid].update([ROOM] if change.action == "join" else [])
        unchanged = len(here) - changed if change.source is None else 0
        return changed, unchanged, tuple(sid for sid in meant if sid not in here)

    # -- promises -----------------------------------------------------------------------------

    def _say(self, act: Act) -> None:
        """Record who must not receive a broadcast that is about to be sent, and who has to."""
        before = [one for one in self._done if one.worker == act.worker]
        left = self._left.union(one.socket for one in before if one.what == "leave")
        joined = {one.socket for one in before if one.what == "join"}
        undone = {one.socket for one in self._done if one.what == "leave"}
        here = {s for site in self.sites.values() for s, r in site.rooms.items() if ROOM in r}
        emptied = any(one.what == "empty" for one in self._done)
        self._barred[act] = frozenset(left - joined)
        self._due[act] = frozenset() if emptied else frozenset((here | joined) - undone)

    def _receive(self, host: str, site: Site, act: Act) -> None:
        for sid, rooms in site.rooms.items():
            if ROOM in rooms:
                demand("fence", sid not in self._barred[act], f"{sid} got what {act} has sent")
                demand("no duplicates", (act, sid) not in self._got, f"{sid} got {act} twice")
                self._got.add((act, sid))

    def _complete(self, site: Site, event: Completed | TimedOut) -> None:
        act = site.calls.pop(event.number, None)
        if act is None:
            return
        if isinstance(event, TimedOut):
            self._timed_out.add(act)
            return
        if act.what in ("leave", "join"):
            self._check_outcome(site, act, event)
            return
        answered = self._answered[act]
        for owner in self.sites.values():
            name = owner.node.name
            if name in self._asked[act] and not self._is_excused(owner, site):
                demand("complete means all", name in answered, f"{act} without {name}")
        if act.what == "empty":
            self._left.update(sid for one in self.sites.values() for sid in one.rooms)

    def _check_outcome(self, site: Site, act: Act, outcome: Completed) -> None:
        owner = self.sites.get(host_of(owner_of(act.socket)))
        if owner is None or act.socket not in owner.rooms:
            return
        if act.socket in outcome.unknown:
            demand("no false unknown", self._is_excused(owner, site), f"{act}: {act.socket}")
            if not owner.was_cut:  # else it is never told, if the caller has gone by then
                self._unknown.add(act.socket)
        else:
            undone = any(one.socket == act.socket and one != act for one in self._done)
            holds = (ROOM in owner.rooms[act.socket]) == (act.what == "join")
            demand("confirmed means done", holds or undone, act)
        if act.what == "leave" and not any(one.what == "join" for one in self._done):
            self._left.add(act.socket)

    def _is_excused(self, owner: Site, caller: Site) -> bool:
        # A broker does not count a worker that is away.
        uncounted = self._counts and owner.cut_until > 0 and not caller.node.is_settled
        return owner.excused or uncounted

    def _check_end(self, last: list[Act]) -> None:
        well = self._timed_out.isdisjoint(last) or bool(self._newer)
        demand("confirmed when all is well", well, "some time after the last fault")
        for act, due in self._due.items():
            lives = act.worker in self.sites or act.worker in self._quit
            for sid in due if lives and self.lives[act.worker] == 1 else ():
                owner = self.sites.get(host_of(owner_of(sid)))
                if owner and sid in owner.rooms and ROOM in owner.rooms[sid]:
                    demand("nothing lost", (act, sid) in self._got, f"{sid} misses {act}")
        for host, site in self.sites.items():
            goes_on = self._unknown.intersection(site.rooms)
            demand("the unknown are gone", not goes_on, f"{goes_on} of {host}")
            names = {one.node.name for one in self.sites.values() if one is not site}
            others = {name for name in names if self._can_read(host, name)}
            demand("all meet", site.node.peers == others, host)


def _frozen(what: Any, seen: set[int]) -> Any:
    """
    Return a hashable value that is equal for equal objects.

    Args:
        what: The object.
        seen: The parts of nodes that were met; they know each other, and count once.
    """
    if isinstance(what, str | int | float | bytes | Enum | None):
        return what
    if isinstance(what, Mapping):
        return frozenset((_frozen(k, seen), _frozen(v, seen)) for k, v in what.items())
    if isinstance(what, set | frozenset):
        return frozenset(_frozen(one, seen) for one in what)
    if isinstance(what, list | tuple | deque):  # operations are tuples, too
        return type(what).__name__, *(_frozen(one, seen) for one in what)
    if isinstance(what, PARTS):
        if id(what) in seen:
            return type(what).__name__
        seen.add(id(what))
    fields = getattr(what, "__slots__", None) or vars(what)
    return type(what).__name__, *(_frozen(getattr(what, name), seen) for name in fields)
