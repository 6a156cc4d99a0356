"""Boxes: metadata around the arrays in a variable tree.

A *box* is a pytree node that holds the value of a variable together with static metadata, such as
the names of its axes. Initializers may return boxes; reading a variable *unboxes* it, writing a
variable keeps the box and *replaces* what is in it. Lifted transformations tell boxes about axes
that they add to or remove from the arrays.
"""

import abc
from collections.abc import Callable, Mapping
from typing import Any, Self

import jax
import numpy as np


class AxisMetadata(abc.ABC):
    """Base class of boxes. A subclass must also be registered as a JAX pytree node.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from linen_core import AxisMetadata, struct, unbox
        >>> class Named(struct.PyTreeNode, AxisMetadata):
        ...     value: jax.Array
        ...     names: tuple = struct.field(pytree_node=False)
        ...     def unbox(self):
        ...         return self.value
        ...     def replace_boxed(self, val):
        ...         return self.replace(value=val)
        ...     def add_axis(self, index, params):
        ...         return self
        ...     def remove_axis(self, index, params):
        ...         return self
        >>> unbox({"kernel": Named(jnp.ones(2), ("in",))})["kernel"].shape
        (2,)
    """

    @abc.abstractmethod
    def unbox(self) -> Any:
        """Give the value in the box.

        Returns:
            An array or a pytree of arrays.
        """

    @abc.abstractmethod
    def replace_boxed(self, val: Any) -> Self:
        """Give a box with the same metadata and another value.

        Args:
            val: the new value.

        Returns:
            A new box.
        """

    @abc.abstractmethod
    def add_axis(self, index: int, params: Mapping[Any, Any]) -> Self:
        """Give the box for values that gained an axis.

        Args:
            index: the position of the new axis.
            params: the `metadata_params` of the transformation that adds the axis.

        Returns:
            A new box.
        """

    @abc.abstractmethod
    def remove_axis(self, index: int, params: Mapping[Any, Any]) -> Self:
        """Give the box for values that lost an axis.

        Args:
            index: the position of the axis that is gone.
            params: the `metadata_params` of the transformation that removes the axis.

        Returns:
            A new box.
        """

    def _content(self) -> Any:
        """Give the value as it is; for boxes whose `unbox` does more than to take it out."""
        return self.unbox()


def is_axis_metadata(val: Any) -> bool:
    """Say whether a value is a box.

    Args:
        val: anything.

    Returns:
        True for instances of `AxisMetadata`.

    Example:
        >>> from linen_core import is_axis_metadata
        >>> is_axis_metadata(3)
        False
    """
    return isinstance(val, AxisMetadata)


def map_axis_meta(fn: Callable[[AxisMetadata], Any], tree: Any) -> Any:
    """Apply a function to every box of a tree and leave the rest as it is.

    Args:
        fn: a function of one box.
        tree: a pytree, in which boxes are treated as leaves.

    Returns:
        The tree with the function's results in place of the boxes.

    Example:
        >>> from linen_core import map_axis_meta
        >>> map_axis_meta(lambda box: box.unbox(), {"bias": 1})
        {'bias': 1}
    """
    return jax.tree.map(
        lambda x: fn(x) if isinstance(x, AxisMetadata) else x, tree, is_leaf=is_axis_metadata
    )


def unbox(tree: Any) -> Any:
    """Take every value of a tree out of its box.

    Args:
        tree: a pytree that may contain boxes.

    Returns:
        The tree without boxes.

    Example:
        >>> from linen_core import unbox
        >>> unbox({"bias": 1})
        {'bias': 1}
    """
    # Almost every variable is an array: do not walk what cannot hold a box.
    if isinstance(tree, (jax.Array, np.ndarray)):
        return tree
    if isinstance(tree, AxisMetadata):
        return unbox(tree.unbox())
    return map_axis_meta(unbox, tree)


def contents(tree: Any) -> Any:
    """Take every value of a tree out of its box as it is, without what unboxing does to it."""
    if isinstance(tree, (jax.Array, np.ndarray)):
        return tree
    if isinstance(tree, AxisMetadata):
        return contents(tree._content())
    return map_axis_meta(contents, tree)


def replace_boxed(tree: Any, updates: Any) -> Any:
    """Put new values into the boxes of a tree.

    Args:
        tree: a pytree that may contain boxes.
        updates: a tree of the same structure, without the boxes.

    Returns:
        `updates`, with every value in the box that `tree` has in its place.

    Example:
        >>> from linen_core import replace_boxed
        >>> replace_boxed({"bias": 1}, {"bias": 2})
        {'bias': 2}
    """
    if not any(is_axis_metadata(x) for x in jax.tree.leaves(tree, is_leaf=is_axis_metadata)):
        return updates

    def replace(old: Any, new: Any) -> Any:
        if not isinstance(old, AxisMetadata):
            return new
        return old.replace_boxed(replace_boxed(old._content(), new))

    return jax.tree.map(replace, tree, updates, is_leaf=is_axis_metadata)


def add_axis(tree: Any, index: int, params: Mapping[Any, Any]) -> Any:
    """Tell every box of a tree that its value gained an axis.

    Args:
        tree: a pytree that may contain boxes.
        index: the position of the new axis.
        params: the `metadata_params` of the transformation.

    Returns:
        The tree with the boxes' answers in place of the boxes.

    Example:
        >>> from linen_core import add_axis
        >>> add_axis({"bias": 1}, 0, {})
        {'bias': 1}
    """
    return map_axis_meta(lambda box: box.add_axis(index, params), tree)


def remove_axis(tree: Any, index: int, params: Mapping[Any, Any]) -> Any:
    """Tell every box of a tree that its value lost an axis.

    Args:
        tree: a pytree that may contain boxes.
        index: the position of the axis that is gone.
        params: the `metadata_params` of the transformation.

    Returns:
        The tree with the boxes' answers in place of the boxes.

    Example:
        >>> from linen_core import remove_axis
        >>> remove_axis({"bias": 1}, 0, {})
        {'bias': 1}
    """
    return map_axis_meta(lambda box: box.remove_axis(index, params), tree)
