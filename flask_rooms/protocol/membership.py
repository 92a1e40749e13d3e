"""
Which workers are alive: one state for each name, and what moves it to the next.

| from | to | when |
|---|---|---|
| (none) | reported | a peer names it as alive |
| (none), reported | joining | its heartbeat is received |
| (none), reported | ruled out | a caller is told that it does not exist |
| (none) | foreign | its frame is of another version |
| joining | alive | its heartbeat names this worker |
| joining, alive | suspect | too many own echoes without anything new from it |
| alive | dead | it says goodbye |
| suspect | dead | the heartbeat that tells it so has echoed |
| reported, foreign | (none) | it is no longer reported, or heard |

A name is new for each life of a worker, so nothing leaves dead or ruled out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from itertools import filterfalse

from flask_rooms.protocol.clock import MAX_MISSED_BEATS
from flask_rooms.protocol.messages import COUNTED_DEAD, Heartbeat

#: How many ruled-out worker names are remembered. Bounded, because a caller can make up any
#: number.
MAX_RULED_OUT = 1000


class State(Enum):
    """What another worker is for this one."""

    REPORTED = auto()  # never heard, but a peer counts it as alive
    JOINING = auto()  # heard; it has not named this worker, so its stream is not applied
    ALIVE = auto()
    SUSPECT = auto()  # silent for too long; it is being told
    DEAD = auto()
    RULED_OUT = auto()  # never heard, and reported as unknown to a caller
    FOREIGN = auto()  # of another version, so it cannot be understood


@dataclass
class Peer:
    """
    A worker that is joining or alive.

    Args:
        state: Which of the two.
        missed_beats: Own heartbeats that echoed since it sent anything new.
        beat: Its latest heartbeat.
        reports: The workers that it counts as alive, and that this one had not met.
        has_held: Whether it has caused a quarantine; it may do so once.
        born_by: The latest time at which it can have been born.
    """

    born_by: float
    state: State = State.JOINING
    missed_beats: int = 0
    beat: int = 0
    reports: frozenset[str] = frozenset()
    has_held: bool = False


class Membership:
    """
    The states of the other workers.

    Attributes:
        peers: Those that are joining or alive.
        audience: How many workers were connected to the broker, and when that was; or None.
    """

    def __init__(self) -> None:
        self.peers: dict[str, Peer] = {}
        self._suspects: dict[str, int] = {}  # -> the first own heartbeat that leaves it out
        self._dead: set[str] = set()  # never forgotten, or recorded copies would be applied again
        self._ruled_out: dict[str, float] = {}  # -> own age when it was
        self._foreign: dict[str, int] = {}  # -> own echoes since it was heard
        self._orphans: dict[str, int] = {}  # reported by one that has ended -> own echoes since
        self._asked: dict[str, int] = {}  # worker that asks -> its heartbeat to be answered
        self.audience: tuple[int, float] | None = None
        self._heard_after_death: set[str] = set()  # since the last own heartbeat
        self._overlooked_until = float("-inf")  # own age; a worker born earlier was overlooked

    def state_of(self, name: str) -> State | None:
        """Return the state of a worker; None if nothing is known of it."""
        if name in self.peers:
            return self.peers[name].state
        if name in self._suspects:
            return State.SUSPECT
        if name in self._dead:
            return State.DEAD
        if name in self._ruled_out:
            return State.RULED_OUT
        if name in self._foreign:
            return State.FOREIGN
        return State.REPORTED if name in self._reports() else None

    @property
    def awaited(self) -> list[str]:
        """The workers that may answer."""
        return [*self.peers, *self._suspects]

    @property
    def known_by_name(self) -> frozenset[str]:
        """The workers that are reported or foreign."""
        known = self._reports().union(self._foreign, self._orphans) - self.peers.keys()
        return frozenset(filterfalse(self.is_ruled_out, known))

    def _reports(self) -> frozenset[str]:
        return frozenset[str]().union(*(peer.reports for peer in self.peers.values()))

    def is_ruled_out(self, name: str) -> bool:
        """Whether no live worker can have this name, so that its socket IDs are unknown."""
        return self.state_of(name) in (State.SUSPECT, State.DEAD, State.RULED_OUT)

    # -- heartbeats -----------------------------------------------------------------------

    def told(self) -> set[str]:
        """
        Return the workers to name as dead in the next heartbeat.

        Rules `dead-are-told-first` and `dead-are-told-again`.
        """
        told = self._heard_after_death.union(self._suspects)
        self._heard_after_death.clear()
        return told

    def add(self, name: str, born_by: float) -> Peer:
        """Count a worker as alive, whose heartbeat has been received."""
        peer = self.peers[name] = Peer(born_by)
        return peer

    def ask(self, name: str, beat: int) -> None:
        """Rule `everybody-is-known`: answer a worker that asks with the next heartbeat."""
        self._asked[name] = beat

    def take_asked(self) -> dict[str, int]:
        """Return the workers that ask, with the heartbeats to be answered; and forget them."""
        asked, self._asked = self._asked, {}
        return asked

    def on_heartbeat(self, me: str, peer: Peer, beat: Heartbeat) -> bool | None:
        """
        Take in how a peer counts the workers.

        Rule `evicted-start-over`: it may count this one, whose name is *me*, as dead.

        Returns:
            Whether it has named this worker; None if it counts it as dead.
        """
        peer.beat = beat.beat
        stream_start = beat.stream_starts.get(me)
        is_left_out = stream_start is None and peer.state is State.ALIVE
        if stream_start == COUNTED_DEAD or is_left_out:
            return None
        if stream_start is not None:
            peer.state = State.ALIVE
        unmet = beat.stream_starts.keys() - self.peers.keys() - {me}
        peer.reports = frozenset(n for n in unmet if beat.stream_starts[n] != COUNTED_DEAD)
        return peer.state is State.ALIVE

    def note_foreign_version(self, name: str) -> None:
        """Rule `foreign-version-exists`: record a worker whose messages cannot be read."""
        self._foreign[name] = 0

    # -- the end of a worker --------------------------------------------------------------

    def count_echo(self, next_beat: int) -> list[str]:
        """
        Count an own echo against every worker that was not heard; return the new suspects.

        Rule `own-echo-clock`. They are told with own heartbeat *next_beat*.
        """
        silent = []
        for name, peer in self.peers.items():
            peer.missed_beats += 1
            if peer.missed_beats > MAX_MISSED_BEATS:
                silent.append(name)
        for name in silent:
            self._remove(name)
            self._suspects[name] = next_beat
        self._foreign = _older(self._foreign)
        self._orphans = _older(self._orphans)
        return silent

    def _remove(self, name: str) -> None:
        peer = self.peers.pop(name, None)
        if peer is not None:
            # Rule `everybody-is-known`: it may have vouched that these are all.
            self._orphans |= dict.fromkeys(peer.reports, 0)

    def on_reconnect(self) -> None:
        """Rule `own-echo-clock`: count no echoes across an absence."""
        for peer in self.peers.values():
            peer.missed_beats = 0

    def told_suspects(self, echoed_beat: int) -> list[str]:
        """Rule `dead-are-told-first`: return those whom an own heartbeat that echoed has told."""
        return [name for name, beat in self._suspects.items() if beat <= echoed_beat]

    def mark_dead(self, name: str) -> None:
        """Count a worker as dead."""
        self._remove(name)
        self._suspects.pop(name, None)
        self._dead.add(name)

    def on_frame_of_dead(self, name: str) -> None:
        """Rule `dead-are-told-again`: one of the two workers has to start over."""
        self._heard_after_death.add(name)

    # -- workers that a caller was told do not exist --------------------------------------

    def rule_out(self, names: Iterable[str], age: float) -> None:
        """Rule `dead-are-told-again`: remember workers that are reported as unknown now."""
        for name in names:
            self._ruled_out[name] = age
            if len(self._ruled_out) > MAX_RULED_OUT:
                self.overlook(self._ruled_out.pop(next(iter(self._ruled_out))))

    def overlook(self, age: float) -> None:
        """Record that a change for all of this own age was confirmed without the unmet."""
        self._overlooked_until = max(self._overlooked_until, age)

    def was_overlooked(self, beat: Heartbeat, echoed_age: float) -> bool:
        """
        Whether an unmet worker lived, and was not asked, when a change for all was confirmed.

        Rule `dead-are-told-again`. The same holds for one that may have been ruled out under a
        name that is forgotten.
        """
        return beat.beat > 1 and echoed_age - beat.age <= self._overlooked_until


def _older(by_echoes: dict[str, int]) -> dict[str, int]:
    """Return the workers known by name that have not been silent for too many own echoes."""
    return {name: echoes + 1 for name, echoes in by_echoes.items() if echoes < MAX_MISSED_BEATS}
