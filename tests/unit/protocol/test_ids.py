"""Socket IDs name their owner, and can be written wherever a word can."""

from __future__ import annotations

import re

import pytest

from flask_rooms.protocol.ids import is_sid, new_sid, new_worker_name, owner_of

pytestmark = pytest.mark.mode_independent


def test_a_socket_id_names_its_owner() -> None:
    for name in {new_worker_name() for _ in range(1000)}:
        sid = new_sid(name)

        assert is_sid(sid)
        assert owner_of(sid) == name


def test_a_socket_id_is_one_word() -> None:
    """A double click selects all of it, in a terminal and in a browser."""
    ids = [new_sid(new_worker_name()) for _ in range(1000)]

    assert not [one for one in ids if not re.fullmatch(r"\w+", one, re.ASCII)]
    assert len(set(ids)) == len(ids)
