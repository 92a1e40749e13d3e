"""
Which workers are alive: one state for each name, and what moves it to the next.

| from | to | when |
|---|---|---|
| (none) | reported | a peer names it as alive |
| (none), reported | joining | its heartbeat is received |
| (none), reported | ruled out | a caller is told that it does not exist |
| (none), ruled out | foreign | its frame is of another version |
| joining | alive | it has heard this worker, and states where its stream starts for it |
| joining, alive | suspect | too many own echoes without anything new from it |
| alive | dead | it says goodbye |
| suspect | dead | the heartbeat that tells it so has echoed |
| reported, foreign | (none) | it is no longer reported, or heard |

A name is new for each life of a worker, so the dead are dead until they are forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from itertools import filterfalse

from flask_rooms.protocol.clock import MAX_MISSED_BEATS
from flask_rooms.protocol.messages import Direct, Heartbeat
from flask_rooms.protocol.views import Views

#: How many ruled-out worker names are remembered. Bounded, because a caller can make up any
#: number.
MAX_RULED_OUT = 1000
#: How many dead workers are remembered.
MAX_DEAD = 1000


class State(Enum):
    """What another worker is for this one."""

    REPORTED = auto()  # never heard, but a peer counts it as alive
    JOINING = auto()  # heard; its stream is not applied, as it has not stated where it starts
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
        view: Whom it counts as alive, by its latest frame that says so.
        viewed_at: The latest own heartbeat when it has stated that.
        unclear_beats: Its latest heartbeats in a row with a view that is not clear.
        asked_at: When it was last asked for the names in its view.
        has_held: Whether it has caused a quarantine; it may do so once.
        born_by: The latest time at which it can have been born.
        met_beat: The latest own heartbeat when it was met.
        pace: Its heartbeat interval in those of this worker, if it is longer; else 1.
        may_overlook: Whether it may know all other workers, but not this one, in whose long
            absence it came.
    """

    born_by: float
    met_beat: int
    state: State = State.JOINING
    missed_beats: int = 0
    beat: int = 0
    view: int = 0
    viewed_at: int = 0
    unclear_beats: int = 0
    asked_at: float = float("-inf")
    has_held: bool = False
    pace: float = 1.0
    may_overlook: bool = False

    def is_recent(self, direct: Direct) -> bool:
        """Rule `copies-revive-no-worker`: whether it has sent this after it was met."""
        return direct.heard >= self.met_beat


class Membership:
    """
    The states of the other workers.

    Args:
        me: This worker's name.
        max_dead: How many dead workers are remembered.

    Attributes:
        peers: Those that are joining or alive.
        audience: How many workers were connected to the broker, and when that was; or None.
    """

    def __init__(self, me: str, max_dead: int) -> None:
        self._max_dead = max_dead
        self.peers: dict[str, Peer] = {}
        self._views = Views(me)
        self._vouchers: dict[str, tuple[int, int]] = {}  # -> own heartbeat, and its view
        self._vouched = 0  # the latest own heartbeat that one of them has answered
        self._suspects: dict[str, int] = {}  # -> the first own heartbeat that leaves it out
        self._dead: dict[str, float] = {}  # -> own age when it was counted so
        self._ruled_out: dict[str, float] = {}  # -> own age when it was
        self._foreign: dict[str, int] = {}  # -> own echoes since it was heard
        self._orphans: dict[str, int] = {}  # reported by one that has ended -> own echoes since
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
        views = {peer.view for peer in self.peers.values()}
        return frozenset[str]().union(*map(self._views.names_in, views))

    def is_ruled_out(self, name: str) -> bool:
        """Whether no live worker can have this name, so that its socket IDs are unknown."""
        return self.state_of(name) in (State.SUSPECT, State.DEAD, State.RULED_OUT)

    # -- how many there are ---------------------------------------------------------------

    def note_audience(self, count: int, at: float) -> None:
        """
        Record how many workers were connected, for calls from now on.

        Rule `every-worker-is-known`: one count stays as long as that many have been met. In the
        next one a worker may be that has just connected, and cannot be told from an older one that
        has not been met. Its hello comes in any case.
        """
        if self._is_met((count, at)) or not self.has_met_audience:
            self.audience = count, at

    @property
    def has_met_audience(self) -> bool:
        """Whether as many workers have been met as were connected, and were born before."""
        return self.audience is not None and self._is_met(self.audience)

    def _is_met(self, audience: tuple[int, float]) -> bool:
        count, at = audience
        return 1 + sum(peer.born_by < at for peer in self.peers.values()) >= count

    # -- heartbeats -----------------------------------------------------------------------

    def told(self) -> set[str]:
        """
        Return the workers to name as dead in the next heartbeat.

        Rules `dead-are-told-first` and `dead-are-told-again`.
        """
        told = self._heard_after_death.union(self._suspects)
        self._heard_after_death.clear()
        return told

    def add(self, name: str, born_by: float, own_beat: int) -> Peer:
        """Meet a worker, whose heartbeat has been received after the own one *own_beat*."""
        peer = self.peers[name] = Peer(born_by, own_beat)
        self._views.add(name)
        return peer

    def on_heartbeat(self, peer: Peer, beat: Heartbeat, own_beat: int) -> None:
        """Take in how a peer counts the workers, after the own heartbeat *own_beat*."""
        peer.beat = beat.beat
        peer.view, peer.viewed_at = beat.view, own_beat
        peer.unclear_beats = 0 if self._views.is_clear(beat.view) else peer.unclear_beats + 1

    def on_direct(self, name: str, direct: Direct, own_beat: int) -> None:
        """Take in how a peer counts the workers, this one included; as in on_heartbeat()."""
        peer = self.peers[name]
        if peer.is_recent(direct):
            peer.state = State.ALIVE
        peer.view, peer.viewed_at = direct.view, own_beat
        if direct.names is not None:
            stated = {one.view for one in self.peers.values()}
            self._views.learn(direct.view, direct.names, stated)
        if direct.vouches_for:
            self._vouchers[name] = direct.vouches_for, direct.view

    # -- views ----------------------------------------------------------------------------

    @property
    def view(self) -> int:
        """A digest of the workers that this one counts as alive."""
        return self._views.own

    def counts_me(self, peer: Peer) -> bool:
        """Rule `views-are-compared`: whether the view of a peer has this worker in it."""
        return self._views.is_met(peer.view)

    def unclear(self) -> list[str]:
        """
        Return peers whose views have to be asked for, one for each view.

        Rule `views-are-compared`: they may count workers as alive that this one has not met. What
        they have stated before another worker vouched is out of date.
        """
        recent = ((n, peer) for n, peer in self.peers.items() if peer.viewed_at >= self._vouched)
        by_view = {peer.view: name for name, peer in recent}
        return [name for view, name in by_view.items() if not self._views.is_clear(view)]

    @property
    def has_vouchers(self) -> bool:
        """Whether peers have vouched, and it is not clear for whom."""
        return bool(self._vouchers)

    def take_voucher(self) -> int:
        """
        Return the latest own heartbeat that a peer which knows every live worker has answered.

        Rule `every-worker-is-known`: that counts once it is clear who is in its view. Those of them
        that this worker has not met are known by name, also when the one that vouched ends.
        """
        for name, (beat, view) in list(self._vouchers.items()):
            if self._views.is_clear(view):
                self._vouched = max(self._vouched, beat)
                self._orphans |= dict.fromkeys(self._views.names_in(view), 0)
                del self._vouchers[name]
        return self._vouched

    def note_foreign_version(self, name: str) -> None:
        """Rule `foreign-version-exists`: record a worker whose messages cannot be read."""
        self._foreign[name] = 0
        self._ruled_out.pop(name, None)  # it cannot be told, and goes on

    @property
    def pace(self) -> float:
        """Rule `longer-interval`: the longest heartbeat interval, in those of this worker."""
        return max((peer.pace for peer in self.peers.values()), default=1.0)

    @property
    def slower(self) -> list[str]:
        """The peers with longer heartbeat intervals."""
        return [name for name, peer in self.peers.items() if peer.pace > 1]

    # -- the end of a worker --------------------------------------------------------------

    def count_echo(self, next_beat: int) -> list[str]:
        """
        Count an own echo against every worker that was not heard; return the new suspects.

        Rule `own-echo-clock`. They are told with own heartbeat *next_beat*.
        """
        silent = []
        for name, peer in self.peers.items():
            peer.missed_beats += 1
            if peer.missed_beats > MAX_MISSED_BEATS * peer.pace:
                silent.append(name)
        for name in silent:
            self._remove(name)
            self._suspects[name] = next_beat
        self._foreign = _older(self._foreign, MAX_MISSED_BEATS * self.pace)
        self._orphans = _older(self._orphans, MAX_MISSED_BEATS * self.pace)
        return silent

    def _remove(self, name: str) -> None:
        peer = self.peers.pop(name, None)
        if peer is not None:
            self._vouchers.pop(name, None)
            # Rule `every-worker-is-known`: it may have vouched that these are all.
            self._orphans |= dict.fromkeys(self._views.names_in(peer.view), 0)
            self._views.remove(name)

    def on_reconnect(self) -> None:
        """Rule `own-echo-clock`: count no echoes across an absence."""
        for peer in self.peers.values():
            peer.missed_beats = 0

    def told_suspects(self, echoed_beat: int) -> list[str]:
        """Rule `dead-are-told-first`: return those whom an own heartbeat that echoed has told."""
        return [name for name, beat in self._suspects.items() if beat <= echoed_beat]

    def mark_dead(self, name: str, age: float) -> None:
        """Count a worker as dead, at this own age."""
        self._remove(name)
        self._suspects.pop(name, None)
        self._dead[name] = age

    def forget_dead(self) -> None:
        """
        Rule `copies-revive-no-worker`: forget those that were dead first, with a new own heartbeat.

        None of them has heard it. Should one of them live, it is told by its age.
        """
        while len(self._dead) > self._max_dead:
            self.overlook(self._dead.pop(next(iter(self._dead))))

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

        Rule `dead-are-told-again`. The same holds for one that may have been ruled out or dead
        under a name that is forgotten.
        """
        return echoed_age - beat.age <= self._overlooked_until


def _older(by_echoes: dict[str, int], most: float) -> dict[str, int]:
    """Return the workers known by name that have not been silent for too many own echoes."""
    return {name: echoes + 1 for name, echoes in by_echoes.items() if echoes < most}
