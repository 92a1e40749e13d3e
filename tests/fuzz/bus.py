"""Noise between the workers: at a broker with two of them, and at a node that has the key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

import redis

from flask_rooms.protocol.codec import BadMessage, Codec
from flask_rooms.protocol.messages import Change
from flask_rooms.protocol.node import Node
from flask_rooms.protocol.signing import Signer
from flask_rooms.protocol.stream import Limits
from tests.fuzz.clients import NoisyClient
from tests.fuzz.frames import ME, FrameNoise
from tests.fuzz.run import Run
from tests.fuzz.worker import WatchedWorker, Witness, asks_for_itself, open_witness
from tests.support import brokers
from tests.support.raw import RawClient

KEY = "of the tests"
LIMITS = Limits(outbox=2**20, log=2**20, frame=2**16)

#: Payloads after which a node is replaced; most lives are shorter, as the noise evicts them.
LIFE = 20_000
#: Payloads between two looks at whether the run is over, and how many the broker gets of them.
PORTION, PUBLISHED = 500, 100


class BusRun(Run):
    """Noise on the channel of two workers; a client of one is asked about by way of the other."""

    def _start(self, directory: Path) -> WatchedWorker:
        broker = self._stack.enter_context(brokers.start("redis"))
        channel = f"fuzz-{uuid4().hex}"
        first, second = (
            self._stack.enter_context(WatchedWorker(directory, seconds, broker.url, channel))
            for seconds in [self._plan.ping_timeout] * 2
        )
        client = redis.Redis.from_url(broker.url)
        self._stack.callback(client.close)
        (self._topic,) = client.pubsub_channels(f"*.{channel}")
        self._broker, self._channel = client, channel
        witness = open_witness(self._stack, second)
        there = RawClient(first.url)
        self._stack.callback(there.close)
        self.witness = Witness(first, _asks_across(witness, there))
        return first

    def _clients(self, worker: WatchedWorker, phase: str) -> Sequence[NoisyClient]:
        signer = Signer([KEY], f"flask-rooms.frame.{self._channel}")
        noise = FrameNoise((self._plan.seed, phase), signer)
        patience = self._plan.patience
        return [BusClient(worker.url, noise, patience, self._channel, self._publish)]

    def _publish(self, payload: bytes) -> None:
        self._broker.publish(self._topic, payload)


def _asks_across(client: RawClient, other: RawClient) -> Callable[[], object]:
    """Return a question about a socket of the other worker."""

    asks = asks_for_itself(other)  # which also has it answer its pings

    def ask() -> None:
        asks()
        answer = client.request("post", f"/release/{other.sid}/fun")
        if answer["body"] != {"known": True}:
            raise AssertionError(answer)

    return ask


class BusClient(NoisyClient):
    """
    Publishes what is not of the cluster, and gives a node of its own what could be.

    Who has the key can do anything, also end the sockets of workers. So the workers get only what
    they have to drop, and the node gets the rest, and has to take it.

    Args:
        url: The worker; it is not connected to.
        noise: Payloads.
        patience: Not needed, as there is no connection to the worker.
        channel: The channel.
        publish: Publishes a payload.
    """

    def __init__(
        self,
        url: str,
        noise: FrameNoise,
        patience: float,
        channel: str,
        publish: Callable[[bytes], object],
    ) -> None:
        super().__init__(url, noise, patience)
        self._frames = noise
        self._codec = Codec([KEY], channel, 2**21)
        self._publish = publish

    def _use_connection(self) -> None:
        self._node, self._now = _new_node(0.0), 0.0
        for _ in range(LIFE // PORTION):
            if self.is_leaving:
                return
            dropped = [one for one in map(self._try, range(PORTION)) if one is not None]
            for payload in dropped[:PUBLISHED]:
                self._publish(payload)
                self.counts["published"] += 1
            self._leaving.wait(0.05)  # the workers, which have to keep up, are others' too

    def _try(self, number: int) -> bytes | None:
        """Give a payload to the node; return it if it is to be dropped."""
        payload = self._frames.payload()
        try:
            self._receive(payload)
        except BadMessage as error:
            self.counts[f"dropped: {error.reason}"] += 1
            return payload
        except Exception as error:  # noqa: BLE001 - it makes the run fail
            self.complaints.append(f"{error!r} for {payload[:200]!r}")
        return None

    def _receive(self, payload: bytes) -> None:
        frame = self._codec.decode(payload)
        self.counts["received"] += 1
        self._now += self.noise.random.random() * 0.1
        events = [*self._node.receive(frame, self._now), *self._node.tick(self._now)]
        self.counts.update(type(event).__name__ for event in events)
        if any(type(event).__name__ == "Evicted" for event in events):
            self._node = _new_node(self._now)
        if self.noise.happens(0.01):
            self._node.call(Change("leave_all", "/", (), (), "fun"), None, self._now)
        own = self._node.take(self._now)
        if own is not None:
            self._node.receive(self._codec.decode(self._codec.encode(own)), self._now)


def _new_node(now: float) -> Node:
    return Node(ME, now, heartbeat=1.0, confirm=5.0, limits=LIMITS)
