"""Lists of those who are present, in JavaScript and Python, over workers that are killed."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import socketio

from flask_rooms.client import PresenceDifference, RoomsClient
from tests.support.javascript import Node, require_npm
from tests.support.workers import Worker, cluster
from tests.unit.presence.test_presence import until

TIMEOUT = 30.0

CLIENT = """(async () => {
  globalThis.module = await load("%(url)s/js/rooms.js");
  globalThis.lists = {}, globalThis.log = {}, globalThis.sockets = {}, globalThis.waiting = [];
  globalThis.open = async (name, url, user) => {
    const socket = sockets[name] = io(url, { forceNew: true, auth: { user }, reconnection: false });
    const api = module.rooms(socket);
    log[name] = [];
    api.presence("team:1", (people, { joined, changed, left }) => {
      lists[name] = people.map((person) => person.user).sort().join();
      for (const one of joined) log[name].push(`+${one.user}`);
      for (const one of changed) log[name].push(`=${one.user}`);
      for (const one of left) log[name].push(`-${one.user}`);
      waiting = waiting.filter((look) => !look());
    });
    await api.put("/rooms/team:1");
    return api;
  };
  globalThis.until = (name, list) => new Promise((resolve) => {
    const look = () => lists[name] === list && (resolve(log[name].join()), true);
    if (!look()) waiting.push(look);
  });
})()"""


class Listener:
    """A client in Python that follows who is present."""

    def __init__(self, url: str, user: str) -> None:
        self.people: list[str] = []
        self.log: list[str] = []
        self._changed = threading.Condition()
        self.socket = socketio.Client(reconnection=False)
        self.end = RoomsClient(self.socket).presence("team:1", self._follow)
        self.socket.connect(
            url, auth={"user": user}, transports=["websocket"], wait_timeout=TIMEOUT
        )
        self.socket.call("put", {"url": "/rooms/team:1"})

    def _follow(self, people: list[dict[str, Any]], difference: PresenceDifference) -> None:
        with self._changed:
            self.people = sorted(person["user"] for person in people)
            self.log += [f"+{person['user']}" for person in difference.joined]
            self.log += [f"={person['user']}" for person in difference.changed]
            self.log += [f"-{person['user']}" for person in difference.left]
            self._changed.notify_all()

    def until(self, *people: str) -> list[str]:
        """Return what has happened, once these are present."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.people == sorted(people), TIMEOUT)
            return self.log


@pytest.mark.parametrize("broker", ["redis_broker", "amqp_broker"])
def test_the_people_of_a_worker_that_is_killed_go_from_every_list(
    broker: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(broker).url
    node_modules = require_npm("socket.io-client")
    options = ("tests.support.presence_app", "", "--heartbeat", "0.5")
    with cluster(url, 3, *options) as (first, second, third), Node(node_modules) as node:
        node.run("globalThis.io = npm('socket.io-client').io; 0")
        node.run(CLIENT % {"url": first.url})
        watcher = Listener(first.url, "eve")
        node.run(f"open('ann', '{second.url}', 'ann').then(() => 0)")
        node.run(f"open('tab', '{third.url}', 'ann').then(() => 0)")
        node.run(f"open('bob', '{third.url}', 'bob').then(() => 0)")
        node.run("until('ann', 'ann,bob,eve')")
        watcher.until("ann", "bob", "eve")

        third.kill()

        assert watcher.until("ann", "eve") == ["+eve", "+ann", "+bob", "-bob"]
        assert node.run("until('ann', 'ann,eve')").endswith("+bob,-bob")
        assert first.post("/people", room="team:1")["people"] == ["eve", "ann"]

        node.run("sockets.ann.disconnect(); 0")
        assert watcher.until("eve")[4:] == ["-ann"]
        watcher.end()
        watcher.socket.disconnect()


def told(worker: Worker) -> list[list[Any]]:
    """Return what a worker has told its application."""
    return list(worker.post("/told")["told"])


@pytest.mark.parametrize("broker", ["redis_broker", "amqp_broker"])
def test_when_the_worker_that_tells_the_application_is_killed_another_one_goes_on(
    broker: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(broker).url
    options = ("tests.support.presence_app", "", "--heartbeat", "0.5")
    with cluster(url, 3, *options) as workers:
        users = {worker: f"u{number}" for number, worker in enumerate(workers)}
        listeners = [Listener(worker.url, user) for worker, user in users.items()]
        until(lambda: sum(len(told(worker)) for worker in workers) == 3)
        (teller,) = (worker for worker in workers if told(worker))
        numbers = {user: number for _, user, number in told(teller)}
        others = [worker for worker in workers if worker is not teller]

        teller.kill()

        gone = users[teller]
        until(lambda: any(told(worker) for worker in others))
        assert [one for worker in others for one in told(worker)] == [["left", gone, numbers[gone]]]
        for listener in listeners:
            listener.end()
            listener.socket.disconnect()
