"""Axes that a transformation maps over: how many entries they have, and where they are moved.

*Axes* are given as for `jax.vmap`: an integer, `None` for what is not mapped, or a pytree of these
that is a prefix of the mapped tree.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from linen_core import add_axis, remove_axis
from linen_transforms.errors import AxisSizeError


class Mapped(NamedTuple):
    """A leaf of a tree and its axis.

    Attributes:
        axis: the axis.
        where: what the leaf is called in error texts.
        leaf: the leaf.
    """

    axis: Any
    where: str
    leaf: Any


def leaves_with_axes(name: str, axes: Any, tree: Any, where: str) -> list[Mapped]:
    """Give the leaves of a tree, each with its axis.

    Args:
        name: what the transformation is called.
        axes: a prefix of `tree`.
        tree: a pytree.
        where: what the tree is called in error texts.

    Raises:
        AxisSizeError: `axes` is no prefix of the tree.
    """
    found: list[Mapped] = []

    def visit(path: Any, axis: Any, part: Any) -> None:
        for inner, leaf in jax.tree_util.tree_flatten_with_path(part)[0]:
            found.append(Mapped(axis, where + jax.tree_util.keystr((*path, *inner)), leaf))

    try:
        jax.tree_util.tree_map_with_path(visit, axes, tree, is_leaf=lambda axis: axis is None)
    except ValueError:
        raise AxisSizeError.of_structure(name, where, axes, jax.tree.structure(tree)) from None
    return found


def common_size(
    name: str,
    argument: str,
    given: int | None,
    mapped: Mapping[str, tuple[Any, Any]],
    unmapped: Any = None,
) -> int:
    """Find the number of iterations.

    Args:
        name: what the transformation is called.
        argument: the name of its argument for the size.
        given: that argument, if the user gave it.
        mapped: pairs of axes and trees, by what they are called.
        unmapped: what stands in the place of an axis for what is not mapped.

    Raises:
        AxisSizeError: there is no axis, one that does not exist, or axes of different sizes, or the
            axes are no prefix of a tree.
    """
    sizes: dict[str, int] = {} if given is None else {argument: given}

    for where, (axes, tree) in mapped.items():
        for axis, leaf_where, leaf in leaves_with_axes(name, axes, tree, where):
            if axis is not unmapped:
                shape = jnp.shape(leaf)
                check_axis(name, leaf_where, axis, shape)
                sizes[leaf_where] = shape[axis]
    if not sizes:
        raise AxisSizeError.of_nothing(name, argument)
    if len(set(sizes.values())) > 1:
        raise AxisSizeError.of_sizes(name, sizes)
    return next(iter(sizes.values()))


def check_axis(name: str, where: str, axis: Any, shape: Sequence[Any]) -> None:
    """Refuse an axis that does not exist."""
    if not isinstance(axis, int) or not -len(shape) <= axis < len(shape):
        raise AxisSizeError.of_axis(name, where, axis, shape)


def check_axes(name: str, axes: Any, tree: Any, where: str, size: int) -> None:
    """Refuse axes that do not exist in a tree of results once the mapped axis is there."""
    for axis, leaf_where, leaf in leaves_with_axes(name, axes, tree, where):
        if axis is not None:
            check_axis(name, leaf_where, axis, (size, *jnp.shape(leaf)))


def split_keys(keys: Any, number: int) -> Any:
    """Split every key of a tree: another one for each iteration."""
    return jax.tree.map(lambda key: jax.random.split(key, number), keys)


def without_axis(tree: Any, axis: int | None, params: Mapping[Any, Any]) -> Any:
    """Tell the boxes of a tree that their values lose an axis."""
    return tree if axis is None else remove_axis(tree, axis, params)


def with_axis(tree: Any, axis: int | None, params: Mapping[Any, Any]) -> Any:
    """Tell the boxes of a tree that their values gain an axis."""
    return tree if axis is None else add_axis(tree, axis, params)


def split_groups(groups: Sequence[Any], are_split: Sequence[bool], number: int) -> tuple[Any, ...]:
    """Split the keys of those groups of streams that are to be split."""
    pairs = zip(groups, are_split, strict=True)
    return tuple(split_keys(group, number) if is_split else group for group, is_split in pairs)


def without_group_axes(
    groups: Sequence[Any], axes: Sequence[int | None], params: Mapping[Any, Any]
) -> tuple[Any, ...]:
    """Tell the boxes of groups of variables that their values lose an axis."""
    pairs = zip(groups, axes, strict=True)
    return tuple(without_axis(group, axis, params) for group, axis in pairs)


def with_group_axes(
    groups: Sequence[Any], axes: Sequence[int | None], params: Mapping[Any, Any]
) -> tuple[Any, ...]:
    """Tell the boxes of groups of variables that their values gain an axis."""
    pairs = zip(groups, axes, strict=True)
    return tuple(with_axis(group, axis, params) for group, axis in pairs)
