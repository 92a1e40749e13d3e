"""Split a long answer into replies, each of which fits into one message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flask_rooms.protocol.messages import Reply, Room
from flask_rooms.protocol.stream import Limits

#: The most bytes that a name and its count take in a message, the name's characters excluded.
_FRAMING = 20
#: The most bytes that a message takes without names and counts.
_HEADER = 128


def replies(
    worker: str, number: int, answer: tuple[list[Room], list[int]], limits: Limits
) -> list[Reply]:
    """
    Return an answer as Replies, each of which fits into a message.

    Args:
        worker: The worker that has asked.
        number: The number of its query.
        answer: Names and counts.
        limits: How large a message may be, and how many an answer may take. An answer that does
            not fit becomes one Reply that says so.
    """
    names, counts = answer
    pages, begin, space = [], 0, limits.frame - _HEADER
    for end in _ends(names, space):
        part = tuple(names[begin:end]), tuple(counts[begin:end])
        pages.append(Reply(worker, number, *part, last=False))
        begin = end
        if len(pages) == limits.pages:
            break
    too_much = len(pages) == limits.pages or any(_size(name) > space for name in names)
    if too_much:
        return [Reply(worker, number, (), (), last=True, whole=False)]
    pages.append(Reply(worker, number, tuple(names[begin:]), tuple(counts[begin:]), last=True))
    return pages


def _ends(names: Iterable[Room], space: int) -> Iterator[int]:
    used = 0
    for index, name in enumerate(names):
        if used and used + _size(name) > space:
            yield index
            used = 0
        used += _size(name)


def _size(name: Room) -> int:
    return _FRAMING + (len(name.encode()) if isinstance(name, str) else 0)
