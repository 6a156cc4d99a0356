"""Equations of two operands."""

from typing import Any

import pytest

from linen_modules._equations import Equation
from linen_modules.errors import EquationError


@pytest.mark.parametrize(
    ("text", "inputs", "kernel", "bias_shape", "axes_without_bias"),
    [
        ("ab,bc->ac", (2, 3), (3, 4), (4,), (0,)),
        (" a b , b c -> a c ", (2, 3), (3, 4), (4,), (0,)),
        ("...b,bc->...c", (2, 5, 3), (3, 4), (4,), (0, 1)),
        ("...b,bc->...c", (3,), (3, 4), (4,), ()),
        ("...b,...bc->...c", (2, 5, 3), (5, 3, 4), (5, 4), (0,)),
        ("b,...bc->...c", (3,), (2, 3, 4), (2, 4), ()),
        ("ab,cb->ca", (2, 3), (4, 3), (4,), (1,)),
    ],
)
def test_bias(text: str, inputs: Any, kernel: Any, bias_shape: Any, axes_without_bias: Any) -> None:
    equation = Equation.parse(text, inputs, kernel, "einsum")
    assert equation == Equation(bias_shape, axes_without_bias)


def test_sizes_of_one_are_broadcast() -> None:
    assert Equation.parse("ab,bc->abc", (2, 1), (3, 4), "einsum").bias_shape == (3, 4)


def test_error_names_the_function() -> None:
    with pytest.raises(EquationError, match=r"^einsum: found einsum_str='ab'"):
        Equation.parse("ab", (2, 3), (3, 4), "einsum")
