"""sentry-sdk: an error in a socket request is reported with its own method and URL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.integrations.flask import FlaskIntegration
from sentry_sdk.transport import Transport

from tests.support.apps import LocalCluster, make_app

pytestmark = pytest.mark.mode_independent

EVENTS: list[dict[str, Any]] = []


class Kept(Transport):
    """Keeps what would be sent."""

    def capture_envelope(self, envelope: Any) -> None:
        if (event := envelope.get_event()) is not None:
            EVENTS.append(event)


@pytest.fixture(autouse=True)
def _sentry() -> Iterator[None]:
    EVENTS.clear()
    sentry_sdk.init(
        "https://key@sentry.example/1",
        transport=Kept,
        default_integrations=False,
        integrations=[FlaskIntegration()],
    )
    yield
    sentry_sdk.init()  # without a DSN it is off


def test_an_error_has_the_request_of_its_socket(cluster: LocalCluster) -> None:
    app = make_app()

    @app.put("/fail/<int:number>")
    def fail(number: int) -> str:
        raise LookupError(f"number {number}")

    client = cluster.worker(app).connect()

    assert client.ask("put", "/fail/7?a=1", {"secret": 1})["statusCode"] == 500

    [event] = EVENTS
    assert event["exception"]["values"][0]["type"] == "LookupError"
    assert event["request"]["method"] == "PUT"
    assert event["request"]["url"].endswith("/fail/7")
    assert event["request"]["query_string"] == "a=1"
    assert event["transaction"] == "fail"
