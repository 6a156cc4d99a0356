"""Boxes, specs, rules and constraints against flax.linen, case by case."""

from typing import Any

import pytest

from .case import Case, compile_and_run, evaluate, initialize
from .comparison import differences
from .libraries import PEER, SUBJECT, Library
from .lift_variables_cases import METADATA
from .sharding_cases import SHARDED, SHARDINGS, ShardingCase, describe, names_of

# What flax.linen raises for a condition, the library raises with a class of its own below it.
SAME_NAME = {"PartitioningUnspecifiedError"}


def outcome(case: ShardingCase, library: Library) -> Any:
    """Returns what a case gives, or the exception that it raises."""
    try:
        return case.run(names_of(library))
    except Exception as error:
        return error


@pytest.mark.parametrize("case", SHARDINGS, ids=lambda case: case.name)
def test_sharding(case: ShardingCase) -> None:
    found, expected = outcome(case, SUBJECT), outcome(case, PEER)
    if isinstance(expected, Exception):
        name = type(expected).__name__
        assert name in SAME_NAME or name == "ValueError", expected
        assert name in [base.__name__ for base in type(found).__mro__], found
        return
    assert_same(found, expected)


def assert_same(found: Any, expected: Any) -> None:
    """Fails with every difference of two trees."""
    lines = list(differences(found, expected))
    assert not lines, "\n".join(["differs from flax.linen:", *lines])


@pytest.mark.parametrize("case", [*SHARDED, *METADATA], ids=lambda case: case.name)
def test_modules_with_boxes(case: Case) -> None:
    results = {}
    for library in (SUBJECT, PEER):
        output, variables = initialize(case, library)
        eager = evaluate(case, library, variables)
        compiled = compile_and_run(case, library, variables)
        # Without specs: what is made in a box is sharded at once here, when it is read there.
        results[library] = describe((variables, output, eager, compiled), specs=False)
    assert_same(results[SUBJECT], results[PEER])


def test_names_are_unique() -> None:
    names = [case.name for case in [*SHARDED, *METADATA, *SHARDINGS]]
    assert len(names) == len(set(names))
