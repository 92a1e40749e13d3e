"""LateFuture, a future that costs little where nothing waits for it."""

from __future__ import annotations

import threading
from concurrent.futures import Future, InvalidStateError
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from flask_rooms.backends.forks import reset_in_children

T = TypeVar("T")


class _States:
    """
    The states of all futures, which change one at a time, each in a moment.

    A lock for each future would be one more object that the garbage collector looks at.
    """

    def __init__(self) -> None:
        self.reset_after_fork()
        reset_in_children(self)

    def reset_after_fork(self) -> None:
        """Make the lock anew, in a forked child: another thread of the parent may hold it."""
        self.lock = threading.Lock()


states = _States()


class LateFuture(Future[T]):
    """
    A future that gets what others wait with once it is asked for that.

    A condition takes longer to make, and to notify, than most changes of a room. So
    `concurrent.futures.Future` makes it, here, when one of its methods needs it. That is why its
    own `__init__` is not called.
    """

    _is_whole = False
    _is_known = False
    _known: T

    def __init__(self) -> None:
        """Do nothing: all that a new one has is in its class."""

    def __getattr__(self, name: str) -> Any:
        """Become a whole future for what concurrent.futures asks of it, as in result()."""
        if name.startswith("__"):
            raise AttributeError(name)
        while not self._is_whole:
            is_known = self._is_known
            whole: Future[T] = Future()
            whole.set_running_or_notify_cancel()
            if is_known:
                whole.set_result(self._known)
            with states.lock:
                if not self._is_whole and is_known == self._is_known:
                    vars(self).update(vars(whole))
                    self._is_whole = True
        try:
            return super().__getattribute__(name)
        except AttributeError:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}. It is the future of "
                "a result: call result() first.",
                name=name,
                obj=self,
            ) from None

    if not TYPE_CHECKING:  # to a type checker it would be awaitable

        def __await__(self) -> NoReturn:
            """Raise: a future of concurrent.futures cannot be awaited."""
            raise TypeError(
                "This future is not one of asyncio: call its result(), or use "
                "`await asyncio.wrap_future(...)`."
            )

    def set_result(self, result: T) -> None:
        """As in concurrent.futures."""
        with states.lock:
            if not self._is_whole:
                if self._is_known:
                    raise InvalidStateError("The result is set already.")
                self._known, self._is_known = result, True
                return
        super().set_result(result)

    def result(self, timeout: float | None = None) -> T:
        """As in concurrent.futures."""
        return self._known if self._is_known else super().result(timeout)
