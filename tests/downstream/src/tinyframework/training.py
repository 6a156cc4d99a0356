"""One step of stochastic gradient descent on the mean squared error."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tinyframework.layers import Layer

Variables = Mapping[str, Any]


def sgd_step(
    layer: Layer, variables: Variables, x: jax.Array, y: jax.Array, rate: float
) -> tuple[Variables, jax.Array]:
    """Returns the variables after one step, and the loss before it.

    Args:
        layer: the layer to train.
        variables: its variables.
        x: inputs, `[batch, inputs]`.
        y: targets, `[batch, features]`.
        rate: the learning rate.
    """

    def loss_of(variables: Variables) -> jax.Array:
        return jnp.mean(jnp.square(layer.apply(variables, x) - y))

    loss, gradients = jax.value_and_grad(loss_of)(variables)
    stepped = jax.tree.map(lambda value, slope: value - rate * slope, variables, gradients)
    return stepped, loss
