"""The pages that list calls, configuration and errors are complete; a backend is what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

from flask_rooms import InvalidSocket, Refused, RoomsError, Unconfirmed, errors, sockets
from flask_rooms.config import Config
from tests.support.apps import make_app
from tests.support.documents import ROOT, blocks

pytestmark = pytest.mark.mode_independent

#: Seconds for the tests of a backend, on a machine that is busy.
TIMEOUT = 60.0

(BACKEND_TEST,) = blocks("docs/backends.md", "python")

FOUR_METHODS = """
from queue import Empty, SimpleQueue
from flask_rooms.backends import Backend
from flask_rooms.errors import BackendError

channels = {}

class MyBackend(Backend):
    inbox = None

    def __init__(self, channel):
        self.inboxes = channels.setdefault(channel, [])

    def open(self):
        self.close()
        self.inbox = SimpleQueue()
        self.inboxes.append(self.inbox)

    def publish(self, payload):
        if self.inbox is None:
            raise BackendError("closed")
        for inbox in list(self.inboxes):
            inbox.put(payload)

    def receive(self, timeout):
        try:
            return self.inbox.get(timeout=timeout) if self.inbox else None
        except Empty:
            return None

    def close(self):
        inbox, self.inbox = self.inbox, None
        if inbox is not None:
            self.inboxes.remove(inbox)
            inbox.put(None)
"""


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_every_call_has_a_row() -> None:
    in_tables = set(re.findall(r"`(?:sockets)?\.(\w+)\(", page("calls.md")))

    assert in_tables == {name for name in dir(sockets) if not name.startswith("_")}


def test_the_configuration_table_is_complete() -> None:
    in_table = re.findall(r"^\| `(ROOMS_\w+)` \|", page("configuration.md"), re.MULTILINE)

    assert in_table == [f"ROOMS_{one.name.upper()}" for one in fields(Config)]


def named_errors() -> dict[str, str]:
    """Return the errors that have a row, each with the module that its row names."""
    found = {}
    for row in re.findall(r"^\| `.*", page("errors.md"), re.MULTILINE):
        module = re.search(r"`(flask_rooms\.\w+)`", row)
        names = re.findall(r"`(\w+)`", row.split("|")[1])
        found.update(dict.fromkeys(names, module[1] if module else "flask_rooms"))
    return found


def test_the_errors_named_can_be_imported_from_where_their_row_says() -> None:
    for name, module in named_errors().items():
        assert issubclass(getattr(import_module(module), name), RoomsError)


def test_every_error_has_a_row() -> None:
    classes = [one for one in vars(errors).values() if isinstance(one, type)]

    assert named_errors().keys() | {"RoomsError"} == {
        one.__name__ for one in classes if issubclass(one, RoomsError)
    }


def test_the_handlers_of_errors_give_each_a_status() -> None:
    app = make_app()
    (handlers,) = blocks("docs/errors.md", "python")
    exec(handlers, {"app": app})
    raised: dict[str, RoomsError] = {
        "id": InvalidSocket("Not an ID."),
        "guard": Refused(["a"]),
        "worker": Unconfirmed(["w"], 5.0),
    }

    @app.get("/<name>")
    def fail(name: str) -> str:
        raise raised[name]

    client = app.test_client()
    assert [client.get(f"/{name}").status_code for name in raised] == [400, 403, 503]
    assert client.get("/id").json == {"message": "Not an ID."}


def test_a_backend_of_four_methods_passes_the_five_line_test(tmp_path: Path) -> None:
    (tmp_path / "my_backend.py").write_text(FOUR_METHODS, encoding="utf-8")
    (tmp_path / "test_my_backend.py").write_text(BACKEND_TEST, encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert re.search(r"^=+ \d+ passed(, \d+ skipped)? in ", done.stdout, re.MULTILINE)


def test_every_page_with_a_program_has_a_test_that_runs_it() -> None:
    tests = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    fence = re.compile(r"^```(python|html|javascript|typescript|diff)$", re.MULTILINE)
    pages = [path for path in (ROOT / "docs").glob("*.md") if fence.search(path.read_text("utf-8"))]

    assert len(pages) > 9
    assert [one.name for one in pages if one.name not in tests] == []
