"""How windows are written."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import linen_modules as nn
from linen_modules._windows import canonicalize_padding, output_sizes, per_dimension
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


@pytest.mark.parametrize(
    "padding", ["SAME", "SAME_LOWER", "VALID", "CIRCULAR", "CAUSAL", ((1, 2),), ((-1, 0),)], ids=str
)
def test_output_sizes_are_those_of_conv(padding: Any) -> None:
    for size, window, stride, spread, dilation in itertools.product(
        (0, 1, 4, 7), (1, 2, 3), (1, 2, 3), (1, 2), (1, 3)
    ):
        if (size == 0 and padding != "VALID") or (spread > 1 and str(padding).startswith("SAME")):
            continue  # nothing to continue or to cut off; not known to XLA
        geometry: Any = {
            "strides": (stride,),
            "input_dilation": (spread,),
            "kernel_dilation": (dilation,),
        }
        layer = nn.Conv(1, window, padding=padding, use_bias=False, **geometry)
        x = jax.ShapeDtypeStruct((1, size, 1), jnp.float32)
        params = {"kernel": jax.ShapeDtypeStruct((window, 1, 1), jnp.float32)}
        expected = jax.eval_shape(layer.apply, {"params": params}, x).shape[1:-1]
        assert output_sizes((size,), (window,), padding=padding, **geometry) == expected
