"""Every row of the threat model names tests, and those exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.mode_independent

TESTS_DIRECTORY = Path(__file__).parents[1]
MODEL = (TESTS_DIRECTORY.parent / "docs" / "security.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (?!wants to|---)(.+) \|$", MODEL, re.MULTILINE)
TESTS = {
    name
    for file in TESTS_DIRECTORY.rglob("test_*.py")
    for name in re.findall(r"^ *def (test_\w+)\(", file.read_text(encoding="utf-8"), re.MULTILINE)
}


@pytest.mark.parametrize("row", ROWS, ids=range(len(ROWS)))
def test_a_row_names_tests_that_exist(row: str) -> None:
    *_, tests = row.split(" | ")
    named = re.findall(r"`(test_\w+)`", tests)

    assert named
    assert not set(named) - TESTS


def test_there_is_a_row_for_every_kind_of_attacker() -> None:
    headings = re.findall(r"^## (.+)$", MODEL, re.MULTILINE)

    assert len(headings) == 6
    assert len(ROWS) > 25
