"""A worker's own heartbeats and their echoes: the clock of its failure detector."""

from __future__ import annotations

#: How many own heartbeats may echo without anything new from a peer before it is a suspect.
MAX_MISSED_BEATS = 3
#: How many own heartbeats have to echo before every live worker has been heard: as many as it
#: takes to count one as dead.
SETTLED_ECHOES = MAX_MISSED_BEATS + 1
#: How long the gap between two echoes may be, in heartbeat intervals. A longer one is an absence.
MAX_ECHO_GAP = 1.5
#: How long an absence is, in heartbeat intervals, in which a newcomer may come to know all others
#: but this one. A little less than its echoes take, as a heartbeat was sent before its echo.
LONG_ABSENCE = SETTLED_ECHOES - 2
#: The least time between two echoes that count, in heartbeat intervals.
_COUNT_INTERVAL = 0.9
#: The least time between two heartbeats, in heartbeat intervals, even if many workers are new.
ANNOUNCE_INTERVAL = 0.01


class EchoClock:
    """
    When this worker's heartbeats are due, and which of them have echoed.

    Rule `own-echo-clock`: it stands still while this worker is deaf or stopped, and messages that
    arrived meanwhile are received before it goes on.

    Args:
        now: The time.
        interval: Seconds between two heartbeats.

    Attributes:
        born: When this worker was born, or first connected.
        due: When the next heartbeat is due.
        beat: The number of the latest heartbeat.
        echoed_beat: The latest one that has echoed.
        echoed_age: This worker's age in that heartbeat.
        pace: The longest heartbeat interval of all workers, in those of this one.
    """

    def __init__(self, now: float, interval: float) -> None:
        self.interval = interval
        self.born = now
        self.due = now
        self.beat = 0
        self.echoed_beat = 0
        self.echoed_age = 0.0
        self.pace = 1.0
        self._sent_at = float("-inf")
        self._unechoed_since: float | None = None
        self._echoed_at = now  # when any own frame came back
        self._back_at = float("-inf")  # when the last long absence ended
        self._first_beat = 1  # the first one since the last absence
        self._vouched_beat = 0  # the latest one that a worker which knows all others has answered
        self._count = 0  # heartbeats that echoed since the last absence, an interval apart
        self._counted_at = float("-inf")

    @property
    def longest_interval(self) -> float:
        """Rule `longer-interval`: seconds between two heartbeats of the slowest worker."""
        return self.interval * self.pace

    @property
    def has_heard_all(self) -> bool:
        """Whether every live worker has been heard since the last absence."""
        return self._count >= SETTLED_ECHOES * self.pace

    @property
    def is_settled(self) -> bool:
        """Rule `every-worker-is-known`: whether each live worker is known, by itself or another."""
        return self._vouched_beat >= self._first_beat or self.has_heard_all

    def on_voucher(self, beat: int) -> None:
        """Record that a worker which knows all others has answered own heartbeat *beat*."""
        self._vouched_beat = max(self._vouched_beat, beat)

    def _unsettle(self) -> None:
        """Rule `every-worker-is-known`: a hello may have been missed in an absence."""
        self._count = 0
        self._first_beat = self.beat + 1

    def next_beat(self, now: float) -> int:
        """Return the number of the heartbeat that is sent now."""
        self.beat += 1
        self._sent_at = now
        self.due = now + self.interval
        if self._unechoed_since is None:
            self._unechoed_since = now
        return self.beat

    def give_back(self, now: float) -> None:
        """Record that the latest heartbeat could not be published."""
        self.due = now
        self._unechoed_since = None

    def announce(self, now: float) -> None:
        """Rule `announce-to-unmet`: send the next heartbeat early, but not too many of them."""
        earliest = self._sent_at + ANNOUNCE_INTERVAL * self.interval
        self.due = min(self.due, max(now, earliest))

    def was_absent(self, now: float) -> bool:
        """Whether nothing of this worker has echoed for too long."""
        return now - self._echoed_at >= MAX_ECHO_GAP * self.interval

    def was_long_absent(self, now: float) -> bool:
        """Whether this worker is in a long absence, or what came in one may not be received yet."""
        return self._is_long_absent(now) or now - self._back_at < self.interval

    def _is_long_absent(self, now: float) -> bool:
        # Before its first heartbeat has echoed it has no sockets.
        return self.echoed_beat > 0 and now - self._echoed_at >= LONG_ABSENCE * self.interval

    def is_deaf(self, now: float) -> bool:
        """Rule `reconnect-when-deaf`: whether an own heartbeat should have echoed long ago."""
        timeout = MAX_MISSED_BEATS * self.interval
        return self._unechoed_since is not None and now - self._unechoed_since > timeout

    def is_unheard(self, now: float) -> bool:
        """Whether no own frame has come back for long, also where it was connected again since."""
        return now - self._echoed_at > (MAX_MISSED_BEATS + 1) * self.interval

    def on_echo(self, now: float) -> None:
        """Record that an own frame has come back."""
        if self.was_absent(now):
            self._unsettle()
        if self._is_long_absent(now):
            self._back_at = now
        self._echoed_at = now
        self._unechoed_since = None

    def on_beat_echo(self, beat: int, age: float) -> bool:
        """Record that an own heartbeat has come back; False if it is late."""
        if beat <= self.echoed_beat:
            return False  # Rule `late-heartbeats-are-ignored`
        self.echoed_beat = beat
        self.echoed_age = max(self.echoed_age, age)
        return True

    def counts(self, now: float) -> bool:
        """Count an echo, unless the last one that counts was less than an interval ago."""
        if now - self._counted_at < _COUNT_INTERVAL * self.interval:
            return False
        self._counted_at = now
        self._count += 1
        return True

    def on_reconnect(self, now: float) -> None:
        """Record that the connection is back, and send a heartbeat with the next frame."""
        if self.beat == 0:
            self.born = now  # Rule `every-worker-is-known`: nothing could reach it before
        self._unsettle()
        self._counted_at = self._sent_at = float("-inf")
        self.give_back(now)
