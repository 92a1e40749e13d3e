"""The proxy `sockets` outside of an application context, as documentation and test tools use it."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys
import unittest
from collections.abc import Callable
from copy import copy, deepcopy
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock, patch

import pytest
from flask import Flask

import flask_rooms.errors
from flask_rooms import ConfigurationError, Rooms, RoomsError, sockets
from flask_rooms.api.sockets import Sockets

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of a user, with `from flask_rooms import sockets` in it."""
    module = ModuleType("views")
    module.sockets = sockets  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "views", module)
    return module


# -- documentation ----------------------------------------------------------------------------


@pytest.mark.slow
def test_pydoc_shows_the_calls() -> None:
    page = subprocess.run(
        [sys.executable, "-m", "pydoc", "flask_rooms.sockets"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout

    assert "class Sockets(" in page
    assert "The sockets of one application, on all workers." in page
    assert "Put sockets into rooms." in page


def test_help_shows_the_calls(capsys: pytest.CaptureFixture[str]) -> None:
    help(sockets)

    assert "Put sockets into rooms." in capsys.readouterr().out


def test_help_in_a_context_shows_the_calls(capsys: pytest.CaptureFixture[str]) -> None:
    app = Flask("helped")
    Rooms(app)

    with app.app_context():
        help(sockets)

    assert "Put sockets into rooms." in capsys.readouterr().out


def test_its_docstring_and_its_names_are_those_of_the_class() -> None:
    assert inspect.getdoc(sockets) == inspect.getdoc(Sockets)
    assert {"join", "leave", "broadcast", "members"} <= set(dir(sockets))


# -- introspection ----------------------------------------------------------------------------


def test_its_representation_says_that_it_is_unbound() -> None:
    assert repr(sockets) == "<SocketsProxy unbound>"
    assert not sockets


def test_it_is_no_class_and_no_routine() -> None:
    assert not inspect.isclass(sockets)
    assert not inspect.isroutine(sockets)
    assert not isinstance(sockets, Flask)


@pytest.mark.parametrize("name", ["__code__", "__test__", "_repr_html_", "_is_coroutine_marker"])
def test_special_and_private_attributes_that_tools_look_for_are_absent(name: str) -> None:
    assert not hasattr(sockets, name)


@pytest.mark.parametrize("name", ["x", "join"])
def test_any_other_attribute_is_an_error_that_says_what_to_do(name: str) -> None:
    with pytest.raises(RuntimeError, match=r"rooms\.sockets.*app_context") as caught:
        getattr(sockets, name)

    assert not hasattr(sockets, name)
    assert isinstance(caught.value, ConfigurationError)
    assert isinstance(caught.value, RoomsError)


def test_its_error_has_a_name_to_import() -> None:
    """As a traceback shows it."""
    with pytest.raises(RuntimeError) as caught:
        _ = sockets.join

    name = type(caught.value).__name__
    assert not name.startswith("_")
    assert getattr(flask_rooms.errors, name) is type(caught.value)
    assert type(caught.value).__module__ == "flask_rooms.errors"


def test_tools_that_look_at_every_attribute_pass_by() -> None:
    assert "join" not in dict(inspect.getmembers(sockets))
    with patch(f"{__name__}.sockets", autospec=True) as mocked:
        assert sockets is mocked


@pytest.mark.parametrize("use", [str, len])
def test_every_other_use_is_the_same_error(use: Callable[[object], object]) -> None:
    with pytest.raises(RuntimeError, match=r"rooms\.sockets.*app_context"):
        use(sockets)


@pytest.mark.parametrize("duplicate", [copy, deepcopy])
def test_a_copy_of_what_holds_it_holds_it_as_well(duplicate: Callable[[Any], Any]) -> None:
    """A deep copy of it recursed without end outside of a context, and failed at locks in one."""
    app = Flask("copied")
    Rooms(app)

    assert duplicate({"rooms": sockets})["rooms"] is sockets
    assert duplicate(sockets) is sockets
    with app.app_context():
        assert duplicate(sockets) is sockets


def test_an_application_without_rooms_is_like_none() -> None:
    with Flask("bare").app_context():
        assert repr(sockets) == "<SocketsProxy unbound>"
        with pytest.raises(RuntimeError, match=r"call Rooms\(app\)"):
            _ = sockets.join


def test_in_a_context_it_is_the_sockets_of_the_application() -> None:
    app = Flask("bound")
    rooms = Rooms(app)

    with app.app_context():
        assert isinstance(sockets, Sockets)
        assert sockets == rooms.sockets
        assert repr(sockets) == repr(rooms.sockets)
        assert not hasattr(sockets, "x")


# -- a module with it -------------------------------------------------------------------------


def test_doctest_finds_its_way_through_the_module(module: ModuleType) -> None:
    module.__doc__ = ">>> 1 + 1\n2\n"

    found = doctest.DocTestFinder().find(module)

    assert [test.name for test in found if test.examples] == ["views"]


def test_unittest_loads_the_module(module: ModuleType) -> None:
    assert unittest.TestLoader().loadTestsFromModule(module).countTestCases() == 0


def test_mock_replaces_it_in_the_module(module: ModuleType) -> None:
    with patch("views.sockets") as replaced:
        assert isinstance(replaced, MagicMock)  # and no AsyncMock
        assert vars(module)["sockets"] is replaced

    assert vars(module)["sockets"] is sockets
