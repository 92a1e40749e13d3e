"""The program of docs/admin.md admits those whom its check names, and no others."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from flask_rooms.admin.protection import HEADER
from tests.support.documents import ROOT, blocks

pytestmark = pytest.mark.mode_independent

PROGRAM, WITH_FLASK_LOGIN = blocks("docs/admin.md", "python")


def test_the_program_admits_operators_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_SECRET_KEY", "change-me")
    names: dict[str, Any] = {"__name__": "app"}
    exec(PROGRAM, names)
    client = names["app"].test_client()

    assert client.get("/rooms-admin/").status_code == 403
    with client.session_transaction() as session:
        session["operator"] = "Eve"
    assert client.get("/rooms-admin/").status_code == 200


@pytest.mark.parametrize(("admitted", "name"), [(True, "7"), (False, None)])
def test_the_check_with_flask_login_names_admins_only(
    admitted: bool, name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class User:
        is_authenticated = True
        is_admin = admitted

        def get_id(self) -> str:
            return "7"

    monkeypatch.setitem(sys.modules, "flask_login", SimpleNamespace(current_user=User()))
    names: dict[str, Any] = {}
    exec(WITH_FLASK_LOGIN, names)

    assert names["operator"]() == name


def test_the_header_is_the_one_that_is_named() -> None:
    page = (ROOT / "docs" / "admin.md").read_text(encoding="utf-8")

    assert f"`{HEADER}`" in page
