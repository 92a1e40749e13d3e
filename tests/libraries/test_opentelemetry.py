"""OpenTelemetry's instrumentation of Flask: a socket request is a span of its own."""

from __future__ import annotations

import pytest
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.support.apps import LocalCluster, make_app

pytestmark = pytest.mark.mode_independent


@pytest.mark.parametrize("first", ["rooms", "instrumentation"])
def test_a_span_has_the_method_and_the_route(cluster: LocalCluster, first: str) -> None:
    app = make_app()
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    app.put("/rooms/<room>")(lambda room: {"room": room})

    if first == "instrumentation":
        FlaskInstrumentor().instrument_app(app, tracer_provider=provider)
    worker = cluster.worker(app)
    if first == "rooms":
        FlaskInstrumentor().instrument_app(app, tracer_provider=provider)
    client = worker.connect()
    spans.clear()

    assert client.ask("put", "/rooms/red")["body"] == {"room": "red"}

    [span] = spans.get_finished_spans()
    assert span.name == "PUT /rooms/<room>"
    assert span.attributes is not None
    assert 200 in (
        span.attributes.get("http.status_code"),
        span.attributes.get("http.response.status_code"),
    )
    FlaskInstrumentor().uninstrument_app(app)
