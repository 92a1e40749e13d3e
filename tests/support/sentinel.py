"""A Redis with Sentinel: several processes that act as one broker."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping

from tests.support.brokers import START_TIMEOUT, Broker, Redis, talk

#: The name of the group of a master and its replicas.
GROUP = "tests"

#: Milliseconds after which a Sentinel takes a master for dead.
DOWN_AFTER = 1000


class _Sentinel(Redis):
    """One Sentinel: a Redis of another kind, which watches the others."""

    def __init__(self, master: Redis) -> None:
        self._master = master
        super().__init__()

    def _prepare(self) -> None:
        super()._prepare()
        self._settings = self._directory / "sentinel.conf"
        self._settings.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self._directory}\n"
            f"sentinel monitor {GROUP} 127.0.0.1 {self._master.port} 2\n"
            f"sentinel down-after-milliseconds {GROUP} {DOWN_AFTER}\n"
            f"sentinel failover-timeout {GROUP} 2000\n"
        )

    def _command(self) -> list[str]:
        return [self._program, str(self._settings), "--sentinel"]


class RedisWithSentinel(Broker):
    """
    A master and a replica, and three Sentinels.

    What happens to "the broker" happens to its present master.
    """

    kind = "redis"
    proxied = False  # Sentinel says where the master is
    options: Mapping[str, object] = {"master_name": GROUP}

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        first = self._new(Redis())
        second = self._new(Redis())
        talk(second.url, f"REPLICAOF 127.0.0.1 {first.port}")
        self._redis = {one.port: one for one in (first, second)}
        self._sentinels = [self._new(_Sentinel(first)) for _ in range(3)]
        self.url = ";".join(f"sentinel://127.0.0.1:{one.port}" for one in self._sentinels)
        self._until_ready()

    def _new(self, broker: Redis) -> Redis:
        self._stack.callback(broker.stop)
        return broker

    @property
    def master(self) -> Redis:
        """The present master, as a Sentinel says."""
        words = talk(self._sentinels[0].url, f"SENTINEL get-master-addr-by-name {GROUP}", lines=5)
        return self._redis[int(words.split()[-1])]

    def _until_ready(self) -> None:
        """Return when all Sentinels know each other and the replica, or a failover would fail."""
        deadline = time.monotonic() + START_TIMEOUT
        for sentinel in self._sentinels:
            while True:
                answer = talk(sentinel.url, "INFO sentinel", lines=9).decode()
                if "status=ok" in answer and "slaves=1,sentinels=3" in answer:
                    break
                assert time.monotonic() < deadline, answer
                time.sleep(0.1)

    def fail_over(self, *, kill: bool) -> None:
        """Kill or stop the master until there is another one; then bring it back, as a replica."""
        failed = self.master
        failed.kill() if kill else failed.pause()
        deadline = time.monotonic() + START_TIMEOUT
        while self.master is failed:
            assert time.monotonic() < deadline, "The Sentinels have not chosen another master."
            time.sleep(0.05)
        if kill:
            failed.restart()
        else:
            failed.resume()

    def cut(self) -> None:
        self.master.cut()

    def stop(self) -> None:
        self._stack.close()
