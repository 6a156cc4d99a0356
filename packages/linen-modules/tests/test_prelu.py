"""PReLU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linen_modules as nn
from linen_modules.prelu import prelu


def test_reference() -> None:
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    y, variables = nn.PReLU(negative_slope_init=0.25).init_with_output(
        jax.random.key(0), jnp.asarray(x)
    )
    assert variables["params"]["negative_slope"].shape == ()
    np.testing.assert_array_equal(y, np.where(x < 0, 0.25 * x, x))


def test_slope_is_learned() -> None:
    gradient = jax.grad(lambda slope: prelu(jnp.array([-2.0, -3.0, 4.0]), slope).sum())(
        0.1 + jnp.zeros(())
    )
    assert float(gradient) == -5.0


@pytest.mark.parametrize(
    ("inputs", "stored", "expected"),
    [
        ("float32", "float32", "float32"),
        ("float32", "bfloat16", "float32"),
        ("bfloat16", "float32", "bfloat16"),
        ("float16", "bfloat16", "float16"),
        ("int32", "float32", "float32"),
        ("int32", "bfloat16", "bfloat16"),
    ],
)
def test_dtypes(inputs: str, stored: str, expected: str) -> None:
    x = jnp.array([-2, 3], inputs)
    y, variables = nn.PReLU(stored, negative_slope_init=0.5).init_with_output(jax.random.key(0), x)
    assert variables["params"]["negative_slope"].dtype == stored
    assert y.dtype == expected
    np.testing.assert_array_equal(y, [-1.0, 3.0])
