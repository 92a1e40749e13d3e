"""A cluster of RabbitMQ on this machine, whose nodes are killed, and lose sight of each other."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from tests.support.brokers import START_TIMEOUT, Broker, RabbitMQ


class _Node(RabbitMQ):
    """One node of a cluster, which the first has begun."""

    def __init__(self, first: _Node | None) -> None:
        self._first = first
        super().__init__()

    def _prepare(self) -> None:
        super()._prepare()
        self.name = self._variables["RABBITMQ_NODENAME"]
        # The nodes of one machine find each other at one epmd, and know each other by a cookie.
        self._variables["RABBITMQ_ERLANG_COOKIE"] = "TESTS"
        settings = (
            "cluster_partition_handling = pause_minority\n"
            # The queue that counts the workers is where the worker is that has declared it.
            "queue_master_locator = client-local\n"
        )
        if self._first is not None:
            self._epmd = self._first._epmd
            self._variables["ERL_EPMD_PORT"] = str(self._epmd)
            settings += (
                "cluster_formation.peer_discovery_backend = classic_config\n"
                f"cluster_formation.classic_config.nodes.1 = {self._first.name}\n"
                f"cluster_formation.classic_config.nodes.2 = {self.name}\n"
            )
        with (self._directory / "rabbitmq.conf").open("a") as file:
            file.write(settings)

    def _launch(self) -> None:
        if self._first is not None:
            self._epmd_process = self._first._epmd_process
        super()._launch()

    def stop(self) -> None:
        if self._first is not None:
            self._epmd_process = None
        super().stop()

    def _cookie(self) -> str:
        return "TESTS"

    def part(self, other: _Node) -> None:
        """Let this node and another one hear no more of each other, though both live."""
        name = f"'{other.name}'"
        self.evaluate(f"{{erlang:set_cookie({name}, 'WRONG'), erlang:disconnect_node({name})}}")

    def wait_until(self, *, listening: bool) -> None:
        """Return when the node accepts connections, or does not."""
        deadline = time.monotonic() + START_TIMEOUT
        port = urlsplit(self.url).port
        while True:
            with socket.socket() as probe:
                if (probe.connect_ex(("127.0.0.1", port)) == 0) is listening:
                    return
            assert time.monotonic() < deadline, f"{self.name} listens: {not listening}"
            time.sleep(0.05)

    def meet(self, other: _Node) -> None:
        """Let them hear each other again."""
        self.evaluate(f"erlang:set_cookie('{other.name}', 'TESTS')")


class RabbitMQCluster(Broker):
    """
    Three nodes.

    Attributes:
        nodes: The nodes.
        url: All of them, the first one first.
    """

    kind = "amqp"
    proxied = False

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        try:
            self.nodes: list[_Node] = []
            for _ in range(3):
                self.nodes.append(node := _Node(self.nodes[0] if self.nodes else None))
                self._stack.callback(node.stop)
        except BaseException:
            self.stop()
            raise
        self.url = self.url_for(0)

    def url_for(self, number: int) -> str:
        """Return the URLs of all nodes, for each worker in another order."""
        urls = [node.url for node in self.nodes]
        return ";".join([*urls[number:], *urls[:number]])

    def cut(self) -> None:
        for node in self.nodes:
            node.cut()

    def stop(self) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def without(self, number: int) -> Iterator[None]:
        """Run without one node, which has been killed."""
        self.nodes[number].kill()
        try:
            yield
        finally:
            self.nodes[number].restart()

    @contextlib.contextmanager
    def parted_from(self, number: int) -> Iterator[None]:
        """Run with one node that hears neither of the others: a minority, which pauses itself."""
        alone = self.nodes[number]
        others = [node for node in self.nodes if node is not alone]
        for other in others:
            other.part(alone)
        alone.wait_until(listening=False)
        try:
            yield
        finally:
            for other in others:
                other.meet(alone)
            alone.wait_until(listening=True)
