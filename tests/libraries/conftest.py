"""Workers in this process, for applications that use a library."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.apps import LocalCluster


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster
