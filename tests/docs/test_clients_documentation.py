"""docs/clients.md: its code does what it says, and its types are what they say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask_socketio import SocketIO

import flask_rooms
from flask_rooms import Rooms
from tests.support.apps import make_app
from tests.support.browser import Browser
from tests.support.documents import blocks
from tests.support.javascript import require_npm
from tests.support.workers import Worker, cluster

pytestmark = pytest.mark.mode_independent

DOCUMENT = "docs/clients.md"
STATIC = Path(flask_rooms.__file__).with_name("static")
TIMEOUT = 60.0  # seconds for a program, on a machine that is busy

# A new block needs a new test here.
SERVING, PROGRAM, ASYNC_PROGRAM, COOKIE = blocks(DOCUMENT, "python")
(OUTPUT,) = blocks(DOCUMENT, "text")
PAGES = blocks(DOCUMENT, "html")
(OF_NODE,) = blocks(DOCUMENT, "javascript")
(TYPED,) = blocks(DOCUMENT, "typescript")


@pytest.fixture(scope="module", name="worker")
def _worker() -> Iterator[Worker]:
    with cluster("memory://", 1, "tests.support.clients_app") as (worker,):
        yield worker


@pytest.mark.parametrize("code", [SERVING, COOKIE])
def test_the_routes_are_there_when_they_are_asked_for(code: str) -> None:
    app = make_app()
    names: dict[str, Any] = {"Rooms": Rooms, "app": app, "socketio": SocketIO()}

    exec(code, names)

    added = {rule.endpoint for rule in app.url_map.iter_rules()} - {"static"}
    assert added == ({"rooms_scripts"} if code == SERVING else {"rooms_cookie"})


@pytest.mark.parametrize("number", range(len(PAGES)))
def test_a_page_shows_who_it_is(worker: Worker, chromium: Browser, number: int) -> None:
    require_npm("socket.io-client", "sails.io.js")
    tab = chromium.tab(f"{worker.url}/documented/{number}")

    tab.until("document.getElementById('you').textContent !== ''")

    sid = tab.run("document.getElementById('you').textContent")
    assert worker.post("/leave", sids=sid, rooms="fun")["changed"] == 1


@pytest.mark.parametrize("program", [PROGRAM, ASYNC_PROGRAM])
def test_a_python_program_prints_what_it_says(
    worker: Worker, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROOMS_TEST_AIOHTTP", "1")
    assert run([sys.executable, "-c", at(worker, program)]) == OUTPUT


def test_sails_io_js_works_in_node(worker: Worker, tmp_path: Path) -> None:
    node_modules = require_npm("socket.io-client", "sails.io.js")
    shutil.copy(STATIC / "sails-adapter.js", tmp_path)
    (tmp_path / "program.js").write_text(at(worker, OF_NODE), encoding="utf-8")

    output = run([node(), str(tmp_path / "program.js")], NODE_PATH=str(node_modules))

    assert output.strip().endswith("200")


USE = """
import { io, type Socket } from "socket.io-client";
import { Disconnected, RequestFailed, RequestTimeout, rooms } from "./rooms.js";
import type { RoomsResponse, RoomsSocket } from "./rooms.js";

interface Hears { news: (text: string) => void }
interface Says { hello: (name: string, answer: (number: number) => void) => void }

const strict: Socket<Hears, Says> = io();
const api = rooms(strict, { timeout: 5, headers: { "X-One": "1", "X-Two": undefined } });
export const answer: Promise<RoomsResponse<{ you: string }>> = api.request({ url: "/" });
export const errors: Error[] = [new RequestTimeout(), new Disconnected()];
export const status = (error: RequestFailed): number => error.status;
export const socket: RoomsSocket = strict;
export const { signal } = new AbortController();
void api.delete("/", [1], { signal, timeout: 5 });
const unset = undefined;
void api.request({ url: "/", method: unset, signal: unset, timeout: unset, standing: unset });
api.withdraw({ url: "/", method: unset });
rooms(strict, { timeout: unset, headers: unset });

// @ts-expect-error
rooms({});
// @ts-expect-error
api.get(5);
// @ts-expect-error
api.get("/", {}, { tiemout: 5 });
"""
STRICT = {
    "strict": True,
    "exactOptionalPropertyTypes": True,
    "verbatimModuleSyntax": True,
    "noEmit": True,
    "target": "es2022",
    "lib": ["es2022", "dom"],
    "types": [],
}


@pytest.mark.parametrize(
    ("module", "resolution"),
    [("esnext", "bundler"), ("node16", "node16"), ("nodenext", "nodenext")],
)
def test_the_types_are_those_of_a_strict_program(
    module: str, resolution: str, tmp_path: Path
) -> None:
    """And the documentation's code is one."""
    node_modules = require_npm("socket.io-client", "typescript")
    (tmp_path / "node_modules").symlink_to(node_modules)
    for name in ("rooms.js", "rooms.d.ts"):
        shutil.copy(STATIC / name, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    (tmp_path / "documented.ts").write_text(TYPED, encoding="utf-8")
    (tmp_path / "use.ts").write_text(USE, encoding="utf-8")
    options = STRICT | {"module": module, "moduleResolution": resolution}
    configuration = {"compilerOptions": options, "files": ["documented.ts", "use.ts"]}
    (tmp_path / "tsconfig.json").write_text(json.dumps(configuration), encoding="utf-8")

    compiler = node_modules / "typescript" / "bin" / "tsc"

    assert run([node(), str(compiler), "--project", str(tmp_path)]) == ""


def at(worker: Worker, program: str) -> str:
    """Return a program that connects to *worker*."""
    changed = program.replace("http://localhost:5000", worker.url)
    assert changed != program
    return changed


def node() -> str:
    """Return the path of Node."""
    found = shutil.which("node")
    assert found is not None
    return found


def run(command: list[str], **environment: str) -> str:
    """Return what a program has printed."""
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
