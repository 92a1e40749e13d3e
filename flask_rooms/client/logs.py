"""How a client logs what fails: nothing ends because of a handler of logging."""

from __future__ import annotations

import logging
from contextlib import suppress

logger = logging.getLogger("flask_rooms.client")


def log_failure(text: str, error: BaseException) -> None:
    """Log an error in a thread that goes on, whatever a handler of the program's logging raises."""
    with suppress(Exception):  # as it is that of the program, and there is no other place for it
        logger.error(text, exc_info=error)
