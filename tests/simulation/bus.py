"""A broker in virtual time: carries frames between workers, as badly as it is told to."""

from __future__ import annotations

import zlib
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass

from flask_rooms.protocol.messages import Frame

#: How many frames are remembered, for whoever wants to send an old one again.
REMEMBERED = 1000
#: Seconds after which a frame that comes is late: others may have waited for it no longer.
LATE = 1.0

_MASK = 2**64 - 1


def chances(*key: int) -> tuple[float, float, float, float]:
    """
    Return four numbers from 0 to 1 that depend on *key* and on nothing else.

    So the fate of a frame stays the same when something else is left out of a schedule.
    """
    bits = (hash(key) & _MASK) * 0x9E3779B97F4A7C15 & _MASK
    bits = (bits ^ bits >> 29) * 0xBF58476D1CE4E5B9 & _MASK
    bits ^= bits >> 32
    return (
        (bits & 0xFFFF) / 65536,
        (bits >> 16 & 0xFFFF) / 65536,
        (bits >> 32 & 0xFFFF) / 65536,
        (bits >> 48) / 65536,
    )


def number_of(name: str) -> int:
    """Return a number for a name, the same in every process."""
    return zlib.crc32(name.encode())


@dataclass(frozen=True)
class Weather:
    """
    What happens to frames.

    Args:
        delay: Seconds that a frame takes to the broker, and from it, at most.
        loss: Part of the frames that do not arrive, from 0 to 1.
        doubling: Part of the frames that arrive twice.
        reordering: Part of the frames that take longer than those behind them.
    """

    delay: float = 0.0
    loss: float = 0.0
    doubling: float = 0.0
    reordering: float = 0.0

    @staticmethod
    def worst_of(several: Iterable[Weather]) -> Weather:
        """Return what all of them together do."""
        worst = [max(values) for values in zip(*map(astuple, several), strict=True)]
        return Weather(*worst)


CALM = Weather()


class Bus:
    """
    Delivers each frame to all workers: first to the broker, then in its order to each of them.

    Without loss and reordering it keeps one order for all, as a Redis channel does.

    Args:
        seed: What happens to which frame comes from it.
        clock: Returns the time.
        at: Calls a function with arguments at a time.
        arrive: Takes what arrives: receiver and frame.
    """

    def __init__(
        self,
        seed: int,
        clock: Callable[[], float],
        at: Callable[..., None],
        arrive: Callable[[str, Frame], None],
    ) -> None:
        self._seed = seed
        self._clock = clock
        self._at = at
        self._arrive = arrive
        self._receivers: dict[str, int] = {}  # worker -> number_of(it)
        self._sent: defaultdict[str, int] = defaultdict(int)
        self._reaches_broker: defaultdict[str, float] = defaultdict(float)
        self._reaches_worker: defaultdict[str, float] = defaultdict(float)
        self._remembered: deque[tuple[str, Frame]] = deque(maxlen=REMEMBERED)
        self.weather = CALM
        # Worker -> when it ends that ...
        self.away: dict[str, float] = {}  # ... it is cut off from the broker, and knows
        self.deaf: dict[str, float] = {}  # ... it receives nothing, and does not know
        self.mute: dict[str, float] = {}  # ... its frames reach nobody else, and it does not know
        self.cuts: dict[tuple[str, str], float] = {}  # ... the second does not hear the first
        self.torn: set[str] = set()  # the next publish fails, and is carried all the same
        #: (sender, receiver) -> when a frame was last lost or late on the way, and neither knew.
        self.hurt: defaultdict[tuple[str, str], float] = defaultdict(lambda: float("-inf"))
        #: The same for what was lost because the receiver was away.
        self.missed: defaultdict[tuple[str, str], float] = defaultdict(lambda: float("-inf"))

    def subscribe(self, worker: str) -> None:
        """Let a worker receive from now on."""
        self._receivers[worker] = number_of(worker)

    def unsubscribe(self, worker: str) -> None:
        """Let a worker receive no more."""
        del self._receivers[worker]

    def is_away(self, worker: str) -> bool:
        """Whether a worker is cut off from the broker, and knows it."""
        return self.away.get(worker, 0.0) > self._clock()

    def publish(self, sender: str, frame: Frame) -> bool:
        """Carry *frame* of the worker *sender*; False when that sees that it failed."""
        away = self.is_away(sender)
        if away and sender not in self.torn:
            return False
        self.torn.discard(sender)
        self._sent[frame.sender] += 1
        key = hash((self._seed, number_of(frame.sender), self._sent[frame.sender]))
        self._remembered.append((sender, frame))
        now = self._clock()
        at = now + self.weather.delay * chances(key)[0]
        at = self._reaches_broker[sender] = max(at, self._reaches_broker[sender])
        if at > now:
            self._at(at, self._fan_out, sender, frame, key)
        else:
            self._fan_out(sender, frame, key)
        return not away

    def replay(self, back: int) -> None:
        """
        Let all receive once more what was published *back* frames ago, as a stranger could.

        Not if it is a hello: to whom has just started, and has not met its sender, a copy looks
        like the real one (docs/protocol.md, what is not promised).
        """
        if back >= len(self._remembered):
            return
        sender, frame = self._remembered[-1 - back]
        if frame.heartbeat is None or frame.heartbeat.beat > 1:
            self._fan_out(sender, frame, hash((self._seed, back)))

    def _fan_out(self, sender: str, frame: Frame, key: int) -> None:
        now = self._clock()
        for receiver, number in self._receivers.items():
            if self.away.get(receiver, 0.0) > now:
                self.missed[sender, receiver] = now
            elif self._is_cut(sender, receiver, now):
                self.hurt[sender, receiver] = now
            elif self.weather is CALM:
                self._carry(sender, receiver, frame, now)
            else:
                self._carry_through_weather(sender, receiver, frame, chances(key, number))

    def _is_cut(self, sender: str, receiver: str, now: float) -> bool:
        return (
            self.deaf.get(receiver, 0.0) > now
            or (receiver != sender and self.mute.get(sender, 0.0) > now)
            or self.cuts.get((sender, receiver), 0.0) > now
        )

    def _carry_through_weather(
        self, sender: str, receiver: str, frame: Frame, fate: tuple[float, float, float, float]
    ) -> None:
        lost, double, late, slow = fate
        weather, now = self.weather, self._clock()
        if lost < weather.loss:
            self.hurt[sender, receiver] = now
        elif late < weather.reordering:
            self.hurt[sender, receiver] = now
            self._at(now + 5 * max(weather.delay, 0.1) * slow, self._land, sender, receiver, frame)
        else:
            self._carry(sender, receiver, frame, now + weather.delay * slow)
        if double < weather.doubling:
            self._at(now + 20 * max(weather.delay, 0.1) * slow, self._land, sender, receiver, frame)

    def _carry(self, sender: str, receiver: str, frame: Frame, at: float) -> None:
        at = self._reaches_worker[receiver] = max(at, self._reaches_worker[receiver])
        if at > self._clock() + LATE:
            self.hurt[sender, receiver] = at
        self._at(at, self._land, sender, receiver, frame)

    def _land(self, sender: str, receiver: str, frame: Frame) -> None:
        if self.is_away(receiver):  # what was on the way when a connection broke is lost with it
            self.missed[sender, receiver] = self._clock()
        elif receiver in self._receivers:
            self._arrive(receiver, frame)
