"""Sums of products over named axes, through a general matrix product that may be replaced."""

import jax.numpy as jnp
from jax import lax

from linen_modules.typing import Array, DotGeneral, PrecisionLike

__all__ = ["contract"]


def contract(
    subscripts: str,
    lhs: Array,
    rhs: Array,
    *,
    precision: PrecisionLike = None,
    dot_general: DotGeneral = lax.dot_general,
) -> Array:
    """Multiplies two arrays and sums, as `jnp.einsum` does.

    Args:
        subscripts: such as "...qhd,...khd->...hqk": a letter for each axis, after leading axes that
            both arrays and the result have.
        lhs: an array.
        rhs: an array.
        precision: as `jax.lax.Precision`.
        dot_general: the operator that multiplies.

    Returns:
        An array of the axes that the subscripts say.

    >>> import jax.numpy as jnp
    >>> contract("...qd,...kd->...qk", jnp.ones((5, 2, 3)), jnp.ones((5, 4, 3))).shape
    (5, 2, 4)
    """
    lhs_names, rhs_names, result = _axis_names(subscripts, lhs.ndim)
    dtype = jnp.result_type(lhs, rhs)
    shared = [name for name in lhs_names if name in rhs_names]
    batch = [name for name in shared if name in result]
    summed = [name for name in shared if name not in result]
    operands = [(lhs, lhs_names), (rhs, rhs_names)]
    if batch + _without(shared, lhs_names + rhs_names) != result:
        # The order of jnp.einsum, which decides how its gradients round.
        operands.reverse()
    (lhs, lhs_names), (rhs, rhs_names) = operands
    product = dot_general(
        lhs.astype(dtype),
        rhs.astype(dtype),
        (
            (_positions(summed, lhs_names), _positions(summed, rhs_names)),
            (_positions(batch, lhs_names), _positions(batch, rhs_names)),
        ),
        precision=precision,
    )
    names = batch + _without(shared, lhs_names + rhs_names)
    return jnp.transpose(product, _positions(result, names))


def _axis_names(subscripts: str, ndim: int) -> tuple[list[str], list[str], list[str]]:
    """Names the axes of both arrays and of the result; numbers stand for the leading ones."""
    operands, _, result = subscripts.partition("->")
    lhs, _, rhs = operands.partition(",")
    leading = [str(axis) for axis in range(ndim - len(lhs.removeprefix("...")))]
    lhs, rhs, result = ([*leading, *part.removeprefix("...")] for part in (lhs, rhs, result))
    return lhs, rhs, result


def _without(left_out: list[str], names: list[str]) -> list[str]:
    return [name for name in names if name not in left_out]


def _positions(wanted: list[str], names: list[str]) -> tuple[int, ...]:
    return tuple(names.index(name) for name in wanted)
