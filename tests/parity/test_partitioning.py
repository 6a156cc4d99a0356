"""Named axes against flax.linen, case by case."""

import pytest

from .comparison import differences
from .libraries import PEER, SUBJECT
from .lift_partitioning_cases import CASES, PartitioningCase


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_partitioning(case: PartitioningCase) -> None:
    found, expected = case.outcome(SUBJECT), case.outcome(PEER)
    if isinstance(expected, Exception):
        kinds = (
            (type(expected), Exception) if isinstance(expected, AssertionError) else type(expected)
        )
        assert isinstance(found, kinds), found
        return
    lines = list(differences(found, expected))
    assert not lines, "\n".join(["differs from flax.linen:", *lines])


def test_names_are_unique() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))
