"""`jax.lax.scan` along any axes."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linen_train.errors import ScanAxisError

__all__ = ["scan_in_dim"]


def scan_in_dim(
    body_fn: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any,
    axis: int | Sequence[int] = (0,),
    unroll: int | Sequence[int] = (1,),
    keepdims: bool = False,
) -> tuple[Any, Any]:
    """Loop over one or several axes of arrays: `jax.lax.scan`, nested.

    Args:
        body_fn: a function from carry and slices to the next carry and output slices.
        init: the first carry.
        xs: a pytree of arrays that have the axes.
        axis: the axes, from the outermost loop to the innermost. Negative ones count from the end.
        unroll: for each loop how many iterations are compiled as one; one number for all of them.
        keepdims: whether slices keep the axes, with size 1, both those that `body_fn` gets and those
            that it returns.

    Returns:
        The last carry, and the outputs with the axes where `xs` has them.

    Raises:
        ScanAxisError: an array does not have the axes, an axis is given twice, or there are more or
            fewer `unroll` than axes.

    Example:
        >>> import jax.numpy as jnp
        >>> total, sums = scan_in_dim(
        ...     lambda carry, x: (carry + x.sum(), x + carry), 0.0, jnp.ones((2, 3)), axis=1
        ... )
        >>> total.item(), sums[0].tolist()
        (6.0, [1.0, 3.0, 5.0])
    """
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    unrolls = (unroll,) if isinstance(unroll, int) else tuple(unroll)
    if len(unrolls) == 1:
        unrolls *= len(axes)
    if not axes or len(unrolls) != len(axes):
        raise ScanAxisError(
            f"scan_in_dim: found axis={axis} and unroll={unroll}, expected at least one axis, and one "
            "unroll for each of them or one for all."
        )

    def to_front(x: Any) -> Any:
        return jnp.moveaxis(x, _positions(axes, np.ndim(x), "an array in xs"), range(len(axes)))

    def loop(carry: Any, slices: Any, depth: int) -> tuple[Any, Any]:
        if depth < len(axes):
            return jax.lax.scan(
                lambda carry, slices: loop(carry, slices, depth + 1),
                carry,
                slices,
                unroll=unrolls[depth],
            )
        if not keepdims:
            return body_fn(carry, slices)
        carry, out = body_fn(carry, jax.tree.map(expand, slices))
        return carry, jax.tree.map(squeeze, out)

    def expand(x: Any) -> Any:
        return jnp.expand_dims(x, _positions(axes, np.ndim(x) + len(axes), "an array in xs"))

    def squeeze(y: Any) -> Any:
        places = _positions(axes, np.ndim(y), "an output of body_fn")
        if any(np.shape(y)[place] != 1 for place in places):
            raise ScanAxisError(
                f"scan_in_dim: found an output of body_fn of shape {np.shape(y)}, expected size 1 in "
                f"the axes {axes}. Keep them in the output, or write keepdims=False."
            )
        return jnp.squeeze(y, places)

    def from_front(y: Any) -> Any:
        return jnp.moveaxis(y, range(len(axes)), _positions(axes, y.ndim, "the outputs"))

    carry, ys = loop(init, jax.tree.map(to_front, xs), 0)
    return carry, jax.tree.map(from_front, ys)


def _positions(axes: Sequence[int], ndim: int, what: str) -> tuple[int, ...]:
    """Return axes of an array without negative numbers."""
    found = tuple(axis + ndim if axis < 0 else axis for axis in axes)
    if len(set(found)) < len(found) or not all(0 <= axis < ndim for axis in found):
        raise ScanAxisError(
            f"scan_in_dim: found {what} with {ndim} axes, expected one that has each of the axes "
            f"{tuple(axes)} once. Give axis= of the arrays themselves, without the carry."
        )
    return found
