"""Small clusters with connected clients, as the fixture `network` of several test files."""

from __future__ import annotations

from typing import Any

from tests.support import apps, clients, workers
from tests.support.apps import PATIENCE, fence


class ThreeWorkers:
    """
    Three workers in this process: two with two new sockets each, and one without any.

    Args:
        cluster: The cluster of these workers.
    """

    def __init__(self, cluster: apps.LocalCluster) -> None:
        self.hub = cluster.hub
        self.workers = cluster.workers
        self.here, self.there, self.third = cluster.workers
        self.mine, self.idle = self.here.connect(), self.here.connect()
        self.other, self.elsewhere = self.there.connect(), self.there.connect()
        self.clients = [self.mine, self.idle, self.other, self.elsewhere]
        self.both = [self.mine.sid, self.other.sid]

    def join(self, sids: Any, rooms: Any) -> None:
        """Put sockets into rooms, and wait for the outcome."""
        self.third.sockets.join(sids, rooms).result(PATIENCE)

    @property
    def rooms(self) -> list[set[str]]:
        """The rooms of each client, in the order of `clients`."""
        owners = [self.here, self.here, self.there, self.there]
        pairs = zip(owners, self.clients, strict=True)
        return [owner.rooms_of(client) for owner, client in pairs]

    def received(self, *senders: apps.Worker) -> list[Any]:
        """Return the events of each client, including all that *senders* have sent so far."""
        for sender in senders:
            for client in self.clients:
                fence(sender, client)
        return [client.received() for client in self.clients]

    def close(self) -> None:
        """Disconnect the clients."""
        for client in self.clients:
            client.disconnect()


class TwoWebWorkers:
    """
    Two worker processes with a client each; both clients are in the same rooms.

    Args:
        processes: The workers.
        rooms: The rooms.
    """

    def __init__(self, processes: list[workers.Worker], rooms: list[str]) -> None:
        self.here, self.there = processes
        self.clients = self.mine, self.other = [clients.Client(one.url) for one in processes]
        self.sids = sorted(client.sid for client in self.clients)
        outcome = self.here.post("/join", sids=self.sids, rooms=rooms)
        assert outcome["changed"] == 2 * len(rooms)

    def close(self) -> None:
        """Disconnect the clients."""
        for client in self.clients:
            client.disconnect()
