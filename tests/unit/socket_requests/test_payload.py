"""What is too large is refused before it is worked on: the cost is that of the limit."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from flask_rooms.socket_requests.payload import DEPTH, HEADER_BYTES, URL_BYTES, Malformed, parse

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]

#: As much as one message may have by default.
MESSAGE = 10**6


class Values(list[Any]):
    """A list that counts what is read of it."""

    read = 0

    def __iter__(self) -> Iterator[Any]:
        for value in super().__iter__():
            self.read += 1
            yield value


class Headers(dict[str, Any]):
    """A dictionary that counts what is read of it."""

    read = 0

    def items(self) -> Any:
        for item in super().items():
            self.read += 1
            yield item


def status(verb: str, **asked: Any) -> int:
    """Return the status with which a request is refused."""
    with pytest.raises(Malformed) as refused:
        parse(verb, ({"url": "/", **asked},))
    return refused.value.status


@pytest.mark.parametrize("value", [1, None, "", "x", [], {}, False])
@pytest.mark.parametrize("verb", ["get", "head", "delete"])
def test_no_more_of_the_data_is_read_than_a_query_string_may_have(verb: str, value: Any) -> None:
    values = Values([value] * MESSAGE)

    assert status(verb, data={"": values}) == 414
    assert values.read <= URL_BYTES // len("=&") + 1


@pytest.mark.parametrize("value", ["", "1234"])
@pytest.mark.parametrize("count", [0, 1, 1000])
def test_the_size_of_a_request_is_no_less_than_what_it_takes(count: int, value: str) -> None:
    """Else more of them wait than ROOMS_WAITING_REQUEST_BYTES says."""
    asked = json.dumps(
        {"url": "/" + "x" * 1000, "headers": {f"h{one}": value for one in range(count)}}
    )
    tracemalloc.start()
    try:
        payload = parse("get", (json.loads(asked),))
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert taken - 2000 < payload.size  # what each request takes, and the tests themselves


def test_no_more_headers_are_read_than_there_may_be() -> None:
    headers = Headers({f"h{number}": "1" for number in range(MESSAGE // 10)})

    assert status("get", headers=headers) == 431
    assert headers.read < HEADER_BYTES


@pytest.mark.parametrize("part", ["a", "é", "%20", "/x", "%c3%a9"])
@pytest.mark.parametrize("start", ["/", "/?", "/x?y="])
def test_a_url_that_is_too_long_is_not_decoded(start: str, part: str) -> None:
    url = start + part * (MESSAGE // len(part))
    tracemalloc.start()
    try:
        assert status("get", url=url) == 414
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 3 * MESSAGE  # two parts of it, the wider characters, and nothing decoded


@pytest.mark.parametrize("name", ["", "k", "é", "&"])
def test_a_query_string_may_have_its_length_and_no_byte_more(name: str) -> None:
    encoded = len(parse("get", ({"url": "/", "data": {name: ""}},)).query)
    longest = "x" * (URL_BYTES - encoded - len("/"))

    assert len(parse("get", ({"url": "/", "data": {name: longest}},)).query) == URL_BYTES - 1
    assert status("get", data={name: longest + "x"}) == 414


@pytest.mark.parametrize("data", ["[" * 99 + "]", '"]', '\\"[', '{"[', "]"])
def test_a_bracket_in_a_string_is_no_level(data: str) -> None:
    many = [data] * (DEPTH + 1)

    assert parse("put", ({"url": "/", "data": many},)).body is not None


@pytest.mark.parametrize("levels", [DEPTH, DEPTH + 1])
@pytest.mark.parametrize("wrap", [lambda one: [1, one], lambda one: {"[": 1, "a": one}])
def test_data_may_have_its_levels_and_no_more(levels: int, wrap: Any) -> None:
    data: Any = 1
    for _ in range(levels):
        data = wrap(data)

    if levels > DEPTH:
        assert status("put", data=data) == 413
    else:
        assert parse("put", ({"url": "/", "data": data},)).body is not None
