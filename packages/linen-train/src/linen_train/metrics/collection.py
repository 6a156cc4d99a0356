"""Several metrics by name."""

from collections.abc import Hashable, Mapping
from typing import Any, Self

import jax

from linen_train.errors import MetricMergeError
from linen_train.metrics.metric import Metric

__all__ = ["MetricCollection"]


class MetricCollection(Metric):
    """Metrics by name, which are merged, reduced and computed together.

    Args:
        metrics: the metrics by name.

    Example:
        >>> import jax.numpy as jnp
        >>> from linen_train.metrics import Accuracy, Mean, MetricCollection
        >>> def measured(logits, labels, losses):
        ...     return MetricCollection(
        ...         {
        ...             "loss": Mean.from_batch(losses),
        ...             "accuracy": Accuracy.from_logits(logits, labels),
        ...         }
        ...     )
        >>> first = measured(jnp.eye(2), jnp.array([0, 1]), jnp.array([1.0, 2.0]))
        >>> second = measured(jnp.eye(2)[:1], jnp.array([1]), jnp.array([6.0]))
        >>> {name: round(float(v), 4) for name, v in first.merge(second).compute().items()}
        {'accuracy': 0.6667, 'loss': 3.0}
    """

    metrics: dict[str, Metric]

    @classmethod
    def empty(cls, metrics: Mapping[str, type[Metric]] | None = None) -> Self:
        """Return a collection of no data.

        Args:
            metrics: the class of each metric by name.

        Returns:
            A collection of empty metrics, to begin a `jax.lax.scan` or a loop with.

        Example:
            >>> from linen_train.metrics import Mean, MetricCollection
            >>> MetricCollection.empty({"loss": Mean}).compute()
            {'loss': Array(nan, dtype=float32)}
        """
        return cls({name: metric.empty() for name, metric in (metrics or {}).items()})

    def __getitem__(self, name: str) -> Metric:
        return self.metrics[name]

    def compute(self) -> dict[str, jax.Array]:
        """Return the number of each metric by name."""
        return {name: metric.compute() for name, metric in self.metrics.items()}

    def _merged(self, other: Any) -> Self:
        mine, theirs = _classes(self), _classes(other)
        if mine != theirs:
            raise MetricMergeError(
                f"{type(self).__name__}.merge: found {_differing(theirs, mine)}, expected "
                f"{_differing(mine, theirs)}. Merge collections that were made alike."
            )
        pairs = ((name, metric, other.metrics[name]) for name, metric in self.metrics.items())
        return self.replace(metrics={name: mine._merged(theirs) for name, mine, theirs in pairs})

    def _reduced(self, axis_name: Hashable) -> Self:
        return self.replace(
            metrics={name: metric._reduced(axis_name) for name, metric in self.metrics.items()}
        )


def _classes(collection: MetricCollection) -> dict[str, type[Metric]]:
    return {name: type(metric) for name, metric in collection.metrics.items()}


def _differing(classes: dict[str, type[Metric]], others: dict[str, type[Metric]]) -> str:
    own = {name: kind for name, kind in classes.items() if others.get(name) is not kind}
    return ", ".join(f"{name}: {own[name].__name__}" for name in sorted(own)) or "no others"
