"""The framework's layers: a base class that counts parameters, and two layers built on it."""

import jax
import jax.numpy as jnp
from jax.nn.initializers import lecun_normal, zeros

from linen_core import Module, compact


class Layer(Module):
    """The base of every layer of the framework."""

    def parameter_count(self, x: jax.Array) -> int:
        """Returns how many numbers the layer learns, without computing any of them.

        Args:
            x: an input of the layer, of which only the shape and the dtype matter.
        """
        variables = jax.eval_shape(self.init, jax.random.key(0), x)
        return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


class Linear(Layer):
    """An affine map of the last axis.

    Attributes:
        features: the size of the last axis of the output.
    """

    features: int

    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[..., inputs]` to `[..., features]`."""
        kernel = self.param("kernel", lecun_normal(), (x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", zeros, (self.features,), jnp.float32)
        return x @ kernel + jnp.broadcast_to(bias, (*x.shape[:-1], self.features))


class Perceptron(Layer):
    """Two linear maps with a hyperbolic tangent in between.

    Attributes:
        hidden: the number of hidden units.
        features: the size of the last axis of the output.
    """

    hidden: int
    features: int

    def setup(self) -> None:
        """Makes the two linear maps."""
        self.inner = Linear(self.hidden)
        self.outer = Linear(self.features)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[..., inputs]` to `[..., features]`."""
        return self.outer(jnp.tanh(self.inner(x)))
