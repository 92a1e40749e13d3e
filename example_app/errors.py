"""Every failure is answered with JSON: `{"message": ...}`, in words for the person at the page."""

from __future__ import annotations

from flask import Flask
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from flask_rooms import Refused, RoomsError, Unconfirmed
from flask_rooms.errors import InvalidArgument

REFUSED = "You may not join this room: it is private, or you are banned from it."
NOT_CONFIRMED = (
    "No confirmation within {:g} seconds from {}. It is carried out there as soon as the workers "
    "reach each other again."
)


def init_app(app: Flask) -> None:
    """Register the error handlers."""

    @app.errorhandler(InvalidArgument)
    def invalid(error: InvalidArgument) -> ResponseReturnValue:
        return {"message": str(error)}, 400

    @app.errorhandler(Refused)
    def refused(error: Refused) -> ResponseReturnValue:
        return {"message": REFUSED}, 403

    @app.errorhandler(Unconfirmed)
    def unconfirmed(error: Unconfirmed) -> ResponseReturnValue:
        app.logger.error("A change of a room is not confirmed: %s", error)
        names = ", ".join(getattr(one, "description", one) for one in error.workers)
        return {"message": NOT_CONFIRMED.format(error.timeout, names or "other workers")}, 500

    @app.errorhandler(RoomsError)
    def failed(error: RoomsError) -> ResponseReturnValue:
        app.logger.error("A room could not be changed: %s", error)
        return {"message": str(error)}, 500

    @app.errorhandler(HTTPException)
    def answered(error: HTTPException) -> ResponseReturnValue:
        return {"message": error.description}, error.code or 500
