r"""Means and variances.

A *statistic* is taken over the *reduced axes* of an array, over the positions where a mask is True,
and, where the array is split over devices, over a *named axis*: sums and counts of the devices are
added, then divided, so that a device with few unmasked positions counts for little.

Both are taken about a *pivot*, any number p close to the mean:

.. math::
    \operatorname{E} x = p + \operatorname{E}(x - p), \qquad
    \operatorname{Var} x = \operatorname{E} |x - p|^2 - |\operatorname{E}(x - p)|^2

This holds for every constant p; what depends on p is the rounding. The relative error of the
variance is about :math:`\varepsilon (1 + |\operatorname{E} x - p|^2 / \operatorname{Var} x)`. With
p = 0 it grows without bound for data far from zero: once the mean is some thousand standard
deviations, the variance is off by orders of magnitude. Two better pivots are used:

- the mean as it comes out of a first pass over the data: right for every input. Where a group is
  one row, in the cache, the second pass costs nothing measurable;
- a *guess* known before the data is read, such as a running mean: one pass over the data and one
  collective over the named axis are enough.

No gradient flows through a pivot, which is a constant, so that the backward pass costs what it
costs without one, and derivatives of every order are right.

References:
    Chan, Golub, LeVeque, "Algorithms for computing the sample variance", 1983.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import lax

from linen_modules.typing import Array, DTypeLike

__all__ = [
    "Reduction",
    "mean_and_variance",
    "mean_square",
    "squared_magnitude",
    "statistics_dtype",
]


@dataclass(frozen=True)
class Reduction:
    """What a statistic is taken over.

    Attributes:
        axes: the reduced axes, not negative.
        axis_name: the name of a mapped axis over devices, or None.
        axis_index_groups: groups of indices of the named axis that are averaged on their own.
    """

    axes: tuple[int, ...]
    axis_name: Any = None
    axis_index_groups: tuple[tuple[int, ...], ...] | None = None

    def means(self, arrays: Sequence[Array], mask: Array | None) -> list[Array]:
        """Averages arrays of one shape, with one collective for all of them."""
        if self.axis_name is None:
            return [jnp.mean(x, self.axes, where=mask) for x in arrays]
        sums = [jnp.sum(x, self.axes, where=mask) for x in arrays]
        *sums, count = lax.psum(
            (*sums, self._count(arrays[0], mask)),
            self.axis_name,
            axis_index_groups=self.axis_index_groups,
        )
        return [total / jnp.asarray(count, total.dtype) for total in sums]

    def expand(self, statistic: Array) -> Array:
        """Gives a statistic the reduced axes back, with size one."""
        return jnp.expand_dims(statistic, self.axes)

    def _count(self, x: Array, mask: Array | None) -> Any:
        if mask is None:
            return math.prod(x.shape[axis] for axis in self.axes)
        return jnp.sum(jnp.broadcast_to(mask, x.shape), self.axes)


def mean_and_variance(
    x: Array,
    mask: Array | None,
    reduction: Reduction,
    *,
    guess: Array | None = None,
    use_fast_variance: bool = True,
) -> tuple[Array, Array]:
    """Takes mean and variance.

    Args:
        x: an array, in the dtype the statistics are to have.
        mask: which positions count, broadcast against x; None is all of them.
        reduction: what they are taken over.
        guess: a guess of the mean, of the shape of the result.
        use_fast_variance: whether to take both about a pivot; if not, the variance is the mean
            square of the differences to the mean, with the gradient of that.

    Returns:
        Mean and variance, of the shape of x without the reduced axes. Where no position counts,
        they are NaN.
    """
    mask = None if mask is None else jnp.asarray(mask, bool)
    if not use_fast_variance:
        (mean,) = reduction.means([x], mask)
        (variance,) = reduction.means([squared_magnitude(x - reduction.expand(mean))], mask)
        return mean, variance
    pivot = lax.stop_gradient(reduction.means([x], mask)[0] if guess is None else guess)
    difference = x - reduction.expand(pivot)
    offset, spread = reduction.means([difference, squared_magnitude(difference)], mask)
    return pivot + offset, jnp.maximum(spread - squared_magnitude(offset), 0)


def mean_square(x: Array, mask: Array | None, reduction: Reduction) -> Array:
    """Takes the mean of squares, with the arguments of `mean_and_variance`."""
    mask = None if mask is None else jnp.asarray(mask, bool)
    return reduction.means([squared_magnitude(x)], mask)[0]


def statistics_dtype(x: Array, dtype: DTypeLike | None, force_float32: bool) -> DTypeLike:
    """Decides the dtype of statistics: that of the layer, at least float32 if that is forced."""
    dtype = jnp.result_type(x) if dtype is None else dtype
    return jnp.promote_types(dtype, jnp.float32) if force_float32 else dtype


def squared_magnitude(x: Array) -> Array:
    """Squares numbers, complex ones by absolute value."""
    if jnp.iscomplexobj(x):
        return lax.square(lax.real(x)) + lax.square(lax.imag(x))
    return lax.square(x)
