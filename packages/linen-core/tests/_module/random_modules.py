"""Random trees of modules that map vectors of one width to vectors of that width.

Modules are kept in fields, made in `setup` and made in `@compact` methods; alone and in containers;
and a module may be in several places of a tree.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from hypothesis import strategies as st

from linen_core import Module, compact

WIDTH = 2
X = jnp.arange(1.0, 1 + WIDTH)


class Scale(Module):
    power: int = 1
    function: Any = None

    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", jax.nn.initializers.normal(), (WIDTH,))
        y = x * scale**self.power
        return y if self.function is None else self.function(y)


class Counter(Module):
    def setup(self) -> None:
        self.calls = self.variable("state", "calls", lambda: jnp.zeros((), jnp.int32))

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.is_mutable_collection("state"):
            self.calls.value += 1
        return x + self.calls.value


class Noise(Module):
    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return x + jax.random.normal(self.make_rng("noise"), x.shape)


class Held(Module):
    """Runs the modules that it is given, and one of its own."""

    children: Any

    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for child in flatten(self.children):
            x = child(x)
        return Scale()(x)


class Setup(Module):
    """Makes modules like those that it is given in `setup`, and refers to the first one twice."""

    children: Any

    def setup(self) -> None:
        self.layers = [child.clone(name=None) for child in flatten(self.children)]
        self.first = self.layers[0]
        self.own = {"scale": Scale(2)}

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.layers:
            x = layer(x)
        return self.own["scale"](self.first(x))


class Compact(Module):
    """Makes modules like those that it is given where it uses them; also in a helper."""

    children: Any

    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for child in flatten(self.children):
            x = self.run(child, x)
        return Scale(name="last")(x)

    def run(self, child: Any, x: jax.Array) -> jax.Array:
        return child.clone(parent=self, name=None)(x)


def flatten(value: Any) -> Iterator[Any]:
    """Yield the modules of nested containers in order."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if not isinstance(value, (list, tuple)):
        yield value
        return
    for item in value:
        yield from flatten(item)


def arranged(shape: str, modules: list[Any]) -> Any:
    """Give modules in a container."""
    match shape:
        case "list":
            return modules
        case "tuple":
            return tuple(modules)
        case "dict":
            return {f"key{i}": module for i, module in enumerate(modules)}
        case "nested":
            return {"head": modules[0], "tail": [tuple(modules[1:])]}
        case _:
            return modules[0]


LEAVES = st.one_of(
    st.builds(Scale, st.integers(1, 3), st.sampled_from([None, jax.nn.relu, jnp.tanh])),
    st.builds(Counter),
    st.builds(Noise),
)
SHAPES = st.sampled_from(["one", "list", "tuple", "dict", "nested"])


@st.composite
def modules(draw: st.DrawFn, depth: int = 3) -> Any:
    """Draw a module that stands alone."""
    made: list[Any] = []

    def module(depth: int) -> Any:
        if made and draw(st.integers(0, 3)) == 0:
            return draw(st.sampled_from(made))
        if depth == 0 or draw(st.booleans()):
            made.append(draw(LEAVES))
            return made[-1]
        made.append(node(depth))
        return made[-1]

    def node(depth: int) -> Any:
        children = [module(depth - 1) for _ in range(draw(st.integers(1, 3)))]
        kind = draw(st.sampled_from([Held, Setup, Compact]))
        return kind(arranged(draw(SHAPES), children))

    return node(depth)
