"""What can happen to a simulated cluster: a schedule is a list of these."""

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
    Something that happens.

    Workers and sockets are named, so that an action means the same when others are left out;
    one whose worker is not there does nothing.

    Args:
        at: When, in seconds of virtual time.
    """

    at: float

    @abstractmethod
    def act(self, world: World) -> None:
        """Let it happen."""


Schedule = Sequence[Action]


@dataclass(frozen=True)
class Start(Action):
    """A worker starts; a tight one has room for little in its outbox and its log."""

    worker: str
    tight: bool = False

    def act(self, world: World) -> None:
        world.start(self.worker, TIGHT if self.tight else WIDE)


@dataclass(frozen=True)
class Stop(Action):
    """A worker leaves in good order."""

    worker: str

    def act(self, world: World) -> None:
        world.stop(self.worker)


@dataclass(frozen=True)
class Crash(Action):
    """A worker vanishes."""

    worker: str

    def act(self, world: World) -> None:
        world.crash(self.worker)


@dataclass(frozen=True)
class Connect(Action):
    """A client connects to a worker, as soon as that accepts it."""

    socket: str
    worker: str
    then: Schedule = ()

    def act(self, world: World) -> None:
        world.connect(self.socket, self.worker, partial(play_now, world, self.then))


@dataclass(frozen=True)
class Disconnect(Action):
    """A client goes."""

    socket: str

    def act(self, world: World) -> None:
        world.disconnect(self.socket)


@dataclass(frozen=True)
class Move(Action):
    """A worker lets sockets join or leave a room; something may follow on the outcome."""

    worker: str
    what: Literal["join", "leave"]
    sockets: tuple[str, ...]
    room: str
    then: Schedule = ()

    def act(self, world: World) -> None:
        then = partial(play_now, world, self.then)
        world.move(self.worker, self.what, self.sockets, self.room, then)


@dataclass(frozen=True)
class Empty(Action):
    """A worker has everybody leave a room; something may follow on the outcome."""

    worker: str
    room: str
    then: Schedule = ()

    def act(self, world: World) -> None:
        world.empty(self.worker, self.room, partial(play_now, world, self.then))


@dataclass(frozen=True)
class Broadcast(Action):
    """A worker sends to a room."""

    worker: str
    room: str

    def act(self, world: World) -> None:
        world.broadcast(self.worker, self.room)


@dataclass(frozen=True)
class Pause(Action):
    """A worker stands still."""

    worker: str
    seconds: float

    def act(self, world: World) -> None:
        world.pause(self.worker, self.seconds)


@dataclass(frozen=True)
class Slow(Action):
    """A worker needs *pace* seconds for each frame."""

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
    torn: bool = False  # what they publish in this moment fails, and is carried all the same

    def act(self, world: World) -> None:
        world.cut_off(self.workers, self.seconds, torn=self.torn)


@dataclass(frozen=True)
class Deaf(Action):
    """A worker hears nothing, and does not know it."""

    worker: str
    seconds: float

    def act(self, world: World) -> None:
        world.make_deaf(self.worker, self.seconds)


@dataclass(frozen=True)
class Mute(Action):
    """Nobody hears a worker but itself."""

    worker: str
    seconds: float

    def act(self, world: World) -> None:
        world.make_mute(self.worker, self.seconds)


@dataclass(frozen=True)
class Cut(Action):
    """Nothing of these senders reaches these receivers; both ways is two of these."""

    senders: tuple[str, ...]
    receivers: tuple[str, ...]
    seconds: float

    def act(self, world: World) -> None:
        world.cut(self.senders, self.receivers, self.seconds)


@dataclass(frozen=True)
class Storm(Action):
    """Frames are late, lost, doubled, and overtake each other."""

    seconds: float
    weather: Weather = CALM

    def act(self, world: World) -> None:
        world.change_weather(self.weather, self.seconds)


@dataclass(frozen=True)
class Replay(Action):
    """All receive again what was published so many frames ago."""

    back: int

    def act(self, world: World) -> None:
        world.replay(self.back)


def lines(schedule: Schedule) -> str:
    """Return a schedule as Python, one action a line."""
    return "\n".join(f"{line(action)}," for action in schedule)


def line(action: Action) -> str:
    """Return an action as Python, without what goes without saying."""
    said = [f"{action.at:.3f}"]
    for field in fields(action)[1:]:
        value = getattr(action, field.name)
        if value != field.default:
            then = f"({', '.join(map(line, value))},)" if field.name == "then" else repr(value)
            said.append(f"{field.name}={then}")
    return f"{type(action).__name__}({', '.join(said)})"


def play_now(world: World, then: Schedule) -> None:
    """Let actions happen at once, whatever their time."""
    for action in then:
        action.act(world)
