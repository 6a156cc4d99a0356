"""The base of metrics: what every metric can do."""

import abc
import functools
from collections.abc import Hashable
from typing import Any, Self

import jax
from jax.experimental import multihost_utils

from linen_core import struct
from linen_train.errors import MetricMergeError

__all__ = ["Metric"]


class Metric(struct.PyTreeNode, abc.ABC):
    """A pytree that merges with others of its class, and computes a number from what was merged.

    Write one by subclassing: fields that hold arrays, `_merged` (or fields that are metrics, which
    are merged one by one), `_reduced` where the fields do not reduce one by one, `empty` and
    `compute`. Inside `_merged` only `jax` operations are allowed: it is compiled.

    Example:
        >>> import jax.numpy as jnp
        >>> from linen_train.metrics import Metric, Sum
        >>> class Norm(Metric):
        ...     squares: Sum
        ...     @classmethod
        ...     def empty(cls):
        ...         return cls(Sum.empty())
        ...     @classmethod
        ...     def from_batch(cls, values):
        ...         return cls(Sum.from_batch(values**2))
        ...     def compute(self):
        ...         return jnp.sqrt(self.squares.compute())
        >>> merged = Norm.from_batch(jnp.array([3.0])).merge(Norm.from_batch(jnp.array([4.0])))
        >>> float(merged.compute())
        5.0
    """

    @classmethod
    @abc.abstractmethod
    def empty(cls) -> Self:
        """Return the metric of no data, which changes nothing when it is merged."""

    @abc.abstractmethod
    def compute(self) -> Any:
        """Return the number that the metric stands for."""

    def merge(self, other: Self) -> Self:
        """Return the metric of both batches together.

        Args:
            other: a metric of the same class. For metrics that depend on the order, the later one.

        Returns:
            A metric of the same class. Outside of other transformations this is one compiled call.

        Raises:
            MetricMergeError: `other` is of another class.

        Example:
            >>> from linen_train.metrics import Mean
            >>> first, second = Mean.from_batch([1.0, 2.0, 3.0]), Mean.from_batch([10.0])
            >>> float(first.merge(second).compute())
            4.0
        """
        if type(other) is not type(self):
            raise MetricMergeError(
                f"{type(self).__name__}.merge: found {type(other).__name__}, expected "
                f"{type(self).__name__}. Merge metrics of one class; several of them, by name, go "
                "into a MetricCollection."
            )
        return _merge(self, other)

    def reduce(self, axis_name: Hashable) -> Self:
        """Return the metric of all devices, inside of `jax.shard_map`, `jax.pmap` or `jax.vmap`.

        Args:
            axis_name: the mapped axis that the data was split over, or a tuple of several.

        Returns:
            The same metric on every index of the axis: the sums went through `jax.lax.psum`.

        Example:
            >>> import jax, jax.numpy as jnp
            >>> from linen_train.metrics import Mean
            >>> def step(values, mask):
            ...     return Mean.from_batch(values, mask=mask).reduce("data").compute()
            >>> values, mask = jnp.arange(4.0).reshape(2, 2), jnp.array([[1, 1], [1, 0]], bool)
            >>> jax.vmap(step, axis_name="data")(values, mask)
            Array([1., 1.], dtype=float32)
        """
        return self._reduced(axis_name)

    def reduce_processes(self) -> Self:
        """Return the metric of all processes, where each has measured data of its own.

        Every process must call it, outside of transformations. A metric that `jax.jit` computed
        from global arrays covers all processes already, and is returned as it is; so is every
        metric when there is only one process.

        Returns:
            The same metric in every process, merged in the order of the processes.

        Example:
            >>> from linen_train.metrics import Sum
            >>> float(Sum.from_batch([1.0, 2.0]).reduce_processes().compute())
            3.0
        """
        leaves = jax.tree.leaves(self)
        is_global = any(
            isinstance(leaf, jax.Array) and not leaf.is_fully_addressable for leaf in leaves
        )
        if is_global or jax.process_count() == 1:
            return self
        stacked = multihost_utils.process_allgather(self)
        return functools.reduce(
            lambda merged, other: merged.merge(other),
            (
                jax.tree.map(lambda leaf, index=index: leaf[index], stacked)
                for index in range(jax.process_count())
            ),
        )

    def _merged(self, other: Any) -> Self:
        return _fieldwise(lambda mine, theirs: mine._merged(theirs), self, other)

    def _reduced(self, axis_name: Hashable) -> Self:
        return _fieldwise(lambda mine: mine._reduced(axis_name), self)


def _fieldwise(function: Any, metric: Any, *others: Any) -> Any:
    """Apply a function to the metrics that are the fields of metrics."""
    return jax.tree.map(
        function,
        metric,
        *others,
        is_leaf=lambda node: isinstance(node, Metric) and node is not metric,
    )


@jax.jit
def _merge(metric: Any, other: Any) -> Any:
    return metric._merged(other)
