"""What could be published on the channel of a cluster: frames, right, nearly right and hostile."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgpack

from flask_rooms.protocol.codec import NOTHING, VERSION, encode_operation
from flask_rooms.protocol.messages import (
    Acknowledged,
    Change,
    Done,
    Emit,
    Goodbye,
    Query,
    Reply,
    User,
)
from flask_rooms.protocol.signing import Signer
from tests.fuzz.noise import Noise

ME = "me"
SENDERS = (ME, "you", "z", *(f"w{number}" for number in range(60)))
SID = f"{ME}_{'x' * 22}"

OPERATIONS = [
    encode_operation(one)
    for one in (
        Change("leave", "/", (SID,), ("fun",)),
        Change("join", "/", (SID,), ("fun",), by=SID),
        Change("leave_all", "/", (), (), "fun"),
        Change("disconnect", "/", (), (), User("ada")),
        Change("recheck", "/", (), (), "fun"),
        Done(ME, 1, 1, 1, ()),
        Query("members", "/", "fun"),
        Query("rooms", "/", None),
        Reply(ME, 1, ("a",), (1,), last=True),
        Emit("/", ('2["x"]',), None, (), 0),
        Emit("/", ('2["x"]',), ("fun", User("ada")), (SID,), 1),
        Acknowledged(ME, 1, ()),
        Goodbye(),
    )
] + [NOTHING]

NUMBERS = (0, 1, 2, 3, 4, -1, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1)


class FrameNoise(Noise):
    """
    Random payloads.

    Args:
        seed: As of Noise.
        signer: That of the cluster.
    """

    def __init__(self, seed: object, signer: Signer) -> None:
        super().__init__(seed)
        self._signer = signer
        self._next: dict[str, int] = {}  # sender -> the number of its next operation

    def payload(self) -> bytes:
        """Return what somebody may publish."""
        kind = self.random.random()
        if kind < 0.1:
            return self.junk()
        if kind < 0.2:
            return self._envelope()
        signed = self._signer.sign(self._body())
        return self._damaged(signed) if kind < 0.3 else signed

    def _body(self) -> bytes:
        if self.happens(0.3):
            return self._pack([VERSION, *(self._field() for _ in range(self.random.randrange(9)))])
        sender = self.random.choice(SENDERS[: self.random.choice((3, 99))])
        operations = self._operations()
        first = self._next.get(sender, 1) if self.happens(0.9) else self._number()
        self._next[sender] = min(max(1, first), 2**62) + len(operations)
        body: list[Any] = [self._version(), sender, first, operations]
        body += [self._heartbeat(first), self._table(first), self._number()]
        at = self.random.randrange(len(body))
        if self.happens(0.2):
            body[at] = self._field()
        return self._pack(body)

    def _version(self) -> Any:
        return VERSION if self.happens(0.98) else self.random.choice((VERSION + 1, True, "2", None))

    def _number(self) -> Any:
        return self.random.choice(NUMBERS) if self.happens(0.2) else self.random.randrange(5)

    def _operations(self) -> list[Any]:
        return [
            self.random.choice(OPERATIONS) if self.happens(0.8) else self._operation()
            for _ in range(self.random.choice((0, 0, 1, 2, 30)))
        ]

    def _operation(self) -> bytes:
        """Return an operation of a known or unknown kind, with fields of any type."""
        fields = [self._field() for _ in range(self.random.randrange(8))]
        return self._pack([self.random.randrange(10), *fields])

    def _heartbeat(self, first: int) -> Any:
        """Return the heartbeat of a worker whose next operation has the number *first*."""
        if self.happens(0.4):
            return None
        age, about = self.random.random() * 100, ["host", 1, "1.0", 2.0]
        flags = [self.happens(0.5), self.happens(0.5)]
        oldest = 1 if self.happens(0.98) else self._number()
        beat = [self.random.randrange(1, 1000), oldest, first, age, self._table(first)]
        beat += [about, *flags, self._table(1)]
        if self.happens(0.1):
            beat[self.random.randrange(len(beat))] = self._field()
        return beat

    def _table(self, number: int) -> dict[str, Any]:
        """Return a number for some workers, *number* for most of them."""
        names = (ME, "you", *self.random.sample(SENDERS, 2))
        # Rarely 0, which counts the node as dead, and makes it start over.
        return {
            name: self._number() if self.happens(0.01) else number
            for name in names
            if self.happens(0.5)
        }

    def _field(self) -> Any:
        if self.happens(0.1):
            return msgpack.ExtType(5, b"x")
        return self.value() if self.happens(0.8) else self.junk()

    def _pack(self, value: Any) -> bytes:
        try:
            packed: bytes = msgpack.packb(value, use_bin_type=True)
        except (ValueError, OverflowError):  # too large a number, or half a character
            return NOTHING
        return packed

    def _damaged(self, payload: bytes) -> bytes:
        damaged = bytearray(payload)
        damaged[self.random.randrange(len(damaged))] ^= 1 << self.random.randrange(8)
        return bytes(damaged[: len(damaged) - self.random.choice((0, 0, 1, 20))])

    def _envelope(self) -> bytes:
        """Return a message as Kombu puts it on Redis, with headers of any kind."""
        message = {
            "body": base64.b64encode(self.junk()).decode(),
            "content-type": "application/x-python-serialize",
            "headers": {"compression": "application/x-gzip"},
            "properties": {"body_encoding": "base64"},
        }
        message[self.random.choice(sorted(message))] = self.value()
        return json.dumps(message).encode()
