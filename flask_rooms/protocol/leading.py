"""
Which worker leads: it tells the application what is to be told once in the cluster.

A leader stays one until it ends. So a worker that has just started never takes its place, and the
next leader is one that knows what the last one has done: the one with the least name among those
that follow it.
"""

from __future__ import annotations

from collections.abc import Mapping

#: What a worker is: it serves no clients; it has not all lists yet; it has them, and has known no
#: leader; it follows one; or it leads. The numbers are on the wire.
NONE, WAITS, READY, FOLLOWS, LEADS = range(5)


def next_role(name: str, role: int, others: Mapping[str, int], knows_all: bool) -> int:
    """
    Return what a worker is to be next.

    Args:
        name: Its name.
        role: What it is.
        others: Name -> what the other live workers are, as far as it knows.
        knows_all: Whether it knows every live worker, and has the list of each.
    """
    leaders = [other for other, one in others.items() if one == LEADS]
    if role == LEADS and leaders:
        return FOLLOWS if min(leaders) < name else LEADS
    if role in (NONE, LEADS) or not knows_all:
        return role
    if leaders:
        return FOLLOWS
    if role == FOLLOWS:
        return _elect(name, role, others)
    if FOLLOWS in others.values():
        return WAITS  # one of these is about to lead
    if role == WAITS or WAITS in others.values():
        return READY  # each of those that begin together waits until the others know of it
    return _elect(name, role, others)


def _elect(name: str, role: int, others: Mapping[str, int]) -> int:
    rivals = [other for other, one in others.items() if one == role]
    return LEADS if all(name < rival for rival in rivals) else role
