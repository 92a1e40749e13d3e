"""The program of docs/monitoring.md serves what the page says."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.documents import blocks

pytestmark = pytest.mark.mode_independent

PROGRAM, _ = blocks("docs/monitoring.md", "python")  # the other one needs OpenTelemetry


def test_the_program_serves_health_and_metrics() -> None:
    names: dict[str, Any] = {"__name__": "app"}
    exec(PROGRAM, names)
    client = names["app"].test_client()

    assert [
        client.get(f"/internal/{name}").status_code for name in ("health", "ready", "metrics")
    ] == [200] * 3
