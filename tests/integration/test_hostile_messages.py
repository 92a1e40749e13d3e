"""
What somebody publishes who has access to the broker, and no key, harms no worker.

Each message is sent by a raw client, straight to where the workers listen. Nothing but its bytes
may be looked at before the signature is checked: no header, no encoding, no name.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import amqp
import pytest
import redis

from tests.support.brokers import Broker, RabbitMQ, Redis
from tests.support.workers import Connect, Worker, cluster

#: Bytes of the bomb once it has gone off.
BOMB = 2**28
#: Bytes by which the memory of a worker may grow.
SLACK = 2**26


def bomb() -> bytes:
    """Return what zlib turns into BOMB bytes, a thousandth of that."""
    pack = zlib.compressobj()
    return b"".join(pack.compress(bytes(2**20)) for _ in range(BOMB // 2**20)) + pack.flush()


def envelope(content: bytes, **changes: Any) -> bytes:
    """Return what Kombu would publish on Redis."""
    message = {
        "body": base64.b64encode(content).decode(),
        "content-type": "application/octet-stream",
        "content-encoding": "binary",
        "headers": {},
        "properties": {
            "body_encoding": "base64",
            "delivery_tag": "x",
            "delivery_info": {"exchange": "x", "routing_key": ""},
        },
    }
    return json.dumps({**message, **changes}).encode()


PAYLOADS = {
    "empty": b"",
    "no UTF-8": b"\xff\xfe",
    "half an object": b"{",
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "an envelope of no message": envelope(b"", headers=None, properties=None),
    "a body that is no base64": envelope(b"", **{"body": "***"}),
    "an unknown encoding": envelope(b"x", **{"content-encoding": "no such encoding"}),
    "a pickle": envelope(
        b"c__builtin__\nexit\n.", **{"content-type": "application/x-python-serialize"}
    ),
}


def text(value: bytes) -> bytes:
    """Return a short string of AMQP."""
    return bytes([len(value)]) + value


def table(kind: bytes, value: bytes, name: bytes = b"x") -> bytes:
    """Return a table of AMQP with one field."""
    field = text(name) + kind + value
    return struct.pack(">I", len(field)) + field


def flags(*positions: int) -> bytes:
    """Return which of AMQP's properties follow, by their positions."""
    return struct.pack(">H", sum(1 << 15 - position for position in positions))


TYPE, ENCODING, HEADERS, TIMESTAMP = 0, 1, 2, 9

#: What is on the wire of the properties of an AMQP message.
PROPERTIES = {
    "none": flags(),
    "a type that is not UTF-8": flags(TYPE) + text(b"\xff\xfe"),
    "an encoding that is not UTF-8": flags(ENCODING) + text(b"\xff\xfe"),
    "an unknown encoding": flags(ENCODING) + text(b"no such encoding"),
    "another encoding": flags(ENCODING) + text(b"utf-16"),
    "a far timestamp": flags(TIMESTAMP) + struct.pack(">Q", 2**63),
    "a far date": flags(HEADERS) + table(b"T", struct.pack(">Q", 2**63)),
    "an array in an array": flags(HEADERS)
    + table(b"A", struct.pack(">I", 5) + b"A" + struct.pack(">I", 0)),
}
COMPRESSED = flags(HEADERS) + table(
    b"S", struct.pack(">I", 18) + b"application/x-gzip", b"compression"
)


class RawMessage(amqp.Message):
    """A message of py-amqp whose properties are bytes."""

    def __init__(self, body: bytes, properties: bytes) -> None:
        super().__init__(body)
        self.raw = properties

    def _serialize_properties(self) -> bytes:
        return self.raw


class RawRedis:
    """A client of Redis that publishes to the channel of a worker."""

    def __init__(self, broker: Broker) -> None:
        self._client = redis.Redis.from_url(broker.url)

    def attack(self, worker: Worker) -> None:
        """Publish everything, and the bomb."""
        (topic,) = self._client.pubsub_channels(f"*.{worker.channel}")
        for payload in PAYLOADS.values():
            assert self._client.publish(topic, payload) == 2
        compressed = {"compression": "application/x-gzip"}
        self._client.publish(topic, envelope(bomb(), headers=compressed))

    def connections(self) -> set[str]:
        """Name the connections at the broker, this one included."""
        return {client["id"] for client in self._client.client_list()}

    def close(self) -> None:
        """Disconnect."""
        self._client.close()


class RawRabbitMQ:
    """A client of RabbitMQ that publishes to the exchange of a worker."""

    def __init__(self, broker: Broker) -> None:
        assert isinstance(broker, RabbitMQ)
        self._broker = broker
        self._connection = amqp.Connection(f"127.0.0.1:{urlsplit(broker.url).port}")
        self._connection.connect()
        self._channel = self._connection.channel()

    def attack(self, worker: Worker) -> None:
        """Publish everything with every kind of properties, and the bomb."""
        for properties in PROPERTIES.values():
            for payload in PAYLOADS.values():
                self._publish(worker, payload, properties)
        self._publish(worker, bomb(), COMPRESSED)
        self._channel.exchange_declare(worker.channel, "direct", passive=True)  # all have arrived

    def _publish(self, worker: Worker, payload: bytes, properties: bytes) -> None:
        message = RawMessage(payload, properties)
        self._channel.basic_publish(message, exchange=worker.channel, routing_key="")

    def connections(self) -> set[str]:
        """Name the connections at the broker, this one included."""
        return self._broker.connections()

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()


@pytest.mark.parametrize(
    ("kind", "attacker_on"), [("redis", RawRedis), ("amqp", RawRabbitMQ)], ids=["redis", "amqp"]
)
def test_what_is_not_signed_costs_nothing(
    kind: str,
    attacker_on: type[RawRedis | RawRabbitMQ],
    request: pytest.FixtureRequest,
    connect: Connect,
) -> None:
    """The worker keeps its connections and its memory, and goes on serving its clients."""
    broker: Broker = request.getfixturevalue(f"{kind}_broker")
    if not isinstance(broker, Redis | RabbitMQ):
        pytest.skip("The broker named by the environment has other clients.")
    attacker = attacker_on(broker)
    others = attacker.connections()  # those of earlier tests may end while this one runs
    with closing(attacker), cluster(broker.url, 2) as (worker, speaker):
        witness = connect(worker)
        connections, memory = attacker.connections() - others, peak(worker)
        attacker.attack(worker)
        speaker.post("/broadcast", rooms=witness.sid, say=["served", 1])  # comes after the attack
        assert witness.receive() == ["served", 1]
        assert attacker.connections() - others == connections
        assert peak(worker) - memory < SLACK


def peak(worker: Worker) -> int:
    """Return the most bytes of memory that a worker has had."""
    status = Path(f"/proc/{worker.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return 1024 * int(line.split()[1])
