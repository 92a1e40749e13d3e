"""Each page of docs/questions is listed, and its code does what the page says, on two workers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, request

from flask_rooms import Rooms, sockets
from flask_rooms.testing import Client, LocalCluster, Worker, cluster
from tests.support.documents import ROOT, blocks

pytestmark = pytest.mark.mode_independent

PAGES = ROOT / "docs" / "questions"
WITH_CODE = [page.stem for page in sorted(PAGES.glob("*.md")) if "```python" in page.read_text()]


class Place:
    """Two tabs of one user, each on a worker of its own, and code that runs on the second one."""

    def __init__(self, workers: LocalCluster) -> None:
        self.here, self.there = workers
        self.ann, self.tab = (
            worker.connect(auth={"user": 7}, answer=lambda event, data: "yes") for worker in workers
        )
        self.here.sockets.join([self.ann.sid, self.tab.sid], ["fun", "games"]).result()
        for client in (self.ann, self.tab):
            client.received()

    def run(self, page: str) -> None:
        app = self.there.app
        names = {
            "__name__": __name__,
            "app": app,
            "rooms": app.extensions["rooms"],
            "sockets": sockets,
        }
        (code,) = blocks(f"docs/questions/{page}.md", "python")
        if "@signals" in code and "import signals" not in code:
            code = f"from flask_rooms import signals\n{code}"
        with app.app_context():
            exec(code, {**names, "sid": self.tab.sid, "user_id": 7, "create_app": create_app})


def create_app() -> Flask:
    app = Flask("questions")
    app.config["SECRET_KEY"] = "secret"
    rooms = Rooms(app)
    rooms.user_loader(lambda auth: auth and auth["user"])
    return app


@pytest.fixture(name="place")
def _place() -> Iterator[Place]:
    with cluster(create_app, workers=2) as workers:
        yield Place(workers)


#: What is true when the code of a page has run; where it is not here, that the code runs.
AFTER: dict[str, Callable[[Place], bool]] = {
    "remove-a-socket": lambda place: place.tab.rooms == {"games"},
    "remove-a-user": lambda place: place.ann.rooms == place.tab.rooms == {"games"},
    "disconnect-a-user": lambda place: not place.ann.connected and not place.tab.connected,
    "close-a-room": lambda place: place.there.sockets.rooms().value == {},
    "newest-tab": lambda place: not place.ann.connected and place.tab.connected,
    "leave-out-a-user": lambda place: received(place) == [[("said", "Hello")], []],
    "order-of-leave-and-message": lambda place: (
        place.ann.received() == [("left", {"who": place.tab.sid})] and place.tab.received() == []
    ),
    "send-from-celery": lambda place: received(place) == [[("news", {"percent": 50})]] * 2,
    "send-to-a-user": lambda place: [len(events) for events in received(place)] == [1, 2],
    "two-copies": lambda place: [len(events) for events in received(place)] == [1, 1],
    "dates-and-decimals": lambda place: received(place)[0][0][1]["sum"] == "9.90",
    "outside-of-request-context": lambda place: place.tab.rooms == {"games"},
    "join-room-in-a-route": lambda place: (
        place.tab.request("put", "/rooms/quiet").body == {"you": place.tab.sid}
    ),
    "joined-and-left": lambda place: leave(place.tab, place.there) == 1,
    "error-in-a-route": lambda place: status_of_a_route_that_joins(place.there) == 400,
    "type-hints": lambda place: place.tab.request("delete", "/rooms/fun").body == {"changed": 1},
    "from-outside": lambda place: place.ann.rooms == place.tab.rooms == {"games"},
    "was-it-done": lambda place: place.tab.rooms == {"games"},
    "after-a-reconnect": lambda place: (
        place.tab.request("put", "/me/rooms").body == {"rooms": ["fun", "quiet"]}
    ),
    "sessions-in-events": lambda place: (
        place.tab.request("post", "/login/ann").body == {}
        and place.tab.request("get", "/me").body == {"user": "ann"}
    ),
    "worker-stops": lambda place: not place.tab.connected and place.ann.connected,
    "large-events": lambda place: received(place) == [[], []],
    "wrong-user-in-a-handler": lambda place: "quiet" in place.tab.rooms,
}

PRINTED = {
    "remove-a-socket": "1\n",
    "who-is-in-a-room": "frozenset({'7'}) True ()\n2\n",
    "rooms-of-a-socket": r"{'fun': 2}\nfrozenset\({'(fun|games)', '(fun|games)'}\)\n",
    "sockets-of-a-user": r"frozenset\({'\w+\.?\w*', '\w+\.?\w*'}\)\n2\n",
    "unknown-socket": r"\('\w+\.?\w*',\)\n",
    "answers-of-a-room": "['yes', 'yes'] frozenset() frozenset()\n",
    "joined-and-left": "7 has left fun because of call\n",
    "rate-limits": r".*",
    "from-outside": "2\n",
    "was-it-done": "1 left\n",
    "mute-worker": "2\n",
    "scale-out": r"(process \d+ of version [\w.]+\n){2}",
    "online-list": r"\['7'\]\n",
    "worker-stops": r"A socket has ended: .+\n",
    "large-events": r".*ROOMS_MESSAGE_BYTES.*",
}


def leave(client: Client, worker: Worker) -> int:
    return worker.sockets.leave(client.sid, "fun").result().changed


def status_of_a_route_that_joins(worker: Worker) -> int:
    worker.app.put("/fun")(lambda: str(sockets.join(request, "fun").result()))
    return worker.http.put("/fun").status_code


def received(place: Place) -> list[list[tuple[Any, ...]]]:
    return [place.ann.received(), place.tab.received()]


@pytest.mark.parametrize("page", WITH_CODE)
def test_the_code_does_what_the_page_says(
    page: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    if page == "unknown-socket":
        place.tab.disconnect()
    place.run(page)

    assert page not in AFTER or AFTER[page](place)
    printed, expected = capsys.readouterr().out, PRINTED.get(page, "")
    assert printed == expected or re.fullmatch(expected, printed, re.DOTALL)


def test_every_page_is_listed() -> None:
    listed = re.findall(r"^[a-z-]+$", (PAGES / "index.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(
        page.stem for page in PAGES.glob("*.md") if page.stem != "index"
    )
