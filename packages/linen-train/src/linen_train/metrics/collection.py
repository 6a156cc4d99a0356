"""Several metrics by name."""

from collections.abc import Hashable, Mapping
from typing import Any, Self

import jax

from linen_train.errors import MetricMergeError, MetricValueError
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

        Raises:
            MetricValueError: one is no class of metrics.

        Example:
            >>> from linen_train.metrics import Mean, MetricCollection
            >>> MetricCollection.empty({"loss": Mean}).compute()
            {'loss': Array(nan, dtype=float32)}
        """
        for name, metric in (metrics or {}).items():
            if not (isinstance(metric, type) and issubclass(metric, Metric)):
                raise MetricValueError(
                    f"{cls.__name__}.empty: found {metric!r:.80} at {name!r}, expected a class of metrics. "
                    f"Write {cls.__name__}.empty({{{name!r}: Mean}})."
                )
        return cls({name: metric.empty() for name, metric in (metrics or {}).items()})

    def __getitem__(self, name: str) -> Metric:
        return self.metrics[name]

    def compute(self) -> dict[str, jax.Array]:
        """Return the number of each metric by name.

        Raises:
            MetricValueError: one is no metric.
        """
        return {name: metric.compute() for name, metric in self._checked("compute").items()}

    def _merged(self, other: Any) -> Self:
        mine, theirs = _classes(self._checked("merge")), _classes(other._checked("merge"))
        if mine != theirs:
            raise MetricMergeError(
                f"{type(self).__name__}.merge: found {_differing(theirs, mine)}, expected "
                f"{_differing(mine, theirs)}. Merge collections that were made alike."
            )
        pairs = ((name, metric, other.metrics[name]) for name, metric in self.metrics.items())
        return self.replace(metrics={name: mine._merged(theirs) for name, mine, theirs in pairs})

    def _reduced(self, axis_name: Hashable) -> Self:
        return self.replace(
            metrics={
                name: metric._reduced(axis_name) for name, metric in self._checked("reduce").items()
            }
        )

    def _checked(self, method: str) -> dict[str, Metric]:
        # Not when it is made: JAX makes collections too, at every step, and of other things.
        for name, metric in self.metrics.items():
            if not isinstance(metric, Metric):
                raise MetricValueError(
                    f"{type(self).__name__}.{method}: found {metric!r:.80} at {name!r}, expected a metric. "
                    f"Write {type(self).__name__}({{{name!r}: Mean.from_batch(values)}})."
                )
        return self.metrics


def _classes(metrics: dict[str, Metric]) -> dict[str, type[Metric]]:
    return {name: type(metric) for name, metric in metrics.items()}


def _differing(classes: dict[str, type[Metric]], others: dict[str, type[Metric]]) -> str:
    own = {name: kind for name, kind in classes.items() if others.get(name) is not kind}
    return ", ".join(f"{name}: {own[name].__name__}" for name in sorted(own)) or "no others"
