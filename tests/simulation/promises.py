"""All promises together, as a World tells of what happens in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_rooms.protocol.messages import (
    Change,
    Emit,
    Frame,
    Operation,
)
from flask_rooms.protocol.node import Deliver
from flask_rooms.protocol.pending import Completed, TimedOut
from tests.simulation.broadcasts import Broadcasts, Said
from tests.simulation.changes import Asked, Changes
from tests.simulation.deaths import Deaths
from tests.simulation.demands import demand
from tests.simulation.model import Memberships
from tests.simulation.streams import Streams

if TYPE_CHECKING:
    from tests.simulation.world import Worker, World


class Promises:
    """
    Watches a World, and says at once where a promise is broken.

    Args:
        world: To be watched from its beginning.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        memberships = Memberships()
        self._streams: Streams[Asked | Said] = Streams(is_over)
        self._changes = Changes(world, memberships)
        self._broadcasts = Broadcasts(world, memberships)
        self._deaths = Deaths(world)

    # -- what the application of a worker does --------------------------------------------

    def connects(self, sid: str) -> None:
        """A worker has accepted a socket."""
        self._changes.connects(sid)

    def changes_here(self, worker: Worker, change: Change, sids: tuple[str, ...]) -> None:
        """A worker is about to move sockets of its own."""
        self._leaves(change, sids)
        self._changes.begins(worker.name, change, sids, here=True)

    def asks(self, worker: Worker, number: int, change: Change, sids: tuple[str, ...]) -> Asked:
        """A worker has asked others to move sockets of theirs."""
        self._leaves(change, sids)
        asked = self._changes.begins(worker.name, change, sids, here=False)
        self._streams.submits(worker.name, number, change, asked)
        return asked

    def _leaves(self, change: Change, sids: tuple[str, ...]) -> None:
        if change.action == "leave":
            for sid in sids:
                self._broadcasts.leaves(sid, str(change.rooms[0]))

    def sends(self, worker: Worker, room: str) -> Said:
        """A worker is about to send a broadcast."""
        return self._broadcasts.sends(worker.name, room)

    def submits(self, worker: Worker, number: int, emit: Emit, said: Said) -> None:
        """... and has put it into its outbox."""
        self._streams.submits(worker.name, number, emit, said)

    def not_sent(self, said: Said) -> None:
        """... or its outbox was full."""
        self._broadcasts.refused(said)

    def has_sent(self, said: Said) -> None:
        """... and its own sockets have it."""
        self._broadcasts.check_own(said)

    # -- the outbox -----------------------------------------------------------------------

    def accepts(self, worker: Worker, size: int) -> None:
        """A worker has put so many bytes into its outbox."""
        self._streams.grows(worker.name, size)

    def refuses(self, worker: Worker, size: int) -> None:
        """A worker's outbox had no room for so many bytes."""
        waiting = self._streams.waiting(worker.name)
        demand(
            "an outbox has room",
            waiting + size > worker.limits.outbox,
            f"that of {worker.name} takes no {size} bytes, and {waiting} wait",
        )

    def has_published(self, worker: Worker, frame: Frame) -> None:
        """The broker has a worker's frame."""
        self._streams.shrinks(worker.name, frame.first + len(frame.operations))

    # -- what workers do of their own ------------------------------------------------------

    def publishes(self, worker: Worker, frame: Frame) -> None:
        """A worker tries to publish a frame."""
        self._streams.publishes(worker.name, frame.first + len(frame.operations))
        if frame.heartbeat is not None:
            self._deaths.beats(worker, frame.heartbeat)

    def delivers(self, worker: Worker, event: Deliver) -> Asked | Said:
        """A worker is about to apply an operation of another one."""
        return self._streams.delivers(worker.name, event)

    def carries_out(self, asked: Asked, sids: tuple[str, ...]) -> None:
        """A worker is about to move its sockets for another one."""
        self._changes.carries_out(asked, sids)

    def check(self, sid: str, room: str) -> None:
        """A membership may have changed."""
        self._changes.check(sid, room)

    def hears(self, sid: str, tag: int, sender: str) -> None:
        """A socket gets a broadcast."""
        said = self._broadcasts.hears(sid, tag, sender)
        self._deaths.hears(sid, said)

    def settles(self, worker: Worker, asked: Asked, outcome: Completed) -> None:
        """A worker has its outcome."""
        for sid in self._changes.settles(asked, outcome):
            self._deaths.overlooks(worker, sid)

    def expires(self, asked: Asked, outcome: TimedOut) -> None:
        """A worker has been told that it is not known what came of it."""
        self._changes.expires(asked, outcome)

    def cast_out(self, worker: Worker, reason: str) -> None:
        """A worker must start again."""
        met = self._streams.has_reached(worker.name, reason.split()[1])
        self._deaths.cast_out(worker, reason, met=met)

    def moves_on(self, old: Worker, new: Worker, waiting: list[tuple[int, Operation]]) -> None:
        """... and has put what still waited into its new outbox."""
        for what in self._streams.moves_on(old.name, new.name, waiting):
            what.caller = new.name
            if isinstance(what, Asked):
                for part in what.parts.values():
                    part.caller = new.name

    def dies(self, worker: Worker) -> None:
        """The life of a worker is over."""
        for asked, _ in worker.asks.values():
            self._changes.gives_up(asked)

    # -- time -----------------------------------------------------------------------------

    def check_deadlines(self) -> None:
        """Some time has passed."""
        self._changes.check_deadlines()

    def check_end(self) -> None:
        """All has been well for some time."""
        self._broadcasts.check_end()
        for (sender, _), (_, what) in self._streams.submitted.items():
            if isinstance(what, Asked) and self._world.lives(sender):
                self._changes.check_end(what)
        names = {worker.name for worker in self._world.workers.values()}
        for worker in self._world.workers.values():
            demand("all meet", worker.node.peers == names - {worker.name}, worker.name)


def is_over(what: Asked | Said) -> bool:
    """Whether all have answered that were asked, without being named."""
    return (
        isinstance(what, Asked)
        and what.change.source is not None
        and isinstance(what.outcome, Completed)
    )
