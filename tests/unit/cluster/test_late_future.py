"""LateFuture is a future of concurrent.futures, whenever it is asked for what."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    InvalidStateError,
    as_completed,
    wait,
)
from typing import Any, cast

import pytest

from flask_rooms.cluster.late_future import LateFuture, states
from tests.support.apps import PATIENCE, in_thread

pytestmark = [pytest.mark.every_python]


@pytest.fixture
def future() -> LateFuture[int]:
    return LateFuture()


@pytest.fixture
def hurried() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_a_result_is_there_before_anybody_asks(future: LateFuture[int]) -> None:
    future.set_result(1)

    assert future.result() == 1
    assert future.done()
    assert future.exception() is None


def test_one_who_waits_gets_the_result(future: LateFuture[int]) -> None:
    waiting = in_thread(lambda: future.result(PATIENCE))
    assert not future.done()

    future.set_result(1)

    assert waiting.result(PATIENCE) == 1


def test_an_error_is_raised(future: LateFuture[int]) -> None:
    future.set_exception(ZeroDivisionError())

    with pytest.raises(ZeroDivisionError):
        future.result()


@pytest.mark.usefixtures("hurried")
def test_no_result_is_lost_where_somebody_begins_to_wait_at_that_moment() -> None:
    for number in range(1000):
        future: LateFuture[int] = LateFuture()
        both = threading.Barrier(2)

        def give(future: LateFuture[int] = future, number: int = number) -> None:
            both.wait(PATIENCE)  # noqa: B023 - the thread ends before the next one begins
            future.set_result(number)

        giving = in_thread(give)
        both.wait(PATIENCE)
        assert future.exception(PATIENCE) is None
        assert future.result() == number
        giving.result(PATIENCE)


@pytest.mark.usefixtures("hurried")
def test_of_many_who_ask_at_once_each_gets_the_result(future: LateFuture[int]) -> None:
    asking = [in_thread(lambda: future.result(PATIENCE)) for _ in range(8)]

    future.set_result(1)

    assert [one.result(PATIENCE) for one in asking] == [1] * 8


def test_it_is_waited_for_beside_others(future: LateFuture[int]) -> None:
    other: Future[int] = Future()
    future.set_result(1)

    done, not_done = wait([future, other], PATIENCE, FIRST_COMPLETED)

    assert (done, not_done) == ({future}, {other})
    assert next(as_completed([other, future], PATIENCE)) is future


def test_a_result_is_set_once(future: LateFuture[int]) -> None:
    future.set_result(1)

    with pytest.raises(InvalidStateError):
        future.set_result(2)

    assert future.result() == 1
    assert future.done()
    with pytest.raises(InvalidStateError):
        future.set_result(3)


@pytest.mark.mode_independent  # eventlet warns of every fork
@pytest.mark.skipif(not hasattr(os, "fork"), reason="There is no forking.")
def test_a_forked_child_can_ask_whatever_another_thread_was_doing(
    future: LateFuture[int],
) -> None:
    future.set_result(1)

    with states.lock:  # as a thread of the parent may, which the child does not have
        child = os.fork()
        if child == 0:
            os._exit(0 if future.done() else 1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0


def test_it_has_no_names_that_a_future_has_not(future: LateFuture[int]) -> None:
    unknown: Any = future

    with pytest.raises(AttributeError):
        _ = unknown.colour
    with pytest.raises(AttributeError):
        _ = unknown.__colour__


@pytest.mark.parametrize("name", ["changed", "unknown", "workers"])
@pytest.mark.parametrize("done", [False, True])
def test_what_its_result_has_is_asked_of_the_result(
    future: LateFuture[int], name: str, done: bool
) -> None:
    if done:
        future.set_result(1)

    with pytest.raises(AttributeError, match=rf"no attribute '{name}'.*call result\(\) first"):
        getattr(future, name)

    assert not hasattr(future, name)


@pytest.mark.parametrize("done", [False, True])
def test_to_await_it_is_an_error_that_names_what_can_be_awaited(
    future: LateFuture[int], done: bool
) -> None:
    async def forgotten() -> int:
        return await cast("Any", future)  # type: ignore[no-any-return]

    async def right() -> int:
        return await asyncio.wrap_future(future)

    if done:
        future.set_result(1)
    with pytest.raises(TypeError, match=r"await asyncio\.wrap_future\("):
        asyncio.run(forgotten())

    if not done:
        future.set_result(1)
    assert asyncio.run(right()) == 1
