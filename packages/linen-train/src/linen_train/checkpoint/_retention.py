"""Which steps are kept, and which is the best."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal

__all__ = ["Retention"]


@dataclasses.dataclass(frozen=True)
class Retention:
    """The newest steps and the best ones.

    Attributes:
        keep_last: how many of the newest are kept; None keeps all.
        keep_best: how many of the best are kept beside those.
        metric: the name of the metric that tells which are better.
        mode: whether the lowest or the highest is best. NaN is worst.
    """

    keep_last: int | None
    keep_best: int | None
    metric: str | None
    mode: Literal["min", "max"]

    def superfluous(
        self, steps: Sequence[int], metrics: Mapping[int, dict[str, float]]
    ) -> list[int]:
        """Return the steps that are neither among the newest nor among the best."""
        if self.keep_last is None:
            return []
        kept = {*sorted(steps)[-self.keep_last :], *self.ranked(metrics)[: self.keep_best or 0]}
        return [step for step in steps if step not in kept]

    def ranked(self, metrics: Mapping[int, dict[str, float]]) -> list[int]:
        """Return the steps that have the metric, best first; of equal ones the newest first."""
        if self.metric is None:
            return []
        measured = {step: m[self.metric] for step, m in metrics.items() if self.metric in m}
        return sorted(measured, key=lambda step: (self._badness(measured[step]), -step))

    def _badness(self, value: float) -> tuple[bool, float]:
        if math.isnan(value):
            return True, 0.0
        return False, value if self.mode == "min" else -value
