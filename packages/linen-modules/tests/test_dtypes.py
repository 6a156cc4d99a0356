"""Promotion of dtypes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linen_modules.dtypes import canonicalize_dtype, promote_dtype
from linen_modules.errors import InexactDtypeError

# dtypes of the arguments (None, a Python scalar or a dtype) -> inexact, any
INFERENCE: list[tuple[tuple[Any, ...], str, str]] = [
    (("float32",), "float32", "float32"),
    (("bfloat16", "float32"), "float32", "float32"),
    (("bfloat16", None), "bfloat16", "bfloat16"),
    (("float16", "bfloat16"), "float32", "float32"),
    (("bfloat16", 1.0), "bfloat16", "bfloat16"),
    (("bfloat16", 1), "bfloat16", "bfloat16"),
    (("int32",), "float32", "int32"),
    (("int8", "bfloat16"), "bfloat16", "bfloat16"),
    (("bool",), "float32", "bool"),
    ((1.0,), "float32", "float32"),
    (("complex64", "float32"), "complex64", "complex64"),
]


@pytest.mark.parametrize(("given", "inexact", "any_dtype"), INFERENCE, ids=str)
def test_inference(given: tuple[Any, ...], inexact: str, any_dtype: str) -> None:
    args = [jnp.ones(2, arg) if isinstance(arg, str) else arg for arg in given]
    assert canonicalize_dtype(*args) == inexact
    assert canonicalize_dtype(*args, inexact=False) == any_dtype
    promoted = promote_dtype(*args)
    assert [None if p is None else p.dtype for p in promoted] == [
        None if arg is None else jnp.dtype(inexact) for arg in args
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [("float64", "float64"), ("int64", "float32"), ("float32", "float32")],
)
def test_inference_x64(given: str, expected: str) -> None:
    with jax.enable_x64(True):
        assert canonicalize_dtype(jnp.ones(2, given), jnp.ones(2, jnp.float32)) == expected
        assert canonicalize_dtype(np.ones(2, given)) == expected


def test_nested_lists_are_arrays() -> None:
    (array,) = promote_dtype([[1, 2], [3, 4]])
    assert array.shape == (2, 2)
    assert array.dtype == jnp.float32


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "complex64"])
def test_given_dtype(dtype: str) -> None:
    promoted = promote_dtype(jnp.ones(2), 1, None, dtype=dtype)
    assert [None if p is None else p.dtype for p in promoted] == [dtype, dtype, None]


@pytest.mark.parametrize("dtype", ["int32", "bool", jnp.uint8])
def test_integer_dtype(dtype: Any) -> None:
    name = jnp.dtype(dtype).name
    assert canonicalize_dtype(jnp.ones(2), dtype=dtype, inexact=False) == dtype
    with pytest.raises(
        InexactDtypeError,
        match=rf"^dtype={name}: the computation needs floating point or complex numbers. Write "
        rf"dtype=jnp.float32 or dtype=None, and convert the result with .astype\(jnp.{name}\).$",
    ):
        canonicalize_dtype(jnp.ones(2), dtype=dtype)
