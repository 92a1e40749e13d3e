"""Random schedules: everything in one comes from its seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from tests.simulation.actions import (
    Action,
    Ask,
    Away,
    Broadcast,
    Connect,
    Crash,
    Cut,
    Deaf,
    Disconnect,
    Empty,
    Hang,
    Move,
    Mute,
    Pause,
    Replay,
    Rotate,
    Schedule,
    Slow,
    Start,
    Stop,
    Storm,
)
from tests.simulation.bus import REMEMBERED, Weather

#: The time at which the first workers have met.
OPENING = 3.0


@dataclass(frozen=True)
class Size:
    """
    How large a schedule is.

    Args:
        workers: The number of workers at the start.
        sockets: The number of sockets in all.
        rooms: The number of rooms.
        actions: The least number of actions.
        gaps: Seconds between two actions, on average; each schedule has one of these.
        troubles: Seconds that a trouble lasts.
    """

    workers: int = 4
    sockets: int = 10
    rooms: int = 3
    actions: int = 200
    gaps: tuple[float, ...] = (0.02, 0.1, 0.2, 0.4)
    troubles: tuple[float, ...] = (0.3, 1.0, 2.5, 4.0, 6.0, 9.0, 15.0)


SMALL = Size()
LARGE = Size(200, 2000, 20, actions=60, gaps=(0.02,), troubles=(0.3, 1.0, 2.5))


def generate(seed: int, size: Size = SMALL) -> list[Action]:
    """Return the schedule of a seed."""
    return Generator(seed, size).generate()


class Generator:
    """
    Makes one schedule.

    Each has a few kinds of trouble: a fault that only shows without, say, any loss would hardly
    ever show if everything went wrong at once. Workers start and end in every schedule.

    Args:
        seed: The seed of all that is random.
        size: The size of the schedule.
    """

    def __init__(self, seed: int, size: Size) -> None:
        self._rng = rng = random.Random(seed)
        self._paces = random.Random(f"paces {seed}")
        self._mixed = self._paces.random() < 0.2
        self._keys = random.Random(f"keys {seed}")
        self._versions = random.Random(f"versions {seed}")
        self._upgrades = self._versions.random() < 0.1
        self._copies = random.Random(f"copies {seed}")
        self._size = size
        self._now = 0.0
        self._actions: list[Action] = []
        self._workers: list[str] = []
        self._started = 0
        self._sockets: list[str] = []
        self._victims: list[str] = []  # the workers that were in trouble most recently
        self._tight = rng.random() < 0.3
        self._guards = rng.random() < 0.3
        self._gap = rng.choice(size.gaps)
        self._trouble = rng.choice([0.05, 0.1, 0.2])
        kinds: list[Callable[[], None]] = [
            self._pause,
            self._slow,
            self._away,
            self._some_away,
            self._flap,
            self._down,
            self._hang,
            self._deaf,
            self._mute,
            self._cut,
            self._split,
            self._storm,
            self._replay,
        ]
        self._kinds = [*rng.sample(kinds, rng.randint(1, 5)), self._birth, self._death]
        self._kinds += rng.sample([self._visit], rng.randint(0, 1))

    def generate(self) -> list[Action]:
        """Return the actions in the order of their times."""
        rng, size = self._rng, self._size
        for _ in range(size.workers):
            self._start()
        self._now = OPENING
        for _ in range(size.sockets):
            self._connect_calmly(rng.choice(self._workers))
        if self._keys.random() < 0.2:
            self._kinds.append(self._deploy)
        while len(self._actions) < size.workers + size.sockets + size.actions:
            self._now = round(self._now + rng.expovariate(1 / self._gap), 3)
            if rng.random() < self._trouble:
                rng.choice(self._kinds)()
            else:
                self._use(self._now)
        return sorted(self._actions, key=lambda action: action.at)

    # -- the application --------------------------------------------------------

    def _use(self, at: float) -> None:
        chance = self._rng.random()
        if chance < 0.03:
            self._actions.append(Disconnect(at, self._socket()))
        elif chance < 0.08:
            self._connect(self._worker())
        elif chance < 0.11:
            room = self._room()
            self._actions.append(Empty(at, self._worker(), room, self._then(at, room)))
        elif chance < 0.14:
            self._actions.append(Ask(at, self._worker(), self._room()))
        elif chance < 0.35:
            self._actions.append(Broadcast(at, self._worker(), self._room()))
        else:
            self._actions.append(self._move(at, self._sockets_to_move(), self._room()))

    def _move(self, at: float, sockets: tuple[str, ...], room: str) -> Move:
        what: Literal["join", "leave"] = self._rng.choice(["join", "leave"])
        guarded = what == "join" and self._guards and self._rng.random() < 0.5
        thinks = self._rng.choice([0.05, 0.5, 2.0]) if guarded else 0.0
        return Move(at, self._worker(), what, sockets, room, self._then(at, room), thinks)

    def _then(self, at: float, room: str) -> Schedule:
        """Return what follows on an outcome."""
        return (Broadcast(at, self._worker(), room),) if self._rng.random() < 0.6 else ()

    def _connect_calmly(self, worker: str) -> None:
        socket = self._new_socket()
        join = Move(self._now, worker, "join", (socket,), self._room())
        then = (join,) if self._rng.random() < 0.7 else ()
        self._actions.append(Connect(self._now, socket, worker, then))

    def _new_socket(self) -> str:
        socket = f"s{len(self._sockets)}"
        self._sockets.append(socket)
        return socket

    def _connect(self, worker: str) -> None:
        at, socket, room = self._now, self._new_socket(), self._room()
        then: tuple[Action, ...] = ()
        if self._rng.random() < 0.7:
            then += (Move(at, worker, "join", (socket,), room),)
        if self._rng.random() < 0.5:  # any worker may address it at once
            then += (self._rng.choice([self._move(at, (socket,), room), *self._then(at, room)]),)
        if self._rng.random() < 0.3:  # its own worker may do something, too
            then += (Move(at, worker, "leave", self._sockets_to_move(), room),)
        self._actions.append(Connect(at, socket, worker, then))

    # -- names ------------------------------------------------------------------------------

    def _worker(self) -> str:
        """Return a worker, often one that is young or in trouble."""
        chance = self._rng.random()
        if chance < 0.1:
            return self._workers[-1]
        if chance < 0.25 and self._victims:
            return self._rng.choice(self._victims)
        return self._rng.choice(self._workers)

    def _socket(self) -> str:
        # The latest sockets are the most interesting, and would seldom be drawn.
        if self._rng.random() < 0.2:
            return self._rng.choice(self._sockets[-3:])
        return self._rng.choice(self._sockets)

    def _sockets_to_move(self) -> tuple[str, ...]:
        count = self._rng.choice([1, 1, 2, 3])
        return tuple(dict.fromkeys(self._socket() for _ in range(count)))

    def _room(self) -> str:
        return f"r{self._rng.randrange(self._size.rooms)}"

    def _victim(self) -> str:
        victim = self._rng.choice(self._workers)
        self._victims = [*self._victims[-1:], victim]
        return victim

    # -- workers that start and end ---------------------------------------------------------

    def _start(self) -> str:
        worker = f"w{self._started}"
        self._started += 1
        self._workers.append(worker)
        self._actions.append(Start(self._now, worker, self._tight, self._pace(), self._version()))
        return worker

    def _pace(self) -> float:
        return self._paces.choice([1.0, 1.0, 1.5, 3.0]) if self._mixed else 1.0

    def _version(self) -> int:
        return self._versions.choice([1, 2]) if self._upgrades and self._now > OPENING else 1

    def _deploy(self) -> None:
        """Rotate the keys: a new worker in the place of each old one, one after the other."""
        at = self._now
        self._actions.append(Rotate(at))
        for old in list(self._workers):
            at = round(at + self._keys.choice([0.0, 0.3, 2.5]), 3)
            self._workers.remove(old)
            self._actions.append(self._keys.choice([Crash, Stop])(at, old))
            new = f"w{self._started}"
            self._started += 1
            self._workers.append(new)
            self._actions.append(Start(at, new, self._tight, self._pace()))
            self._actions.append(Connect(at, self._new_socket(), new))

    def _birth(self) -> None:
        if self._rng.random() < 0.2:  # without a broker, for some time
            self._trouble_for(Away, (f"w{self._started}",))
        worker = self._start()
        for _ in range(self._rng.randint(0, 2)):
            self._connect(worker)

    def _visit(self) -> None:
        """Let a worker start, ask or change something, and leave, as a script does."""
        worker = f"w{self._started}"
        self._started += 1
        self._actions.append(Start(self._now, worker, self._tight, self._pace(), self._version()))
        at = round(self._now + self._rng.choice([0.0, 0.05, 0.5]), 3)
        room = self._room()
        wish: list[Action] = [
            Ask(at, worker, room),
            Empty(at, worker, room),
            Move(at, worker, "leave", self._sockets_to_move(), room),
        ]
        self._actions.append(self._rng.choice(wish))
        end = round(at + self._rng.choice([0.5, 3.0, 5.5]), 3)
        self._actions.append(self._rng.choice([Crash, Stop])(end, worker))

    def _death(self) -> None:
        if len(self._workers) > 2:
            worker = self._victim()
            self._workers.remove(worker)
            self._actions.append(self._rng.choice([Crash, Stop])(self._now, worker))

    # -- trouble --------------------------------------------------------------------------

    def _trouble_for(self, kind: Callable[..., Action], *what: Any) -> float:
        """Add a trouble, and some actions at its beginning and its end; return its end."""
        seconds = self._rng.choice(self._size.troubles)
        self._actions.append(kind(self._now, *what, seconds))
        end = self._now + seconds
        for _ in range(self._rng.choice([0, 1, 3])):
            self._use(round(end + self._rng.uniform(-0.1, 1.1), 3))
        for _ in range(self._rng.choice([0, 1])):
            self._use(round(self._now + self._rng.uniform(0, 0.1), 3))
        return end

    def _pause(self) -> None:
        self._trouble_for(Pause, self._victim())

    def _slow(self) -> None:
        pace = self._rng.choice([0.01, 0.1, 1.0])
        self._trouble_for(partial(Slow, pace=pace), self._victim())

    def _away(self) -> None:
        torn = self._rng.random() < 0.3
        self._trouble_for(partial(Away, torn=torn), (self._victim(),))

    def _some_away(self) -> None:
        some = self._rng.sample(self._workers, self._rng.randint(1, len(self._workers)))
        self._trouble_for(Away, tuple(some))

    def _flap(self) -> None:
        victim, at = self._victim(), self._now
        shortest, longest = self._rng.choice([(0.5, 2.5), (0.05, 0.3)])  # between two absences
        for _ in range(self._rng.randint(2, 8)):
            seconds = self._rng.choice([0.05, 0.5, 2.0])
            self._actions.append(Away(at, (victim,), seconds))
            at = round(at + seconds + self._rng.uniform(shortest, longest), 3)

    def _down(self) -> None:
        torn = self._rng.random() < 0.3
        self._trouble_for(partial(Away, torn=torn), ())

    def _hang(self) -> None:
        carried = self._rng.random() < 0.5
        self._trouble_for(partial(Hang, carried=carried), self._victim())

    def _deaf(self) -> None:
        self._trouble_for(Deaf, self._victim())

    def _mute(self) -> None:
        self._trouble_for(Mute, self._victim())

    def _cut(self) -> None:
        self._partition((self._victim(),), (self._victim(),))

    def _split(self) -> None:
        here = tuple(self._rng.sample(self._workers, self._rng.randrange(len(self._workers))))
        self._partition(here, tuple(w for w in self._workers if w not in here))

    def _partition(self, here: tuple[str, ...], there: tuple[str, ...]) -> None:
        end = self._trouble_for(Cut, here, there)
        if self._rng.random() < 0.5:
            self._actions.append(Cut(self._now, there, here, end - self._now))

    def _storm(self) -> None:
        rng = self._rng
        weather = Weather(
            delay=rng.choice([0.0, 0.01, 0.1, 0.5, 3.0]),
            loss=rng.choice([0.0, 0.0, 0.1, 0.5]),
            doubling=rng.choice([0.0, 0.0, 0.3]),
            reordering=rng.choice([0.0, 0.0, 0.2]),
        )
        self._trouble_for(partial(Storm, weather=weather))

    def _replay(self) -> None:
        self._actions.append(Replay(self._now, int(self._rng.expovariate(1 / 50))))
        if self._copies.random() < 0.3:  # much of what workers have sent, that may be dead by now
            back, count = self._copies.randrange(REMEMBERED), self._copies.choice([30, 300])
            self._actions.append(Replay(self._now, back, count))
