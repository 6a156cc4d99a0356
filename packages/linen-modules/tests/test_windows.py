"""How windows are written."""

from typing import Any

import pytest

from linen_modules._windows import canonicalize_padding, per_dimension
from linen_modules.errors import PaddingError, WindowError


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, (1, 1)), (3, (3, 3)), ((2, 3), (2, 3)), ([2, 3], (2, 3))],
    ids=str,
)
def test_per_dimension(value: Any, expected: tuple[int, ...]) -> None:
    assert per_dimension(value, 2, "pool", "strides") == expected


@pytest.mark.parametrize("value", [(), (1,), (1, 2, 3)], ids=str)
def test_per_dimension_of_the_wrong_length(value: tuple[int, ...]) -> None:
    with pytest.raises(WindowError, match=rf"pool: found strides=.* with {len(value)} entries"):
        per_dimension(value, 2, "pool", "strides")


@pytest.mark.parametrize(
    ("padding", "expected"),
    [
        ("SAME", "SAME"),
        ("valid", "VALID"),
        (2, ((2, 2), (2, 2))),
        ((1, 2), ((1, 1), (2, 2))),
        ([[1, 2], 3], ((1, 2), (3, 3))),
    ],
    ids=str,
)
def test_canonicalize_padding(padding: Any, expected: Any) -> None:
    assert canonicalize_padding(padding, 2, "pool") == expected


@pytest.mark.parametrize("padding", ["", "FULL", "CAUSAL", (1,), ((1, 2, 3), 1), ()], ids=str)
def test_padding_that_has_no_meaning(padding: Any) -> None:
    with pytest.raises(PaddingError, match=r"pool: found padding=.*; expected one of SAME, "):
        canonicalize_padding(padding, 2, "pool")
