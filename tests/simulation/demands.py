"""The exception for a broken promise."""

from __future__ import annotations


class BrokenPromise(AssertionError):
    """
    A promise is broken.

    Args:
        promise: The promise, in a few words.
        what: What happened.
    """

    def __init__(self, promise: str, what: object) -> None:
        super().__init__(f"{promise}: {what}")
        self.promise = promise


def demand(promise: str, holds: object, what: object) -> None:
    """Raise BrokenPromise unless it *holds*."""
    if not holds:
        raise BrokenPromise(promise, what)
