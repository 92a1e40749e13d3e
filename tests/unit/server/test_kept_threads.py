"""A thread that has done something takes the next job, for a moment, and then it ends."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest

from flask_rooms.server import kept_threads
from flask_rooms.server.kept_threads import KeptThreads
from tests.support.apps import PATIENCE

pytestmark = pytest.mark.mode_independent


def started(threads: KeptThreads, job: Callable[[], object] = bool) -> threading.Thread:
    """Return a new thread that runs a job, and then waits for more."""
    thread = threading.Thread(target=threads.run, args=(job,))
    thread.start()
    return thread


def hand_over(threads: KeptThreads, job: Callable[[], object]) -> None:
    """Give a job to the only thread, as soon as it waits."""
    while not threads.hand_over(job):
        pass


def test_a_thread_that_waits_runs_what_comes_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_threads, "STAY", PATIENCE)
    threads, ran, done = KeptThreads(), list[int](), threading.Event()
    assert not threads.hand_over(done.set)

    thread = started(threads)
    hand_over(threads, lambda: ran.append(threading.get_ident()))
    hand_over(threads, done.set)

    assert done.wait(PATIENCE)
    assert ran == [thread.ident]
    monkeypatch.setattr(kept_threads, "STAY", 0.0)
    hand_over(threads, bool)
    thread.join(PATIENCE)


def test_nothing_is_handed_to_a_thread_that_is_busy() -> None:
    threads, may_end = KeptThreads(), threading.Event()
    thread = started(threads, lambda: may_end.wait(PATIENCE))

    assert not threads.hand_over(bool)

    may_end.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert not threads.hand_over(bool)


def test_no_more_wait_than_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_threads, "MAX_WAITING", 1)
    monkeypatch.setattr(kept_threads, "STAY", PATIENCE)
    threads, may_end = KeptThreads(), threading.Event()
    two = [started(threads, lambda: may_end.wait(PATIENCE)) for _ in range(2)]

    may_end.set()
    while all(one.is_alive() for one in two):
        pass

    monkeypatch.setattr(kept_threads, "MAX_WAITING", 0)
    hand_over(threads, bool)
    for one in two:
        one.join(PATIENCE)
        assert not one.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="There is no forking on Windows.")
def test_a_forked_child_has_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_threads, "STAY", PATIENCE)
    threads = KeptThreads()
    thread = started(threads)
    hand_over(threads, bool)
    while not threads._waiting:
        pass

    child = os.fork()
    if not child:
        os._exit(threads.hand_over(bool))

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    monkeypatch.setattr(kept_threads, "STAY", 0.0)
    hand_over(threads, bool)
    thread.join(PATIENCE)
