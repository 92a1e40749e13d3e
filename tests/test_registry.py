"""The registry keeps its two indexes in step, whatever is done to it and by how many threads."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from flask_rooms.registry import Registry
from tests.support.apps import PATIENCE, in_thread

NAMESPACES = ("/", "/chat")
SIDS = ("a", "b", "c")
ROOMS: tuple[str | int, ...] = ("red", "blue", "a", 42)

namespaces = st.sampled_from(NAMESPACES)
sids = st.sampled_from(SIDS)
rooms = st.sampled_from(ROOMS)


def session_of(sid: str) -> str:
    return f"session of {sid}"


class RegistryIsADictOfSets(RuleBasedStateMachine):
    """Does the same to a Registry and to a plain dict of sets, and compares them throughout."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = Registry()
        self.model: dict[tuple[str, str], set[Any]] = {}

    @rule(namespace=namespaces, sid=sids)
    def add(self, namespace: str, sid: str) -> None:
        is_new = (namespace, sid) not in self.model

        assert self.registry.add(namespace, sid, session_of(sid)) is is_new

        if is_new:
            self.model[namespace, sid] = {sid}

    @rule(namespace=namespaces, sid=sids)
    def remove(self, namespace: str, sid: str) -> None:
        assert self.registry.remove(namespace, sid) == self.model.pop((namespace, sid), set())

    @rule(namespace=namespaces, sid=sids, room=rooms)
    def join(self, namespace: str, sid: str, room: str) -> None:
        if (namespace, sid) not in self.model:
            with pytest.raises(KeyError):
                self.registry.join(namespace, sid, room)
            return

        own = self.model[namespace, sid]
        assert self.registry.join(namespace, sid, room) is (room not in own)
        own.add(room)

    @rule(namespace=namespaces, sid=sids, room=rooms)
    def leave(self, namespace: str, sid: str, room: str) -> None:
        if (namespace, sid) not in self.model:
            with pytest.raises(KeyError):
                self.registry.leave(namespace, sid, room)
            return

        own = self.model[namespace, sid]
        assert self.registry.leave(namespace, sid, room) is (room in own)
        own.discard(room)

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
            everybody = {sid for space, sid in self.model if space == namespace}
            assert self.registry.members(namespace, None).keys() == everybody

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
TestRegistryIsADictOfSets = RegistryIsADictOfSets.TestCase


def test_who_is_in_two_of_the_rooms_is_found_once() -> None:
    registry = Registry()
    registry.add("/", "a", "session")
    registry.join("/", "a", "red")
    registry.join("/", "a", "blue")

    assert registry.members("/", ["red", "blue"]) == {"a": "session"}


def test_what_is_returned_is_a_copy() -> None:
    registry = Registry()
    registry.add("/", "a", "session")

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
            registry.add("/", sid, session_of(sid))
            for room in ("red", "blue"):
                assert registry.join("/", sid, room)
            assert registry.members("/", ["red", "blue"])[sid] == session_of(sid)
            assert registry.leave("/", sid, "red")
            assert registry.remove("/", sid) == {sid, "blue"}

    threads = [in_thread(partial(come_and_go, f"socket {n}")) for n in range(8)]
    for thread in threads:
        thread.result(PATIENCE)

    assert registry.members("/", ["red", "blue"]) == {}
    assert registry.namespaces() == []
