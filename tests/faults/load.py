"""The load: callers that join and leave, and one broadcaster on each worker."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from tests.faults.journal import Change, Life, Say
from tests.faults.seats import Seat, Unanswered
from tests.faults.slots import Slot

#: Seconds between two calls of one caller, in the mean.
CHANGE_EVERY, SAY_EVERY = 0.8, 0.06

#: Characters in a broadcast beside its number.
PADDING = "." * 100

#: Seconds for every call that is under way to return: what waits longest is a request to a
#: worker that is stopped.
PATIENCE = 60.0


class Load:
    """
    Calls at a steady rate from as many threads as there are callers, until paused.

    Args:
        seed: For the callers' choices.
        seats: The workers.
        slots: The clients.
        rooms: The rooms.

    Attributes:
        says: The broadcasts since the last check.
        fates: What calls came to, counted.
        block: Seconds that the longest call has kept its caller since the last check; calls of
            a worker that was stopped itself are left out.
        wait: The same with the wait for the outcome.
    """

    def __init__(
        self, seed: int, seats: Sequence[Seat], slots: Sequence[Slot], rooms: Sequence[str]
    ) -> None:
        self.rooms = rooms
        self._going = threading.Event()
        self._idle = threading.Condition()
        self._busy = 0
        self._stopping = False
        self.says: list[Say] = []
        self.fates: Counter[str] = Counter()
        self.block = self.wait = 0.0
        steps: list[tuple[float, Callable[[random.Random], None]]] = []
        for slot in slots:
            steps += [(CHANGE_EVERY, _caller(self, slot, room)) for room in rooms]
        steps += [(SAY_EVERY, _broadcaster(self, seat)) for seat in seats]
        for number, (every, step) in enumerate(steps):
            rng = random.Random(f"{seed} {number}")
            threading.Thread(target=self._repeat, args=(every, step, rng), daemon=True).start()

    def go_on(self) -> None:
        """Let the callers call."""
        self._going.set()

    def pause(self) -> bool:
        """Let every call return, and no new one begin; False when one does not."""
        self._going.clear()
        with self._idle:
            return self._idle.wait_for(lambda: not self._busy, PATIENCE)

    def stop(self) -> None:
        """End the callers."""
        self._stopping = True
        self._going.set()

    def begin_again(self) -> None:
        """Forget what has been checked."""
        self.says = []
        self.block = self.wait = 0.0

    def change(self, life: Life, room: str, *, joins: bool) -> Change:
        """Join or leave, and keep what came of it."""
        log = life.logs[room]
        change = Change(joins, time.monotonic())
        log.changes.append(change)
        try:
            answer = log.via.post(
                "/change", sid=life.sid, room=room, action="join" if joins else "leave"
            )
        except Unanswered:
            self._count(f"changes {change.fate}")
            return change
        change.fate = answer["fate"]
        if change.fate == "confirmed":
            change.figures = tuple(answer["figures"])
        change.ended = time.monotonic()
        if log.via.paused:
            self._count(f"changes {change.fate}")
        else:
            wait = change.ended - change.began
            self._count(f"changes {change.fate}", answer["block"], wait)
        return change

    def say(self, seat: Seat, number: int, room: str) -> None:
        """Broadcast, and keep what came of it."""
        say = Say(seat, number, room, time.monotonic())
        self.says.append(say)
        try:
            args = [seat.index, number, PADDING]
            answer = seat.post("/say", room=room, event="said", args=args)
        except Unanswered:
            self._count(f"broadcasts {say.fate}")
            return
        say.fate = answer["fate"]
        say.ended = time.monotonic()
        self._count(f"broadcasts {say.fate}", 0.0 if seat.paused else answer["block"])

    def _count(self, fate: str, block: float = 0.0, wait: float = 0.0) -> None:
        with self._idle:
            self.fates[fate] += 1
            self.block = max(self.block, block)
            self.wait = max(self.wait, wait)

    def _repeat(
        self, every: float, step: Callable[[random.Random], None], rng: random.Random
    ) -> None:
        while True:
            time.sleep(every * rng.uniform(0.5, 1.5))  # the load's rate
            self._going.wait()
            with self._idle:
                if self._stopping:
                    return
                if not self._going.is_set():
                    continue
                self._busy += 1
            try:
                step(rng)
            finally:
                with self._idle:
                    self._busy -= 1
                    self._idle.notify_all()


def _caller(load: Load, slot: Slot, room: str) -> Callable[[random.Random], None]:
    def step(rng: random.Random) -> None:
        life = slot.life(0)
        if life is None or life.ended or not life.logs[room].via.is_there(0):
            return
        member = life.logs[room].now()
        # Now and then what is so already. No socket leaves the first room, so
        # that broadcasts to it are for every socket.
        again = rng.random() < 0.2
        load.change(life, room, joins=room == load.rooms[0] or bool(member) is again)

    return step


def _broadcaster(load: Load, seat: Seat) -> Callable[[random.Random], None]:
    number = 0

    def step(rng: random.Random) -> None:
        nonlocal number
        if seat.is_there(0):
            number += 1
            load.say(seat, number, rng.choice(load.rooms))

    return step
