"""Signs what a worker with the key may send, well-formed or not."""

from __future__ import annotations

from flask_rooms.protocol.signing import Signer


def signed(body: bytes, key: str, channel: str) -> bytes:
    """Return *body* with the signature that every frame has."""
    return Signer([key], f"flask-rooms.frame.{channel}").sign(body)
