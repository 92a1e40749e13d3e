"""Cuts a long answer into replies of which each fits into one message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flask_rooms.protocol.messages import Reply, Room
from flask_rooms.protocol.stream import Limits

#: Bytes that a name, beside its own characters, and its count take in a message at the most.
_FRAMING = 20
#: Bytes that a message takes without them.
_HEADER = 128


def replies(
    worker: str, number: int, answer: tuple[list[Room], list[int]], limits: Limits
) -> list[Reply]:
    """
    Return an answer as Replies, of which each fits into a message.

    Args:
        worker: Who has asked.
        number: Its question.
        answer: Names and counts.
        limits: How large a message may be, and how many an answer may take. One that does not
            fit is left out, and that is what the one Reply then says.
    """
    names, counts = answer
    pages, begin, room = [], 0, limits.frame - _HEADER
    for end in _ends(names, room):
        part = tuple(names[begin:end]), tuple(counts[begin:end])
        pages.append(Reply(worker, number, *part, last=False))
        begin = end
        if len(pages) == limits.pages:
            break
    too_much = len(pages) == limits.pages or any(_size(name) > room for name in names)
    if too_much:
        return [Reply(worker, number, (), (), last=True, whole=False)]
    pages.append(Reply(worker, number, tuple(names[begin:]), tuple(counts[begin:]), last=True))
    return pages


def _ends(names: Iterable[Room], room: int) -> Iterator[int]:
    used = 0
    for index, name in enumerate(names):
        if used and used + _size(name) > room:
            yield index
            used = 0
        used += _size(name)


def _size(name: Room) -> int:
    return _FRAMING + (len(name.encode()) if isinstance(name, str) else 0)
