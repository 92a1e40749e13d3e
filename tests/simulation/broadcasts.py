"""The promises about broadcasts: every member gets them, no other socket, once and in order."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask_rooms.protocol.ids import owner_of
from tests.simulation.demands import demand
from tests.simulation.model import Memberships
from tests.simulation.names import host_of

if TYPE_CHECKING:
    from tests.simulation.world import World


@dataclass(eq=False)
class Message:
    """
    A broadcast.

    Args:
        tag: Its number; later ones have higher numbers.
        caller: The name of the worker that sent it.
        room: Its room.
        began: The moment at which it was sent.
    """

    tag: int
    caller: str
    room: str
    began: int


class Broadcasts:
    """
    Checks which socket receives which broadcast.

    Args:
        world: The world to check.
        memberships: The model of the memberships.
    """

    def __init__(self, world: World, memberships: Memberships) -> None:
        self._world = world
        self._memberships = memberships
        self._sent: list[Message] = []
        self._due: defaultdict[tuple[str, str], set[int]] = defaultdict(set)  # sid, room -> tags
        self._received: set[tuple[str, int]] = set()
        self._latest: dict[tuple[str, str], int] = {}  # sid, sender -> tag

    def sends(self, caller: str, room: str) -> Message:
        """A worker is about to send a broadcast, and every certain member must receive it."""
        message = Message(len(self._sent), caller, room, self._world.moment())
        self._sent.append(message)
        first = self._world.first_life(caller)
        for sid, membership in self._memberships.by_room[room].items():
            if membership.possible(first) == {"join"} and self._world.holder(sid):
                self._due[sid, room].add(message.tag)
        return message

    def refused(self, message: Message) -> None:
        """The outbox was full: only the sender's own sockets receive it."""
        for sid in self._memberships.by_room[message.room]:
            if owner_of(sid) != message.caller:
                self._due[sid, message.room].discard(message.tag)

    def moves_on(self, message: Message) -> None:
        """A broadcast goes on in the next life of its sender, without the joins before it."""
        caller = self._world.first_life(message.caller)
        for sid, membership in self._memberships.by_room[message.room].items():
            if membership.has_lost(caller):
                self._due[sid, message.room].discard(message.tag)

    def leaves(self, sid: str, room: str) -> None:
        """A socket is about to leave, and no longer a certain member."""
        self._due.pop((sid, room), None)

    def receives(self, sid: str, tag: int, sender: str) -> Message:
        """A socket receives a broadcast."""
        message = self._sent[tag]
        # The sender's earlier calls have been carried out by now, those of its earlier lives too.
        caller = self._world.first_life(message.caller)
        membership = self._memberships.get(sid, message.room)
        is_member = "join" in membership.possible(caller, message.began)
        ways = host_of(caller), host_of(owner_of(sid))
        if caller == message.caller or ways not in self._world.bus.copied:
            demand("fence", is_member, f"{sid} got {tag}, and is not in {message.room}")
        demand("no duplicates", (sid, tag) not in self._received, f"{sid} got {tag} twice")
        demand("in order", self._latest.get((sid, sender), -1) < tag, f"{sid} got {tag} too late")
        self._received.add((sid, tag))
        self._latest[sid, sender] = tag
        self._due[sid, message.room].discard(tag)
        return message

    def check_own(self, message: Message) -> None:
        """Check that the sender's own sockets have it at once, even while the broker is away."""
        for sid in self._memberships.by_room[message.room]:
            late = owner_of(sid) == message.caller and message.tag in self._due[sid, message.room]
            demand("served at full speed", not late, f"{sid} waits for {message.tag}")

    def check_end(self) -> None:
        """Check that no certain member misses a broadcast whose sender and owner live."""
        for (sid, room), tags in self._due.items():
            if self._world.holder(sid):
                missed = [tag for tag in sorted(tags) if self._must_reach(sid, self._sent[tag])]
                demand("nothing lost", not missed, f"{sid} in {room} misses {missed}")

    def _must_reach(self, sid: str, message: Message) -> bool:
        ways = host_of(message.caller), host_of(owner_of(sid))
        can_reach = ways not in self._world.bus.copied and self._world.speak_alike(*ways)
        return self._world.lives(message.caller) and can_reach
