"""The registry keeps its two indexes in step, whatever is done to it and by how many threads."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from flask_rooms.membership.namespace import MembershipEvent, PendingJoin
from flask_rooms.membership.registry import Changed, Registry
from flask_rooms.protocol.ids import new_sid
from flask_rooms.protocol.messages import (
    Action,
    Audience,
    Change,
    Options,
    Query,
    User,
)
from tests.support.apps import PATIENCE, in_thread

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]

NAMESPACES = ("/", "/chat")
SIDS = ("a", "b", "c")
ROOMS: tuple[str | int, ...] = ("red", "blue", "a", 42)

namespaces = st.sampled_from(NAMESPACES)
sids = st.sampled_from(SIDS)
rooms = st.sampled_from(ROOMS)


def session_of(sid: str) -> str:
    return f"session of {sid}"


def user_of(sid: str) -> User:
    """Return the user of a socket: `a` and `b` are two tabs of one user."""
    return User("one" if sid in "ab" else "other")


def admit(
    registry: Registry, namespace: str, sid: str, eio_sid: str, user: User | None = None
) -> list[PendingJoin] | None:
    """Take a socket through the steps of connecting."""
    attempt = registry.begin(namespace, eio_sid)
    assert attempt is not None
    attempt.user = user
    joins = registry.admit(attempt, sid)
    registry.finish(attempt)
    return joins


def change(
    registry: Registry,
    action: Action,
    namespace: str,
    sid: str = "",
    *rooms: str | int,
    source: Audience | None = None,
) -> Changed:
    sids = (sid,) if source is None else ()
    return registry.apply(Change(action, namespace, sids, rooms, source))


def join(registry: Registry, sid: str, room: str) -> bool:
    return bool(change(registry, "join", "/", sid, room).events)


class RegistryIsADictOfSets(RuleBasedStateMachine):
    """Does the same to a Registry and to a plain dict of sets, and compares them throughout."""

    def __init__(self) -> None:
        super().__init__()
        self.is_heard = True
        self.registry = Registry(listens=lambda: self.is_heard)
        self.model: dict[tuple[str, str], set[Any]] = {}

    @rule(namespace=namespaces, sid=sids)
    def add(self, namespace: str, sid: str) -> None:
        is_new = (namespace, sid) not in self.model

        added = admit(self.registry, namespace, sid, session_of(sid), user_of(sid))
        assert (added is not None) is is_new

        if is_new:
            self.model[namespace, sid] = {sid}

    @rule(namespace=namespaces, sid=sids)
    def remove(self, namespace: str, sid: str) -> None:
        expected = self.model.pop((namespace, sid), set())

        moved = self.registry.remove(namespace, sid)

        assert {one.room for one in moved if not one.joined} == expected
        self._check_edges(moved)

    @rule(namespace=namespaces, sid=sids, room=rooms)
    def join(self, namespace: str, sid: str, room: str) -> None:
        done = change(self.registry, "join", namespace, sid, room)

        self._check(done, namespace, sid, room, lambda own: own | {room})

    @rule(namespace=namespaces, sid=sids, room=rooms)
    def leave(self, namespace: str, sid: str, room: str) -> None:
        done = change(self.registry, "leave", namespace, sid, room)

        self._check(done, namespace, sid, room, lambda own: own - {room})

    @rule(namespace=namespaces, sid=sids, room=rooms)
    def fast_leave(self, namespace: str, sid: str, room: str) -> None:
        assert self.registry.fast_leave(namespace, sid, (room,)) is None
        self.is_heard = False
        left = self.registry.fast_leave(namespace, sid, (room,))
        self.is_heard = True

        own = self.model.get((namespace, sid))
        assert left == (None if own is None else int(room in own))
        if own is not None:
            own.discard(room)

    @rule(namespace=namespaces, source=rooms | sids.map(user_of))
    def leave_all(self, namespace: str, source: Audience) -> None:
        expected = set()
        for (space, sid), own in self.model.items():
            if space == namespace and source in (own | {user_of(sid)}):
                expected |= {(sid, room) for room in own - {sid}}
                own &= {sid}

        done = change(self.registry, "leave_all", namespace, source=source)

        assert {(one.sid, one.room) for one in done.events} == expected
        self._check_edges(done.events)

    @rule(namespace=namespaces, source=rooms | sids.map(user_of))
    def disconnect(self, namespace: str, source: Audience) -> None:
        gone = {
            sid
            for (space, sid), own in self.model.items()
            if space == namespace and source in (own | {user_of(sid)})
        }

        done = change(self.registry, "disconnect", namespace, source=source)

        assert {socket.sid for socket in done.ended} == gone
        for sid in gone:
            kept = self.model.pop((namespace, sid))
            # No room reaches it any more, and its handler still sees its rooms.
            assert self.registry.rooms_of(namespace, sid) == kept
            assert change(self.registry, "join", namespace, sid, "red").unknown == [sid]
            assert self.registry.remove(namespace, sid) == []
        self._check_edges(done.events)

    def _check(
        self, done: Changed, namespace: str, sid: str, room: Any, act: Callable[[Any], Any]
    ) -> None:
        if (namespace, sid) not in self.model:
            assert done == Changed(unknown=[sid])
            return
        before = self.model[namespace, sid]
        self.model[namespace, sid] = after = act(before)
        user = user_of(sid).id
        moved = [(namespace, sid, user, room, room in after)] if before != after else []
        assert [one[:5] for one in done.events] == moved
        assert done.unchanged == 1 - len(moved)
        self._check_edges(done.events)

    def _check_edges(self, moved: list[MembershipEvent]) -> None:
        """A room begins with its first member, and ends with its last."""
        for one in {(one.namespace, one.room): one for one in moved}.values():
            left = self.registry.members(one.namespace, [one.room])
            assert one.edge is (len(left) == one.joined)

    @invariant()
    def questions_are_answered_from_the_same(self) -> None:
        for namespace in NAMESPACES:
            here = {sid: own for (space, sid), own in self.model.items() if space == namespace}
            for about in (*ROOMS, User("one"), User("other"), None):
                found = {s for s, own in here.items() if about in (own | {user_of(s), None})}
                names, _ = self.registry.answer(Query("members", namespace, about))
                users, _ = self.registry.answer(Query("users", namespace, about))
                count = self.registry.answer(Query("count", namespace, about))
                assert (sorted(map(str, names)), count) == (sorted(found), ([], [len(found)]))
                assert sorted(map(str, users)) == sorted({user_of(sid).id for sid in found})

    @invariant()
    def sockets_know_their_rooms(self) -> None:
        for namespace in NAMESPACES:
            for sid in SIDS:
                expected = self.model.get((namespace, sid), set())
                assert self.registry.rooms_of(namespace, sid) == expected

    @invariant()
    def rooms_know_their_members(self) -> None:
        for namespace in NAMESPACES:
            for room in (*ROOMS, "b", "c"):
                assert self.registry.members(namespace, [room]) == {
                    sid: session_of(sid)
                    for (space, sid), own in self.model.items()
                    if space == namespace and room in own
                }

    @invariant()
    def namespaces_know_their_sockets(self) -> None:
        assert set(self.registry.namespaces()) == {namespace for namespace, _ in self.model}
        for namespace in NAMESPACES:
            all_sids = {sid for space, sid in self.model if space == namespace}
            assert self.registry.members(namespace, None).keys() == all_sids

    @invariant()
    def sessions_know_their_socket(self) -> None:
        for namespace in NAMESPACES:
            for sid in SIDS:
                found = self.registry.get_by_eio_sid(namespace, session_of(sid))
                assert found is self.registry.get(namespace, sid)
                assert (found is not None) is ((namespace, sid) in self.model)


RegistryIsADictOfSets.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None
)
TestRegistryIsADictOfSets = pytest.mark.slow(RegistryIsADictOfSets.TestCase)


def test_a_socket_in_two_of_the_rooms_is_found_once() -> None:
    registry = Registry()
    admit(registry, "/", "a", "session")
    join(registry, "a", "red")
    join(registry, "a", "blue")

    assert registry.members("/", ["red", "blue"]) == {"a": "session"}


def test_what_is_returned_is_a_copy() -> None:
    registry = Registry()
    admit(registry, "/", "a", "session")

    registry.members("/", None).clear()
    registry.members("/", ["a"]).clear()
    registry.namespaces().clear()

    assert registry.members("/", None) == registry.members("/", ["a"]) == {"a": "session"}
    assert registry.namespaces() == ["/"]


def test_an_empty_registry_has_no_members_and_no_namespaces() -> None:
    registry = Registry()

    assert registry.members("/", None) == registry.members("/", ["red"]) == {}
    assert registry.namespaces() == []
    assert registry.get("/", "a") is None


def test_threads_leave_nothing_behind() -> None:
    registry = Registry()

    def come_and_go(sid: str) -> None:
        for _ in range(200):
            admit(registry, "/", sid, session_of(sid))
            for room in ("red", "blue"):
                assert join(registry, sid, room)
            assert registry.members("/", ["red", "blue"])[sid] == session_of(sid)
            assert change(registry, "leave", "/", sid, "red").events
            assert {moved.room for moved in registry.remove("/", sid)} == {sid, "blue"}

    threads = [in_thread(partial(come_and_go, f"socket {n}")) for n in range(8)]
    for thread in threads:
        thread.result(PATIENCE)

    assert registry.members("/", ["red", "blue"]) == {}
    assert registry.namespaces() == []


def test_a_session_is_vacant_before_its_first_socket_and_after_its_last() -> None:
    registry = Registry()
    vacated: list[str] = []
    registry.on_vacated = vacated.append
    attempts = [registry.begin(namespace, "session") for namespace in ("/", "/two")]
    assert None not in attempts
    assert not registry.is_vacant("session")

    for attempt in filter(None, attempts):
        registry.admit(attempt, f"in {attempt.namespace}")
        registry.finish(attempt)
        registry.finish(attempt)  # changes nothing more
    assert vacated == ["session"] * 2
    assert registry.namespaces_of("session") == 2
    registry.remove("/", "in /")
    assert not registry.is_vacant("session")
    registry.remove("/two", "in /two")

    assert registry.is_vacant("session")
    assert vacated == ["session"] * 4


def test_a_session_is_not_vacant_while_a_disconnect_handler_runs() -> None:
    registry = Registry()
    admit(registry, "/", "a", "session")
    registry.accept("/", "a")
    assert registry.claim("/", "a")
    assert not registry.is_vacant("session")

    registry.remove("/", "a")

    assert registry.is_vacant("session")


def test_each_login_is_found_from_when_it_expires_until_its_socket_ends() -> None:
    registry = Registry()
    for sid in SIDS:
        admit(registry, "/", sid, session_of(sid))
    early, late, changed = (one for sid in SIDS if (one := registry.accept("/", sid)))
    registry.set_login_expiry(late, 20.0)
    assert registry.expired(9.0) == []
    registry.set_login_expiry(early, 10.0)
    registry.set_login_expiry(changed, 10.0)
    registry.set_login_expiry(changed, None)

    assert [registry.expired(now) for now in (9.9, 10.0, 10.0)] == [[], *[[("/", early)]] * 2]
    registry.remove("/", early.sid)
    assert [registry.expired(now) for now in (19.9, 20.0)] == [[], [("/", late)]]
    registry.remove("/", late.sid)
    assert registry.expired(30.0) == []
    attempt = registry.begin("/", "session")
    assert attempt is not None
    attempt.expires = 40.0
    registry.admit(attempt, "d")
    assert registry.expired(40.0) == []  # it is still to be accepted
    accepted = registry.accept("/", "d")
    assert registry.expired(40.0) == [("/", accepted)]


def test_rooms_are_listed_by_their_prefix_and_without_those_of_ids() -> None:
    registry = Registry()
    own = new_sid("workerabcdefghij")
    for sid in ("a", own):
        admit(registry, "/", sid, session_of(sid))
        for room in ("team:1", "team:2", "other"):
            join(registry, sid, f"{room}{sid[:1]}" if room == "team:2" else room)

    names, counts = registry.answer(Query("rooms", "/", "team:"))

    assert dict(zip(names, counts, strict=True)) == {"team:1": 2, "team:2a": 1, "team:2w": 1}
    assert own not in registry.answer(Query("rooms", "/", ""))[0]


def test_the_room_of_an_id_is_for_its_socket_alone() -> None:
    registry = Registry()
    one, other = new_sid("workerabcdefghij"), new_sid("workerabcdefghij")
    for sid in (one, other):
        admit(registry, "/", sid, session_of(sid))

    assert change(registry, "join", "/", one, other, "red").events == [
        MembershipEvent("/", one, None, "red", joined=True, edge=True)
    ]
    assert registry.members("/", [other]) == {other: session_of(other)}


def test_a_leave_that_nothing_listens_to_undoes_a_join_that_waits_and_its_end_in_time() -> None:
    registry = Registry(listens=lambda: False)
    admit(registry, "/", "a", "session")
    registry.apply(Change("join", "/", ("a",), ("red",), options=Options(expires=60)))
    waits = registry.prepare(Change("join", "/", ("a",), ("red", "blue")))

    assert registry.fast_leave("/", "a", ("red",)) == 1

    done = registry.commit(waits)
    assert done is not None
    assert [one.room for one in done.events] == ["blue"]
    socket = registry.get("/", "a")
    assert socket is not None
    assert not socket.expiring


def test_a_room_that_is_left_while_all_of_it_leaves_is_counted_once() -> None:
    registry = Registry()
    for sid in ("a", "b"):
        admit(registry, "/", sid, session_of(sid))
        join(registry, sid, "red")

    done = change(registry, "leave", "/", "", "red", "blue", source="red")

    assert (len(done.events), done.unchanged) == (2, 2)
    assert [moved.edge for moved in done.events] == [False, True]


def _steps(function: Callable[[], object]) -> int:
    """Return how many lines of Python a function runs."""
    steps = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal steps
        steps += event == "line"
        return trace

    former = sys.gettrace()
    gc.collect()
    gc.disable()  # or what other tests have left, with finalizers, would count
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(former)
        gc.enable()
    return steps


def test_a_join_that_is_refused_for_its_number_of_rooms_is_not_carried_out_later() -> None:
    """A call that is refused does nothing: not for the sockets that are connecting, either."""
    registry = Registry(rooms_per_socket=1)
    ann = User("ann")
    admit(registry, "/", "a", session_of("a"), ann)
    registry.apply(Change("join", "/", ("a",), ("red",)))
    attempt = registry.begin("/", session_of("b"))
    assert attempt is not None
    attempt.user = ann

    join = registry.prepare(Change("join", "/", (), ("blue",), ann))
    done = registry.commit(join)

    assert done is not None
    assert done.refused == ["a"]
    assert registry.admit(attempt, "b") == []


def test_of_two_equal_joins_the_one_that_is_refused_is_forgotten() -> None:
    registry = Registry()
    ann = User("ann")
    attempt = registry.begin("/", session_of("a"))
    assert attempt is not None
    attempt.user = ann

    registry.commit(registry.prepare(Change("join", "/", (), ("red",), ann)))
    registry.apply(Change("leave", "/", (), ("red",), ann))
    registry.rollback(registry.prepare(Change("join", "/", (), ("red",), ann)))

    assert registry.admit(attempt, "a") == []


@pytest.mark.parametrize(
    "act",
    [
        lambda registry, join: registry.commit(join),
        lambda registry, join: registry.rollback(join),
        lambda registry, join: registry.apply(Change("leave", "/", ("a",), ("red",))),
        lambda registry, join: registry.apply(Change("leave", "/", (), (), "red")),
        lambda registry, join: registry.apply(Change("leave_all", "/", ("a",), ())),
        lambda registry, join: registry.remove("/", "a"),
        lambda registry, join: registry.begin_recheck("/", "red"),
    ],
    ids=["commit", "rollback", "leave", "leave of all", "leave_all", "remove", "recheck"],
)
def test_a_join_that_waits_for_guards_costs_the_same_however_many_others_wait(
    act: Callable[[Registry, PendingJoin], object],
) -> None:
    """Nothing looks through all joins that wait: a slow guard may have thousands of them."""

    def steps(others: int) -> int:
        registry = Registry()
        for sid in ("a", *map(str, range(others))):
            admit(registry, "/", sid, session_of(sid))
        for number in range(others):
            registry.prepare(Change("join", "/", (str(number),), (f"room {number}",)))
        waiting = registry.prepare(Change("join", "/", ("a",), ("red",)))
        return _steps(lambda: act(registry, waiting))

    assert steps(3) == steps(300)
