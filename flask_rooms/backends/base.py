"""Backend, the interface of what carries bytes from each worker to all."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Backend(ABC):
    """
    Carries payloads between the workers of a cluster; it knows nothing of rooms.

    A payload that one worker publishes reaches every open worker of the channel, the publisher
    included, once, unchanged and in the order published. Around a lost connection payloads may
    be lost or doubled: the cluster numbers, repairs and signs them.
    `flask_rooms.testing.BackendContract` tests a backend for this.

    publish() and publish_to() may be called from several threads at once. receive() is called from
    one thread only; the others may be called during it.
    """

    #: Whether this is certainly the only backend on the channel. A backend that cannot know, as
    #: over a broker, leaves it False; True spares its worker the wait for other workers.
    alone: bool = False

    #: Whether there can never be another one on the channel. Its worker then needs no thread to
    #: receive, as it receives nothing but what it has just published.
    private: bool = False

    #: The name under which publish_to() of the others reaches this worker; a change takes effect
    #: with the next open(). A backend that has no addresses ignores it.
    address: str = ""

    @abstractmethod
    def open(self) -> None:
        """
        Connect and subscribe: every payload published after the return is received.

        Opening again after close(), or in a forked child, makes new connections. Those
        inherited from a parent process are dropped, not closed.

        Raises:
            BackendError: The broker cannot be reached.
        """

    @abstractmethod
    def publish(self, payload: bytes) -> None:
        """
        Hand *payload* to the broker for every worker, in a bounded time.

        Args:
            payload: Any bytes; may be empty.

        Raises:
            BackendError: The payload may not have reached the broker, or the backend
                is closed. Calling again reconnects.
        """

    def publish_to(self, address: str, payload: bytes) -> None:
        """
        Hand *payload* to the broker for one worker, in a bounded time.

        If no backend has that address the payload is lost. A backend without addresses inherits
        this method, which publishes to every worker.

        Args:
            address: The worker's address.
            payload: Any bytes; may be empty.

        Raises:
            BackendError: As publish().
        """
        self.publish(payload)

    @abstractmethod
    def receive(self, timeout: float) -> bytes | None:
        """
        Return the next payload, waiting at most *timeout* seconds.

        Args:
            timeout: Seconds to wait, greater than 0.

        Returns:
            The payload, or None if none arrived in time or the backend is closed.

        Raises:
            BackendError: The connection was lost; calling again reconnects.
        """

    def audience(self) -> int | None:
        """
        Return how many open backends the channel has at this moment, this one included.

        May be called from any thread. A worker that has lost its connection is not counted,
        although it may live and be back in a moment. One that is counted may have hung.

        Returns:
            Their number, in a bounded time; None where it cannot be known. A backend that never
            knows inherits this.
        """
        return None

    def elsewhere(self) -> list[str]:
        """
        Return where else on this broker workers are connected, in words, for `flask rooms check`.

        Empty if the broker cannot tell.
        """
        return []

    def unfit(self) -> str | None:
        """
        Return why this broker does not connect all workers, as a kind of `flask rooms check`.

        None if it does, or cannot tell.
        """
        return None

    @abstractmethod
    def close(self) -> None:
        """Disconnect, and wake a waiting receive(); closing twice has no effect."""
