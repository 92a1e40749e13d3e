"""What flask_rooms.testing imports on use alone, since cluster() needs no pytest."""

from __future__ import annotations

import sys

import pytest

import flask_rooms.testing

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]


def test_without_pytest_a_name_that_is_not_there_is_an_attribute_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tools look at modules with hasattr()."""
    for module in ("contract", "history"):
        monkeypatch.delitem(sys.modules, f"flask_rooms.testing.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "pytest", None)

    assert not hasattr(flask_rooms.testing, "NoHistory")
    with pytest.raises(ImportError, match="pytest"):
        flask_rooms.testing.BackendContract  # noqa: B018
