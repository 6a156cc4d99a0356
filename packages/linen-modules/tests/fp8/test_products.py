"""Products in 8 bits."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from linen_modules.errors import MissingArgumentError
from linen_modules.fp8 import dot_general_with_precision, fp8_scaled_dot_general, quantized_dot

E4M3 = jnp.float8_e4m3fn
# Small integers have no rounding error in 8 bits.
NUMBERS: dict[str, tuple[Any, tuple[int, ...], tuple[int, ...]]] = {
    "matrices": ((((1,), (0,)), ((), ())), (2, 3), (3, 4)),
    "matrix and vector": ((((1,), (0,)), ((), ())), (2, 3), (3,)),
    "lists": (([[1], [0]], [[], []]), (2, 3), (3, 4)),
    "batches": ((((2,), (1,)), ((0,), (0,))), (5, 2, 3), (5, 3, 4)),
    "batches that are not first": ((((0, 3), (3, 1)), ((2,), (0,))), (2, 6, 5, 3), (5, 3, 4, 2)),
    "two axes, crossed": ((((1, 2), (1, 0)), ((), ())), (2, 3, 4), (4, 3, 5)),
    "nothing contracted": ((((), ()), ((), ())), (2, 3), (4,)),
}
every_product = pytest.mark.parametrize(
    ("numbers", "lhs_shape", "rhs_shape"), NUMBERS.values(), ids=NUMBERS.keys()
)


def integers(shape: tuple[int, ...], seed: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).integers(-4, 5, shape), jnp.float32)


def exact(lhs: jax.Array, rhs: jax.Array, numbers: Any, weights: jax.Array) -> jax.Array:
    return jnp.sum(weights * lax.dot_general(lhs, rhs, numbers))


@every_product
def test_products_and_gradients(
    numbers: Any, lhs_shape: tuple[int, ...], rhs_shape: tuple[int, ...]
) -> None:
    lhs, rhs = integers(lhs_shape, 0), integers(rhs_shape, 1)
    (a, b), (c, d) = numbers
    plain = (tuple(a), tuple(b)), (tuple(c), tuple(d))
    expected = lax.dot_general(lhs, rhs, plain)
    weights = integers(expected.shape, 2)
    scales = dict.fromkeys(("lhs_scale", "rhs_scale", "grad_scale"), jnp.ones(1))
    names = ("lhs_amax_history", "rhs_amax_history", "grad_amax_history")
    histories = dict.fromkeys(names, jnp.zeros(4))

    def loss(lhs: jax.Array, rhs: jax.Array) -> jax.Array:
        return jnp.sum(weights * fp8_scaled_dot_general(lhs, rhs, numbers, **scales, **histories))

    found = fp8_scaled_dot_general(lhs, rhs, numbers, **scales, **histories)
    np.testing.assert_allclose(found, expected)
    gradients = jax.grad(loss, argnums=(0, 1))(lhs, rhs)
    wanted = jax.grad(exact, argnums=(0, 1))(lhs, rhs, plain, weights)
    for gradient, want in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(gradient, want)


def test_quantized_dot() -> None:
    lhs, rhs = integers((2, 3), 0), integers((3, 4), 1)
    numbers, two, three = (((1,), (0,)), ((), ())), jnp.array([2.0]), jnp.array([3.0])

    def loss(lhs: jax.Array, rhs: jax.Array, scale: jax.Array, history: jax.Array) -> jax.Array:
        q_lhs, q_rhs = lhs.astype(E4M3), rhs.astype(E4M3)
        return jnp.sum(
            quantized_dot(lhs, q_lhs, two, rhs, q_rhs, three, scale, history, numbers, jnp.float32)
        )

    arguments = (lhs, rhs, jnp.ones(1), jnp.zeros(2))
    np.testing.assert_allclose(loss(*arguments), jnp.sum(lhs @ rhs))
    gradients = jax.grad(loss, argnums=(0, 1, 2, 3))(*arguments)
    np.testing.assert_allclose(gradients[0], 3 * jnp.ones((2, 4)) @ rhs.T)
    np.testing.assert_allclose(gradients[1], 2 * lhs.T @ jnp.ones((2, 4)))
    assert (gradients[2].tolist(), gradients[3].tolist()) == ([1.0], [1.0, 0.0])


def test_precisions() -> None:
    numbers = (((1,), (0,)), ((), ()))

    def forwards(lhs: jax.Array, rhs: jax.Array, **options: Any) -> jax.Array:
        return jnp.sum(dot_general_with_precision(lhs, rhs, numbers, **options))

    lhs, rhs = integers((2, 3), 0), integers((3, 4), 1)
    assert "HIGHEST" not in str(jax.make_jaxpr(forwards)(lhs, rhs))
    assert str(jax.make_jaxpr(jax.grad(forwards, argnums=(0, 1)))(lhs, rhs)).count("HIGHEST") == 4
    given = jax.make_jaxpr(lambda *arrays: forwards(*arrays, precision="highest"))(lhs, rhs)
    assert "HIGHEST" in str(given)
    wide = dot_general_with_precision(
        lhs.astype(jnp.bfloat16),
        rhs.astype(jnp.bfloat16),
        numbers,
        preferred_element_type=jnp.float32,
    )
    assert wide.dtype == jnp.float32


def test_forward_derivatives() -> None:
    lhs, rhs = integers((2, 3), 0), integers((3, 4), 1)
    numbers = (((1,), (0,)), ((), ()))
    function = lambda lhs, rhs: dot_general_with_precision(lhs, rhs, numbers)  # noqa: E731
    _, tangent = jax.jvp(function, (lhs, rhs), (rhs[:2, :3], rhs))
    np.testing.assert_allclose(tangent, rhs[:2, :3] @ rhs + lhs @ rhs)


def test_scales_that_are_missing() -> None:
    with pytest.raises(
        MissingArgumentError,
        match="fp8_scaled_dot_general: found no lhs_amax_history, rhs_scale, rhs_amax_history, "
        r"grad_scale, grad_amax_history; expected scales of shape \(1,\) and histories of any "
        r"length. Write lhs_scale=jnp.ones\(1\)",
    ):
        fp8_scaled_dot_general(
            jnp.ones((2, 3)), jnp.ones((3, 1)), (((1,), (0,)), ((), ())), lhs_scale=jnp.ones(1)
        )
