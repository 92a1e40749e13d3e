"""Keeps the operations of each sender in order while a join of it waits for guards."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from flask_rooms.protocol.events import Deliver
from flask_rooms.protocol.messages import OF_A_SOCKET, Ask, Change, Emit, Operation, Query, Tell


@dataclass(eq=False)
class WaitingJoin:
    """
    A join of another worker that guards have to decide about.

    Args:
        sender: The name of that worker.
        change: The join.
        until: When it holds up nothing any more, as its caller waits no longer.
    """

    sender: str
    change: Change
    until: float

    def concerns(self, operation: Operation) -> bool:
        """Whether what *operation* does or finds depends on the join."""
        if isinstance(operation, Tell):
            return True  # a handler may look at any room
        if not isinstance(operation, Ask | Change | Emit | Query):
            return False
        if operation.namespace != self.change.namespace:
            return False
        rooms = self.change.rooms
        if isinstance(operation, Ask | Emit):
            concerned = (*(operation.rooms or ()), *operation.omit)
            return not set(rooms).isdisjoint(concerned)
        if isinstance(operation, Change):
            if not set(rooms).isdisjoint(operation.options.omit):
                return True
            # All others undo the join where it concerns them, and need not wait.
            return operation.action == "join" and operation.source in rooms
        if operation.kind in OF_A_SOCKET:
            return operation.about in self.change.sids or self.change.source is not None
        return operation.kind == "rooms" or operation.about in rooms


@dataclass
class _Lane:
    senders: list[str]
    joins: list[WaitingJoin] = field(default_factory=list)
    held: deque[Deliver] = field(default_factory=deque)
    is_draining: bool = False

    def precede_by(self, earlier: _Lane) -> None:
        self.senders = [*earlier.senders, *self.senders]
        self.joins = [*earlier.joins, *self.joins]
        self.held = deque([*earlier.held, *self.held])
        self.is_draining = self.is_draining or earlier.is_draining

    @property
    def is_idle(self) -> bool:
        return not (self.joins or self.held or self.is_draining)

    @property
    def is_free(self) -> bool:
        return not self.held or not any(one.concerns(self.held[0].operation) for one in self.joins)


class Lanes:
    """
    What waits behind the guarded joins of each sender; not for several threads at once.

    Rule `guarded-joins-keep-order`: the first operation that a join concerns waits for it, and
    all that follow wait behind that one.
    """

    def __init__(self) -> None:
        self._lanes: dict[str, _Lane] = {}

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits, and none of a next life has to be known."""
        return not self._lanes

    def begin(self, join: WaitingJoin) -> None:
        """Record that a join waits for its guards."""
        lane = self._lanes.setdefault(join.sender, _Lane([join.sender]))
        lane.joins.append(join)

    def succeed(self, sender: str, former: str) -> None:
        """Rule `order-across-lives`: let a sender wait for what it sent under a former name."""
        for idle in [one for one in self._lanes.values() if one.is_idle]:
            if sender not in idle.senders:
                self._remove(idle)
        # Also where nothing waits: a join that is repeated comes next, under the former name.
        lane = self._lanes.setdefault(sender, _Lane([sender]))
        earlier = self._lanes.get(former, _Lane([former]))
        if lane is not earlier:
            self._lanes |= dict.fromkeys(earlier.senders, lane)
            lane.precede_by(earlier)

    def end(self, join: WaitingJoin) -> None:
        """Record that a join is decided; ending it twice has no effect."""
        lane = self._lanes.get(join.sender)
        if lane is not None and join in lane.joins:
            lane.joins.remove(join)

    def hold(self, event: Deliver) -> bool:
        """Return whether an operation has to wait; drain() returns it later."""
        lane = self._lanes.get(event.sender)
        if lane is None:
            return False
        if lane.is_idle and event.sender == lane.senders[-1]:
            self._remove(lane)
            return False
        waits = lane.is_draining or bool(lane.held)
        if waits or any(join.concerns(event.operation) for join in lane.joins):
            lane.held.append(event)
            return True
        return False

    def begin_drain(self, sender: str) -> bool:
        """Return whether the caller is to carry out what next() returns; one does so at a time."""
        lane = self._lanes.get(sender)
        if lane is None or lane.is_draining:
            return False
        lane.is_draining = True
        return True

    def next(self, sender: str) -> Deliver | None:
        """Return the next operation that need not wait any more; None ends the draining."""
        lane = self._lanes[sender]
        if lane.held and lane.is_free:
            return lane.held.popleft()
        lane.is_draining = False
        # Rule `order-across-lives`: of a former life more joins may be about to be repeated. hold()
        # sees when its next life goes on.
        if lane.is_idle and len(lane.senders) == 1:
            self._remove(lane)
        return None

    def _remove(self, lane: _Lane) -> None:
        for name in lane.senders:
            self._lanes.pop(name, None)

    def overdue(self, now: float) -> list[WaitingJoin]:
        """Return the joins that hold up others for too long."""
        return [join for lane in self._lanes.values() for join in lane.joins if now >= join.until]
