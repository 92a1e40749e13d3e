"""Brokers and a browser, started once in a run and only when a test asks for them."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import brokers, processes
from tests.support.browser import Browser, BrowserMissing
from tests.support.locks import nothing_foreign_is_called

# Its assertions are to explain themselves as those of a test file do.
pytest.register_assert_rewrite("flask_rooms.testing")

# A shell that runs the tests in its background has them ignore it, and so their children.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out test files that have none of the markers asked for: to read all takes long."""
    expression = config.option.markexpr
    asked = re.findall(r"\w+", re.sub(r"\bnot\s+\w+|\band\b|\bor\b", "", expression))
    # What is in parentheses may be asked for, or be what is not.
    if not asked or "(" in expression or collection_path.suffix != ".py":
        return None
    text = collection_path.read_text(encoding="utf-8")
    return None if any(marker in text for marker in asked) else True


def _started(kind: brokers.Kind) -> Iterator[brokers.Broker]:
    with ExitStack() as stack:
        try:
            broker = stack.enter_context(brokers.start(kind))
        except brokers.BrokerMissing as missing:
            # An absent broker must never make continuous integration green.
            (pytest.fail if os.environ.get("CI") else pytest.skip)(str(missing))
        yield broker


@pytest.fixture(scope="session", autouse=True)
def _site() -> Iterator[None]:
    """Have the processes that tests start begin with tests/support/site."""
    site = str(Path(__file__).parent / "support" / "site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", site, prepend=os.pathsep)
        yield


@pytest.fixture(scope="session", autouse=True)
def _forks(_site: None) -> Iterator[None]:
    """Have workers start within milliseconds."""
    with processes.forking():
        yield


@pytest.fixture(autouse=True)
def _locks() -> Iterator[None]:
    """Fail a test in which code of the application may be called under a lock."""
    with nothing_foreign_is_called():
        yield


@pytest.fixture(scope="session")
def redis_broker() -> Iterator[brokers.Broker]:
    """A Redis server, shared by the run."""
    yield from _started("redis")


@pytest.fixture(scope="session")
def amqp_broker() -> Iterator[brokers.Broker]:
    """A RabbitMQ server, shared by the run."""
    yield from _started("amqp")


@pytest.fixture(scope="module")
def chromium(_browser: Browser) -> Iterator[Browser]:
    """A browser, shared by the run; its tabs are closed after each module."""
    yield _browser
    _browser.close_tabs()


@pytest.fixture(scope="session")
def _browser() -> Iterator[Browser]:
    try:
        browser = Browser()
    except BrowserMissing as missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(missing))
    with browser:
        yield browser
