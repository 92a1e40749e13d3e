"""What a forked child must not take over from its parent."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Inherited(Protocol):
    """Something that is copied into a child, locks that somebody holds included."""

    def forked(self) -> None:
        """Begin afresh, in a child that has one thread."""


_inherited: weakref.WeakSet[Inherited] = weakref.WeakSet()


def begin_afresh_in_children(inherited: Inherited) -> None:
    """Have *inherited*, which is held weakly, told in every child that is forked from now on."""
    _inherited.add(inherited)


def _tell_all() -> None:
    for inherited in list(_inherited):
        inherited.forked()


if hasattr(os, "register_at_fork"):  # there is no forking on Windows
    os.register_at_fork(after_in_child=_tell_all)
