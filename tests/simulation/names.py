"""The names of simulated workers: the host, and the number of the life unless it is the first."""

from __future__ import annotations


def host_of(name: str) -> str:
    """Return the part that all names of a worker have in common."""
    return name.partition("+")[0]
