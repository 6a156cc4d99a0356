"""A scan with broadcast values and axes: `jax.lax.scan`, a little more general.

Besides a carry, and inputs that are sliced along some axis, the body gets and gives **broadcast**
values: constants of the loop, some of which the body itself may compute, once for all iterations.
"""

from collections.abc import Callable
from typing import Any

from linen_core import broadcast
from linen_transforms._loop import loop

__all__ = ["broadcast", "scan"]


def scan(
    fn: Callable[..., Any],
    in_axes: Any,
    out_axes: Any,
    length: int | None = None,
    reverse: bool = False,
    unroll: int = 1,
    _split_transpose: bool = False,
    check_constancy_invariants: bool = True,
) -> Callable[..., Any]:
    """Make a loop of a function. The function runs once, to be traced.

    Args:
        fn: a function `(broadcast_in, carry, *args)` that returns `(broadcast_out, carry, y)`.
        in_axes: for each of `args`, the axis that is sliced, or `broadcast`; a pytree prefix.
        out_axes: the axis along which `y` is stacked, or `broadcast`; a pytree prefix.
        length: the number of iterations, if nothing that is sliced says it.
        reverse: whether the loop runs from the last entry to the first.
        unroll: how many iterations are put into one step of the compiled loop.
        _split_transpose: as for `jax.lax.scan`.
        check_constancy_invariants: whether a broadcast result that depends on the iteration is an
            error. If False, that of the last iteration is returned.

    Returns:
        A function `(broadcast_in, carry, *args)` that returns `(broadcast_out, carry, ys)`.

    Raises:
        AxisSizeError: (when called) the sliced axes do not exist or have different sizes.
        CarryMismatchError: (when called) the carry comes out of the body as something else.
        LoopInvariantError: (when called) a broadcast result depends on the iteration.

    Example:
        >>> import jax.numpy as jnp
        >>> from linen_transforms import axes_scan
        >>> def body(scale, total, x):
        ...     return scale, total + scale * x, total
        >>> _, total, ys = axes_scan.scan(body, in_axes=(1,), out_axes=0)(2.0, jnp.zeros(2), jnp.ones((2, 3)))
        >>> total.tolist(), ys.shape
        ([6.0, 6.0], (3, 2))
        >>> whole = axes_scan.scan(body, in_axes=(axes_scan.broadcast,), out_axes=1, length=3)
        >>> whole(2.0, jnp.zeros(2), jnp.ones(2))[2].shape
        (2, 3)
    """
    return loop(
        fn,
        in_axes,
        out_axes,
        length=length,
        check_invariants=check_constancy_invariants,
        options={"reverse": reverse, "unroll": unroll, "_split_transpose": _split_transpose},
    )
