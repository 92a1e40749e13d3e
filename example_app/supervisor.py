"""Keeps the workers of the demonstration running, and does what the controls of its pages ask."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener

from example_app.workers import Worker, WorkerFailed
from tests.support.brokers import Redis

#: Seconds until a worker that was killed is started again, so that one can see it missing.
PAUSE = 6.0


class Supervisor:
    """
    Runs in the main thread, where brokers have to be started; other threads only queue work.

    Args:
        listener: Where the workers send what their pages ask for.
        broker: The broker of the demonstration; None if it has been given one.
    """

    def __init__(self, listener: Listener, broker: Redis | None) -> None:
        self._listener = listener
        self._broker = broker
        self._broker_runs = broker is not None
        self._workers: list[Worker] = []
        self._killed: set[Worker] = set()
        self._work: queue.Queue[Callable[[], None]] = queue.Queue()

    def run(self, workers: list[Worker]) -> None:
        """
        Serve for ever.

        Raises:
            WorkerFailed: A worker has ended by itself.
        """
        self._workers = workers
        for worker in workers:
            self._in_thread(self._wait_for, worker)
        self._in_thread(self._listen)
        while True:
            self._work.get()()

    # -- in threads of their own ------------------------------------------------------------

    def _in_thread(self, function: Callable[..., None], *args: object) -> None:
        threading.Thread(target=function, args=args, daemon=True).start()

    def _wait_for(self, worker: Worker) -> None:
        worker.process.wait()
        self._work.put(partial(self._ended, worker))

    def _listen(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
            except (AuthenticationError, EOFError, OSError):
                continue  # a worker was killed meanwhile
            self._work.put(partial(self._answer, connection))

    # -- in the main thread -----------------------------------------------------------------

    def _ended(self, worker: Worker) -> None:
        if worker not in self._killed:
            raise WorkerFailed("A worker has ended; its error is above.")
        self._killed.remove(worker)
        worker.stop()
        timer = threading.Timer(PAUSE, self._work.put, [partial(self._start, worker)])
        timer.daemon = True
        timer.start()

    def _start(self, worker: Worker) -> None:
        worker.start()  # at the address that it had; the others and their pages need not wait
        self._in_thread(self._wait_for, worker)

    def _answer(self, connection: Connection) -> None:
        with connection:
            try:
                command, *arguments = json.loads(connection.recv_bytes())
                connection.send_bytes(json.dumps(self._do(command, *arguments)).encode())
            except (EOFError, OSError):
                pass  # the worker that asked was killed

    def _do(self, command: str, pid: int = 0) -> bool | None:
        """Carry out a command; return whether the broker runs, or whether *pid* was a worker."""
        if command == "kill":
            return self._kill(pid)
        if self._broker is None:
            return None
        if command == "stop":
            self._broker.kill()
        elif command == "start" and not self._broker_runs:
            self._broker.restart()
        self._broker_runs = command == "start" or (command == "broker" and self._broker_runs)
        return self._broker_runs

    def _kill(self, pid: int) -> bool:
        for worker in self._workers:
            if worker.process.pid == pid and worker.process.poll() is None:
                self._killed.add(worker)
                worker.process.kill()
                return True
        return False
