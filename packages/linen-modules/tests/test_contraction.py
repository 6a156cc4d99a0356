"""Sums of products through a general matrix product."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from linen_modules._contraction import contract

CASES = [
    ("...qhd,...khd->...hqk", (3, 2, 4), (5, 2, 4)),
    ("...qhd,...khd->...hqk", (6, 3, 2, 4), (6, 5, 2, 4)),
    ("...hqk,...khd->...qhd", (6, 2, 3, 5), (6, 5, 2, 4)),
    ("...qhgd,...khd->...hgqk", (6, 3, 2, 7, 4), (6, 5, 2, 4)),
    ("...hgqk,...khd->...qhgd", (1, 6, 2, 7, 3, 5), (1, 6, 5, 2, 4)),
]


@pytest.mark.parametrize(("subscripts", "lhs", "rhs"), CASES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_equals_einsum(
    subscripts: str, lhs: tuple[int, ...], rhs: tuple[int, ...], dtype: str
) -> None:
    arrays = [
        jax.random.normal(jax.random.key(seed), shape).astype(dtype)
        for seed, shape in enumerate((lhs, rhs))
    ]

    def with_gradients(product: Any) -> Any:
        def loss(lhs: jax.Array, rhs: jax.Array) -> tuple[jax.Array, jax.Array]:
            result = product(subscripts, lhs, rhs)
            return jnp.sum(jnp.sin(result.astype(jnp.float32))), result

        return jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(*arrays)

    for found, expected in zip(
        jax.tree.leaves(with_gradients(contract)),
        jax.tree.leaves(with_gradients(jnp.einsum)),
        strict=True,
    ):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_different_dtypes_are_promoted() -> None:
    lhs, rhs = jnp.ones((3, 4), jnp.bfloat16), jnp.ones((5, 4))
    assert contract("...qd,...kd->...qk", lhs, rhs).dtype == jnp.float32


def test_operator_and_precision() -> None:
    def dot_general(*args: Any, **kwargs: Any) -> jax.Array:
        seen.append(kwargs)
        return 2 * lax.dot_general(*args, **kwargs)

    seen: list[dict[str, Any]] = []
    lhs, rhs = jnp.ones((3, 4)), jnp.ones((5, 4))
    result = contract("...qd,...kd->...qk", lhs, rhs, precision="highest", dot_general=dot_general)
    np.testing.assert_array_equal(result, jnp.full((3, 5), 8.0))
    assert seen == [{"precision": "highest"}]
