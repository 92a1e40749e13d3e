"""What other workers ask of this one, or tell it: it is carried out and answered."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import Protocol

from flask_rooms.cluster.confirmation import Part
from flask_rooms.cluster.interfaces import LocalWorker
from flask_rooms.protocol.ids import owner_of
from flask_rooms.protocol.messages import (
    Change,
    Done,
    Operation,
    Query,
)
from flask_rooms.protocol.node import Deliver
from flask_rooms.protocol.paging import replies
from flask_rooms.protocol.stream import Limits

logger = logging.getLogger("flask_rooms")

#: Bytes of a message that a socket ID in it takes, and more than that.
_ID_BYTES = 64


class Speaker(Protocol):
    """Who says the answers, in the name of this worker."""

    @property
    def name(self) -> str:
        """This worker's name."""

    def submit(self, operation: Operation) -> None:
        """Put an operation for the other workers into the outbox."""

    def flush(self) -> None:
        """Send what waits in it."""


class Dispatcher:
    """
    Hands the operations of other workers to the host, and answers for it.

    Args:
        speaker: Says what is answered.
        host: Carries out what is asked.
        limits: How long an answer may be.
    """

    def __init__(self, speaker: Speaker, host: LocalWorker, limits: Limits) -> None:
        self._speaker = speaker
        self._host = host
        self._limits = limits

    def deliver(self, event: Deliver) -> None:
        """Carry out one operation; called by the listener, which sends what is answered now."""
        try:
            self._apply(event)
        except Exception:  # one operation that fails must not take the next ones with it
            logger.exception("An operation of another worker could not be carried out.")

    def _apply(self, event: Deliver) -> None:
        operation = event.operation
        if isinstance(operation, Query):
            self._reply(event, operation)
        elif isinstance(operation, Change):
            self._carry_out(event, operation)
        else:
            self._host.apply(operation, event.sender)

    def _carry_out(self, event: Deliver, change: Change) -> None:
        if change.source is None:
            me = self._speaker.name
            own = tuple(sid for sid in change.sids if owner_of(sid) == me)
            if not own:
                return
            change = replace(change, sids=own)
        listener = threading.get_ident()

        def tell(done: Part) -> None:
            did, refused = done.outcome, done.refused
            if change.source is not None:  # a room may have more members than a message has room
                refused = refused[: 1 + self._limits.frame // _ID_BYTES]
            answer = Done(
                event.sender, event.number, did.changed, did.unchanged, did.unknown, refused
            )
            self._speaker.submit(answer)
            if threading.get_ident() != listener:  # which sends when it has handled the frame
                self._speaker.flush()

        # If this fails there is no answer, and the asker hears that it is unconfirmed.
        self._host.change_for(change, event.sender, tell)

    def _reply(self, event: Deliver, question: Query) -> None:
        if question.kind == "rooms_of" and owner_of(str(question.about)) != self._speaker.name:
            return
        answer = self._host.answer(question)
        for reply in replies(event.sender, event.number, answer, self._limits):
            self._speaker.submit(reply)
