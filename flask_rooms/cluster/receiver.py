"""The one thread of a worker that receives: it must neither die nor keep a dead worker alive."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
import weakref
from collections.abc import Callable
from typing import Protocol

from flask_rooms.backends.base import Backend
from flask_rooms.errors import BackendError

logger = logging.getLogger("flask_rooms")

#: Seconds before connecting again: the first pause, and the longest.
SHORTEST, LONGEST = 0.05, 2.0


class Handler(Protocol):
    """Who the listener listens for."""

    def patience(self) -> float:
        """Return how many seconds to wait for the next payload."""

    def hear(self, payload: bytes | None, reconnected: bool) -> bool:
        """Take in a payload, or None when only time has passed; False to connect again."""

    def lost(self, error: BackendError) -> None:
        """Take notice that the connection is lost."""

    def pass_time(self) -> None:
        """Let time pass in which nothing can be heard."""

    def leave(self, then: Callable[[], object]) -> None:
        """Say goodbye, in the background, and then call *then*."""


class Receiver:
    """
    Receives for a cluster, until that is stopped or nobody uses it any more.

    Args:
        hearer: Held weakly, since a test suite may make and drop hundreds of applications.
        backend: What to receive from.
        opened: Whether it is open; otherwise the broker was away, and is tried until it is back.
        longest: Seconds that pass before connecting again at the most.
    """

    def __init__(
        self, hearer: Handler, backend: Backend, *, opened: bool, longest: float = LONGEST
    ) -> None:
        self._hearer = weakref.ref(hearer)
        self._backend = backend
        self._opened = opened
        self._longest = min(longest, LONGEST)
        self._failures = 0
        self._process = os.getpid()
        self._told = False
        self.stopping = threading.Event()
        self.stopped = threading.Event()
        #: What to do after saying goodbye, which is to be said now; set by a signal handler.
        self.leaving: Callable[[], object] | None = None

    def run(self) -> None:
        """Receive and pass on; returns after `stopping` is set."""
        # A green thread survives in a forked child, where it has no business.
        while not self.stopping.is_set() and self._process == os.getpid():
            self._look_up()
            patience = self._patience()
            if patience is None:
                break
            try:
                payload = self._receive(patience)
            except BackendError as error:
                self._pause(error)
            except Exception as error:  # of a driver: a worker that stops listening is worse
                logger.exception("The connection to the broker has failed in an unknown way.")
                self._pause(BackendError(repr(error)))
            else:
                self._pass_on(payload)
                time.sleep(0)  # a green thread that always has something to do lets nobody else
        if self._process == os.getpid():
            self._backend.close()  # who has stopped us could not close what we were opening
        self.stopped.set()

    def _look_up(self) -> None:
        hearer = self._hearer()
        if self.leaving is not None and hearer is not None and not self._told:
            self._told = True
            hearer.leave(self.leaving)  # not here, as the last answers have to be heard, too

    def _patience(self) -> float | None:
        hearer = self._hearer()
        return None if hearer is None else hearer.patience()

    def _receive(self, patience: float) -> bytes | None:
        if not self._opened:
            self._backend.open()
            self._opened = True
        return self._backend.receive(patience)

    def _pass_on(self, payload: bytes | None) -> None:
        hearer = self._hearer()
        reconnected, self._failures = self._failures > 0, 0
        if hearer is None or self.stopping.is_set():
            return
        try:
            well = hearer.hear(payload, reconnected)
        except Exception:  # whatever it is, a worker that stops listening is worse
            logger.exception("A message from another worker could not be handled.")
            return
        if not well:
            # A connection can be dead without an error, and would stay so for ever.
            del hearer
            self._backend.close()
            self._opened, self._failures = False, 1

    def _pause(self, error: BackendError) -> None:
        hearer = self._hearer()
        if hearer is None or self.stopping.is_set():
            return
        hearer.lost(error)
        try:
            hearer.pass_time()
        except Exception:  # as above
            logger.exception("Somebody could not be told that nothing is confirmed.")
        del hearer
        seconds = min(SHORTEST * 2 ** min(self._failures, 10), self._longest)
        self._failures += 1
        # A random part, so that the workers do not all come back at once.
        self.stopping.wait(seconds * random.uniform(0.5, 1))
