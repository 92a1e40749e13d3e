"""Records spans with OpenTelemetry; imported only where the application uses that itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sized
from concurrent.futures import Future
from contextvars import Token
from types import TracebackType
from typing import Any

from opentelemetry import context, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from flask_rooms.cluster.tracing import NO_SPAN, F, Span

#: W3C's, whatever the application has chosen for HTTP: it is short, and has no baggage.
_W3C = TraceContextTextMapPropagator()
_FIELD = "traceparent"


def find_recorder() -> Recorder | None:
    """Return what records spans, or None if no provider is set."""
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return None
    return Recorder(trace.get_tracer("flask_rooms"))


class Recorder:
    """
    Begins spans, by the semantic conventions for messaging.

    Args:
        tracer: OpenTelemetry's.
    """

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def call(self, name: str, sizes: Mapping[str, int]) -> Span:
        """Return the span of a call, which is a child of the current one."""
        span = self._tracer.start_span(
            name, kind=trace.SpanKind.PRODUCER, attributes=_attributes(name, sizes, "send")
        )
        return _RecordedSpan(span)

    def query(self, name: str) -> Span:
        """Return the span of a query, which is a child of the current one."""
        span = self._tracer.start_span(
            name, kind=trace.SpanKind.CLIENT, attributes=_attributes(name)
        )
        return _RecordedSpan(span)

    def operation(self, action: str, traceparent: str) -> Span:
        """Return a child of the call's span on another worker, which is linked with it as well."""
        parent = _W3C.extract({_FIELD: traceparent}, context.Context())
        origin = trace.get_current_span(parent).get_span_context()
        if not origin.is_valid:
            return NO_SPAN
        name = f"process {action}"
        span = self._tracer.start_span(
            name,
            parent,
            kind=trace.SpanKind.CONSUMER,
            attributes=_attributes(action, type="process"),
            links=[trace.Link(origin)],
        )
        return _RecordedSpan(span)


class _RecordedSpan(Span):
    """A span of OpenTelemetry."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self._token: Token[Any] | None = None
        self._ends_later = False
        if span.get_span_context().trace_flags.sampled:
            carrier: dict[str, str] = {}
            _W3C.inject(carrier, trace.set_span_in_context(span, context.Context()))
            self.context = carrier[_FIELD]

    def __enter__(self) -> Span:
        self._token = context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._token is not None:
            context.detach(self._token)
        if error is not None:
            self._fail(error)
        elif not self._ends_later:
            self.end()

    def kept_open(self) -> Span:
        self._ends_later = True
        return self

    def follow(self, future: F) -> F:
        self._ends_later = True
        # Not by the method of its class, for which the application has looked at the outcome.
        Future.add_done_callback(future, self._end_as)
        return future

    def _end_as(self, future: Future[Any]) -> None:
        error = Future.exception(future)
        if error is None:
            self.end(Future.result(future))
        else:
            self._fail(error)

    def end(self, result: object = None, **counts: int) -> None:
        if self._span.is_recording():  # else it has ended
            self._span.set_attributes(_named({**_numbers(result), **counts}))
            self._span.end()

    def _fail(self, error: BaseException) -> None:
        if self._span.is_recording():
            # The message of an error is left out: it may have IDs of sockets.
            self._span.set_attribute("error.type", type(error).__qualname__)
            self._span.set_status(trace.StatusCode.ERROR)
            self._span.end()


def _attributes(
    name: str, sizes: Mapping[str, int] | None = None, type: str = ""
) -> dict[str, str | int]:
    attributes: dict[str, str | int] = {
        "messaging.system": "flask_rooms",
        "messaging.operation.name": name,
        **_named(sizes or {}),
    }
    if type:
        attributes["messaging.operation.type"] = type
    return attributes


def _named(numbers: Mapping[str, int]) -> dict[str, int]:
    return {f"flask_rooms.{name}": number for name, number in numbers.items()}


def _numbers(result: object) -> dict[str, int]:
    """Return the numbers in a result such as Outcome, and how many there are of the rest."""
    if not dataclasses.is_dataclass(result):
        return {}  # as of calls that have no result
    values = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    return {
        name: value if isinstance(value, int) else len(value)
        for name, value in values.items()
        if isinstance(value, int | Sized)
    }
