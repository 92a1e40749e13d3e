"""
Headless Chromium, spoken to in its own language, the DevTools protocol.

No driver and no library for it: those that there are bring a second event loop, which does
not go together with a standard library that is patched for eventlet.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import threading
from contextlib import ExitStack
from types import TracebackType
from typing import IO, Any

import websocket

PATIENCE = 20.0  # seconds for anything that is waited for

# --no-sandbox: it does not work for root. --disable-dev-shm-usage: small in containers.
_FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
]
_LISTENING = "DevTools listening on "

# Looks again whenever the page has changed, as timers are slow in a tab in the background.
_UNTIL = """new Promise((resolve) => {
  const look = () => { if (%s) resolve(true); };
  const everything = { subtree: true, childList: true, characterData: true, attributes: true };
  new MutationObserver(look).observe(document, everything);
  look();
})"""


class BrowserMissing(Exception):
    """There is no Chromium; the message says what to install."""


class Browser:
    """A browser of its own, as a context manager."""

    def __init__(self) -> None:
        program = shutil.which("chromium") or shutil.which("google-chrome")
        if program is None:
            raise BrowserMissing("Tests of the page need a browser: install Debian's chromium.")
        self._program = program
        self._last_id = 0
        self._events: list[dict[str, Any]] = []
        self._targets: list[str] = []

    def __enter__(self) -> Browser:
        with ExitStack() as stack:
            profile = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
            )
            self._process = subprocess.Popen(
                [self._program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
                stderr=subprocess.PIPE,
            )
            stack.callback(self._end)
            # Without an Origin, for Chromium trusts none.
            self._connection = websocket.create_connection(
                self._address(), timeout=PATIENCE, suppress_origin=True
            )
            stack.callback(self._connection.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def tab(self, url: str) -> Tab:
        """Open a page in a new tab, and return when it has loaded."""
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        self._targets.append(target)
        attached = self.command("Target.attachToTarget", targetId=target, flatten=True)
        return Tab(self, attached["sessionId"], url)

    def close_tabs(self) -> None:
        """Close all pages: their clients would go on to connect to workers that have ended."""
        for target in self._targets:
            self.command("Target.closeTarget", targetId=target)
        self._targets.clear()
        self._events.clear()

    def command(self, method: str, session: str | None = None, **params: Any) -> Any:
        """Have the browser, or one tab of it, do something; return the result."""
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": params}
        self._connection.send(json.dumps(message | ({"sessionId": session} if session else {})))
        while True:
            answer = json.loads(self._connection.recv())
            if answer.get("id") != self._last_id:
                self._events.append(answer)
            elif "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']}")
            else:
                return answer["result"]

    def wait_for(self, event: str, session: str) -> None:
        """Return when a tab reports *event*."""
        while not self.events(session, event):
            self._events.append(json.loads(self._connection.recv()))

    def events(self, session: str, *methods: str) -> list[dict[str, Any]]:
        """Return what a tab has reported so far of some kinds."""
        own = [event for event in self._events if event.get("sessionId") == session]
        return [event["params"] for event in own if event.get("method") in methods]

    def _address(self) -> str:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if _LISTENING in (text := line.decode(errors="replace")):
                # Read on, for a full pipe would make the browser wait.
                threading.Thread(target=_drain, args=[self._process.stderr], daemon=True).start()
                return text.partition(_LISTENING)[2].strip()
        raise RuntimeError(f"{self._program} ended without printing where it listens.")

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()


class Tab:
    """A tab with a page in it."""

    def __init__(self, browser: Browser, session: str, url: str) -> None:
        self._browser = browser
        self._session = session
        for domain in ("Page", "Runtime", "Log"):
            self.command(f"{domain}.enable")
        self.command("Page.navigate", url=url)
        browser.wait_for("Page.loadEventFired", session)

    def command(self, method: str, **params: Any) -> Any:
        """Have this tab do something."""
        return self._browser.command(method, self._session, **params)

    def run(self, script: str) -> Any:
        """Return the value of a JavaScript expression, a promise's when it is there."""
        done = self.command(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in done:
            raise RuntimeError(f"{script}: {done['exceptionDetails']}")
        return done["result"].get("value")

    def until(self, condition: str) -> None:
        """Return when a JavaScript condition on the page is met."""
        try:
            self.run(_UNTIL % condition)
        except websocket.WebSocketTimeoutException:
            raise TimeoutError(f"Not within {PATIENCE:g} seconds: {condition}") from None

    def errors(self) -> list[dict[str, Any]]:
        """Return what the browser has complained about."""
        self.run("0")  # what was reported before this is answered has arrived
        return self._browser.events(self._session, "Runtime.exceptionThrown", "Log.entryAdded")


def _drain(pipe: IO[bytes]) -> None:
    with pipe:
        pipe.read()
