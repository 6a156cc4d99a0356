"""Rounding to 8 bits, and its scales."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from linen_modules.errors import InputDtypeError
from linen_modules.fp8 import (
    compute_amax_history,
    compute_scale,
    dequantize,
    get_fp8_max,
    qdq,
    quantize,
    quantize_dequantize_update,
)

E4M3, E5M2 = jnp.float8_e4m3fn, jnp.float8_e5m2


@pytest.mark.parametrize(
    ("dtype", "largest"),
    [
        (E4M3, 448),
        (E5M2, 57344),
        (jnp.float8_e4m3fnuz, 240),
        (jnp.float8_e5m2fnuz, 57344),
        (jnp.dtype("float8_e4m3fn"), 448),
    ],
    ids=str,
)
@pytest.mark.parametrize("out_dtype", [jnp.float32, jnp.bfloat16])
def test_largest_numbers(dtype: Any, largest: float, out_dtype: Any) -> None:
    found = get_fp8_max(dtype, out_dtype)
    assert found.dtype == out_dtype
    assert found == largest


def test_other_dtypes_have_no_largest_number() -> None:
    with pytest.raises(
        InputDtypeError,
        match=r"get_fp8_max: found the dtype float16; expected one of float8_e4m3fn, float8_e5m2, "
        r"float8_e4m3fnuz, float8_e5m2fnuz. Write jnp.float8_e4m3fn for values",
    ):
        get_fp8_max(jnp.float16, jnp.float32)


@pytest.mark.parametrize("compute_dtype", [jnp.float32, jnp.bfloat16])
def test_quantize_and_dequantize(compute_dtype: Any) -> None:
    x = jnp.array([[0.3, -7.0], [1e5, -1e5]])
    q = quantize(x, E4M3, jnp.array([2.0]), compute_dtype)
    assert q.dtype == E4M3
    np.testing.assert_allclose(q.astype(jnp.float32)[1], [448, -448])
    back = dequantize(q, jnp.float32, jnp.array([2.0]))
    np.testing.assert_allclose(back[0], x[0], rtol=0.07)
    np.testing.assert_array_equal(qdq(x, E4M3, jnp.array([2.0]), compute_dtype), back)


@pytest.mark.parametrize(
    ("amax", "margin", "expected"),
    [
        (896.0, 0, 2.0),
        (896.0, 1, 4.0),
        (4.48, 0, 0.01),
        (0.0, 0, 3.0),
        (np.inf, 0, 3.0),
        (np.nan, 0, 3.0),
    ],
)
def test_scales(amax: float, margin: int, expected: float) -> None:
    scale = compute_scale(jnp.float32(amax), jnp.array([3.0]), 448.0, margin)
    np.testing.assert_allclose(scale, [expected], rtol=1e-6)


def test_history() -> None:
    history = jnp.array([1.0, 2.0, 3.0])
    for value, expected in [(5.0, [5, 3, 1]), (-7.0, [7, 1, 5]), (0.5, [0.5, 5, 7])]:
        history = compute_amax_history(jnp.array([value, 0.1], jnp.bfloat16), history)
        np.testing.assert_array_equal(history, np.array(expected, np.float32))


def test_a_scale_comes_from_the_steps_before() -> None:
    x, scale, history = jnp.array([896.0]), jnp.ones(1), jnp.zeros(2)
    y, scale, history = quantize_dequantize_update(x, E4M3, scale, history, jnp.float32)
    assert (y.item(), scale.item(), history.tolist()) == (448.0, 1.0, [896.0, 0.0])
    y, scale, history = quantize_dequantize_update(x, E4M3, scale, history, jnp.float32)
    assert (y.item(), scale.item()) == (896.0, 2.0)
