"""How the library logs where it has to go on: in loops, and in threads that end with an error."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def safe_logging() -> Iterator[None]:
    """
    Let a thread go on that logs something in this context, whatever a handler raises.

    Handlers are the application's, and may be of a server that is away. Their errors are reported
    on stderr, as `logging` reports those of its own.
    """
    try:
        yield
    except Exception:  # noqa: BLE001 - reported
        if logging.raiseExceptions:
            with suppress(Exception):  # of a stderr that is closed: there is nothing else to do
                traceback.print_exc()
