"""A broker in virtual time: carries frames between workers, with the faults of the schedule."""

from __future__ import annotations

import zlib
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass

from flask_rooms.protocol.messages import Frame
from tests.simulation.names import host_of

#: How many frames are remembered for replay().
REMEMBERED = 1000
#: Seconds after which a frame is late: calls may have timed out without it.
LATE = 1.0
#: Seconds for which the broker counts the connection of a worker that has ended.
LINGERS = 0.3
#: Decides, with the seed, whether workers have addresses.
ADDRESSES = 78

_MASK = 2**64 - 1


def chances(*key: int) -> tuple[float, float, float, float]:
    """
    Return four numbers from 0 to 1 that depend on nothing but *key*.

    So the fate of a frame stays the same when other actions are left out of a schedule.
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
        delay: The most seconds that a frame takes to the broker, and from it.
        loss: Part of the frames that do not arrive, from 0 to 1.
        doubling: Part of the frames that arrive twice.
        reordering: Part of the frames that later frames overtake.
    """

    delay: float = 0.0
    loss: float = 0.0
    doubling: float = 0.0
    reordering: float = 0.0

    @staticmethod
    def worst_of(several: Iterable[Weather]) -> Weather:
        """Return the worst of each fault."""
        worst = [max(values) for values in zip(*map(astuple, several), strict=True)]
        return Weather(*worst)


CALM = Weather()


class Bus:
    """
    Carries each frame to the broker, and from there, in the broker's order, to every worker.

    Without loss and reordering all workers see one order, as on a Redis channel.

    Args:
        seed: Decides the fate of each frame.
        clock: Returns the time.
        at: Calls a function with arguments at a time.
        arrive: Called with receiver and frame for each frame that arrives.
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
        # Worker -> when a fault ends
        self.away: dict[str, float] = {}  # cut off from the broker, and aware of it
        self.deaf: dict[str, float] = {}  # receives nothing, and is not aware of it
        self.mute: dict[str, float] = {}  # no other worker receives it, and it is not aware of it
        self.cuts: dict[tuple[str, str], float] = {}  # the second does not receive the first
        #: Whether a frame for one worker goes to that worker alone.
        self.addresses = chances(seed, ADDRESSES)[0] < 0.8
        self._ended: deque[float] = deque(maxlen=10)  # when workers ended
        self.torn: set[str] = set()  # the next publish fails, and is carried all the same
        #: (sender, receiver) -> when a frame was last lost or late, and neither was aware of it.
        self.hurt: defaultdict[tuple[str, str], float] = defaultdict(lambda: float("-inf"))
        #: A worker, and another one of which it may have received the copy of a hello.
        self.copied: set[tuple[str, str]] = set()
        #: The same for what was lost because the receiver was away.
        self.missed: defaultdict[tuple[str, str], float] = defaultdict(lambda: float("-inf"))

    def subscribe(self, worker: str) -> None:
        """Deliver frames to a worker from now on."""
        self._receivers[worker] = number_of(worker)

    def unsubscribe(self, worker: str) -> None:
        """Deliver no more frames to a worker."""
        del self._receivers[worker]
        self._ended.append(self._clock())

    def audience(self) -> int:
        """
        Return how many workers are connected, as a broker would.

        A worker that has just ended counts for a moment, because the broker has not noticed.
        """
        now = self._clock()
        ending = sum(now - when < LINGERS for when in self._ended)
        return ending + sum(self.away.get(worker, 0.0) <= now for worker in self._receivers)

    def is_away(self, worker: str) -> bool:
        """Whether a worker is cut off from the broker, and aware of it."""
        return self.away.get(worker, 0.0) > self._clock()

    def publish(self, sender: str, frame: Frame) -> bool:
        """Carry *frame* of the worker *sender*; False if the publish fails."""
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
        Deliver again what was published *back* frames ago, as an attacker could.

        What a newcomer has broadcast before it met the sender of a copied hello may not reach
        that worker (docs/protocol.md, "What is not promised"): for these two it is a loss.
        """
        if back >= len(self._remembered):
            return
        sender, frame = self._remembered[-1 - back]
        if frame.heartbeat is not None and frame.heartbeat.beat == 1:
            for receiver in self._receivers:
                self.copied.add((receiver, frame.sender))
        self._fan_out(sender, frame, hash((self._seed, back)))

    def _fan_out(self, sender: str, frame: Frame, key: int) -> None:
        now = self._clock()
        for receiver, number in self._addressees(frame):
            if self.away.get(receiver, 0.0) > now:
                self.missed[sender, receiver] = now
            elif self._is_cut(sender, receiver, now):
                self.hurt[sender, receiver] = now
            elif self.weather is CALM:
                self._carry(sender, receiver, frame, now)
            else:
                self._carry_through_weather(sender, receiver, frame, chances(key, number))

    def _addressees(self, frame: Frame) -> Iterable[tuple[str, int]]:
        if not (frame.to and self.addresses):
            return self._receivers.items()
        host = host_of(frame.to)
        return [(host, self._receivers[host])] if host in self._receivers else []

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
        if self.is_away(receiver):  # frames on their way are lost with the connection
            self.missed[sender, receiver] = self._clock()
        elif receiver in self._receivers:
            self._arrive(receiver, frame)
