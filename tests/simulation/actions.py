"""The actions of a schedule: everything that can happen to a simulated cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Literal

from tests.simulation.bus import CALM, Weather
from tests.simulation.world import TIGHT, WIDE, World


@dataclass(frozen=True)
class Action(ABC):
    """
    Something that happens at a time.

    Workers and sockets are named, so that an action means the same when others are left out. An
    action whose worker does not exist does nothing.

    Args:
        at: The time, in seconds of virtual time.
    """

    at: float

    @abstractmethod
    def act(self, world: World) -> None:
        """Carry it out."""


Schedule = Sequence[Action]


@dataclass(frozen=True)
class Start(Action):
    """A worker starts; a tight one has a small outbox and a small log."""

    worker: str
    tight: bool = False
    pace: float = 1.0  # its heartbeat interval, in those of most workers
    version: int = 1  # of the protocol

    def act(self, world: World) -> None:
        world.start(self.worker, TIGHT if self.tight else WIDE, self.pace, self.version)


@dataclass(frozen=True)
class Rotate(Action):
    """Workers that start from now on have a new key, and the present one beside it."""

    def act(self, world: World) -> None:
        world.rotate()


@dataclass(frozen=True)
class Stop(Action):
    """A worker leaves in good order."""

    worker: str

    def act(self, world: World) -> None:
        world.stop(self.worker)


@dataclass(frozen=True)
class Crash(Action):
    """A worker ends without a goodbye."""

    worker: str

    def act(self, world: World) -> None:
        world.crash(self.worker)


@dataclass(frozen=True)
class Connect(Action):
    """A client connects to a worker, as soon as the worker accepts it."""

    socket: str
    worker: str
    then: Schedule = ()

    def act(self, world: World) -> None:
        world.connect(self.socket, self.worker, partial(play_now, world, self.then))


@dataclass(frozen=True)
class Disconnect(Action):
    """A client disconnects."""

    socket: str

    def act(self, world: World) -> None:
        world.disconnect(self.socket)


@dataclass(frozen=True)
class Move(Action):
    """A worker makes sockets join or leave a room; *then* follows on the outcome."""

    worker: str
    what: Literal["join", "leave"]
    sockets: tuple[str, ...]
    room: str
    then: Schedule = ()
    thinks: float = 0.0  # seconds that guards of other workers take

    def act(self, world: World) -> None:
        then = partial(play_now, world, self.then)
        world.move(self.worker, self.what, self.sockets, self.room, then, self.thinks)


@dataclass(frozen=True)
class Empty(Action):
    """A worker makes all members leave a room; *then* follows on the outcome."""

    worker: str
    room: str
    then: Schedule = ()

    def act(self, world: World) -> None:
        world.empty(self.worker, self.room, partial(play_now, world, self.then))


@dataclass(frozen=True)
class Broadcast(Action):
    """A worker broadcasts to a room."""

    worker: str
    room: str

    def act(self, world: World) -> None:
        world.broadcast(self.worker, self.room)


@dataclass(frozen=True)
class Ask(Action):
    """A worker asks all workers how many members a room has."""

    worker: str
    room: str

    def act(self, world: World) -> None:
        world.ask(self.worker, self.room)


@dataclass(frozen=True)
class Pause(Action):
    """A worker is stopped."""

    worker: str
    seconds: float

    def act(self, world: World) -> None:
        world.pause(self.worker, self.seconds)


@dataclass(frozen=True)
class Slow(Action):
    """A worker takes *pace* seconds for each frame."""

    worker: str
    seconds: float
    pace: float = 1.0

    def act(self, world: World) -> None:
        world.slow_down(self.worker, self.seconds, self.pace)


@dataclass(frozen=True)
class Away(Action):
    """These workers lose their connection to the broker, or all when none is named."""

    workers: tuple[str, ...]
    seconds: float
    torn: bool = False  # whether their next publish fails and is carried all the same

    def act(self, world: World) -> None:
        world.cut_off(self.workers, self.seconds, torn=self.torn)


@dataclass(frozen=True)
class Hang(Action):
    """The next publish of a worker hangs, and fails; meanwhile it receives."""

    worker: str
    seconds: float
    carried: bool = False  # although it fails

    def act(self, world: World) -> None:
        world.hang(self.worker, self.seconds, carried=self.carried)


@dataclass(frozen=True)
class Deaf(Action):
    """A worker receives nothing, and does not know it."""

    worker: str
    seconds: float

    def act(self, world: World) -> None:
        world.make_deaf(self.worker, self.seconds)


@dataclass(frozen=True)
class Mute(Action):
    """No other worker receives what a worker sends."""

    worker: str
    seconds: float

    def act(self, world: World) -> None:
        world.make_mute(self.worker, self.seconds)


@dataclass(frozen=True)
class Cut(Action):
    """No frame of the senders reaches the receivers; a cut in both directions takes two."""

    senders: tuple[str, ...]
    receivers: tuple[str, ...]
    seconds: float

    def act(self, world: World) -> None:
        world.cut(self.senders, self.receivers, self.seconds)


@dataclass(frozen=True)
class Storm(Action):
    """Frames are delayed, lost, duplicated and reordered."""

    seconds: float
    weather: Weather = CALM

    def act(self, world: World) -> None:
        world.change_weather(self.weather, self.seconds)


@dataclass(frozen=True)
class Replay(Action):
    """All workers receive again what was published *back* frames ago, and what followed it."""

    back: int
    count: int = 1

    def act(self, world: World) -> None:
        world.replay(self.back, self.count)


def lines(schedule: Schedule) -> str:
    """Return a schedule as Python, one action a line."""
    return "\n".join(f"{line(action)}," for action in schedule)


def line(action: Action) -> str:
    """Return an action as Python, without its default values."""
    arguments = [f"{action.at:.3f}"]
    for field in fields(action)[1:]:
        value = getattr(action, field.name)
        if value != field.default:
            then = f"({', '.join(map(line, value))},)" if field.name == "then" else repr(value)
            arguments.append(f"{field.name}={then}")
    return f"{type(action).__name__}({', '.join(arguments)})"


def play_now(world: World, then: Schedule) -> None:
    """Carry out actions at once, whatever their time."""
    for action in then:
        action.act(world)
