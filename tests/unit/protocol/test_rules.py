"""Every rule of docs/protocol.md is kept by code, broken by a mutant and shown by a test."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from flask_rooms import cluster, protocol
from tests.simulation.mutations import RULES, WITHOUT_MUTANT, says

pytestmark = pytest.mark.mode_independent

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs" / "protocol.md"

#: The rules that the protocol cannot keep alone: they are about sockets and connections.
OF_THE_DRIVER = {
    "every-worker-is-known",
    "evicted-start-over",
    "heard-before-leaving",
    "hello-before-sockets",
    "longer-interval",
    "reconnect-when-deaf",
}

_CITATION = re.compile(r"Rules? ((?:`[a-z-]+`(?:, | and )?)+)")


def documented() -> list[str]:
    """Return the names in the headings of docs/protocol.md."""
    return re.findall(r"^### `([a-z-]+)`: .", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)


def cited(files: Iterable[Path]) -> set[str]:
    """Return the names that files cite as "Rule `name`"."""
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    # A citation may be broken by the end of a line, with its comment sign or none.
    text = re.sub(r"\n *#? *", " ", text)
    return {name for found in _CITATION.findall(text) for name in re.findall(r"`([a-z-]+)`", found)}


def in_tests() -> set[str]:
    """Return the names that tests cite."""
    folders = ROOT / "tests" / "unit" / "protocol", ROOT / "tests" / "simulation"
    here = Path(__file__)
    return cited(file for folder in folders for file in folder.glob("test_*.py") if file != here)


def test_each_rule_is_documented_once() -> None:
    names = documented()

    assert names
    assert len(names) == len(set(names))


def test_the_document_has_no_rule_without_a_name() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    rules = text.partition("\n## The rules")[2].partition("\n## ")[0]

    assert rules.count("\n### ") == len(documented())
    assert not re.search(r"^\*\*", rules, re.MULTILINE)


def test_the_code_cites_each_rule_and_no_other() -> None:
    folders = Path(protocol.__file__).parent, Path(cluster.__file__).parent
    files = (file for folder in folders for file in folder.glob("*.py"))

    assert cited(files) == set(documented())


def test_the_driver_cites_the_rules_that_need_it() -> None:
    driver = Path(cluster.__file__).parent / "driver.py"

    assert cited([driver]) == OF_THE_DRIVER


@pytest.mark.parametrize("mutant", RULES, ids=lambda one: one.__name__)
def test_each_mutant_replaces_what_its_base_has(mutant: type) -> None:
    """One whose method was given another name would break nothing."""
    own = {name for name in vars(mutant) if not name.startswith("__")}

    assert any(hasattr(base, name) for base in mutant.__bases__ for name in own)


def test_each_rule_has_a_mutant_or_a_reason_to_have_none() -> None:
    assert set(RULES.values()) | WITHOUT_MUTANT.keys() == set(documented())
    assert not WITHOUT_MUTANT.keys() & set(RULES.values())


def test_the_document_lists_each_mutant_and_each_rule_without_one() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    evidence = text.partition("\n## The evidence")[2]
    rows = set(re.findall(r"^\| `([a-z-]+)` \| ([^|]+) \|", evidence, re.MULTILINE))

    assert rows == {(rule, says(mutant)) for mutant, rule in RULES.items()} | set(
        WITHOUT_MUTANT.items()
    )


def test_tests_cite_each_rule_and_no_other() -> None:
    assert in_tests() == set(documented())
