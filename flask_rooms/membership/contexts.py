"""The context of a request, for what the application has to decide outside of any request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Flask


@contextmanager
def request_context(app: Flask, environ: dict[str, Any]) -> Iterator[None]:
    """
    Enter the context of a request, and end it even if it could not be entered as a whole.

    That is so where the session cannot be opened, as its store is down. Flask's own `with` would
    leave a part behind: no teardown would run, and the next request in the thread would share `g`.

    Args:
        app: The application.
        environ: The WSGI environment of the request.
    """
    context = app.request_context(environ)
    try:
        context.push()
        yield
    except BaseException as error:
        context.pop(error)
        raise
    context.pop(None)
