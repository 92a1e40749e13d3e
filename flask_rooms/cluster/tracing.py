"""The spans of calls, if the application has set a provider of OpenTelemetry; else nothing."""

from __future__ import annotations

import math
import sys
import time
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from flask_rooms.cluster.spans import Recorder

F = TypeVar("F", bound="Future[Any]")

#: Seconds between two looks for a provider: a look takes longer than many a call.
_INTERVAL = 1.0


class Span:
    """
    The span of one call, or of what is done here for a call of another worker.

    It is the current one within its `with`, and ends with that, unless something else is to end
    it. This one records nothing.

    Attributes:
        context: What other workers need to add spans of theirs; empty if they are not to.
    """

    context = ""

    def __enter__(self) -> Span:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End, with the error if there is one."""

    def kept_open(self) -> Span:
        """Let only an error or end() end it, and return it for a `with`."""
        return self

    def follow(self, future: F) -> F:
        """Let it end with the result of *future*, or its error; return *future*."""
        return future

    def end(self, result: object = None, **counts: int) -> None:
        """End with the numbers of a result such as Outcome, and *counts*."""


NO_SPAN = Span()


class _Lookout:
    """Looks for the provider, which may be set at any time, until there is one."""

    def __init__(self) -> None:
        self._recorder: Recorder | None = None
        self._next_look = -math.inf

    def recorder(self) -> Recorder | None:
        """Return what records spans, or None."""
        if self._recorder is None and time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + _INTERVAL
            # Nothing is imported for it: what sets a provider has imported this.
            if "opentelemetry.trace" in sys.modules:
                from flask_rooms.cluster.spans import find_recorder

                self._recorder = find_recorder()
        return self._recorder


_lookout = _Lookout()


def is_traced() -> bool:
    """Whether spans are recorded; if not, a call need not ask for its own."""
    return _lookout.recorder() is not None


def call_span(name: str, **sizes: int) -> Span:
    """Return a new span for a call that other workers take part in, with its *sizes*."""
    recorder = _lookout.recorder()
    return NO_SPAN if recorder is None else recorder.call(name, sizes)


def query_span(name: str) -> Span:
    """Return a new span for a query to the other workers, on which they record nothing."""
    recorder = _lookout.recorder()
    return NO_SPAN if recorder is None else recorder.query(name)


def operation_span(action: str, context: str) -> Span:
    """Return a new span for what is done here for a call of another worker in *context*."""
    recorder = _lookout.recorder() if context else None
    return NO_SPAN if recorder is None else recorder.operation(action, context)
