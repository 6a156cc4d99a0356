"""Layers that draw random numbers."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from linen_core import Module, compact, merge_param
from linen_modules._cached_jit import cached_jit
from linen_modules.errors import AxisError, DropoutRateError, location
from linen_modules.typing import Array

__all__ = ["Dropout", "dropout"]


@cached_jit()
def dropout(inputs: Array, key: Array, *, rate: float, broadcast_dims: Sequence[int] = ()) -> Array:
    """Sets elements to zero at random and scales the others so that the mean stays.

    Args:
        inputs: an array.
        key: a random key.
        rate: how likely an element is set to zero, in [0, 1).
        broadcast_dims: axes along which all elements share one draw.

    Returns:
        An array of the shape of the inputs.

    >>> import jax, jax.numpy as jnp
    >>> dropout(jnp.ones(6), jax.random.key(1), rate=0.5).tolist()
    [2.0, 0.0, 2.0, 2.0, 0.0, 0.0]
    """
    keep_probability = 1.0 - rate
    shared = {dim % inputs.ndim for dim in broadcast_dims}
    shape = [1 if axis in shared else size for axis, size in enumerate(inputs.shape)]
    keep = jax.random.bernoulli(key, keep_probability, shape)
    return jnp.where(keep, inputs / keep_probability, 0)


class Dropout(Module):
    """Sets elements to zero at random while a model is trained.

    Attributes:
        rate: how likely an element is set to zero, in [0, 1].
        broadcast_dims: axes along which all elements share one draw.
        deterministic: whether to pass the inputs on; given here or in the call.
        rng_collection: the random stream to draw from.

    References:
        Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, "Dropout: a simple way to prevent
        neural networks from overfitting", 2014.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> layer = nn.Dropout(rate=0.5)
    >>> layer.apply({}, jnp.ones(3), deterministic=True).tolist()
    [1.0, 1.0, 1.0]
    >>> rngs = {"dropout": jax.random.key(0)}
    >>> set(layer.apply({}, jnp.ones(100), deterministic=False, rngs=rngs).tolist())
    {0.0, 2.0}
    """

    rate: float
    broadcast_dims: Sequence[int] = ()
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    @compact
    def __call__(
        self, inputs: Array, deterministic: bool | None = None, rng: Array | None = None
    ) -> Array:
        """Drops elements, or passes the inputs on.

        Args:
            inputs: an array.
            deterministic: whether to pass the inputs on; given here or in the constructor.
            rng: the key to draw from, instead of one from the stream `rng_collection`.

        Returns:
            An array of the shape of the inputs.

        Raises:
            MergeParamError: if `deterministic` is given in both places or in none.
            DropoutRateError: if the rate is not in [0, 1].
            AxisError: if the inputs do not have one of `broadcast_dims`.
        """
        deterministic = merge_param("deterministic", self.deterministic, deterministic)
        if not 0.0 <= self.rate <= 1.0:
            raise DropoutRateError(
                f"{location(self)}: found rate={self.rate}; expected a probability in [0, 1], that "
                "an element is dropped. Write Dropout(rate=0.5)."
            )
        if deterministic or self.rate == 0.0:
            return inputs
        if self.rate == 1.0:
            return jnp.zeros_like(inputs)
        ndim = jnp.ndim(inputs)
        if not all(-ndim <= dim < ndim for dim in self.broadcast_dims):
            raise AxisError(
                f"{location(self)}: found broadcast_dims={tuple(self.broadcast_dims)} for an input "
                f"of shape {jnp.shape(inputs)}; expected axes from {-ndim} to {ndim - 1}."
            )
        key = self.make_rng(self.rng_collection) if rng is None else rng
        return dropout(inputs, key, rate=self.rate, broadcast_dims=tuple(self.broadcast_dims))
