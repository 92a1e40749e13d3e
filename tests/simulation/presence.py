"""A simulated cluster whose workers keep lists of who is present, and the promise about these."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from flask_rooms.protocol.messages import (
    Absent,
    Change,
    Listed,
    Operation,
    Present,
    User,
)
from flask_rooms.protocol.node import Deliver, Event, PeerLeft
from flask_rooms.protocol.presence import Person, Replica
from tests.simulation.bus import number_of
from tests.simulation.demands import demand
from tests.simulation.world import Outcome, Worker, World

#: Seconds for which people stay who have lost their connection.
GRACE = 1.5
#: Seconds between two attempts to send what the outbox has refused.
RETRY = 1.0
#: How many members a list may have.
MANY = 1000

People = dict[Person, frozenset[str]]
MakeReplica = Callable[[], Replica]


def make_replica() -> Replica:
    """Return the replica of a new worker."""
    return Replica(GRACE, MANY)


@dataclass
class Lists:
    """
    What a worker knows of who is present, as the driver of a real worker keeps it.

    Args:
        replica: The real lists.
        number: Where its latest whole list is in its stream.
        owes: Whether the outbox has refused something.
    """

    replica: Replica
    number: int = 0
    owes: bool = False
    wakes_at: float = float("inf")
    introduced: set[str] = field(default_factory=set)


class PresenceWorld(World):
    """
    A world in which every third client has no user, and the others share three users.

    Args:
        seed: Decides the fate of each frame.
        make: Makes the replicas; a mutant makes broken ones.
    """

    def __init__(self, seed: int, make: MakeReplica = make_replica) -> None:
        super().__init__(seed)
        self._make_replica = make
        self._lists: dict[str, Lists] = {}  # host -> the lists of its present life

    def lists(self, worker: Worker) -> Lists:
        """Return the lists of a worker."""
        if worker.host not in self._lists:
            self._lists[worker.host] = Lists(self._make_replica())
        return self._lists[worker.host]

    # -- the sockets of a worker ----------------------------------------------------------

    def disconnect(self, client: str) -> None:
        """Disconnect a client; its person may be back soon."""
        sid = self.sids.get(client, "")
        owner = self.holder(sid)
        if owner and not self._is_stopped(owner.host):
            for room in owner.memberships[sid] - {sid}:
                self._leave(owner, sid, room, stays=True)
        super().disconnect(client)

    def _change(self, worker: Worker, change: Change) -> Outcome:
        room = str(change.rooms[0])
        before = {sid: room in rooms for sid, rooms in worker.memberships.items()}
        outcome = super()._change(worker, change)
        for sid, rooms in worker.memberships.items():
            if room in rooms and not before[sid]:
                self._enter(worker, sid, room)
            elif before[sid] and room not in rooms:
                self._leave(worker, sid, room, stays=False)
        return outcome

    def _move_sockets(self, old: Worker, new: Worker) -> None:
        lists = self.lists(new)
        if old is new:
            for sid, rooms in old.memberships.items():
                for room in rooms - {sid}:
                    self._leave(old, sid, room, stays=False)
        else:
            lists.replica.restart()
            self._lists[new.host] = Lists(lists.replica)
        super()._move_sockets(old, new)

    def _enter(self, worker: Worker, sid: str, room: str) -> None:
        replica = self.lists(worker).replica
        self._send(worker, replica.enter(("/", room, sid), user_of(sid), "{}", self.now))

    def _leave(self, worker: Worker, sid: str, room: str, *, stays: bool) -> None:
        replica = self.lists(worker).replica
        self._send(worker, replica.leave(("/", room, sid), self._clock(worker), stays=stays))

    # -- as the driver of a real worker ------------------------------------------------------

    def _end(self, worker: Worker, *, goodbye: bool) -> None:
        super()._end(worker, goodbye=goodbye)
        self._lists.pop(worker.host, None)

    def _handle(self, worker: Worker, events: list[Event]) -> None:
        for name, stream_start in worker.node.take_met():
            lists = self.lists(worker)
            lists.replica.meet(name)
            lists.introduced.add(name)
            if lists.number < stream_start:
                self._begin_list(worker)
        for event in events:
            lists, replica = self.lists(worker), self.lists(worker).replica
            if isinstance(event, PeerLeft):
                lists.introduced.discard(event.worker)
                now = self._clock(worker)
                replica.lose(event.worker, now, said_goodbye=event.said_goodbye)
                self._send(worker, [])
            else:
                super()._handle(worker, [event])
                worker = self.workers.get(worker.host, worker)  # it may have a new life

    def _deliver(self, worker: Worker, event: Deliver) -> None:
        operation = event.operation
        if not isinstance(operation, Present | Absent | Listed):
            super()._deliver(worker, event)
            return
        lists = self.lists(worker)
        lists.replica.receive(event.sender, operation)
        self._send(worker, [])
        if isinstance(operation, Listed) and event.sender not in lists.introduced:
            lists.introduced.add(event.sender)
            self._begin_list(worker)

    def _send(self, worker: Worker, operations: list[Operation]) -> None:
        lists = self.lists(worker)
        lists.replica.take_touched()
        if any(self._submit(worker, operation) is None for operation in operations):
            lists.owes = True
        self._flush(worker)
        self._watch(worker)

    def _begin_list(self, worker: Worker) -> None:
        lists = self.lists(worker)
        lists.replica.begin_list()
        lists.number, lists.owes = 0, False
        self._send_list(worker)

    def _send_list(self, worker: Worker) -> None:
        lists = self.lists(worker)
        while (part := lists.replica.next_listed()) is not None:
            number = self._submit(worker, part)
            if number is None:
                break
            lists.replica.has_listed(part)
            lists.number = lists.number or number
        self._flush(worker)
        self._watch(worker)

    def _watch(self, worker: Worker) -> None:
        lists = self.lists(worker)
        at = lists.replica.wakes_at - worker.skew
        if lists.owes or lists.replica.next_listed() is not None:
            at = min(at, self.now + RETRY)
        if at < lists.wakes_at:
            lists.wakes_at = at
            self._at(max(at, self.now + 1e-6), self._look, worker)

    def _look(self, worker: Worker) -> None:
        if not self.lives(worker.name):
            return
        lists = self.lists(worker)
        lists.wakes_at = float("inf")
        if self._is_stopped(worker.host):
            lists.wakes_at = self.now + RETRY
            self._at(self.now + RETRY, self._look, worker)
            return
        if lists.owes:
            self._begin_list(worker)
        else:
            self._send_list(worker)
        self._send(worker, lists.replica.tick(self._clock(worker)))

    # -- the promise -------------------------------------------------------------------------

    def check_lists(self) -> None:
        """After a calm time, every worker knows who is present, and nothing else."""
        present: defaultdict[str, dict[Person, set[str]]] = defaultdict(dict)
        for worker in self.workers.values():
            for sid, rooms in worker.memberships.items():
                for room in rooms - {sid}:
                    present[room].setdefault(_person(sid), set()).add(sid)
        for worker in self.workers.values():
            replica = self.lists(worker).replica
            missing = replica.missing(worker.node.peers)
            demand("every list arrives", not missing, f"{worker.name} has none of {missing}")
            for room in {str(room) for _, room in replica._rooms} | present.keys():
                known = {
                    person: {one.sid for one in sockets}
                    for person, sockets in replica.people(("/", room)).items()
                }
                demand(
                    "every worker knows who is present",
                    known == present.get(room, {}),
                    f"{worker.name} knows {known} in {room} for {present.get(room, {})}",
                )


def user_of(sid: str) -> str | None:
    """Return the user of a simulated socket."""
    client = sid.partition("_")[2].partition(".")[0]
    number = number_of(client) % 4
    return f"u{number}" if number else None


def _person(sid: str) -> Person:
    user = user_of(sid)
    return sid if user is None else User(user)
