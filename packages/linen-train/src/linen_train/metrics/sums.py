"""Sums and means.

A sum is kept as two float32 numbers, the sum and what rounding took from it, so that a million
batches add up without drift and counts stay exact far beyond 2**24. The additions are the
error-free ones of D. E. Knuth, The Art of Computer Programming, volume 2, section 4.2.2.
"""

from collections.abc import Hashable
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from linen_train.errors import MetricShapeError, MetricValueError
from linen_train.metrics._values import as_array, as_real
from linen_train.metrics.metric import Metric

__all__ = ["Mean", "Sum"]


class Sum(Metric):
    """The sum of values.

    The sum of a mask, or of any other booleans, is a count.

    Args:
        total: the sum, rounded; float32 scalar.
        residue: what is missing from it; float32 scalar.

    Example:
        >>> from linen_train.metrics import Sum
        >>> examples = Sum.empty()
        >>> for mask in ([True, True], [True, False]):
        ...     examples = examples.merge(Sum.from_batch(mask))
        >>> float(examples.compute())
        3.0
    """

    total: jax.Array
    residue: jax.Array

    @classmethod
    def empty(cls) -> Self:
        """Return the sum of nothing, 0."""
        return cls(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32))

    @classmethod
    def from_batch(
        cls, values: ArrayLike, *, weights: ArrayLike | None = None, mask: ArrayLike | None = None
    ) -> Self:
        """Return the sum over one batch.

        Args:
            values: real numbers or booleans of any shape.
            weights: what each value is multiplied with: real numbers in the shape of `values`, or
                in that of its first axes.
            mask: which values count: booleans in the shape of `values`, or in that of its first
                axes. What it leaves out, or has weight 0, adds nothing, even when it is NaN.

        Returns:
            The weighted sum. Booleans are counted exactly; within a batch, other numbers are added
            in float32, or in float64 where they are float64.

        Raises:
            MetricShapeError: `weights` or `mask` have another shape.
            MetricValueError: the values are not real, or the mask is not boolean.

        Example:
            >>> from linen_train.metrics import Sum
            >>> nan = float("nan")
            >>> float(Sum.from_batch([1.0, 2.0, nan], mask=[True, True, False]).compute())
            3.0
        """
        return cls(*_split(jnp.sum(weighted(values, weights, mask, cls.__name__)[0])))

    def compute(self) -> jax.Array:
        """Return the sum, a float32 scalar."""
        return self.total + self.residue

    def _merged(self, other: Any) -> Self:
        total, error = _two_sum(self.total, other.total)
        return self.replace(**_fields(*_renormalised(total, error + self.residue + other.residue)))

    def _reduced(self, axis_name: Hashable) -> Self:
        total, residue = jax.lax.psum((self.total, self.residue), axis_name)
        return self.replace(**_fields(*_renormalised(total, residue)))


class Mean(Metric):
    """The weighted mean of values: the sum of value times weight over the sum of weights.

    The mean of nothing is NaN.

    Args:
        values: the sum of value times weight.
        weights: the sum of weights; without weights, the number of values.

    Example:
        >>> from linen_train.metrics import Mean
        >>> loss = Mean.empty()
        >>> for losses in ([1.0, 2.0, 3.0], [10.0]):
        ...     loss = loss.merge(Mean.from_batch(losses))
        >>> float(loss.compute())
        4.0
    """

    values: Sum
    weights: Sum

    @classmethod
    def empty(cls) -> Self:
        """Return the mean of nothing, which computes to NaN."""
        return cls(Sum.empty(), Sum.empty())

    @classmethod
    def from_batch(
        cls, values: ArrayLike, *, weights: ArrayLike | None = None, mask: ArrayLike | None = None
    ) -> Self:
        """Return the mean over one batch.

        Args:
            values: real numbers or booleans of any shape. One number that is a mean already, over
                `n` examples, is given as a scalar with `weights=n`.
            weights: how much each value counts: real numbers in the shape of `values`, or in that
                of its first axes.
            mask: which values count: booleans in the shape of `values`, or in that of its first
                axes. What it leaves out, or has weight 0, counts for nothing, even when it is NaN.

        Returns:
            The mean, as the two sums that it consists of.

        Raises:
            MetricShapeError: `weights` or `mask` have another shape.
            MetricValueError: the values are not real, or the mask is not boolean.

        Example:
            >>> from linen_train.metrics import Mean
            >>> float(Mean.from_batch([1.0, 5.0], weights=[3.0, 1.0]).compute())
            2.0
        """
        products, factors = weighted(values, weights, mask, cls.__name__)
        return cls(Sum(*_split(jnp.sum(products))), Sum(*_split(jnp.sum(factors))))

    def compute(self) -> jax.Array:
        """Return the mean, a float32 scalar; NaN when nothing, or only weight 0, was merged."""
        weights = self.weights.compute()
        return jnp.where(
            weights == 0, jnp.nan, self.values.compute() / jnp.where(weights == 0, 1, weights)
        )


def weighted(
    values: ArrayLike, weights: ArrayLike | None, mask: ArrayLike | None, metric: str
) -> tuple[jax.Array, jax.Array]:
    """Return value times weight, and the weight, of every element.

    Args:
        values: real numbers or booleans.
        weights: in the shape of `values` or of its first axes.
        mask: booleans in the shape of `values` or of its first axes.
        metric: the name of the metric, for errors.

    Returns:
        Two arrays in the shape of `values`, which are 0 where the mask or the weight says so.

    Raises:
        MetricShapeError: `weights` or `mask` have another shape.
        MetricValueError: the values are not real, or the mask is not boolean.

    Example:
        >>> from linen_train.metrics.sums import weighted
        >>> [array.tolist() for array in weighted([4.0, 5.0], None, [True, False], "Mean")]
        [[4.0, 0.0], [1, 0]]
    """
    where = f"{metric}.from_batch"
    values = as_real("values", values, where)
    factors = jnp.ones(values.shape, jnp.int32)
    if weights is not None:
        factors = _spread("weights", as_real("weights", weights, where), values, where)
    if mask is not None:
        mask = as_array("mask", mask, where)
        if mask.dtype != jnp.bool_:
            raise MetricValueError(
                f"{where}: found a mask of {mask.dtype}, expected booleans. Write "
                "mask=mask > 0, or give numbers as weights=."
            )
        factors = jnp.where(_spread("mask", jnp.asarray(mask), values, where), factors, 0)
    return jnp.where(factors == 0, 0, values) * factors, factors


def _spread(name: str, array: jax.Array, values: jax.Array, where: str) -> jax.Array:
    """Repeat an array of the first axes over the others."""
    if array.shape != values.shape[: array.ndim]:
        raise MetricShapeError(
            f"{where}: found {name} of shape {array.shape} for values of shape "
            f"{values.shape}, expected that shape, or that of its first axes."
        )
    tail = (1,) * (values.ndim - array.ndim)
    return jnp.broadcast_to(array.reshape(array.shape + tail), values.shape)


def _split(value: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return a number of any width as a float32 and the rest."""
    if jnp.issubdtype(value.dtype, jnp.integer):
        rest = value % 4096  # leaves 19 bits of 31, which float32 holds exactly
        return _two_sum((value - rest).astype(jnp.float32), rest.astype(jnp.float32))
    total = value.astype(jnp.float32)
    return _renormalised(total, (value - total.astype(value.dtype)).astype(jnp.float32))


def _two_sum(left: jax.Array, right: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the rounded sum and the rounding error."""
    total = left + right
    shift = total - left
    return total, (left - (total - shift)) + (right - shift)


def _renormalised(total: jax.Array, residue: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the same sum with a residue below the last digit of the total.

    The residue of an infinite or undefined total is 0, so that infinity stays infinity.
    """
    exact, error = _two_sum(total, residue)
    finite = jnp.isfinite(total)
    return jnp.where(finite, exact, total), jnp.where(finite, error, 0)


def _fields(total: jax.Array, residue: jax.Array) -> dict[str, jax.Array]:
    return {"total": total, "residue": residue}
