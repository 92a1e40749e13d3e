"""Socket IDs name their owner, and can be written wherever a word can."""

from __future__ import annotations

import pytest

from flask_rooms.protocol.ids import is_sid, new_sid, new_worker_name, owner_of

pytestmark = pytest.mark.mode_independent


def test_a_socket_id_names_its_owner() -> None:
    for name in {new_worker_name() for _ in range(1000)}:
        sid = new_sid(name)

        assert is_sid(sid)
        assert owner_of(sid) == name


def test_no_socket_id_looks_like_an_option() -> None:
    names = [new_worker_name() for _ in range(5000)]  # one in 64 would

    assert not [name for name in names if name.startswith("-")]
