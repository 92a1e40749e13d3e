"""An application that traces with OpenTelemetry, and tells which spans it has recorded."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Flask, request
from opentelemetry import trace
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from flask_rooms import Rooms, sockets

bp = Blueprint("traced", __name__)
_recorded = InMemorySpanExporter()


def create_app(**config: Any) -> Flask:
    """Return the application."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(_recorded))
    trace.set_tracer_provider(provider)
    app = Flask(__name__)
    app.config.update(SECRET_KEY="of the tests", **config)
    app.register_blueprint(bp)
    Rooms(app)
    FlaskInstrumentor().instrument_app(app, excluded_urls="spans")
    return app


@bp.put("/kick")
def kick() -> dict[str, Any]:
    """Take a socket, of whichever worker, out of a room."""
    outcome = sockets.leave(request.get_json()["sid"], "red").result()
    return {"changed": outcome.changed, "unchanged": outcome.unchanged}


@bp.post("/spans")
def spans() -> list[dict[str, Any]]:
    """Return the spans that have ended, and forget them."""
    finished = _recorded.get_finished_spans()
    _recorded.clear()
    return [
        {
            "name": span.name,
            "kind": span.kind.name,
            "trace": span.context.trace_id,
            "id": span.context.span_id,
            "parent": span.parent.span_id if span.parent else None,
        }
        for span in finished
    ]
