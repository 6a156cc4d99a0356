"""What can be wrong with metrics."""

from linen_core.errors import LinenError

__all__ = [
    "MetricError",
    "MetricMergeError",
    "MetricShapeError",
    "MetricValueError",
]


class MetricError(LinenError):
    """Base of what can be wrong with metrics."""


class MetricShapeError(MetricError, ValueError):
    """Values, labels, weights and masks of a batch do not fit together."""


class MetricValueError(MetricError, TypeError):
    """The values of a batch are of a kind that cannot be measured."""


class MetricMergeError(MetricError, TypeError):
    """Metrics of different classes, or collections of different names, are merged."""
