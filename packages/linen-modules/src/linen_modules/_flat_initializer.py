"""Initializers that see several axes as one.

The scale of a random kernel follows from how many inputs it sums over and how many outputs it has,
which initializers read off two axes. A kernel with several axes of inputs or of outputs is made with
one of each, and gets its own shape afterwards.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from linen_core.extend import PureInitializer, WrappingInitializer
from linen_modules.typing import DTypeLike


@dataclass(frozen=True)
class _Flat:
    """Makes an array whose initializer sees one axis for each group of axes."""

    fn: Any
    groups: tuple[int, ...]

    def __call__(self, key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        value = self.fn(key, flat_shape(shape, self.groups), dtype)
        # The value may be in a box.
        return jax.tree.map(lambda array: array.reshape(shape), value)


class _PureFlat(_Flat, PureInitializer):
    """The same with an initializer that is pure, which is traced once for all."""


@dataclass(frozen=True)
class _Wrapped(WrappingInitializer):
    """Does with an array of its own shape what `wrapper` does with the one it makes."""

    fn: Callable[..., Any]
    wrapper: WrappingInitializer

    def __call__(self, *args: Any) -> Any:
        return self.wrap(self.fn(*args))

    def wrap(self, value: Any) -> Any:
        return self.wrapper.wrap(value)


def flat_initializer(fn: Callable[..., Any], groups: tuple[int, ...]) -> Callable[..., Any]:
    """Gives an initializer that lets another one see one axis for each group of axes.

    Args:
        fn: the other one.
        groups: how many axes are in each group, from the first axis on.

    Returns:
        An initializer of arrays with as many axes as the groups have together. It is equal to
        others by value. What puts arrays into boxes sees them in their own shape.

    >>> import jax, jax.numpy as jnp
    >>> from linen_modules.initializers import lecun_normal
    >>> flat = flat_initializer(lecun_normal(), (2, 1))
    >>> key = jax.random.key(0)
    >>> kernel = flat(key, (2, 3, 5), jnp.float32)
    >>> bool((kernel.reshape(6, 5) == lecun_normal()(key, (6, 5))).all())
    True
    """
    if all(size == 1 for size in groups):
        return fn
    if isinstance(fn, WrappingInitializer):
        return _Wrapped(flat_initializer(fn.fn, groups), fn)
    is_pure = isinstance(fn, PureInitializer)
    return _PureFlat(fn, groups) if is_pure else _Flat(fn, groups)


def flat_shape(shape: tuple[int, ...], groups: tuple[int, ...]) -> tuple[int, ...]:
    """Multiplies the sizes in each group of axes; that of an empty group is 1."""
    sizes = iter(shape)
    return tuple(math.prod(next(sizes) for _ in range(count)) for count in groups)
