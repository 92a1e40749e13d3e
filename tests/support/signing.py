"""Signs what a worker with the key may send, well-formed or not."""

from __future__ import annotations

import hashlib

from itsdangerous import Signer


def signed(body: bytes, key: str, channel: str) -> bytes:
    """Return *body* with the signature that every frame has."""
    signer = Signer(
        key,
        salt=f"flask-rooms.frame.{channel}",
        key_derivation="hmac",
        digest_method=hashlib.sha256,
    )
    return signer.sign(body)
