"""Packets of msgpack, whose keys may be of any type: they become what they are in JSON."""

from __future__ import annotations

import json
from typing import Any

import msgpack

from flask_rooms.server.packet_class import Checked


class CheckedMsgPack(Checked):
    """
    What comes before python-socketio's class for msgpack, of which `ext_hook` is.

    msgpack encodes `{1: 2}` as it is, and Python's refuses to decode that: clients, other workers
    and handlers would not get it.
    """

    ext_hook: Any

    def _encode(self) -> Any:
        encoded = super()._encode()
        try:
            msgpack.loads(encoded)
        except (TypeError, ValueError):
            self.data = with_json_keys(self.data)
            encoded = super()._encode()
            msgpack.loads(encoded)  # there may be others in what the application encodes itself
        return encoded

    def _decode(self, encoded_packet: Any) -> int:
        try:
            return super()._decode(encoded_packet)
        except ValueError:
            packet = msgpack.loads(
                encoded_packet,
                ext_hook=type(self).ext_hook,
                object_pairs_hook=_with_json_keys,
                strict_map_key=False,
            )
        self.packet_type, self.namespace = packet["type"], packet["nsp"]
        self.data, self.id = packet.get("data"), packet.get("id")
        return 0


def with_json_keys(value: Any) -> Any:
    """
    Return data whose dictionaries have the keys that JSON gives them.

    Raises:
        TypeError: One has a key that JSON refuses, such as a tuple.
        ValueError: One has a number that JSON does not have.
    """
    if isinstance(value, dict):
        return _with_json_keys((key, with_json_keys(one)) for key, one in value.items())
    if type(value) in (list, tuple):  # others may have a meaning of their own, as ExtType has
        return [with_json_keys(one) for one in value]
    return value


def _with_json_keys(pairs: Any) -> dict[Any, Any]:
    return {_json_key(key): value for key, value in pairs}


def _json_key(key: Any) -> str | bytes:
    if isinstance(key, str | bytes):  # msgpack has bytes as well
        return key
    if key is None or isinstance(key, int | float):
        return json.dumps(key, allow_nan=False)
    raise TypeError(f"keys are strings or numbers, not {type(key).__name__}")
