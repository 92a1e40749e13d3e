"""The clients that are connecting, each until its connect handler has decided."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from flask_rooms.protocol.messages import Change, User


@dataclass(eq=False)
class Attempt:
    """
    A socket that is connecting, from its CONNECT packet until the connect handler has decided.

    Args:
        namespace: The namespace.
        eio_sid: The Engine.IO session.
        user: Its user, once that is loaded.
        sid: The ID of the socket, once it is admitted.
        expires: When its login expires, in seconds since 1970; None if it does not.
        missed: What was done to users meanwhile; where it is this user, it applies to the socket.
        withdrawn: Whether the client has left meanwhile.
    """

    namespace: str
    eio_sid: str
    user: User | None = None
    sid: str = ""
    expires: float | None = None
    missed: list[Change] = field(default_factory=list)
    withdrawn: bool = False

    def take_missed(self) -> list[Change]:
        """Return what was done to its user since it began or since the last call, in order."""
        missed, self.missed[:] = list(self.missed), []
        return [
            change
            for change in missed
            if change.source == self.user and self.user not in change.options.omit
        ]


class Attempts:
    """The undecided attempts of one worker, in the order in which they began; needs a lock."""

    def __init__(self) -> None:
        self._attempts: dict[tuple[str, str], Attempt] = {}
        self._namespaces: dict[str, set[str]] = {}  # Engine.IO session -> those it is connecting to

    def begin(self, namespace: str, eio_sid: str) -> Attempt | None:
        """Return a new attempt of a client; None while an earlier one is undecided."""
        key = namespace, eio_sid
        if key in self._attempts:
            return None
        self._namespaces.setdefault(eio_sid, set()).add(namespace)
        return self._attempts.setdefault(key, Attempt(namespace, eio_sid))

    def get(self, namespace: str, eio_sid: str) -> Attempt | None:
        """Return the undecided attempt of a client, or None."""
        return self._attempts.get((namespace, eio_sid))

    def finish(self, attempt: Attempt) -> bool:
        """Forget an attempt that is decided; return False if it is not here."""
        key = attempt.namespace, attempt.eio_sid
        if self._attempts.get(key) is not attempt:
            return False
        del self._attempts[key]
        namespaces = self._namespaces[attempt.eio_sid]
        namespaces.discard(attempt.namespace)
        if not namespaces:
            del self._namespaces[attempt.eio_sid]
        return True

    def namespaces_of(self, eio_sid: str) -> Iterable[str]:
        """Return the namespaces that an Engine.IO session is connecting to."""
        return self._namespaces.get(eio_sid, ())

    def before(self, attempt: Attempt) -> Iterable[Attempt]:
        """Yield the attempts of the same user that began before this one."""
        for other in self._attempts.values():
            if other is attempt:
                return
            if other.user == attempt.user:
                yield other

    def remember(self, change: Change) -> None:
        """Have what is done to a user be done to those of its sockets that are connecting, too."""
        if isinstance(change.source, User):
            for attempt in self._attempts.values():
                if attempt.namespace == change.namespace:
                    attempt.missed.append(change)

    def forget(self, change: Change) -> None:
        """Forget a change that was refused, and no other that says the same."""
        for attempt in self._attempts.values():
            attempt.missed[:] = [one for one in attempt.missed if one is not change]
