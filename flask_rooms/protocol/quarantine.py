"""A time in which a worker applies nothing of the others, as they may count it as dead."""

from __future__ import annotations

from collections.abc import Iterable

from flask_rooms.protocol.clock import MAX_ECHO_GAP, EchoClock

#: How long a quarantine lasts at most while this worker is heard, in the longest heartbeat
#: intervals, and in any case.
MAX_QUARANTINE, LONGEST_QUARANTINE = MAX_ECHO_GAP, 16.0
#: How many own heartbeats have to echo after an absence before unmet workers have had the time
#: to answer.
RELEASE_ECHOES = 3


class Quarantine:
    """
    The workers that have to state how they count this one before anything is applied.

    This worker's own name stands for those that it has not met.

    Args:
        me: This worker's name.
        clock: The clock of this worker.

    Attributes:
        until: When it ends, unless nothing of this worker has come back for long.
    """

    def __init__(self, me: str, clock: EchoClock) -> None:
        self._me = me
        self._clock = clock
        self._awaited: set[str] = set()
        self._release_beat = 0  # the own heartbeat whose echo releases the unmet
        self._latest = 0.0  # when it ends in any case
        self.until = float("inf")

    def __bool__(self) -> bool:
        return bool(self._awaited)

    def on_absence(self, peers: Iterable[str], beat: int, now: float) -> None:
        """Rule `quarantine-after-absence`: begin anew, after the own heartbeat number *beat*."""
        latest = self._latest if self._awaited else float("inf")
        self._awaited.clear()
        self.hold(peers, now)
        self.on_reconnect(beat, now)
        self._latest = min(self._latest, latest)

    def on_reconnect(self, beat: int, now: float) -> None:
        """Await unmet workers: the broker has not counted this one, however short that was."""
        self.hold([self._me], now)
        self._release_beat = beat + RELEASE_ECHOES

    def hold(self, names: Iterable[str], now: float) -> None:
        """Await these workers, too."""
        if not self._awaited:  # each worker that joins it later would prolong it
            self._latest = now + LONGEST_QUARANTINE * self._clock.longest_interval
            self._begin(now)
        self._awaited.update(names)

    def _begin(self, now: float) -> None:
        self.until = now + MAX_QUARANTINE * self._clock.longest_interval

    def prolong(self, now: float) -> None:
        """Let the time begin anew, after one in which nothing of this worker has echoed."""
        if self._awaited:
            self._begin(now)

    def awaits(self, name: str) -> bool:
        """Whether a worker has to state how it counts this one."""
        return name in self._awaited

    def release(self, *names: str) -> bool:
        """Wait no longer for these workers; return whether that ends the quarantine."""
        if not self._awaited.intersection(names):
            return False
        self._awaited.difference_update(names)
        if self._awaited:
            return False
        self.until = float("inf")
        return True

    def release_at(self, now: float) -> bool:
        """
        Let time pass; return whether that ends the quarantine.

        Not while nothing of this worker echoes, as those that it awaits may not have heard it.
        """
        if now < self.until:
            return False
        if self._clock.was_absent(now) and now < self._latest:
            self.prolong(now)
            return False
        return self.release(*self._awaited)

    @property
    def awaits_unmet(self) -> bool:
        """Whether own heartbeats have to echo, one right after the other."""
        return self._me in self._awaited

    def on_beat_echo(self, beat: int) -> bool:
        """Record that an own heartbeat has come back; return whether that ends the quarantine."""
        return beat >= self._release_beat and self.release(self._me)
