"""Models that the tests of summaries have in common."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from linen_core import Module, compact

KEY = jax.random.key(0)
X = jax.ShapeDtypeStruct((8, 3), "float32")


def spec(*shape: int, dtype: Any = "float32") -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


class Dense(Module):
    features: int = 3

    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (x.shape[-1], self.features)
        return x @ self.param("kernel", jax.nn.initializers.lecun_normal(), shape)


class Count(Module):
    """Counts its calls; draws and computes something only when it initializes."""

    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        calls = self.variable("state", "calls", lambda: jnp.zeros((2,), "int32"))
        if not self.is_initializing():
            calls.value += 1
        return x


class MLP(Module):
    widths: tuple[int, ...] = (4, 2)

    @compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        for width in self.widths:
            x = jax.nn.relu(Dense(width)(x))
        return Count()(x) if train else x


class Autoencoder(Module):
    """Has several methods, submodules in containers, and one that runs twice."""

    def setup(self) -> None:
        self.encoder = {"in": Dense(4), "out": Dense(3)}
        self.blocks = [MLP((3,)), MLP((3,))]

    def encode(self, x: jax.Array) -> jax.Array:
        return self.encoder["out"](self.encoder["in"](x))

    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        z = self.encode(x)
        for block in (*self.blocks, self.blocks[0]):
            z = block(z)
        return {"z": z, "x": self.blocks[1](z)}


class Tied(Module):
    """Reads a parameter of a submodule that is never called."""

    def setup(self) -> None:
        self.table = Table()

    def __call__(self, x: jax.Array) -> jax.Array:
        return x @ self.table.table


class Table(Module):
    def setup(self) -> None:
        self.table = self.param("table", jax.nn.initializers.ones, (3, 5))


class Loop(Module):
    """Calls a submodule inside of a raw loop, once its parameters are there."""

    length: int = 7

    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        layer = Dense(3)
        if self.is_initializing():
            return layer(x)
        return lax.scan(lambda x, _: (layer(x), None), x, length=self.length)[0]
