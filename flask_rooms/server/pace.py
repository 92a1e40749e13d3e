"""How fast one connection may send."""

from __future__ import annotations


class Pace:
    """
    A token bucket that holds the tokens of one second.

    Args:
        rate: How many packets a second.
    """

    def __init__(self, rate: int) -> None:
        self._interval = 1 / rate
        self._due = 0.0  # when the bucket will be full again, if no further packet comes

    def delay(self, now: float) -> float:
        """Count a packet that has come *now*; return the seconds until it may be handled."""
        self._due = max(self._due, now) + self._interval
        return max(0.0, self._due - now - 1.0)
