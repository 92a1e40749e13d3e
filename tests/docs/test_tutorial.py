"""docs/tutorial.md, followed step by step: with Chromium, on two workers, and its own test."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.docs.test_readme import FLASK, TIMEOUT, run_flask, running
from tests.support.brokers import Broker, free_port
from tests.support.browser import Browser, Tab
from tests.support.documents import blocks
from tests.support.javascript import require_npm

pytestmark = pytest.mark.mode_independent

# A new block needs a new step here.
APP, KICK, TEST = blocks("docs/tutorial.md", "python")
(PAGE,) = blocks("docs/tutorial.md", "html")


@pytest.fixture(name="directory")
def _directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    client = require_npm("socket.io-client") / "socket.io-client" / "dist" / "socket.io.min.js"
    (tmp_path / "socket.io.min.js").write_bytes(client.read_bytes())
    (tmp_path / "app.py").write_text(APP + KICK, encoding="utf-8")
    (tmp_path / "page.html").write_text(PAGE, encoding="utf-8")
    (tmp_path / "test_app.py").write_text(TEST, encoding="utf-8")
    monkeypatch.setenv("FLASK_SECRET_KEY", "change-me")
    return tmp_path


def test_two_windows_on_two_workers(
    directory: Path, redis_broker: Broker, chromium: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLASK_ROOMS_BACKEND_URL", redis_broker.url)
    ports = [free_port() for _ in range(2)]
    with ExitStack() as stack:
        for port in ports:
            command = [*FLASK, "run", "--port", str(port)]
            stack.enter_context(running(directory, port, command))
        here, there = (f"http://127.0.0.1:{port}" for port in ports)
        ann, bob = (open_window(chromium, url) for url in (here, there))
        sid = ann.run("document.getElementById('you').textContent")
        assert run_flask(directory, "rooms", "list") == "MEMBERS  ROOM\n      2  fun\n"

        say(bob, "Hello")
        for window in (ann, bob):
            wait_for(window, "Hello")
        kicked = requests.delete(f"{there}/rooms/fun/{sid}", timeout=TIMEOUT)
        assert kicked.json() == {"removed": 1}
        say(bob, "Still there?")
        wait_for(bob, "Still there?")
        fence = requests.post(f"{there}/rooms/{sid}", json={"text": "fence"}, timeout=TIMEOUT)
        assert fence.ok
        wait_for(ann, "fence")  # sent after it, and in order

        assert "Still" not in ann.run("document.getElementById('said').textContent")


def test_the_test_passes(directory: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_app.py"],
        cwd=directory,
        stdout=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def open_window(chromium: Browser, url: str) -> Tab:
    window = chromium.tab(url)
    window.until("document.getElementById('you').textContent.includes('_')")
    return window


def say(window: Tab, text: str) -> None:
    window.run(
        f"document.getElementById('text').value = '{text}';document.forms[0].requestSubmit()"
    )


def wait_for(window: Tab, text: str) -> None:
    window.until(f"document.getElementById('said').textContent.includes('{text}')")
