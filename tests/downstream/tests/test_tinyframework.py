"""A framework on linen-core alone makes its own layers, trains, and brings no other wheel of Linen."""

from importlib.metadata import distributions

import jax
import jax.numpy as jnp
import pytest
from tinyframework import Layer, Linear, Perceptron, sgd_step

jax.config.update("jax_numpy_rank_promotion", "raise")

X = jax.random.normal(jax.random.key(1), (32, 4))
Y = jnp.sum(X, axis=1, keepdims=True)


def test_no_other_wheel_of_linen_is_installed() -> None:
    names = {distribution.metadata["Name"].lower() for distribution in distributions()}
    assert {name for name in names if name.startswith("linen")} == {"linen-core"}


@pytest.mark.parametrize(
    ("layer", "count"),
    [(Linear(3), 4 * 3 + 3), (Perceptron(8, 1), 4 * 8 + 8 + 8 * 1 + 1)],
    ids=["compact", "setup"],
)
def test_parameters_are_counted_without_being_made(layer: Layer, count: int) -> None:
    assert layer.parameter_count(X) == count


@pytest.mark.parametrize("layer", [Linear(1), Perceptron(8, 1)], ids=["compact", "setup"])
def test_a_step_lowers_the_loss(layer: Layer) -> None:
    variables = layer.init(jax.random.key(0), X)
    stepped, before = sgd_step(layer, variables, X, Y, rate=0.05)
    _, after = sgd_step(layer, stepped, X, Y, rate=0.05)
    assert after < before
