"""How the library logs: nothing ends because of a handler, and nothing is said again and again."""

from __future__ import annotations

import logging
import math
import time
import traceback
from collections.abc import Hashable, Iterator
from contextlib import contextmanager, suppress

#: Seconds between two warnings of the same kind.
WARN_EVERY = 60.0


@contextmanager
def safe_logging() -> Iterator[None]:
    """
    Log something in this context, and go on, whatever a handler raises.

    Handlers are the application's, and may be of a server that is away. Their errors are reported
    on stderr, as `logging` reports those of its own. Without this they would end the thread, or
    take the place of what is done about the error that is logged.
    """
    try:
        yield
    except Exception:  # noqa: BLE001 - reported
        if logging.raiseExceptions:
            with suppress(Exception):  # of a stderr that is closed: there is nothing else to do
                traceback.print_exc()


class Throttle:
    """
    Says which warnings are due: one of each kind in WARN_EVERY seconds.

    It takes no lock: at worst two threads that ask in the same moment warn both.

    Args:
        kinds: How many kinds are remembered. While there are so many, a further one is not due.
    """

    def __init__(self, kinds: float = math.inf) -> None:
        self._kinds = kinds
        self._warned: dict[Hashable, float] = {}  # kind -> when

    def is_due(self, kind: Hashable) -> bool:
        """Return whether to warn now, which then counts as done."""
        now = time.monotonic()
        if now - self._warned.get(kind, -math.inf) < WARN_EVERY:
            return False
        if len(self._warned) >= self._kinds:
            warned = self._warned.copy()  # in one step, as another thread may add to it
            self._warned = {one: at for one, at in warned.items() if now - at < WARN_EVERY}
            if len(self._warned) >= self._kinds:
                return False
        self._warned[kind] = now
        return True
