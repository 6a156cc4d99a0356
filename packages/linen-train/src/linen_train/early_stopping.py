"""Stop training when a metric does not improve any more."""

import math
from typing import Any, Literal

import jax
import numpy as np

from linen_core import struct
from linen_train.errors import (
    EarlyStoppingMetricError,
    EarlyStoppingModeError,
    EarlyStoppingOptionError,
)

__all__ = ["EarlyStopping"]


class EarlyStopping(struct.PyTreeNode):
    """Counts how often in a row a metric did not improve.

    A struct: `update` returns a new one, and checkpoints hold it. NaN counts as worse than anything,
    so it never is an improvement, and anything improves on it. Infinity is a metric like any other:
    one loss of infinity improves on nothing before it, a second one does not.

    Attributes:
        min_delta: by how much a metric has to be better than the best one to be an improvement.
        patience: how many updates in a row may pass without an improvement.
        best_metric: the best metric so far; infinite before there is any, NaN while all were NaN.
        patience_count: how many updates in a row were no improvement.
        should_stop: whether there was one more of these than `patience` allows. Stays True.
        has_improved: whether the last update was an improvement.
        mode: "min" where less is better, as of losses; "max" where more is, as of accuracies.

    Raises:
        EarlyStoppingModeError: `mode` is neither "min" nor "max".
        EarlyStoppingOptionError: `min_delta` or `patience` is less than 0.

    Example:
        >>> early_stop = EarlyStopping(min_delta=1e-3, patience=1)
        >>> for loss in [0.5, 0.4, float("nan"), 0.4]:
        ...     early_stop = early_stop.update(loss)
        ...     if early_stop.should_stop:
        ...         print("stopped, best was", early_stop.best_metric)
        stopped, best was 0.4
    """

    min_delta: float = 0
    patience: int = 0
    best_metric: float = math.inf
    patience_count: int = 0
    should_stop: bool = False
    has_improved: bool = False
    mode: Literal["min", "max"] = struct.field(pytree_node=False, default="min")

    def __post_init__(self) -> None:
        """Check the settings, as far as they are numbers: transformations put in anything."""
        if self.mode not in ("min", "max"):
            raise EarlyStoppingModeError(
                f"EarlyStopping: found mode={self.mode!r}, expected 'min' where less is better, as of "
                "losses, or 'max' where more is, as of accuracies."
            )
        for name, value in (("min_delta", self.min_delta), ("patience", self.patience)):
            if isinstance(value, int | float | np.integer | np.floating) and not value >= 0:
                raise EarlyStoppingOptionError(
                    f"EarlyStopping: found {name}={value}, expected a number from 0. Write {name}=0 "
                    "for the strictest."
                )

    def reset(self) -> "EarlyStopping":
        """Return one with the same settings that has seen no metric.

        Example:
            >>> EarlyStopping(patience=3).update(0.5).reset().best_metric
            inf
        """
        return self.replace(
            best_metric=math.inf, patience_count=0, should_stop=False, has_improved=False
        )

    def update(self, metric: Any) -> "EarlyStopping":
        """Return what holds after one more metric.

        Args:
            metric: a real number, or an array of no axes.

        Returns:
            A new EarlyStopping.

        Raises:
            EarlyStoppingMetricError: it is something else.

        Example:
            >>> accuracy = EarlyStopping(mode="max").update(0.7).update(0.8)
            >>> accuracy.best_metric, accuracy.has_improved, accuracy.should_stop
            (0.8, True, False)
        """
        number = _as_float(metric)
        if self._is_improvement(number):
            return self.replace(best_metric=metric, patience_count=0, has_improved=True)
        return self.replace(
            best_metric=metric if math.isnan(number) and self._is_fresh() else self.best_metric,
            patience_count=self.patience_count + 1,
            should_stop=self.should_stop or self.patience_count >= self.patience,
            has_improved=False,
        )

    def _is_improvement(self, metric: float) -> bool:
        best = float(self.best_metric)
        if math.isnan(metric):
            return False
        if math.isnan(best) or self._is_fresh():
            return True
        gain = best - metric if self.mode == "min" else metric - best
        return gain > self.min_delta

    def _is_fresh(self) -> bool:
        # Infinity alone does not tell: it may be the metric that came first.
        unseen = self.patience_count == 0 and not self.has_improved
        return bool(unseen and float(self.best_metric) == math.inf)


def _as_float(metric: Any) -> float:
    cause = None
    if not isinstance(metric, str | bytes):  # float would read them
        try:
            return float(metric)
        except jax.errors.JAXTypeError:  # a traced metric, of which JAX says more
            raise
        except (TypeError, ValueError, OverflowError) as error:
            cause = error
    raise EarlyStoppingMetricError(
        f"EarlyStopping.update: found {metric!r:.80}, expected a real number. Write "
        "update(float(losses.mean()))."
    ) from cause
