"""
Real brokers, started and stopped by one helper that tests, demo and benchmarks share.

`python -m tests.support.brokers redis` (or `amqp`) prints a URL and serves until interrupted.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

Kind = Literal["redis", "amqp"]

#: Seconds until a broker must be ready; RabbitMQ on a busy machine is slow.
START_TIMEOUT = 120.0

#: Seconds that a command of a broker may take.
COMMAND_TIMEOUT = 60.0

#: Where Debian keeps RabbitMQ's own scripts; those on the PATH insist on the system's user.
RABBITMQ_SCRIPTS = Path("/usr/lib/rabbitmq/bin")


class BrokerMissing(Exception):
    """The broker is not installed; the message says what to install."""


class Broker(ABC):
    """
    A broker that the tests have started, or one that the environment names.

    Attributes:
        kind: `redis` or `amqp`.
        url: What a worker connects to.
        options: Its ROOMS_BACKEND_OPTIONS.
        proxied: Whether a proxy may stand between it and a worker.
    """

    kind: Kind
    url: str
    options: Mapping[str, Any] = {}
    proxied = True

    def url_for(self, number: int) -> str:
        """Return what the worker of this number connects to."""
        return self.url

    @abstractmethod
    def cut(self) -> None:
        """Cut every client's connection from the broker's side."""

    def kill(self) -> None:
        """Kill the broker without a warning, as a power cut would."""
        raise self._foreign("kill")

    def restart(self) -> None:
        """Start a killed broker again at the same URL, or a running one anew; wait for it."""
        raise self._foreign("restart")

    def pause(self) -> None:
        """Stop the broker from answering; its connections stay."""
        raise self._foreign("pause")

    def resume(self) -> None:
        """Let a paused broker continue."""
        raise self._foreign("resume")

    @abstractmethod
    def stop(self) -> None:
        """Stop the broker, leaving nothing behind."""

    def _foreign(self, verb: str) -> RuntimeError:
        return RuntimeError(f"Refusing to {verb} the broker that {_variable(self.kind)} names.")


class _OwnBroker(Broker):
    """A broker that is a child of this process, in a process group and a directory of its own."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix=f"rooms-{self.kind}-"))
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._prepare()
            self._launch()
        except BaseException:
            self.stop()
            raise

    def _prepare(self) -> None:
        """Choose ports and write what the broker needs to start."""

    @abstractmethod
    def _command(self) -> list[str]:
        """Return the command that runs the broker in the foreground."""

    @abstractmethod
    def _wait(self) -> None:
        """Return once clients can connect."""

    def _environment(self) -> Mapping[str, str]:
        return os.environ

    def _launch(self) -> None:
        with (self._directory / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [*_mortal(), *self._command()],
                cwd=self._directory,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait()

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def restart(self) -> None:
        self.kill()
        self._launch()

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)
        if self._process is not None:  # else it is no more
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _signal(self, number: int) -> None:
        # The leader may be gone while its children are not; the group keeps the leader's number.
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _until(self, deadline: float, what: str) -> None:
        """Raise if the broker has ended or the deadline is over; else wait for a moment."""
        assert self._process is not None
        if self._process.poll() is not None or time.monotonic() > deadline:
            output = (self._directory / "output").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"The {self.kind} broker did not {what}:\n{output}")
        time.sleep(0.02)


class Redis(_OwnBroker):
    kind = "redis"

    def _prepare(self) -> None:
        self._program = _find("redis-server", "redis-server")
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def _command(self) -> list[str]:
        settings = {
            "port": self.port,
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "no",
            "dir": self._directory,
        }
        options = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
        return [self._program, *options]

    def _wait(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not _answers(self._control_url()):
            self._until(deadline, "start")

    def cut(self) -> None:
        _cut_redis(self._control_url())

    def _control_url(self) -> str:
        """Return the URL at which the tests themselves talk to it."""
        return self.url


class RabbitMQ(_OwnBroker):
    kind = "amqp"

    def _prepare(self) -> None:
        self._server = _find("rabbitmq-server", "rabbitmq-server", RABBITMQ_SCRIPTS)
        self._control = _find("rabbitmqctl", "rabbitmq-server", RABBITMQ_SCRIPTS)
        self._call = _find("erl_call", "erlang-base")
        self._epmd_process: subprocess.Popen[bytes] | None = None
        port, distribution, self._epmd = (free_port() for _ in range(3))
        self.url = f"amqp://guest:guest@127.0.0.1:{port}//"
        (self._directory / "enabled_plugins").write_text("[].\n")
        (self._directory / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{port}\nlog.console = true\nlog.console.level = error\n"
        )
        home = str(self._directory)
        self._variables = {
            # HOME holds the Erlang cookie; a node name and an epmd of our own keep us
            # apart from whatever RabbitMQ this machine runs besides.
            "HOME": home,
            "RABBITMQ_NODENAME": f"rooms-{port}@localhost",
            "ERL_EPMD_PORT": str(self._epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": f"{home}/database",
            "RABBITMQ_LOG_BASE": f"{home}/log",
            "RABBITMQ_CONFIG_FILE": f"{home}/rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{home}/advanced.config",
            "RABBITMQ_CONF_ENV_FILE": f"{home}/rabbitmq-env.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{home}/enabled_plugins",
            "RABBITMQ_PID_FILE": f"{home}/pid",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{home}/generated",
            # Makes the script become the server rather than its parent, so that we can reap it.
            "RUNNING_UNDER_SYSTEMD": "true",
            # An idle Erlang otherwise spins on every core, which our tests have a better use for.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none",
        }

    def _environment(self) -> Mapping[str, str]:
        return {**os.environ, **self._variables}

    def _command(self) -> list[str]:
        return [self._server]

    def _launch(self) -> None:
        # Started by us, epmd is in no group but ours; started by the node it becomes a
        # daemon that outlives everything.
        if self._epmd_process is None:
            self._epmd_process = subprocess.Popen(
                [*_mortal(), _find("epmd", "erlang-base"), "-port", str(self._epmd)],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        super()._launch()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not (self._directory / "pid").exists():
            self._until(deadline, "start")
        while not self._has_started():
            self._until(deadline, "start")

    def _has_started(self) -> bool:
        try:
            return self.evaluate("rabbit:is_running()") == "true"
        except RuntimeError:  # it does not listen yet
            return False

    def kill(self) -> None:
        super().kill()
        (self._directory / "pid").unlink(missing_ok=True)

    def stop(self) -> None:
        epmd = getattr(self, "_epmd_process", None)
        super().stop()
        if epmd is not None:
            epmd.kill()
            epmd.wait()

    def cut(self) -> None:
        # One after the other: close_all_connections() fails at one that ends by itself meanwhile.
        close = 'catch rabbit_networking:close_connection(C, <<"cut by a test">>)'
        self.evaluate(f"[{close} || C <- rabbit_networking:connections()]")

    def names(self, kind: Literal["queue", "exchange"]) -> list[str]:
        """Return the names of all queues or exchanges."""
        module = {"queue": "rabbit_amqqueue", "exchange": "rabbit_exchange"}[kind]
        return re.findall(rf'{kind},<<"(.*?)">>', self.evaluate(f"{module}:list_names()"))

    def waiting(self) -> dict[str, int]:
        """Return for each queue how many bytes of messages it has."""
        listed = self.evaluate(
            "[{element(4, amqqueue:get_name(Q)), proplists:get_value(message_bytes,"
            " rabbit_amqqueue:info(Q, [message_bytes]))} || Q <- rabbit_amqqueue:list()]"
        )
        return {name: int(size) for name, size in re.findall(r'<<"(.*?)">>,(\d+)', listed)}

    def connections(self) -> set[str]:
        """Return the process IDs that the connections of clients have in the broker."""
        return set(re.findall(r"<[\d.]+>", self.evaluate("rabbit_networking:connections()")))

    def channels(self) -> set[str]:
        """Return the process IDs that the channels of clients have in the broker."""
        return set(re.findall(r"<[\d.]+>", self.evaluate("rabbit_channel:list()")))

    def output(self) -> str:
        """Return what it has logged, which is errors alone."""
        return (self._directory / "output").read_text(errors="replace")

    def evaluate(self, expression: str) -> str:
        """
        Return the value of an expression in Erlang, which the broker evaluates.

        To start `rabbitmqctl` takes the processor for seconds.
        """
        name = self._variables["RABBITMQ_NODENAME"]
        command = [self._call, "-sname", name, "-c", self._cookie(), "-e"]
        answer = self._run(command, f'lists:flatten(io_lib:format("~0p", [{expression}])).\n')
        value = re.fullmatch(r'\{ok, "(.*)"\}\s*', answer, re.DOTALL)
        if value is None:
            raise RuntimeError(f"{expression}: {answer}")
        return value[1].replace('\\"', '"')

    def _cookie(self) -> str:
        return (self._directory / ".erlang.cookie").read_text()

    def control(self, *arguments: str) -> str:
        """Return what `rabbitmqctl` answers, without headings."""
        return self._run([self._control, "--quiet", *arguments])

    def _run(self, command: list[str], given: str = "") -> str:
        done = subprocess.run(
            command,
            env=self._environment(),
            input=given,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")
        return done.stdout


class _ForeignBroker(Broker):
    """The broker that the environment names: used, but neither killed nor stopped."""

    def __init__(self, kind: Kind, url: str) -> None:
        self.kind = kind
        self.url = url

    def cut(self) -> None:
        if self.kind != "redis":
            raise self._foreign("cut the connections of")
        _cut_redis(self.url)

    def stop(self) -> None:
        """Leave it running: it is not ours."""


@contextlib.contextmanager
def start(kind: Kind) -> Iterator[Broker]:
    """
    Run a broker for as long as the context lasts.

    Args:
        kind: `redis` or `amqp`. ROOMS_TEST_REDIS_URL and ROOMS_TEST_AMQP_URL name one to be used
            instead.

    Raises:
        BrokerMissing: It is not installed.
    """
    url = os.environ.get(_variable(kind))
    broker = _ForeignBroker(kind, url) if url else {"redis": Redis, "amqp": RabbitMQ}[kind]()
    try:
        yield broker
    finally:
        broker.stop()


def free_port() -> int:
    """
    Return a TCP port of 127.0.0.1 that nothing listens on at this moment.

    It is not one of those that the system gives to outgoing connections, of which a test run
    makes thousands: one of them could have it before a broker has started.
    """
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _variable(kind: Kind) -> str:
    return f"ROOMS_TEST_{kind.upper()}_URL"


def _mortal() -> list[str]:
    """Return a prefix that makes a command die with us, even where we are killed."""
    # It dies with the thread that started it, to be precise: start brokers in the main one.
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


def _find(program: str, package: str, first: Path | None = None) -> str:
    """Return the path of *program*, looked for in *first* and then on the PATH."""
    # sbin is not on every user's PATH.
    path = os.pathsep.join([*([str(first)] if first else []), os.environ["PATH"], "/usr/sbin"])
    found = shutil.which(program, path=path)
    if found is None:
        raise BrokerMissing(
            f"{program} is not installed. On Debian or Ubuntu: apt-get install {package}; or set "
            "ROOMS_TEST_REDIS_URL or ROOMS_TEST_AMQP_URL to the URL of a broker that runs."
        )
    return found


def talk(url: str, *commands: str, lines: int = 0) -> bytes:
    """
    Return what a Redis server answers; spoken without a library.

    Args:
        url: The server.
        commands: What is said to it.
        lines: How many lines are read; by default one for each command.
    """
    parts = urlsplit(url)
    if parts.password:
        commands = (f"AUTH {parts.password}", *commands)
    with socket.create_connection((parts.hostname, parts.port or 6379), timeout=5) as connection:
        connection.sendall("".join(f"{command}\r\n" for command in commands).encode())
        answers = connection.makefile("rb")
        return b"".join(answers.readline() for _ in range(lines or len(commands)))


def _answers(url: str) -> bool:
    try:
        return talk(url, "PING").endswith(b"+PONG\r\n")
    except OSError:
        return False


def _cut_redis(url: str) -> None:
    talk(url, "CLIENT KILL TYPE pubsub", "CLIENT KILL TYPE normal SKIPME yes")


def main(arguments: list[str]) -> None:
    """Run the broker that the command line names until interrupted."""
    kinds = get_args(Kind)
    if len(arguments) != 1 or arguments[0] not in kinds:
        sys.exit(f"usage: python -m tests.support.brokers {'|'.join(kinds)}")
    # A terminated helper cleans up as an interrupted one does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.suppress(KeyboardInterrupt), start(arguments[0]) as broker:  # type: ignore[arg-type]
        print(broker.url, flush=True)
        signal.pause()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except BrokerMissing as missing:
        sys.exit(str(missing))
