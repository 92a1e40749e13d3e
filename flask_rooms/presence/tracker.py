"""Keeps the list of this worker's members in tracked rooms, and that of the others, up to date."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from flask import Flask, current_app

from flask_rooms.backends.logs import safe_logging
from flask_rooms.cluster.driver import Cluster
from flask_rooms.errors import InvalidArgument, InvalidData, InvalidRoom, RoomsError
from flask_rooms.membership.guards import InContext
from flask_rooms.membership.names import is_text, type_of
from flask_rooms.membership.namespace import MembershipEvent, Origin
from flask_rooms.membership.notifications import SignalQueue
from flask_rooms.membership.refusals import Refusals
from flask_rooms.membership.rules import Rules
from flask_rooms.presence.feed import Feed, FeedEvent, parse
from flask_rooms.protocol.announcements import Announcement, Announcements
from flask_rooms.protocol.leading import LEADS, WAITS, next_role
from flask_rooms.protocol.lists import Key
from flask_rooms.protocol.messages import (
    Announced,
    Operation,
    Presence,
    Present,
    Room,
    User,
    Wanted,
)
from flask_rooms.protocol.presence import Replica
from flask_rooms.results import Answer, Person
from flask_rooms.server.tasks import Tasks
from flask_rooms.signals import user_joined, user_left

logger = logging.getLogger("flask_rooms.presence")

#: Returns what others are to know of a member: a dictionary, or None for nothing.
Describe: TypeAlias = "Callable[..., object]"

#: The longest time in seconds for which what is due waits for the clock, or for the outbox.
_TICK = 0.25


class _Step(NamedTuple):
    """
    A membership that has begun or ended in a room that is tracked.

    Args:
        key: The socket, and where.
        user: Its user, where that is known.
        serial: The number of the membership; 0 if it has ended.
        describe: Returns the data of a membership that has begun.
        stays: Whether the person of one that has ended may be back soon.
    """

    key: Key
    user: str | None
    serial: int
    describe: Callable[[], object]
    stays: bool


class _Own(threading.local):
    """The memberships that a thread has noted for a call, and not waited for."""

    def __init__(self) -> None:
        self.serials: list[int] = []


class Tracker:
    """
    Who is present in the tracked rooms, as this worker knows it.

    Its methods may be called from any thread. No function of the application is called while its
    lock is held.

    Args:
        app: The application.
        rules: The functions that return the data of a member, by the names of rooms.
        replica: The lists of all workers.
        refusals: Counts members that are too many.
        tasks: Waits in the background.
        data_bytes: How many bytes the data of one member may have.
        limit: How many members this worker may list.
        message_bytes: How long a part of its list for another worker may be.
    """

    def __init__(
        self,
        app: Flask,
        rules: Rules[Describe],
        replica: Replica,
        refusals: Refusals,
        tasks: Tasks,
        data_bytes: int,
        limit: int,
        message_bytes: int,
    ) -> None:
        self._app = app
        self._rules = rules
        self._replica = replica
        self._announcements = Announcements(replica)
        self._refusals = refusals
        self._tasks = tasks
        self._data_bytes = data_bytes
        self._limit = limit
        self._message_bytes = message_bytes
        self._serials = itertools.count(1)
        self._clear()

    def _clear(self) -> None:
        self._lock = threading.Lock()
        self._telling = threading.Lock()
        self._taking = threading.Lock()
        self._steps: deque[_Step] = deque()
        self._unfinished: dict[int, list[Any]] = {}  # serial -> the events of those that wait
        self._own = _Own()
        self._memberships: dict[Key, int] = {}  # written under the lock of the registry
        self._is_watching = False
        self._has_announced = False
        self._is_choosing = False  # whether no worker leads, as far as is known
        self._life = 0  # how often this worker has started over
        self._serves = False
        self._has_submitted = False  # since the last flush
        self._bound_unsent = False  # whether something could not be sent, which the others may miss

    def connect(self, cluster: Cluster, feed: Feed, call: InContext, signals: SignalQueue) -> None:
        """
        Set what this worker lists for: the other workers, and its clients.

        Args:
            cluster: The connection to the others.
            feed: Tells the clients.
            call: Calls a function of the application in the context of a socket.
            signals: Tell the application who has come and gone.
        """
        self._cluster, self._feed, self._call, self._signals = cluster, feed, call, signals

    # -- memberships of this worker ----------------------------------------------------------

    @property
    def listens(self) -> bool:
        """Whether a room may be tracked."""
        return not self._rules.are_empty

    def note(self, events: list[MembershipEvent], origin: Origin) -> bool:
        """
        Note memberships that have begun or ended; called under the lock of the registry.

        Returns:
            Whether flush() has something to do.
        """
        if self._rules.are_empty:
            return False
        steps = len(self._steps)
        # A call or a refusal has ended it for good; a client that has left by itself may reload.
        stays = origin.reason == "disconnect" and not (origin.worker or origin.refused)
        for event in events:
            key = event.namespace, event.room, event.sid
            if not event.joined:
                if self._memberships.pop(key, None) is not None:
                    self._steps.append(_Step(key, event.user, 0, dict, stays))
            elif event.room != event.sid and (found := self._rules.match(event.room)):
                serial = self._memberships[key] = next(self._serials)
                self._unfinished[serial] = []
                if origin.reason == "call":
                    self._own.serials.append(serial)
                describe = partial(_describe, *found)
                self._steps.append(_Step(key, event.user, serial, describe, False))
        return len(self._steps) > steps

    def flush(self) -> None:
        """
        Carry on what was noted; called outside any lock, as it asks functions.

        Returns when the memberships are listed that were noted in this thread, for a call.
        """
        serials, self._own.serials = self._own.serials, []
        # What is nested too deeply leaves it to what is around it, which flushes when it is done.
        with contextlib.suppress(RecursionError):
            while (leave := self._take_step(only_leave=True)) is not None:
                self._leave(leave)  # here, as it asks no function
            if self._steps:
                self._tasks.run_apart(self._carry_on, "presence")
            for serial in serials:
                self._wait_for(serial)

    def _carry_on(self) -> None:
        while (step := self._take_step()) is not None:
            if not step.serial:
                self._leave(step)
                continue
            try:
                self._enter(step)
            finally:
                with self._taking:
                    waiting = self._unfinished.pop(step.serial, [])
                for event in waiting:
                    event.set()

    def _wait_for(self, serial: int) -> None:
        """
        Wait for a step that another thread may have taken.

        No two wait for each other: a function that is running waits for later ones alone.
        """
        with self._taking:
            waiting = self._unfinished.get(serial)
            if waiting is None:
                return
            event = self._tasks.create_event()
            waiting.append(event)
        event.wait()

    def _take_step(self, *, only_leave: bool = False) -> _Step | None:
        """Return the next step, if it is of a membership that has ended where only that is for."""
        with self._taking:
            if not self._steps or (only_leave and self._steps[0].serial):
                return None
            return self._steps.popleft()

    def _leave(self, step: _Step) -> None:
        def leave() -> list[Operation]:
            if step.key in self._memberships:
                return []  # it has joined again, and another thread may have listed it already
            return self._replica.leave(step.key, time.monotonic(), stays=step.stays)

        self._carry_out(leave)

    def _enter(self, step: _Step) -> None:
        data = self._data_of(step)
        has_room = True

        def enter() -> list[Operation]:
            nonlocal has_room
            if self._memberships.get(step.key) != step.serial:
                return []  # it has left meanwhile
            if self._replica.size >= self._limit and self._replica.own(step.key) is None:
                has_room = False
                return []
            namespace, room, sid = step.key
            operations = self._replica.enter(step.key, step.user, data, time.time())
            self._take_touched()
            self._feed.welcome((namespace, room), sid, self._replica)
            return operations

        self._carry_out(enter)
        if not has_room:
            self._refusals.count("presence_members")

    def _data_of(self, step: _Step) -> str:
        namespace, _, sid = step.key
        try:
            found = self._call(step.describe, namespace, sid)
            return self._encode({} if found is None else found)
        except BaseException:  # of the application, such as SystemExit: it is a member all the same
            with safe_logging():
                logger.exception("The presence data of %s could not be had: it has none.", sid)
            return "{}"

    def _encode(self, data: object) -> str:
        if not isinstance(data, Mapping):
            raise _not_a_dictionary(data)
        try:
            text = self._app.json.dumps(dict(data))
            parsed = json.loads(text, parse_constant=_refuse_constant)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InvalidData(f"Presence data have to be data of JSON: {error}.") from error
        size = len(text.encode(errors="replace"))
        if size > self._data_bytes or not is_text(text):
            raise InvalidArgument(
                f"These presence data take {size} bytes of JSON, and {self._data_bytes} are "
                "allowed: tell less, or raise ROOMS_PRESENCE_BYTES on every worker."
            )
        self._feed.require_sendable(parsed)  # msgpack has less than JSON
        return text

    # -- what callers ask --------------------------------------------------------------------

    def update(self, namespace: str, sid: str, room: str, data: object) -> bool:
        """
        Change keys of the data of a socket of this worker; None removes one.

        Returns:
            Whether the socket is listed in that room.

        Raises:
            InvalidRoom: Its presence is not tracked.
            InvalidArgument: *data* are no dictionary, or too large.
        """
        self._require_rule(room)
        if not isinstance(data, Mapping):
            raise _not_a_dictionary(data)
        key = namespace, room, sid
        while True:
            with self._lock:
                member = self._replica.own(key) if key in self._memberships else None
            if member is None:
                return False
            both = {**parse(member.data), **data}
            text = self._encode({name: one for name, one in both.items() if one is not None})
            if text == member.data or self._replace(key, member, text):
                return True

    def _replace(self, key: Key, member: Present, text: str) -> bool:
        """Replace what is listed of a socket, unless another thread has done so meanwhile."""
        same = False

        def replace() -> list[Operation]:
            nonlocal same
            # One that has left may be listed on, until its person is back or does not come.
            same = key in self._memberships and self._replica.own(key) is member
            return self._replica.enter(key, member.user, text, member.since) if same else []

        self._carry_out(replace)
        return same

    def people(self, namespace: str, room: str) -> Answer[tuple[Person, ...]]:
        """Return the people in a room, those first that came first."""
        self._require_rule(room)
        workers, settled = self._cluster.known_workers
        with self._lock:
            missing = self._replica.missing(workers)
            people = self._replica.people((namespace, room))
        found = [
            Person(
                person.id if isinstance(person, User) else None,
                min(one.since for one in sockets),
                {one.sid: parse(one.data) for one in sockets},
            )
            for person, sockets in people.items()
        ]
        found.sort(key=lambda person: (person.since, person.user or ""))
        infos = tuple(self._cluster.info(name) for name in sorted(missing))
        return Answer(tuple(found), settled and not missing, infos)

    def _require_rule(self, room: Room) -> None:
        if self._rules.match(room) is None:
            raise InvalidRoom(
                "The presence of this room is not tracked: register a rule that matches its name "
                "with @rooms.presence()."
            )

    # -- other workers -------------------------------------------------------------------------

    def on_operation(self, operation: Presence, sender: str) -> None:
        """Take in what another worker lists."""
        self._carry_out(partial(self._receive, operation, sender))

    def _receive(self, operation: Presence, sender: str) -> list[Operation]:
        if isinstance(operation, Wanted):
            marks = self._announcements.marks()
            return [self._replica.part_for(sender, operation, marks, self._message_bytes)]
        if isinstance(operation, Announced):
            self._announcements.receive(operation)
            return []
        requests = self._replica.receive(sender, operation)
        self._announcements.receive_listed(self._replica.take_marks(sender))
        return requests

    def on_worker_met(self, worker: str) -> None:
        """Ask a worker that is met for its list."""
        if not self._rules.are_empty:
            self._carry_out(partial(self._replica.meet, worker))

    def on_worker_left(self, worker: str, said_goodbye: bool) -> None:
        """Forget the list of a worker that has ended."""

        def lose() -> list[Operation]:
            self._replica.lose(worker, time.monotonic(), said_goodbye=said_goodbye)
            return []

        self._carry_out(lose)

    def on_serving(self) -> None:
        """Note that this worker begins to serve clients."""
        self._serves = True

    def on_restart(self) -> None:
        """Forget all lists: this worker has a new name, and its sockets are about to go."""
        with self._lock:
            self._replica.restart()
            self._announcements.restart()
            self._life += 1
            self._bound_unsent = False
            self._feed.touch(self._replica.take_touched())

    def reset_after_fork(self) -> None:
        """Forget, in a forked child, the sockets of the parent."""
        self._clear()
        self._replica.restart()
        self._announcements.restart()
        self._replica.take_touched()
        self._feed.clear()

    # -- one step at a time --------------------------------------------------------------------

    def _carry_out(self, change: Callable[[], list[Operation]]) -> None:
        """Change the lists, send the other workers what has changed, and tell the clients."""
        with self._lock:
            operations = change()
            self._submit(operations)
            self._take_touched()
            announces, self._has_announced = self._has_announced, False
            watches = self._has_to_watch()
            sends, self._has_submitted = self._has_submitted, False
        if sends:
            self._cluster.sender.flush()
        if watches and not self._tasks.start_loop(self._watch):
            self._is_watching = False  # so that the next change tries again
        self._tell()
        if announces:
            self._tasks.spawn(self._signals.flush)

    def _take_touched(self) -> None:
        touched = self._replica.take_touched()
        self._feed.touch(touched)
        if not self._may_lead:
            return
        workers, is_settled = self._cluster.known_workers
        role = self._choose_role(is_settled and not self._replica.missing(workers))
        due = self._announcements.lead(role == LEADS)
        for one in due + self._announcements.note(touched, is_settled=is_settled):
            self._has_announced = True
            then = partial(self._mark, one, self._life)
            self._signals.add_person(one.joined, _about(one), then)

    @property
    def _may_lead(self) -> bool:
        """Whether this worker serves clients, and has an application to tell."""
        if self._rules.are_empty or not self._serves:
            return False
        return any(signal.has_receivers_for(self._app) for signal in (user_joined, user_left))

    def _choose_role(self, knows_all: bool) -> int:
        was, roles = self._replica.role, self._replica.roles
        role = next_role(self._cluster.name, was or WAITS, roles, knows_all)
        self._is_choosing = role != LEADS and LEADS not in roles.values()
        if role != was:
            self._replica.role = role
            self._submit([self._replica.bound()])
        return role

    def _mark(self, announcement: Announcement, life: int) -> None:
        """Tell the other workers that the application was told."""
        if life == self._life:
            self._carry_out(lambda: [self._announcements.mark(announcement)])

    def _submit(self, operations: list[Operation]) -> None:
        try:
            for operation in operations:
                self._cluster.sender.submit(operation)
                self._has_submitted = True
        except RoomsError:  # the outbox is full: the others notice the gap, and ask for the list
            self._bound_unsent = True

    def _tell(self) -> None:
        """Send the clients what is due, one thread at a time, so that it stays in order."""
        while True:
            if not self._telling.acquire(blocking=False):
                return  # that thread looks again
            try:
                while (event := self._next()) is not None:
                    self._deliver(event)
            finally:
                self._telling.release()
            with self._lock:
                if not self._feed.has_due:
                    return

    def _deliver(self, event: FeedEvent) -> None:
        try:
            self._feed.deliver(event)
        except Exception:  # of the data of another worker; the next event is not to be missed
            with safe_logging():
                logger.exception("Clients could not be told who is present.")

    def _next(self) -> FeedEvent | None:
        with self._lock:
            return self._feed.next(self._replica)

    # -- the clock -----------------------------------------------------------------------------

    def _has_to_watch(self) -> bool:
        """Whether a task has to be started that waits; call it under the lock."""
        if self._is_watching or not self._is_waiting:
            return False
        self._is_watching = True
        return True

    @property
    def _is_waiting(self) -> bool:
        is_announcing = self._is_choosing or self._announcements.is_waiting
        return self._bound_unsent or is_announcing or self._replica.wakes_at < float("inf")

    def _watch(self) -> None:
        while True:
            with self._lock:
                if not self._is_waiting:
                    self._is_watching = False
                    return
                left = self._replica.wakes_at - time.monotonic()
            self._tasks.sleep(min(max(left, 0.01), _TICK))
            try:
                self._carry_out(self._pass_time)
            except Exception:  # the next look is not to be missed for it
                with safe_logging():
                    logger.exception("The lists of who is present could not be brought up to date.")
                self._tasks.sleep(_TICK)

    def _pass_time(self) -> list[Operation]:
        bound = [self._replica.bound()] if self._bound_unsent else []
        self._bound_unsent = False
        return bound + self._replica.tick(time.monotonic())


def _about(announcement: Announcement) -> dict[str, Any]:
    namespace, room = announcement.place
    is_user = isinstance(announcement.person, User)
    return {
        "namespace": namespace,
        "room": room,
        "user": announcement.person.id if isinstance(announcement.person, User) else None,
        "sid": None if is_user else announcement.person,
        "number": announcement.number,
    }


def _describe(function: Describe, arguments: Mapping[str, Any]) -> object:
    return current_app.ensure_sync(function)(**arguments)


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no number of JSON")


def _not_a_dictionary(data: object) -> InvalidArgument:
    return InvalidArgument(f"Presence data are a dictionary, not {type_of(data)}.")
