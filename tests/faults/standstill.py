"""How long the whole machine has stood still: what its processes did meanwhile says nothing."""

from __future__ import annotations

import threading
import time

#: Seconds between two looks at the clock.
_LOOK = 0.25


class Standstill:
    """
    Measures how late a thread is woken that has nothing to do.

    A virtual machine may get no processor for a minute. Then clients and servers take each other
    for dead, and no program inside can do anything about it.

    Attributes:
        longest: How many seconds late it was at most.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self._stopping = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def stop(self) -> None:
        """Measure no more."""
        self._stopping.set()

    def _watch(self) -> None:
        while True:
            due = time.monotonic() + _LOOK
            if self._stopping.wait(_LOOK):
                return
            self.longest = max(self.longest, time.monotonic() - due)
