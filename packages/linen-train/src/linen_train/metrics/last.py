"""The last value."""

from collections.abc import Hashable
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from linen_train.errors import MetricShapeError
from linen_train.metrics._values import as_real
from linen_train.metrics.metric import Metric

__all__ = ["Last"]


class Last(Metric):
    """The value of the batch that was merged last: a learning rate, a loss scale.

    Args:
        value: the value; NaN when there is none.
        present: whether there is one; boolean scalar.

    Example:
        >>> from linen_train.metrics import Last
        >>> rate = Last.from_batch(0.1).merge(Last.from_batch(0.05)).merge(Last.empty())
        >>> round(float(rate.compute()), 6)
        0.05
    """

    value: jax.Array
    present: jax.Array

    @classmethod
    def empty(cls) -> Self:
        """Return no value, which computes to NaN."""
        return cls(jnp.full((), jnp.nan, jnp.float32), jnp.zeros((), jnp.bool_))

    @classmethod
    def from_batch(cls, value: ArrayLike) -> Self:
        """Return the value of one batch.

        Args:
            value: a real scalar; kept as float32.

        Raises:
            MetricShapeError: it is no scalar.
            MetricValueError: it is no real number.

        Example:
            >>> from linen_train.metrics import Last
            >>> float(Last.from_batch(2).compute())
            2.0
        """
        where = f"{cls.__name__}.from_batch"
        array = as_real("value", value, where)
        if array.shape:
            raise MetricShapeError(
                f"{where}: found an array of shape {array.shape}, expected a scalar. Write "
                f"{cls.__name__}.from_batch(values[-1])."
            )
        return cls(jnp.asarray(array, jnp.float32), jnp.ones((), jnp.bool_))

    def compute(self) -> jax.Array:
        """Return the last value, a float32 scalar; NaN when there is none."""
        return jnp.asarray(self.value)

    def _merged(self, other: Any) -> Self:
        return self.replace(
            value=jnp.where(other.present, other.value, self.value),
            present=self.present | other.present,
        )

    def _reduced(self, axis_name: Hashable) -> Self:
        # The last index of the axis that has a value.
        index = jax.lax.axis_index(axis_name)
        chosen = jax.lax.pmax(jnp.where(self.present, index, -1), axis_name)
        value = jax.lax.psum(jnp.where(index == chosen, self.value, 0), axis_name)
        return self.replace(value=jnp.where(chosen < 0, jnp.nan, value), present=chosen >= 0)
