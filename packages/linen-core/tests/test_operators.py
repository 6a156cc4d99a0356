"""Operators on what an object stands for."""

import operator
from typing import Any

import numpy as np
import pytest

from linen_core._operators import ValueOperators, value_of


class Stand(ValueOperators):
    def __init__(self, value: Any) -> None:
        self._value = value

    def _operand(self) -> Any:
        return self._value


BINARY = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod,
    divmod, operator.pow, operator.lshift, operator.rshift, operator.and_, operator.or_,
    operator.xor, operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge,
]  # fmt: skip


@pytest.mark.parametrize("function", BINARY, ids=lambda f: f.__name__)
def test_binary(function: Any) -> None:
    expected = function(13, 3)
    assert function(Stand(13), 3) == expected
    assert function(13, Stand(3)) == expected
    assert function(Stand(13), Stand(3)) == expected
    assert not isinstance(function(Stand(13), Stand(3)), Stand)


@pytest.mark.parametrize(
    "function",
    [operator.neg, operator.pos, operator.abs, operator.invert, round, bool],
    ids=lambda f: f.__name__,
)
def test_unary(function: Any) -> None:
    assert function(Stand(-3)) == function(-3)


def test_containers() -> None:
    assert (len(Stand([1, 2])), 2 in Stand([1, 2]), 3 in Stand([1, 2])) == (2, True, False)
    assert round(Stand(2.345), 1) == 2.3


def test_in_place_operators_give_the_value() -> None:
    stand: Any = Stand(1)
    stand += 2
    assert stand == 3
    assert not isinstance(stand, Stand)


def test_arrays_on_either_side() -> None:
    array = np.arange(3.0)
    for found in (array + Stand(1), Stand(1) + array, Stand(array) + 1):
        np.testing.assert_array_equal(found, array + 1)
    assert array @ Stand(array) == 5.0
    assert (array == Stand(array)).all()


def test_operands_that_do_not_fit_are_refused_as_usual() -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        operator.add(Stand(1), "a")


def test_value_of() -> None:
    assert (value_of(Stand(3)), value_of(3)) == (3, 3)
