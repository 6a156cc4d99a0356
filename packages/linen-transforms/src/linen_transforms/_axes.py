"""Axes that a transformation maps over: how many entries they have, and where they are moved.

*Axes* are given as for `jax.vmap`: an integer, `None` for what is not mapped, or a pytree of these
that is a prefix of the mapped tree.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from linen_core import add_axis, remove_axis
from linen_transforms.errors import AxisSizeError


def map_with_axes(fn: Callable[[Any, str, Any], Any], axes: Any, tree: Any, where: str) -> Any:
    """Map the leaves of a tree, each with its axis and its path.

    Args:
        fn: gives a new leaf from the axis, the path as text, and the leaf.
        axes: a prefix of `tree`.
        tree: a pytree.
        where: what the tree is called in texts.
    """

    def map_part(path: Any, axis: Any, part: Any) -> Any:
        prefix = where + jax.tree_util.keystr(path)
        return jax.tree_util.tree_map_with_path(
            lambda p, leaf: fn(axis, prefix + jax.tree_util.keystr(p), leaf), part
        )

    return jax.tree_util.tree_map_with_path(map_part, axes, tree, is_leaf=lambda axis: axis is None)


def common_size(
    name: str, argument: str, given: int | None, mapped: Mapping[str, tuple[Any, Any]]
) -> int:
    """Find the number of iterations.

    Args:
        name: what the transformation is called.
        argument: the name of its argument for the size.
        given: that argument, if the user gave it.
        mapped: pairs of axes and trees, by what they are called.

    Raises:
        AxisSizeError: there is no axis, one that does not exist, or axes of different sizes.
    """
    sizes: dict[str, int] = {} if given is None else {argument: given}

    def note(axis: Any, where: str, leaf: Any) -> None:
        if isinstance(axis, int):
            shape = jnp.shape(leaf)
            if not -len(shape) <= axis < len(shape):
                raise AxisSizeError.of_axis(name, where, axis, shape)
            sizes[where] = shape[axis]

    for where, (axes, tree) in mapped.items():
        map_with_axes(note, axes, tree, where)
    if not sizes:
        raise AxisSizeError.of_nothing(name, argument)
    if len(set(sizes.values())) > 1:
        raise AxisSizeError.of_sizes(name, sizes)
    return next(iter(sizes.values()))


def split_keys(keys: Any, number: int) -> Any:
    """Split every key of a tree: another one for each iteration."""
    return jax.tree.map(lambda key: jax.random.split(key, number), keys)


def without_axis(tree: Any, axis: int | None, params: Mapping[Any, Any]) -> Any:
    """Tell the boxes of a tree that their values lose an axis."""
    return tree if axis is None else remove_axis(tree, axis, params)


def with_axis(tree: Any, axis: int | None, params: Mapping[Any, Any]) -> Any:
    """Tell the boxes of a tree that their values gain an axis."""
    return tree if axis is None else add_axis(tree, axis, params)
