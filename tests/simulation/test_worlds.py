"""The protocol keeps its promises in small worlds, in whatever order things happen."""

from __future__ import annotations

import pytest

from tests.simulation import mutations
from tests.simulation.worlds import PLANS, explore

pytestmark = [pytest.mark.mode_independent, pytest.mark.program]

#: How many choices are made in all ways; more in `python -m tests.simulation.worlds --depth N`.
DEPTH = 4

#: A false word of an earlier protocol: the rule without which it comes back, and where.
FALSE_WORDS = [
    (mutations.SettledAfterTwoEchoes, "a script has a socket leave while the owner stalls"),
    (mutations.GuardsOvertaken, "a join with a guard, and a broadcast"),
]


@pytest.mark.parametrize("world", PLANS)
def test_promises_hold_in_whatever_order(world: str) -> None:
    found = explore(PLANS[world].world(), DEPTH)

    assert found.error is None, found.path


@pytest.mark.parametrize(("mutant", "world"), FALSE_WORDS)
def test_a_false_word_is_found_again(mutant: mutations.Mutant, world: str) -> None:
    assert mutations.in_small_world(mutant, world).error is not None


@pytest.mark.parametrize("mutant", mutations.IN_SMALL_WORLDS, ids=lambda one: one.__name__)
def test_a_rule_is_needed_in_a_small_world(mutant: mutations.Mutant) -> None:
    """Random schedules hardly ever need it."""
    assert mutations.in_small_world(mutant).error is not None


def test_equal_worlds_have_the_same_key_and_others_do_not() -> None:
    world = next(iter(PLANS.values())).world()
    other = world.copy()
    assert other.key() == world.key()

    other.do(other.choices()[0])
    assert other.key() != world.key()
