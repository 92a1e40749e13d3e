"""On which sockets a client repeats its standing requests."""

from __future__ import annotations

import pytest

from flask_rooms.client.standing import StandingRequest, StandingRequests

pytestmark = pytest.mark.mode_independent


def sent(standing: StandingRequests, url: str) -> StandingRequest:
    """Return a standing request that was sent on the socket `first`."""
    assert standing.allow("first")
    request = standing.add("PUT", url, None, None, None)
    request.was_sent = True
    return request


def test_a_socket_that_is_recovered_needs_no_repetition() -> None:
    standing = StandingRequests()
    sent(standing, "/news")

    assert standing.begin("first") == []
    assert standing.allow("first")


def test_a_socket_that_was_lost_meanwhile_and_is_recovered_needs_all() -> None:
    standing = StandingRequests()
    request = sent(standing, "/news")
    assert standing.begin("second") == [request]
    assert standing.begin("second") == []
    assert not standing.allow("second")

    standing.abandon("second")

    assert not standing.allow("second")
    assert standing.begin("second") == [request]
    standing.end("second")
    assert standing.allow("second")


def test_a_lost_socket_does_not_end_what_has_begun_on_the_next_one() -> None:
    standing = StandingRequests()
    request = sent(standing, "/news")
    assert standing.begin("second") == [request]
    assert standing.begin("third") == [request]

    standing.abandon("second")

    assert standing.begin("third") == []


def test_a_refusal_is_not_of_a_request_that_was_made_anew() -> None:
    standing = StandingRequests()
    first = sent(standing, "/news")
    again = standing.add("put", "/news", None, {"X-Token": "new"}, None)

    assert standing.settle(first, ValueError())
    assert standing.begin("second") == [again]
    assert not standing.settle(again, ValueError())
