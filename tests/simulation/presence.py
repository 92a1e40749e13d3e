"""A simulated cluster whose workers keep lists of who is present, and the promise about these."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flask_rooms.protocol.announcements import Announcement, Announcements, Someone
from flask_rooms.protocol.events import Deliver, Event, PeerLeft
from flask_rooms.protocol.leading import LEADS, WAITS, next_role
from flask_rooms.protocol.messages import (
    Absent,
    Announced,
    Change,
    Listed,
    ListPart,
    Operation,
    Present,
    User,
    Wanted,
)
from flask_rooms.protocol.presence import Person, Replica
from flask_rooms.protocol.stream import Limits
from tests.simulation.bus import number_of
from tests.simulation.demands import demand
from tests.simulation.world import WIDE, Outcome, Worker, World

#: Seconds for which people stay who have lost their connection.
GRACE = 1.5
#: Seconds between two attempts to send what the outbox has refused.
RETRY = 1.0
#: Seconds that the receivers of a signal take.
MARKED = 0.01
#: How many members a list may have.
MANY = 1000
#: The bounds of a tight worker: its outbox refuses changes of its list. Its log holds many of them,
#: as a worker that is still missing one when the log does not rightly starts over.
TIGHT = Limits(outbox=600, log=4096, frame=200)
#: The bytes of a part of a list: two or three members.
PART_BYTES = 150

People = dict[Person, frozenset[str]]
MakeReplica = Callable[[], Replica]
MakeAnnouncements = Callable[[Replica], Announcements]
NextRole = Callable[[str, int, Mapping[str, int], bool], int]


def make_replica() -> Replica:
    """Return the replica of a new worker."""
    return Replica(GRACE, MANY)


@dataclass
class Lists:
    """
    What a worker knows of who is present, as the driver of a real worker keeps it.

    Args:
        replica: The real lists.
        announcements: What was announced of them.
        owes: Whether the outbox has refused something.
        wakes_at: When it looks at the clock.
    """

    replica: Replica
    announcements: Announcements
    owes: bool = False
    wakes_at: float = float("inf")


class PresenceWorld(World):
    """
    A world in which every third client has no user, and the others share three users.

    Args:
        seed: Decides the fate of each frame.
        make: Makes the replicas; a mutant makes broken ones.
        announce: The same for what was announced.
    """

    def __init__(
        self,
        seed: int,
        make: MakeReplica = make_replica,
        announce: MakeAnnouncements = Announcements,
        role: NextRole = next_role,
    ) -> None:
        super().__init__(seed)
        self._make_replica = make
        self._announce = announce
        self._next_role = role
        self._lists: dict[str, Lists] = {}  # host -> the lists of its present life
        #: Of what each life has had a mark.
        self.marked: set[tuple[str, Announcement]] = set()
        #: What the application was told, and by which life of a worker; None where it began to
        #: lead: what it was not told of before, since that was lost, it cannot know.
        self.told: list[tuple[str, Announcement | None]] = []

    def lists(self, worker: Worker) -> Lists:
        """Return the lists of a worker."""
        if worker.host not in self._lists:
            replica = self._make_replica()
            self._lists[worker.host] = Lists(replica, self._announce(replica))
            replica.role = WAITS
        return self._lists[worker.host]

    @property
    def was_troubled(self) -> bool:
        """Whether any worker has died, or was cut off or stopped."""
        return self.trouble_until() > 0

    def start(self, host: str, limits: Limits = WIDE, pace: float = 1.0, version: int = 1) -> None:
        """Start a new worker."""
        super().start(host, WIDE if limits is WIDE else TIGHT, pace, version)

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
            lists.announcements.restart()
            lists.replica.take_touched()
            self._lists[new.host] = Lists(lists.replica, lists.announcements)
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
        for name in worker.node.take_met():
            self._send(worker, self.lists(worker).replica.meet(name))
        for event in events:
            if isinstance(event, PeerLeft):
                replica = self.lists(worker).replica
                now = self._clock(worker)
                replica.lose(event.worker, now, said_goodbye=event.said_goodbye)
                self._send(worker, [])
            else:
                super()._handle(worker, [event])
                worker = self.workers.get(worker.host, worker)  # it may have a new life
        self._tell(worker, [])

    def _deliver(self, worker: Worker, event: Deliver) -> None:
        operation = event.operation
        if isinstance(operation, Announced):
            self.marked.add((worker.name, _announcement(operation)))
            self.lists(worker).announcements.receive(operation)
            self._send(worker, [])
            return
        lists = self.lists(worker)
        if isinstance(operation, Wanted):
            marks = lists.announcements.marks()
            part = lists.replica.part_for(event.sender, operation, marks, PART_BYTES)
            self._send(worker, [part])
        elif isinstance(operation, Present | Absent | Listed | ListPart):
            requests = lists.replica.receive(event.sender, operation)
            marks = lists.replica.take_marks(event.sender)
            self.marked |= {(worker.name, _announcement(mark)) for mark in marks}
            lists.announcements.receive_listed(marks)
            self._send(worker, requests)
        else:
            super()._deliver(worker, event)

    def _send(self, worker: Worker, operations: list[Operation]) -> None:
        lists = self.lists(worker)
        self._tell(worker, lists.replica.take_touched())
        if any(self._submit(worker, operation) is None for operation in operations):
            lists.owes = True
        self._flush(worker)
        self._watch(worker)

    def _tell(self, worker: Worker, touched: list[Someone]) -> None:
        """Tell the application, and then the other workers that it was told."""
        lists = self.lists(worker)
        node, replica = worker.node, lists.replica
        knows_all = node.is_settled and not replica.missing(node.known_workers)
        role = self._next_role(worker.name, replica.role, replica.roles, knows_all)
        if role != replica.role:
            if role == LEADS:
                leads = LEADS in replica.roles.values()
                demand("a leader stays one", not leads, f"{worker.name} leads, too")
                self.told.append((worker.name, None))
            replica.role = role
            lists.owes |= self._submit(worker, replica.bound()) is None
        due = lists.announcements.lead(role == LEADS)
        due += lists.announcements.note(touched, is_settled=node.is_settled)
        for one in due:
            is_known = (worker.name, one) in self.marked
            demand("what is marked is not repeated", not is_known, f"{worker.name} repeats {one}")
            self.told.append((worker.name, one))
            self._at(self.now + MARKED, self._mark, worker, one)

    def _mark(self, worker: Worker, announcement: Announcement) -> None:
        if self.lives(worker.name) and not self._is_stopped(worker.host):
            self._submit(worker, self.lists(worker).announcements.mark(announcement))
            self._flush(worker)

    def _watch(self, worker: Worker) -> None:
        lists = self.lists(worker)
        at = lists.replica.wakes_at - worker.skew
        if lists.owes:
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
        owed = [lists.replica.bound()] if lists.owes else []
        lists.owes = False
        self._send(worker, owed + lists.replica.tick(self._clock(worker)))

    # -- the promise -------------------------------------------------------------------------

    def check_announcements(self) -> None:
        """The application knows who is present, and was told nothing twice without a reason."""
        told: dict[Someone, Announcement] = {}
        lost: set[Someone] = set()  # of whom the one that leads cannot know what was told
        unsure: set[Someone] = set()  # of whom something was told of which the others know nothing
        by: dict[Announcement, str] = {}
        visits: defaultdict[Someone, set[int]] = defaultdict(set)  # that go on
        known_of = {one for _, one in self.marked}
        for life, one in self.told:
            if one is not None and one not in known_of and not self.lives(life):
                # The others had counted it as dead, or learned nothing of it.
                unsure.add((one.place, one.person))
                if not one.joined:
                    visits[one.place, one.person].discard(one.number)
                continue
            if one is None:
                is_fresh = not told or self.was_troubled
                demand("one worker leads", is_fresh, f"{life} leads, too")
                lost |= {who for who, last in told.items() if (life, last) not in self.marked}
                continue
            someone = one.place, one.person
            before, last = by.get(one), None if someone in lost else told.get(someone)
            by[one] = life
            if before is not None:
                # The application knows it by its number, also if it comes late.
                why = f"{life} repeats what {before} has told: {one}"
                demand("nobody is announced twice", before != life and self.was_troubled, why)
                continue
            if someone in lost:
                visits[someone].clear()  # none can tell the application that those have ended
                lost.discard(someone)
            if one.joined:
                fits = last is None or (not last.joined and last.number < one.number)
                fits |= someone in unsure
                demand("a repetition has its number", fits, f"{life} tells {one} after {last}")
                visits[someone].add(one.number)
            else:
                fits = one._replace(joined=True) in by
                demand("only who has joined leaves", fits, f"{life} tells {one} after {last}")
                visits[someone].discard(one.number)
            told[someone] = one
            unsure.discard(someone)
        present = {
            (("/", room), _person(sid))
            for worker in self.workers.values()
            for sid, rooms in worker.memberships.items()
            for room in rooms - {sid}
        }
        known = {someone for someone, numbers in visits.items() if numbers}
        demand("no join is missed", not present - known, f"not joined: {present - known}")
        gone = known - present - lost
        demand("no leave is missed", not gone, f"not left: {gone}")

    def check_lists(self) -> None:
        """After a calm time, every worker knows who is present, and nothing else."""
        for worker in self.workers.values():
            present = self._present_for(worker)
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

    def _present_for(self, worker: Worker) -> dict[str, dict[Person, set[str]]]:
        present: defaultdict[str, dict[Person, set[str]]] = defaultdict(dict)
        for other in self.workers.values():
            if self.speak_alike(worker.host, other.host):
                for sid, rooms in other.memberships.items():
                    for room in rooms - {sid}:
                        present[room].setdefault(_person(sid), set()).add(sid)
        return present


def _announcement(mark: Announced) -> Announcement:
    person: Person = mark.sid if mark.user is None else User(mark.user)
    return Announcement((mark.namespace, mark.room), person, mark.joined, mark.number)


def user_of(sid: str) -> str | None:
    """Return the user of a simulated socket."""
    client = sid.partition("_")[2].partition(".")[0]
    number = number_of(client) % 4
    return f"u{number}" if number else None


def _person(sid: str) -> Person:
    user = user_of(sid)
    return sid if user is None else User(user)
