"""Functions of one batch dimension, applied to several."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from linen_modules.errors import BatchShapeError

__all__ = ["BatchApply"]


@dataclass(frozen=True)
class BatchApply:
    """Merges the leading dimensions of arrays for one call of a function, and splits its results.

    It is a function and no module: what it calls has the parameters it would have without it.

    Attributes:
        f: a module or another callable, which sees one dimension in place of `num_dims`.
        num_dims: how many leading dimensions are merged.

    >>> import jax.numpy as jnp
    >>> frames = jnp.ones((2, 3, 28, 28, 1))
    >>> def classify(images):
    ...     print(images.shape)
    ...     return images.sum((1, 2))
    >>> BatchApply(classify)(frames).shape
    (6, 28, 28, 1)
    (2, 3, 1)
    """

    f: Callable[..., Any]
    num_dims: int = 2

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function.

        Args:
            *args: trees of arrays of shape (leading dimensions..., ...). Arrays with fewer than
                `num_dims` dimensions, and what is no array, are passed on as they are.
            **kwargs: likewise.

        Returns:
            What the function returns, every array of it with the leading dimensions in place of its
            first.

        Raises:
            BatchShapeError: if the arrays do not agree in their leading dimensions, if there are
                none, or if a result does not have the merged dimension.
        """
        leading = self._leading_dimensions((args, kwargs))
        merged = math.prod(leading)

        def merge(leaf: Any) -> Any:
            if getattr(leaf, "ndim", 0) < self.num_dims:
                return leaf
            return leaf.reshape(merged, *leaf.shape[self.num_dims :])

        def split(leaf: Any) -> Any:
            shape = getattr(leaf, "shape", ())
            if shape[:1] != (merged,):
                raise BatchShapeError(
                    f"BatchApply: found a result of shape {shape}; expected ({merged}, ...), with "
                    f"the leading dimensions {leading} of the arguments merged into the first. "
                    "Write a function that keeps its first dimension."
                )
            return leaf.reshape(*leading, *shape[1:])

        args, kwargs = jax.tree.map(merge, (args, kwargs))
        return jax.tree.map(split, self.f(*args, **kwargs))

    def _leading_dimensions(self, tree: Any) -> tuple[int, ...]:
        if self.num_dims < 1:
            raise BatchShapeError(
                f"BatchApply: found num_dims={self.num_dims}; expected at least 1. Write "
                "num_dims=2 to merge two dimensions."
            )
        shapes = [leaf.shape for leaf in jax.tree.leaves(tree) if hasattr(leaf, "shape")]
        found = {shape[: self.num_dims] for shape in shapes if len(shape) >= self.num_dims}
        if len(found) != 1:
            raise BatchShapeError(
                f"BatchApply: found arguments of shapes {shapes}; expected the same leading "
                f"{self.num_dims} dimensions in all that have so many, and one of them at least. "
                "Write num_dims=1 for arrays with a single batch dimension."
            )
        return found.pop()
