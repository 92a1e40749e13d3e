"""The programs of the how-to pages do what the pages say, on two workers."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import requests

from flask_rooms.testing import Client, LocalCluster, cluster
from tests.docs.test_readme import FLASK, TIMEOUT, run, running
from tests.support.brokers import Broker, free_port
from tests.support.browser import Browser, Tab
from tests.support.documents import blocks
from tests.support.javascript import require_npm
from tests.unit.presence.test_presence import until

pytestmark = pytest.mark.mode_independent

# A new block needs a new test here.
CHAT, CHAT_PEOPLE = blocks("docs/ban-a-user.md", "python")
TEAMS, TEAMS_PEOPLE = blocks("docs/private-rooms.md", "python")
TEAM, VISITS = blocks("docs/presence.md", "python")
LOBBY, LOOK = blocks("docs/who-is-there.md", "python")
(BOARD,) = blocks("docs/volatile.md", "python")
(TALK,) = blocks("docs/history.md", "python")
(TYPING,) = blocks("docs/for-a-time.md", "python")
(SHOP,) = blocks("docs/tell.md", "python")
GAME, *_ = blocks("docs/one-tab.md", "python")
(MEETING,) = blocks("docs/ask.md", "python")
REPORTS, TASKS, PERSON = blocks("docs/progress.md", "python")
(COMING_BACK,) = blocks("docs/coming-back.md", "python")
(PAGE,) = blocks("docs/coming-back.md", "html")
(TEAM_PAGE,) = blocks("docs/presence.md", "html")

#: What the tests of a page add to its program, unless it has a login of its own.
LOGIN = """
from flask import session

def create_app_with_login():
    app = create_app()
    if "/login/<user>" not in map(str, app.url_map.iter_rules()):
        app.post("/login/<user>")(lambda user: session.update(user=user) or "")
    return app
"""

NEWS = """
from flask import Flask, send_file
from flask_rooms import Rooms, request, sockets

app = Flask(__name__)
app.config["SECRET_KEY"] = "secret"
rooms = Rooms(app, scripts_url="/js")
app.get("/<path:name>")(lambda name: send_file(name))


@app.put("/news")
def join():
    sockets.join(request, "news").result()
    return {}


@app.post("/news")
def news():
    sockets.broadcast("news", "news", request.get_json())
    return {"members": sockets.count("news").value}
"""


@pytest.fixture(autouse=True)
def _directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs are written to, and keep their databases in, a directory of the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("FLASK_SECRET_KEY", "secret")


@pytest.fixture
def workers(request: pytest.FixtureRequest) -> Iterator[LocalCluster]:
    name, program = request.param
    Path("team.py").write_text(TEAM, encoding="utf-8")  # which another one may extend
    Path(f"{name}.py").write_text(program + LOGIN, encoding="utf-8")
    try:
        with cluster(import_module(name).create_app_with_login, workers=2) as workers:
            yield workers
    finally:
        for module in {name, "team"} & sys.modules.keys():
            del sys.modules[module]


def connect(worker: Any, user: str, answer: Any = None) -> Client:
    browser = worker.app.test_client()
    browser.post(f"/login/{user}")
    client: Client = worker.connect(flask_test_client=browser, answer=answer)
    return client


@pytest.mark.parametrize(
    "program",
    [CHAT, TEAMS, LOBBY + LOOK, GAME, MEETING, TEAM, BOARD, TYPING, SHOP, REPORTS + TASKS, TALK],
)
def test_a_program_has_less_than_60_lines(program: str) -> None:
    assert len([line for line in program.splitlines() if line.strip()]) < 60


@pytest.mark.parametrize("workers", [("chat", CHAT)], indirect=True)
def test_a_kicked_user_may_come_back_and_a_banned_one_may_not(workers: LocalCluster) -> None:
    here, there = workers
    ann, tab, bob = connect(here, "ann"), connect(there, "ann"), connect(there, "bob")
    moderator = connect(there, "moderator")
    for client in (ann, tab, bob):
        assert client.request("put", "/chats/tea").status_code == 200

    refused = bob.request("delete", "/chats/tea/users/ann")
    assert refused.status_code == 403
    kicked = moderator.request("delete", "/chats/tea/users/ann")
    assert kicked.body == {"removed": 2}
    assert bob.request("post", "/chats/tea", {"text": "Hi"}).status_code == 200
    assert ann.request("post", "/chats/tea", {"text": "Hi"}).status_code == 403
    assert (ann.received(), tab.received()) == ([], [])
    assert bob.received() == [("said", {"by": "bob", "text": "Hi"})]

    assert ann.request("put", "/chats/tea").status_code == 200
    banned = moderator.request("delete", "/chats/tea/users/ann", {"ban": "1"})
    assert banned.body == {"removed": 1}
    for client in (ann, tab, here.connect()):  # the last one is not logged in
        assert client.request("put", "/chats/tea").status_code == 403
    assert ann.request("put", "/chats/coffee").status_code == 200

    late = here.connect()
    assert late.request("post", "/login/ann").status_code == 200  # the user of this socket is None
    assert late.request("put", "/chats/coffee").status_code == 200
    banned = moderator.request("delete", "/chats/coffee/users/ann", {"ban": "1"})
    assert banned.body == {"removed": 2}
    assert late.request("post", "/chats/coffee", {"text": "Hi"}).status_code == 403

    assert ann.request("delete", "/chats/tea/bans/ann").status_code == 403
    assert moderator.request("delete", "/chats/tea/bans/ann").status_code == 200
    assert ann.request("put", "/chats/tea").status_code == 200


@pytest.mark.parametrize("workers", [("teams", TEAMS)], indirect=True)
def test_a_removed_member_stops_receiving_on_all_tabs(workers: LocalCluster) -> None:
    here, there = workers
    ann, tab, bob = connect(here, "ann"), connect(there, "ann"), connect(there, "bob")
    stranger, admin = connect(here, "stranger"), connect(there, "admin")
    for user in ("ann", "bob"):
        assert bob.request("put", f"/teams/1/members/{user}").status_code == 403
        assert admin.request("put", f"/teams/1/members/{user}").status_code == 200
    statuses = [
        one.request("put", "/teams/1/news").status_code for one in (ann, tab, bob, stranger)
    ]
    assert statuses == [200, 200, 200, 403]

    removed = admin.request("delete", "/teams/1/members/ann")
    assert removed.body == {"removed": 2}
    admin.request("post", "/teams/1/news", "Hello")

    assert (ann.received(), tab.received(), stranger.received()) == ([], [], [])
    assert bob.received() == [("news", "Hello")]


@pytest.mark.parametrize("workers", [("lobby", LOBBY + LOOK)], indirect=True)
def test_people_are_there_once_and_go_with_their_last_tab(workers: LocalCluster) -> None:
    here, there = workers
    watcher = connect(there, "watcher")
    watcher.request("put", "/lobby")
    ann, tab = connect(here, "ann"), connect(there, "ann")
    for client in (ann, tab):
        people = client.request("put", "/lobby").body
        assert people == {"people": ["ann", "watcher"], "unreachable": []}
    watcher.received()
    look = here.http.get(f"/sockets/{tab.sid}").get_json()
    assert (look["connected"], look["user"]) == (True, "ann")

    ann.disconnect()
    assert watcher.received() == []
    tab.disconnect()
    assert watcher.received() == [("went", "ann")]


@pytest.mark.parametrize("workers", [("game", GAME)], indirect=True)
def test_the_game_goes_on_in_the_newest_tab_alone(workers: LocalCluster) -> None:
    here, there = workers
    bob = connect(here, "bob")
    first, second, third = (connect(worker, "ann") for worker in (there, here, there))

    while first.connected or second.connected:  # they are told in the background
        pass
    assert third.connected
    assert bob.connected
    with pytest.raises(ConnectionRefusedError):
        there.connect()


@pytest.mark.parametrize("workers", [("meeting", MEETING)], indirect=True)
def test_a_vote_counts_who_answers_and_names_who_does_not(workers: LocalCluster) -> None:
    here, there = workers
    yes = connect(here, "ann", lambda event, data: "yes")
    no = connect(there, "bob", lambda event, data: "no")
    mute = connect(there, "carl")
    for client in (yes, no, mute):
        client.request("put", "/meeting")

    result = here.http.post("/votes", json={"question": "Tea?", "seconds": 1}).get_json()

    assert result == {"yes": 1, "no": 1, "silent": 1, "left": 0}
    assert mute.received() == [("vote", "Tea?")]


@pytest.mark.parametrize("workers", [("team", TEAM)], indirect=True)
def test_a_live_list_has_each_person_once(workers: LocalCluster) -> None:
    here, there = workers
    ann, tab, bob = connect(here, "ann"), connect(there, "ann"), connect(there, "bob")
    for client in (ann, tab, bob):
        client.request("put", "/teams/1")
    ann.received()
    assert ann.request("get", "/teams/1").body == {"people": ["ann", "bob"]}

    assert bob.request("patch", "/teams/1/me", {"away": True}).body == {"changed": True}

    ((event, difference),) = ann.received()
    assert (event, difference["changed"][0]["user"]) == ("presence_diff", "bob")
    assert difference["changed"][0]["data"] == [{"name": "", "away": True}]


@pytest.mark.parametrize("workers", [("visits", VISITS)], indirect=True)
def test_each_visit_is_written_into_a_database_once(workers: LocalCluster) -> None:
    here, there = workers
    ann, tab, bob = connect(here, "ann"), connect(there, "ann"), connect(there, "bob")
    for client in (ann, tab, bob):
        client.request("put", "/teams/1")
    for client in (ann, tab):
        here.sockets.leave(client.sid, "team:1").result(TIMEOUT)

    wanted = [("team:1", "ann", 1), ("team:1", "bob", 0)]
    until(lambda: Path("visits.db").exists() and sorted(visits()) == wanted)


def visits() -> list[tuple[Any, ...]]:
    """Return what the program has written."""
    with closing(sqlite3.connect("visits.db", timeout=TIMEOUT)) as database:
        try:
            return list(database.execute("SELECT room, user, gone FROM visits"))
        except sqlite3.OperationalError:  # there is no table yet
            return []


@pytest.mark.parametrize("workers", [("board", BOARD)], indirect=True)
def test_the_others_see_a_pointer_that_moves(workers: LocalCluster) -> None:
    ann, bob = (connect(worker, user) for worker, user in zip(workers, ["ann", "bob"], strict=True))
    for client in (ann, bob):
        client.request("put", "/board")

    for at in ([1, 2], [3, 4]):
        ann.request("post", "/pointer", at)

    pointers = [("pointer", {"who": ann.sid, "at": at}) for at in ([1, 2], [3, 4])]
    assert (ann.received(), bob.received()) == ([], pointers)


@pytest.mark.parametrize("workers", [("typing_app", TYPING)], indirect=True)
def test_one_that_types_no_more_is_told_of(workers: LocalCluster) -> None:
    ann, bob = (connect(worker, user) for worker, user in zip(workers, ["ann", "bob"], strict=True))

    assert ann.request("put", "/typing", {"seconds": 60}).body == {"typing": ["ann"]}
    ann.request("put", "/typing", {"seconds": 0.01})

    while bob.request("get", "/typing").body["typing"]:
        pass
    events: list[Any] = []
    while not events:
        events = bob.received()
    assert events == [("stopped typing", "ann")]


@pytest.mark.parametrize("workers", [("shop", SHOP)], indirect=True)
def test_a_price_that_has_changed_is_forgotten_on_every_worker(workers: LocalCluster) -> None:
    here, there = (connect(worker, "ann") for worker in workers)
    assert there.request("get", "/prices/tea").body == {"price": 3}

    assert here.request("put", "/prices/tea", 5).body == {"workers": 2}

    while there.request("get", "/prices/tea").body != {"price": 5}:
        pass


@pytest.mark.parametrize(
    ("page", "name", "program", "people"),
    [
        ("ban-a-user", "chat", CHAT, CHAT_PEOPLE),
        ("private-rooms", "teams", TEAMS, TEAMS_PEOPLE),
        ("progress", "reports", REPORTS, PERSON),
    ],
)
def test_people_on_two_workers_see_what_the_page_prints(
    page: str, name: str, program: str, people: str, redis_broker: Broker, tmp_path: Path
) -> None:
    for file, text in ((name, program), ("tasks", TASKS), ("people", people)):
        Path(f"{file}.py").write_text(text, encoding="utf-8")
    environment = {**os.environ, "FLASK_ROOMS_BACKEND_URL": redis_broker.url}
    ports = [str(free_port()) for _ in range(2)]
    with ExitStack() as stack:
        if page == "progress":
            stack.enter_context(celery_worker(tmp_path, environment))
        for port in ports:
            serve = [*FLASK, "--app", name, "run", "--port", port]
            stack.enter_context(running(tmp_path, int(port), serve, environment))
        printed = run([sys.executable, "people.py", *ports], tmp_path)
    assert [printed] == blocks(f"docs/{page}.md", "text")


@contextmanager
def celery_worker(directory: Path, environment: dict[str, str]) -> Iterator[None]:
    command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-c", "1", "-P", "solo"]
    process = subprocess.Popen(command, cwd=directory, env=environment)
    try:
        yield
    finally:
        process.terminate()
        process.wait(TIMEOUT)


def test_a_python_client_is_in_its_room_again_after_a_reconnect(tmp_path: Path) -> None:
    Path("app.py").write_text(NEWS, encoding="utf-8")
    Path("client.py").write_text(COMING_BACK, encoding="utf-8")
    port = free_port()
    client = None
    try:
        for text in (
            "first",
            "second",
        ):  # the second server is there for a client that has lost the first
            with serving_news(tmp_path, port) as url:
                client = client or subprocess.Popen(
                    [sys.executable, "client.py", url], stdout=subprocess.PIPE, text=True
                )
                assert client.stdout is not None
                tell_the_members(url, text)
                while client.stdout.readline() != f"{text}\n":
                    pass
    finally:
        if client is not None:
            client.kill()
            client.communicate()


def test_a_page_is_in_its_room_again_after_a_reconnect(tmp_path: Path, chromium: Browser) -> None:
    scripts = require_npm("socket.io-client") / "socket.io-client" / "dist"
    Path("socket.io.min.js").write_bytes((scripts / "socket.io.min.js").read_bytes())
    Path("app.py").write_text(NEWS, encoding="utf-8")
    Path("page.html").write_text(PAGE, encoding="utf-8")
    port, tab = free_port(), None
    for text in ("first", "second"):
        with serving_news(tmp_path, port) as url:
            tab = tab or chromium.tab(f"{url}/page.html")
            try:
                tell_the_members(url, text)
            except AssertionError as error:
                raise AssertionError(tab.errors()) from error
            tab.until(f"document.body.textContent.includes('{text}')")


def test_two_pages_show_each_other_and_who_has_gone(tmp_path: Path, chromium: Browser) -> None:
    scripts = require_npm("socket.io-client") / "socket.io-client" / "dist"
    Path("socket.io.min.js").write_bytes((scripts / "socket.io.min.js").read_bytes())
    Path("team.py").write_text(TEAM, encoding="utf-8")
    Path("page.html").write_text(TEAM_PAGE, encoding="utf-8")
    port = free_port()
    serve = [*FLASK, "--app", "team", "run", "--port", str(port)]
    environment = {**os.environ, "FLASK_ROOMS_PRESENCE_GRACE": "0.2"}
    with running(tmp_path, port, serve, environment):
        ann = chromium.tab(f"http://127.0.0.1:{port}/as/ann")
        ann.until("document.getElementById('people').textContent === 'Ann'")
        bob = chromium.tab(f"http://127.0.0.1:{port}/as/bob")
        for page in (ann, bob):
            page.until("/^Ann( .away.)?Bob$/.test(document.getElementById('people').textContent)")

        # One in the background is away as well once it has lost its connection and is back.
        bob.run("Object.defineProperty(document, 'hidden', { value: true })")
        set_offline(bob, True)
        ann.until("/^Ann( .away.)?$/.test(document.getElementById('people').textContent)")
        set_offline(bob, False)
        ann.until("document.getElementById('people').textContent.endsWith('Bob (away)')")

        bob.run("setTimeout(() => location.replace('about:blank')); 0")
        ann.until("/^Ann( .away.)?$/.test(document.getElementById('people').textContent)")


def set_offline(tab: Tab, offline: bool) -> None:
    """Take the network from a tab, or give it back."""
    unlimited = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    tab.command("Network.enable")
    tab.command("Network.emulateNetworkConditions", offline=offline, **unlimited)


@contextmanager
def serving_news(directory: Path, port: int) -> Iterator[str]:
    with running(directory, port, [*FLASK, "run", "--port", str(port)]):
        yield f"http://127.0.0.1:{port}"


def tell_the_members(url: str, text: str) -> None:
    """Send news until a member is there to get it."""
    until(lambda: requests.post(f"{url}/news", json=text, timeout=TIMEOUT).json()["members"])


@pytest.mark.parametrize("workers", [("talk", TALK)], indirect=True)
def test_a_page_that_comes_back_gets_what_was_said(workers: LocalCluster) -> None:
    here, there = workers
    ann, bob = here.connect(), there.connect()
    assert ann.request("put", "/talks/1", {"since": None}).body == {"gone": False}
    ((event, told),) = ann.received()
    assert event == "history_offset"
    ann.disconnect()
    assert bob.request("post", "/talks/1", {"text": "Hi"}).status_code == 200

    ann = there.connect()
    since = {"epoch": told["epoch"], "offsets": [told["offset"]]}
    assert ann.request("put", "/talks/1", {"since": since}).body == {"gone": False}
    assert ann.received()[0] == ("said", "Hi")
    assert ann.request("put", "/talks/1", {"since": "x"}).status_code == 400
