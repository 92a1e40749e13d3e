"""The programs of README and docs are typed: mypy --strict and pyright have nothing to say."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import flask_rooms
from tests.support.documents import ROOT, blocks
from tests.support.javascript import require_npm

pytestmark = [pytest.mark.mode_independent, pytest.mark.program]

#: Seconds that a type checker may take, on a machine that is busy.
TIMEOUT = 150.0

#: What a user may write, and the types that it has.
USE = """
from concurrent.futures import Future

from flask import request as flasks_own
from typing_extensions import assert_type

from flask_rooms import Answer, Outcome, Refused, Room, Rooms, request, sockets
from flask_rooms.results import Responses, SocketInfo, Told

rooms = Rooms()

assert_type(request.is_socket, bool)
assert_type(request.sid, str)
assert_type(request.namespace, str)
assert_type(request.args.get("page"), "str | None")
assert_type(sockets.leave(request, "fun"), Future[Outcome])
assert_type(sockets.leave(flasks_own, ["fun", "games"], user=None).result(), Outcome)
assert_type(sockets.disconnect(user=7, older_than=request, reconnect=True), Future[Outcome])
assert_type(sockets.join(request, "fun", expires=1.5), Future[Outcome])
assert_type(rooms.tell("prices changed", {"name": "tea"}), Future[Told])
assert_type(sockets.users(), Answer[frozenset[str]])
assert_type(sockets.describe(request).value, "SocketInfo | None")
assert_type(sockets.set_data([request, request.sid], {"name": "Ann"}), Future[Outcome])
sockets.blast("news", 1, volatile=True)
assert_type(sockets.ask("fun", "vote", 1, timeout=2.5).result(), Responses)
sockets.broadcast("fun", 1, omit=["muted", request], omit_user=[7, "ann"])
assert_type(sockets.rooms().value, dict[Room, int])
assert_type(sockets.count("fun"), Answer[int])


@rooms.user_loader
def load(auth: object) -> int | None:
    return None


@rooms.guard("team:<int:id>")
def guard(id: int) -> bool:
    return True


@rooms.before_connect
def hook(auth: object) -> None:
    pass


@rooms.after_disconnect
def ended(reason: str, rooms: frozenset[Room]) -> None:
    pass


@rooms.on_tell("prices changed")
def told(data: object) -> None:
    pass


assert_type(guard(1), bool)
assert_type(load(None), "int | None")
"""


#: What the pages of docs/questions take for granted.
GIVEN = """
from flask import Flask

from flask_rooms import Rooms, sockets as sockets

app = Flask(__name__)
rooms = Rooms(app)
sid, user_id = "", 7


def create_app() -> Flask:
    return app
"""


@pytest.fixture(name="programs")
def _programs(tmp_path: Path) -> Path:
    """The programs, as files of a project of a user."""
    app, *_ = blocks("README.md", "python")
    reports, tasks, *_ = blocks("docs/progress.md", "python")
    programs = {"app": app, "reports": reports, "tasks": tasks, "use": USE}
    pages = [
        ("ban-a-user", "chat"),
        ("private-rooms", "teams"),
        ("who-is-there", "lobby"),
        ("one-tab", "game"),
        ("ask", "meeting"),
        ("volatile", "board"),
        ("tutorial", "tutorial"),
        ("for-a-time", "typing_app"),
        ("tell", "shop"),
    ]
    for page, name in pages:
        programs[name], *_ = blocks(f"docs/{page}.md", "python")
    programs["given"] = GIVEN
    for question in (ROOT / "docs" / "questions").glob("*.md"):
        for code in blocks(f"docs/questions/{question.name}", "python"):
            given = "from given import app, create_app, rooms, sid, sockets, user_id"
            programs[f"q_{question.stem}".replace("-", "_")] = f"{given}\n\n{code}"
    for name, program in programs.items():
        (tmp_path / f"{name}.py").write_text(program, encoding="utf-8")
    return tmp_path


def test_mypy(programs: Path) -> None:
    options = ["--strict", "--ignore-missing-imports", "--allow-untyped-decorators"]
    done = run([sys.executable, "-m", "mypy", *options, "."], programs)

    assert "Success: no issues found" in done, done


def test_pyright(programs: Path) -> None:
    pyright = require_npm("pyright") / "pyright" / "index.js"
    node = shutil.which("node")
    assert node is not None
    package = Path(flask_rooms.__file__).parents[1]
    # Celery has no types, and what pyright infers of its decorator is not what that returns.
    untyped = ["reports.py", "tasks.py"]
    configuration = {
        "typeCheckingMode": "standard",
        "extraPaths": [str(package)],
        "exclude": untyped,
    }
    (programs / "pyrightconfig.json").write_text(json.dumps(configuration), encoding="utf-8")

    done = run([node, str(pyright), "--pythonpath", sys.executable], programs)

    assert "0 errors, 0 warnings" in done, done


def run(command: list[str], directory: Path) -> str:
    return subprocess.run(
        command, cwd=directory, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT, check=False
    ).stdout
