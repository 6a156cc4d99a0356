"""`merge_param`: an argument of the constructor or of the call."""

from typing import Any

import pytest

from linen_core import merge_param
from linen_core.errors import LinenError, MergeParamError


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [(None, 1, 1), (1, None, 1), (None, False, False), (False, None, False), (0, None, 0)],
)
def test_the_one_that_was_given(a: Any, b: Any, expected: Any) -> None:
    assert merge_param("x", a, b) is expected


@pytest.mark.parametrize(
    ("a", "b", "how"),
    [
        (None, None, "nowhere"),
        (True, False, "both in the constructor and in the call"),
        (1, 1, "both in the constructor and in the call"),
    ],
)
def test_neither_or_both(a: Any, b: Any, how: str) -> None:
    with pytest.raises(MergeParamError) as caught:
        merge_param("deterministic", a, b)
    assert isinstance(caught.value, LinenError)
    assert isinstance(caught.value, ValueError)
    assert str(caught.value) == (
        f"'deterministic' was given {how}. Give it once: either in the constructor, "
        "Layer(..., deterministic=...), or in the call, layer(x, deterministic=...)."
    )
