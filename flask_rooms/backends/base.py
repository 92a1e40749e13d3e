"""What a backend has to do: carry bytes from one worker to all."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Backend(ABC):
    """
    Carries payloads between the workers of a cluster and knows nothing of rooms.

    The promise is small. What one worker publishes reaches every open worker of the
    channel, itself included, in the order published, each payload once and unchanged.
    Around a lost connection payloads may be lost or doubled; numbering, repairing and
    signing them is the cluster's work. `flask_rooms.testing.BackendContract` is this
    promise as a test suite.

    publish() may be called from several threads at once. receive() is called from one
    thread; publish() and close() may run meanwhile.
    """

    #: Whether certainly nobody else is on the channel. A backend that cannot be sure, as with
    #: a broker, leaves it at that; one that can spares its worker to wait for others to be heard.
    alone: bool = False

    @abstractmethod
    def open(self) -> None:
        """
        Connect and subscribe: whatever is published after the return is received.

        Opening again after close(), or in a forked child, starts afresh; connections
        inherited from a parent process are dropped, not closed.

        Raises:
            BackendError: The broker cannot be reached.
        """

    @abstractmethod
    def publish(self, payload: bytes) -> None:
        """
        Hand *payload* to the broker for every worker, in a bounded time.

        Args:
            payload: Any bytes, none included.

        Raises:
            BackendError: The payload may not have reached the broker, or the backend
                is closed. Calling again connects again.
        """

    @abstractmethod
    def receive(self, timeout: float) -> bytes | None:
        """
        Return the next payload, waiting at most *timeout* seconds.

        Args:
            timeout: Seconds to wait, greater than 0.

        Returns:
            The payload, or None when nothing came in time or the backend was closed.

        Raises:
            BackendError: The connection was lost; calling again reconnects.
        """

    @abstractmethod
    def close(self) -> None:
        """Disconnect, and wake a receive() that waits; closing twice is harmless."""
