"""Activations, and the functions of whole axes that resemble them."""

import inspect
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linen_modules as nn
from linen_modules import activations, axis_functions

X = jnp.linspace(-4, 4, 24).reshape(4, 6)
NAMES = (
    "celu elu gelu glu hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu log_sigmoid relu relu6 "
    "selu sigmoid silu soft_sign softplus swish tanh log_softmax logsumexp normalize one_hot softmax "
    "standardize"
).split()
SAME_NAME = [name for name in NAMES if name not in ("normalize", "one_hot")]


def test_there_are_no_others() -> None:
    assert sorted(NAMES) == sorted([*activations.__all__, *axis_functions.__all__])


def original(name: str) -> Any:
    return jnp.tanh if name == "tanh" else getattr(jax.nn, name)


def arguments(name: str) -> tuple[Any, ...]:
    return (jnp.array([0, 2, 5]), 4) if name == "one_hot" else (X,)


@pytest.mark.parametrize("name", SAME_NAME)
def test_numbers_are_those_of_jax(name: str) -> None:
    ours, theirs = getattr(nn, name), original(name)
    compiled = jax.jit(theirs)(X)
    np.testing.assert_array_equal(jax.jit(ours)(X), compiled)
    # Without a jit around it, ours is compiled as a whole, or it is that of jax itself.
    assert any(np.array_equal(ours(X), reference) for reference in (compiled, theirs(X)))
    gradients = [jax.grad(lambda x, f=f: jnp.sum(f(x) ** 2))(X) for f in (ours, theirs)]
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SAME_NAME)
def test_signatures_are_those_of_jax(name: str) -> None:
    def parameters(function: Any) -> list[tuple[str, Any]]:
        return [(p.name, p.default) for p in inspect.signature(function).parameters.values()]

    ours, theirs = parameters(getattr(nn, name)), parameters(original(name))
    assert ours[: len(theirs)] == theirs  # older versions of JAX have fewer


@pytest.mark.parametrize("name", NAMES)
def test_pickle(name: str) -> None:
    function = getattr(nn, name)
    assert pickle.loads(pickle.dumps(function)) is function


@pytest.mark.parametrize("name", NAMES)
def test_one_equation(name: str) -> None:
    function, (x, *rest) = getattr(nn, name), arguments(name)
    assert len(jax.make_jaxpr(lambda x: function(x, *rest))(x).eqns) == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_dtype(name: str, dtype: str) -> None:
    if name == "one_hot":
        assert nn.one_hot(jnp.array([1]), 3, dtype=dtype).dtype == dtype
    else:
        assert getattr(nn, name)(X.astype(dtype)).dtype == dtype


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda x: nn.gelu(x, False), lambda x: jax.nn.gelu(x, approximate=False)),
        (lambda x: nn.glu(x, 0), lambda x: jax.nn.glu(x, 0)),
        (lambda x: nn.leaky_relu(x, 0.3), lambda x: jax.nn.leaky_relu(x, 0.3)),
        (lambda x: nn.elu(x, alpha=x), lambda x: jax.nn.elu(x, alpha=x)),
    ],
)  # fmt: skip
def test_options(ours: Any, theirs: Any) -> None:
    np.testing.assert_allclose(ours(X), theirs(X), rtol=1e-6, atol=1e-6)
