"""The promises about broadcasts: to every member, to nobody else, once, and in order."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask_rooms.protocol.ids import owner_of
from tests.simulation.demands import demand
from tests.simulation.model import Memberships

if TYPE_CHECKING:
    from tests.simulation.world import World


@dataclass(eq=False)
class Said:
    """
    A broadcast.

    Args:
        tag: Its number; later ones have higher numbers.
        caller: The life that sent it.
        room: Where to.
        began: When.
    """

    tag: int
    caller: str
    room: str
    began: int


class Broadcasts:
    """
    Watches who receives what.

    Args:
        world: To be watched.
        memberships: What is known of them.
    """

    def __init__(self, world: World, memberships: Memberships) -> None:
        self._world = world
        self._memberships = memberships
        self._said: list[Said] = []
        self._owed: defaultdict[tuple[str, str], set[int]] = defaultdict(set)  # sid, room -> tags
        self._heard: set[tuple[str, int]] = set()
        self._latest: dict[tuple[str, str], int] = {}  # sid, sender -> tag

    def sends(self, caller: str, room: str) -> Said:
        """A worker is about to send a broadcast: whoever is certainly a member is owed it."""
        said = Said(len(self._said), caller, room, self._world.moment())
        self._said.append(said)
        for sid, membership in self._memberships.by_room[room].items():
            if membership.possible(caller) == {"join"} and self._world.holder(sid):
                self._owed[sid, room].add(said.tag)
        return said

    def refused(self, said: Said) -> None:
        """The outbox was full: only the sender's own sockets get it."""
        for sid in self._memberships.by_room[said.room]:
            if owner_of(sid) != said.caller:
                self._owed[sid, said.room].discard(said.tag)

    def leaves(self, sid: str, room: str) -> None:
        """A socket is about to leave, and no longer certainly a member."""
        self._owed.pop((sid, room), None)

    def hears(self, sid: str, tag: int, sender: str) -> Said:
        """A socket gets a broadcast."""
        said = self._said[tag]
        # By now, whatever its sender had asked for before has been carried out.
        possible = self._memberships.get(sid, said.room).possible(said.caller, said.began)
        demand("fence", "join" in possible, f"{sid} got {tag}, and is not in {said.room}")
        demand("none doubled", (sid, tag) not in self._heard, f"{sid} got {tag} twice")
        demand("in order", self._latest.get((sid, sender), -1) < tag, f"{sid} got {tag} too late")
        self._heard.add((sid, tag))
        self._latest[sid, sender] = tag
        self._owed[sid, said.room].discard(tag)
        return said

    def check_own(self, said: Said) -> None:
        """Check that the sender's own sockets have it at once, whatever the broker does."""
        for sid in self._memberships.by_room[said.room]:
            late = owner_of(sid) == said.caller and said.tag in self._owed[sid, said.room]
            demand("served at full speed", not late, f"{sid} waits for {said.tag}")

    def check_end(self) -> None:
        """Check that everybody has what was owed, if sender and owner live and always did."""
        for (sid, room), tags in self._owed.items():
            if self._world.holder(sid):
                missed = [tag for tag in sorted(tags) if self._world.lives(self._said[tag].caller)]
                demand("nothing lost", not missed, f"{sid} in {room} misses {missed}")
