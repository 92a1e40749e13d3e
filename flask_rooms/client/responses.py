"""The responses to socket requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask_rooms.errors import RequestFailed


@dataclass(frozen=True)
class Response:
    """
    The response to a socket request.

    Args:
        status: The status code, as in HTTP; less than 400.
        body: A JSON value, a string, or bytes.
        headers: The headers, with names in lower case.
    """

    status: int
    body: Any
    headers: Mapping[str, str]


def to_response(answer: Mapping[str, Any], request: str) -> Response:
    """Return what a server has answered; raise RequestFailed for a status of 400 or more."""
    response = Response(answer["statusCode"], answer["body"], answer["headers"])
    if response.status >= 400:
        raise RequestFailed(response.status, response.body, response.headers, request)
    return response
