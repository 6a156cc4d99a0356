"""FLOPs of calls and of their derivatives."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from linen_core._summary.costs import Cost
from linen_core._summary.flops import call_costs
from linen_core._summary.regions import mark_begin, mark_end

X = jax.ShapeDtypeStruct((8, 4), "float32")
W = jax.ShapeDtypeStruct((4, 2), "float32")
INTEGERS = jax.ShapeDtypeStruct((8,), "int32")
PRODUCT = 2 * 8 * 4 * 2
NO_DERIVATIVE = Cost(0, frozenset({"no derivative"}))


@jax.custom_vjp
def refuses(x: jax.Array) -> jax.Array:
    return 2 * x


def backward(residuals: Any, y: Any) -> Any:
    raise NotImplementedError


refuses.defvjp(lambda x: (2 * x, None), backward)


def cost(fn: Any, *specs: Any) -> Cost:
    def model(*args: Any) -> Any:
        mark_begin(0)
        y = fn(*args)
        mark_end(0, y)
        return y

    return call_costs(jax.make_jaxpr(model)(*specs), vjp=True)[0]


@pytest.mark.parametrize(
    ("fn", "specs", "expected"),
    [
        pytest.param(jnp.matmul, (X, W), Cost(3 * PRODUCT), id="product"),
        pytest.param(lambda x: x @ jnp.ones((4, 2)), (X,), Cost(2 * PRODUCT), id="constant"),
        pytest.param(lambda x: x + x, (X,), Cost(32 + 32), id="sum"),
        pytest.param(lambda x: x, (X,), Cost(0), id="identity"),
        pytest.param(lambda w, i: w[i], (X, INTEGERS), Cost(32), id="look-up"),
        pytest.param(lambda x: (2 * x, x > 0), (X,), Cost(96), id="a result that is boolean"),
        pytest.param(jax.jit(lambda x: 2 * x), (X,), Cost(64), id="inside of a call"),
        pytest.param(lambda x: x > 0, (X,), NO_DERIVATIVE, id="boolean results"),
        pytest.param(lambda i: 2 * i, (INTEGERS,), NO_DERIVATIVE, id="integers"),
        pytest.param(refuses, (X,), NO_DERIVATIVE, id="a derivative that raises"),
        pytest.param(
            lambda x: jax.pure_callback(lambda x: x, x, x), (X,), NO_DERIVATIVE, id="callback"
        ),
    ],
)  # fmt: skip
def test_costs_of_the_derivative(fn: Any, specs: tuple[Any, ...], expected: Cost) -> None:
    assert cost(fn, *specs) == expected


def test_keys_are_read_without_a_derivative() -> None:
    key = jax.eval_shape(lambda: jax.random.key(0))
    found = cost(lambda x, key: x * jax.random.bernoulli(key, 0.5, x.shape), X, key)
    assert found.flops > 64
    assert not found.uncounted
