"""Signs payloads with every key that is configured, and verifies those of any."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from hashlib import blake2b

#: How many keys sign, the newest ones; all of them are accepted.
MAX_SIGNATURES = 16

#: Bytes of a signature, which RFC 7693 (section 2.1) leaves to us: as many as HMAC would be cut to.
_SIZE = 16


class BadSignature(Exception):
    """None of the signatures of a payload is of one of the keys."""


class Signer:
    """
    Puts signatures before a body: their number, one for each key, and the body.

    Rule `each-key-signs`: a worker that has only the old key of two accepts what a worker signs
    that has both. So keys can be rotated worker by worker.

    Args:
        secret_keys: Newest first.
        purpose: What is signed; a signature for another purpose is not accepted.
    """

    def __init__(self, secret_keys: Iterable[str | bytes], purpose: str) -> None:
        keys = dict.fromkeys(key.encode() if isinstance(key, str) else key for key in secret_keys)
        # A secret may be longer than a key of BLAKE2, so it is the key of an HMAC here.
        derived = [hmac.digest(key, purpose.encode(), "sha256") for key in keys]
        # Prepared: for each payload a copy takes in its body.
        self._macs = [blake2b(key=key, digest_size=_SIZE) for key in derived]

    def sign(self, body: bytes) -> bytes:
        """Return *body* with its signatures."""
        signatures = [_signature(mac, body) for mac in self._macs[:MAX_SIGNATURES]]
        return b"".join([bytes([len(signatures)]), *signatures, body])

    def unsign(self, payload: bytes) -> memoryview:
        """
        Return the body of a signed payload.

        Raises:
            BadSignature: It is signed with none of the keys.
        """
        count = payload[0] if payload else 0
        start = 1 + count * _SIZE
        if 0 < count <= MAX_SIGNATURES and len(payload) >= start:
            body = memoryview(payload)[start:]
            theirs = [payload[at : at + _SIZE] for at in range(1, start, _SIZE)]
            for mac in self._macs:
                ours = _signature(mac, body)
                for one in theirs:
                    if hmac.compare_digest(ours, one):
                        return body
        raise BadSignature


def _signature(prepared: blake2b, body: bytes | memoryview) -> bytes:
    mac = prepared.copy()
    mac.update(body)
    return mac.digest()
