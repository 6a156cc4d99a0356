"""Dropout, as a function of a scope."""

from linen_core import Scope
from linen_modules.stochastic import Dropout
from linen_modules.typing import Array

__all__ = ["dropout"]


def dropout(
    scope: Scope,
    inputs: Array,
    rate: float,
    deterministic: bool = False,
    rng: Array | None = None,
) -> Array:
    """Sets elements to zero at random: `linen_modules.Dropout` in a scope.

    Args:
        scope: whose stream "dropout" the key is drawn from.
        inputs: an array.
        rate: how likely an element is set to zero, in [0, 1].
        deterministic: whether to pass the inputs on.
        rng: the key to draw from, instead of one from the stream.

    Returns:
        An array of the shape of the inputs.

    Raises:
        DropoutRateError: if the rate is not in [0, 1].
        InvalidRngError: if there is no stream "dropout" and no `rng`.

    >>> import jax, jax.numpy as jnp
    >>> from linen_core import apply
    >>> rngs = {"dropout": jax.random.key(0)}
    >>> set(apply(dropout)({}, jnp.ones(100), 0.5, rngs=rngs).tolist())
    {0.0, 2.0}
    """
    return Dropout(rate, deterministic=deterministic, parent=scope)(inputs, rng=rng)
