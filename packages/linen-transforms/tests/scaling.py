"""A transformation that scales results, and models to lift by it."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax.nn import initializers

from linen_core import Module, compact
from linen_transforms import lift
from linen_transforms._over_modules import Body, over_modules

from .layers import Dense

KEY = jax.random.key(0)
X = jnp.arange(12.0).reshape(4, 3) / 12
Methods = Sequence[str] | Mapping[str, Mapping[str, Any]] | str | None

# The bodies that were transformed.
BODIES: list[Body] = []


def scaled(body: Any, factor: float = 2) -> Callable[..., Any]:
    """Lift the multiplication of what a function returns."""
    BODIES.append(body)

    def inner(
        scope_fn: Any, repack_fn: Any, variables: Any, keys: Any, /, *args: Any, **kwargs: Any
    ) -> Any:
        @jax.checkpoint  # so that nothing can be made, changed or shared around it
        def pure(variables: Any, keys: Any, args: Any, kwargs: Any) -> Any:
            scopes = scope_fn(variables, keys)
            y = jax.tree.map(lambda leaf: factor * leaf, body(scopes, *args, **kwargs))
            return y, repack_fn(scopes)

        return pure(variables, keys, args, kwargs)

    return lift.pack(inner, (True,), (True,), (True,), enable_kwargs=True)


def scale(target: Any, methods: Methods = None, **kwargs: Any) -> Any:
    """Lift a class, a method or a function."""
    return over_modules(
        "scale", target, functools.partial(functools.partial, scaled), methods, **kwargs
    )


class Net(Module):
    """Two layers."""

    features: int = 3

    def setup(self) -> None:
        self.first = Dense(self.features)
        self.second = Dense(self.features)

    def __call__(self, x: Any) -> Any:
        return self.decode(self.encode(x))

    def encode(self, x: Any) -> Any:
        """Do the first half."""
        return self.first(x)

    def decode(self, x: Any, *, shift: float = 0.0) -> Any:
        return self.second(x) + shift

    @property
    def width(self) -> int:
        return self.features


class CompactNet(Module):
    """Two layers that are made where they are called."""

    features: int = 3

    @compact
    def __call__(self, x: Any) -> Any:
        return self.half(self.half(x))

    def half(self, x: Any) -> Any:
        return Dense(self.features)(x)


class Child(CompactNet):
    """Has a parameter more than its base class."""

    @compact
    def __call__(self, x: Any) -> Any:
        return super().__call__(x) + self.param(
            "bias", initializers.normal(1.0), (1, self.features)
        )


class PlainChild(Net):
    """Does something besides what its base class does."""

    def __call__(self, x: Any) -> Any:
        return super().__call__(x) + 1


class Wrapper(Module):
    """Calls a module that it holds."""

    inner: Any = Dense()

    @compact
    def __call__(self, x: Any) -> Any:
        return self.inner(x) + Dense()(x)


CLASSES: dict[str, type[Module]] = {
    "setup": Net,
    "compact": CompactNet,
    "compact with super": Child,
    "setup with super": PlainChild,
    "module in a field": Wrapper,
}
classes = pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)


def layer(mdl: Module, x: Any) -> Any:
    """Call a layer in a module."""
    return Dense(name="Dense_0")(x)


ScaleNet = scale(Net)
