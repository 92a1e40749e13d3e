"""Every failure is answered with JSON: `{"message": ...}`, in words for the person at the page."""

from __future__ import annotations

from flask import Flask
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from flask_rooms import Refused, RoomsError
from flask_rooms.errors import InvalidArgument

REFUSED = "You may not join this room: it is private, or you are banned from it."


def init_app(app: Flask) -> None:
    """Register the error handlers."""

    @app.errorhandler(InvalidArgument)
    def invalid(error: InvalidArgument) -> ResponseReturnValue:
        return {"message": str(error)}, 400

    @app.errorhandler(Refused)
    def refused(error: Refused) -> ResponseReturnValue:
        return {"message": REFUSED}, 403

    @app.errorhandler(RoomsError)
    def failed(error: RoomsError) -> ResponseReturnValue:
        app.logger.error("A room could not be changed: %s", error)
        return {"message": str(error)}, 500

    @app.errorhandler(HTTPException)
    def answered(error: HTTPException) -> ResponseReturnValue:
        return {"message": error.description}, error.code or 500
