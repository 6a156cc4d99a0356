"""Small layers for the tests of lifted transformations."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import initializers

from linen_core import Module, compact


class Dense(Module):
    """A linear layer."""

    features: int = 3

    @compact
    def __call__(self, x: Any) -> Any:
        init = initializers.normal(1.0)
        return x @ self.param("kernel", init, (x.shape[-1], self.features))


class Recorder(Module):
    """A linear layer that adds noise, counts its calls and sows what it gives."""

    @compact
    def __call__(self, x: Any) -> Any:
        y = jnp.sin(Dense()(x)) + 0.1 * jax.random.normal(self.make_rng("noise"), x.shape)
        calls = self.variable("state", "calls", lambda: jnp.zeros(()))
        if not self.is_initializing() and self.is_mutable_collection("state"):
            calls.value = calls.value + 1
        self.sow("intermediates", "y", y)
        return y


class Inside(Module):
    """Calls a function with itself in a compact method."""

    fn: Any

    @compact
    def __call__(self, *args: Any) -> Any:
        return self.fn(self, *args)
