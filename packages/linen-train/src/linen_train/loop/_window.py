"""Means of metrics over a *window*, the steps since the last log, without waiting for any of them.

The metrics of a step are arrays that are still being computed. They are kept until 32 steps of
them go into one compiled call, which makes one array of all the values of a scalar and merges
metrics that merge. Nothing is fetched before it is asked for; only when a window becomes very long are its
older parts fetched, which were computed long ago.

The value of every single step is seen when it is fetched, so the first step that is not finite is
known exactly.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linen_train.errors import LoopMetricsError

__all__ = ["BadValue", "Totals", "Window", "numbers"]

_BLOCK_STEPS = 32
_MOST_BLOCKS = 16
_RECENT_BLOCKS = 4


@dataclasses.dataclass(frozen=True)
class BadValue:
    """The first metric that is not finite: its step, name and value."""

    step: int
    name: str
    value: float


@dataclasses.dataclass
class _Block:
    """Several steps, oldest first.

    Attributes:
        steps: their numbers.
        weights: their examples; some may still be computed.
        scalars: by name, the values [steps].
        merged: by name, a metric of all steps.
        single: by name, the metrics of the steps, with a first axis [steps] in every leaf.
    """

    steps: list[int]
    weights: list[int | jax.Array]
    scalars: dict[str, Any]
    merged: dict[str, Any]
    single: dict[str, Any]


class Totals:
    """Sums of scalars and merged metrics, over the steps since it was cleared."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self._sums: dict[str, tuple[float, float]] = {}
        self._merged: dict[str, Any] = {}
        self._restored: dict[str, Any] = {}
        self._computed: dict[str, dict[str, float]] = {}

    def add(self, name: str, total: float, weight: float) -> None:
        """Add weighted values of a scalar."""
        before, weight_before = self._sums.get(name, (0.0, 0.0))
        self._sums[name] = before + total, weight_before + weight

    def merge(self, name: str, metric: Any) -> None:
        """Add a metric that merges."""
        before = self._merged.get(name)
        if name in self._restored:
            before = _like(metric, self._restored.pop(name)["leaves"])
        self._merged[name] = metric if before is None else before.merge(metric)
        self._computed.pop(name, None)

    def computed(self, name: str) -> dict[str, float]:
        """Return what a metric that merges computes, by name."""
        if name not in self._computed:
            self._computed[name] = _computed(name, self._merged[name])
        return self._computed[name]

    def means(self) -> dict[str, float]:
        """Return the mean of each scalar, weighted by examples, and what each metric computes."""
        values = {
            name: total / weight if weight else math.nan
            for name, (total, weight) in self._sums.items()
        }
        for name in self._merged:
            values.update(self.computed(name))
        for restored in self._restored.values():
            values.update(restored["values"])
        return values

    def sums(self) -> dict[str, tuple[float, float]]:
        """Return sum and weight of each scalar, to be kept with a checkpoint."""
        return dict(self._sums)

    def merged(self) -> dict[str, Any]:
        """Return what each metric that merges consists of and computes, as JSON values to be kept."""
        kept = {name: _leaves_of(metric) for name, metric in self._merged.items()}
        return {
            **self._restored,
            **{
                name: {"leaves": leaves, "values": self.computed(name)}
                for name, leaves in kept.items()
                if leaves is not None
            },
        }

    def restore(self, sums: Mapping[str, tuple[float, float]], merged: Mapping[str, Any]) -> None:
        """Go on from what an earlier run kept."""
        self._sums = {name: (total, weight) for name, (total, weight) in sums.items()}
        self._restored = dict(merged)


class Window:
    """Collects the metrics of steps and adds them up.

    Attributes:
        log: what was added up since the last log.
        row: what was added up since the last row of the history.
        bad: the first metric that is not finite, among what was fetched.
        examples: how many examples were seen, in the steps that were fetched.
    """

    def __init__(self, examples: int = 0) -> None:
        self.examples = examples
        self.log = Totals()
        self.row = Totals()
        self.bad: BadValue | None = None
        self._steps: list[int] = []
        self._weights: list[int | jax.Array] = []
        self._pending: list[Any] = []
        self._blocks: list[_Block] = []

    def add(self, step: int, examples: int | jax.Array, metrics: Any) -> None:
        """Take the metrics of one step, and the number of its examples."""
        self._steps.append(step)
        self._weights.append(examples)
        self._pending.append(metrics)
        if len(self._pending) == _BLOCK_STEPS:
            self._close_block()

    def fold(self) -> None:
        """Fetch everything: `log`, `row` and `bad` speak of all steps then."""
        for step, weight, metrics in zip(self._steps, self._weights, self._pending, strict=True):
            scalars, merging = _split(metrics)
            listed = {name: [value] for name, value in scalars.items()}
            self._blocks.append(_Block([step], [weight], listed, merging, {}))
        self._steps, self._weights, self._pending = [], [], []
        self._fetch(self._blocks)
        self._blocks = []

    def _close_block(self) -> None:
        columns = _columns(self._pending)
        if columns is None:
            self.fold()
            return
        self._blocks.append(_Block(self._steps, self._weights, *_combined(*columns)))
        self._steps, self._weights, self._pending = [], [], []
        if len(self._blocks) > _MOST_BLOCKS:
            self._fetch(self._blocks[:-_RECENT_BLOCKS])
            del self._blocks[:-_RECENT_BLOCKS]

    def _fetch(self, blocks: list[_Block]) -> None:
        for block in blocks:
            weights = np.array([int(weight) for weight in block.weights])
            self.examples += int(weights.sum())
            for name, values in block.scalars.items():
                self._add_scalars(name, values, block.steps, weights)
        for name in dict.fromkeys(name for block in blocks for name in block.merged):
            self._add_merging(name, [block for block in blocks if name in block.merged])

    def _add_scalars(self, name: str, values: Any, steps: list[int], weights: np.ndarray) -> None:
        if isinstance(values, jax.Array) and values.ndim == 1:
            numbers = np.asarray(values).astype(np.float64)
        else:
            numbers = np.array([number(name, value) for value in values])
        is_finite = np.isfinite(numbers)
        if not is_finite.all():
            index = int(np.argmin(is_finite))
            self._found_bad(BadValue(steps[index], name, float(numbers[index])))
        for totals in (self.log, self.row):
            totals.add(name, float(numbers @ weights), float(weights.sum()))

    def _add_merging(self, name: str, blocks: list[_Block]) -> None:
        metric = functools.reduce(_merge, (block.merged[name] for block in blocks))
        for totals in (self.log, self.row):
            totals.merge(name, metric)
        if not all(map(math.isfinite, self.log.computed(name).values())) and (
            bad := _first_bad_step(name, blocks)
        ):
            self._found_bad(bad)

    def _found_bad(self, bad: BadValue) -> None:
        if self.bad is None or bad.step < self.bad.step:
            self.bad = bad


def _columns(pending: list[Any]) -> tuple[dict[str, list[Any]], dict[str, list[Any]]] | None:
    """Return scalars and metrics that merge, by name, of several steps.

    None if they cannot go into one compiled call: steps differ, or values are not on the device.
    """
    scalars, merging = _split(pending[0])
    values = [*scalars.values(), *jax.tree.leaves(merging)]
    if not all(isinstance(value, jax.Array) for value in values):
        return None
    rows = pending
    if not isinstance(rows[0], Mapping) or any(
        name not in rows[0] for name in (*scalars, *merging)
    ):
        rows = [{**one, **other} for one, other in map(_split, pending)]
    # By name and type, which is cheap, so that only the first step is looked into.
    kinds = [*rows[0], *map(type, rows[0].values())]
    if any([*row, *map(type, row.values())] != kinds for row in rows):
        return None
    return (
        {name: [row[name] for row in rows] for name in scalars},
        {name: [row[name] for row in rows] for name in merging},
    )


@jax.jit
def _combined(scalars: dict[str, list[Any]], merging: dict[str, list[Any]]) -> Any:
    """Return what a block of several steps holds."""
    stacked = {name: jnp.stack(values) for name, values in scalars.items()}
    merged = {name: functools.reduce(_merge, metrics) for name, metrics in merging.items()}
    single = {
        name: jax.tree.map(lambda *leaves: jnp.stack(leaves), *metrics)
        for name, metrics in merging.items()
    }
    return stacked, merged, single


def _leaves_of(metric: Any) -> list[dict[str, Any]] | None:
    """Return the leaves of a metric by dtype, as JSON values; None where other processes hold parts."""
    leaves = jax.tree.leaves(metric)
    if any(isinstance(v, jax.Array) and not _is_here(v) for v in leaves):
        return None
    arrays = [np.asarray(leaf) for leaf in leaves]
    return [{array.dtype.name: array.tolist()} for array in arrays]


def _is_here(leaf: jax.Array) -> bool:
    return leaf.is_fully_addressable or leaf.is_fully_replicated


def _like(metric: Any, kept: list[dict[str, Any]]) -> Any:
    """Return the metric that was kept, in the form of one of this run; None if it is another one."""
    leaves, structure = jax.tree.flatten(metric)
    arrays = [np.array(values, name) for leaf in kept for name, values in leaf.items()]
    found = [(array.shape, array.dtype) for array in arrays]
    expected = [(np.shape(leaf), np.asarray(leaf).dtype) for leaf in leaves]
    return jax.tree.unflatten(structure, map(jnp.asarray, arrays)) if found == expected else None


def _merge(one: Any, other: Any) -> Any:
    return one.merge(other)


def _first_bad_step(name: str, blocks: list[_Block]) -> BadValue | None:
    """Return the first step after which a metric, merged over the steps so far, is not finite."""
    so_far = None
    for block in blocks:
        for index, step in enumerate(block.steps):
            metric = (
                jax.tree.map(lambda leaf, index=index: leaf[index], block.single[name])
                if name in block.single
                else block.merged[name]
            )
            so_far = metric if so_far is None else so_far.merge(metric)
            for part, value in _computed(name, so_far).items():
                if not math.isfinite(value):
                    return BadValue(step, part, value)
    return None


def _split(metrics: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the scalars and the metrics that merge, by name."""
    if _merges(metrics):
        return {}, {"": metrics}
    if not isinstance(metrics, Mapping):
        raise LoopMetricsError(
            f"fit: found metrics of type {type(metrics).__name__}, expected a dict from name to "
            "scalar, or metrics of linen_train.metrics. Return state, {'loss': loss}."
        )
    scalars: dict[str, Any] = {}
    merging: dict[str, Any] = {}
    for name, value in metrics.items():
        if isinstance(value, jax.Array):
            scalars[str(name)] = value
        elif _merges(value):
            merging[str(name)] = value
        elif isinstance(value, Mapping):
            for into, part in zip((scalars, merging), _split(value), strict=True):
                into.update({f"{name}/{inner}": leaf for inner, leaf in part.items()})
        else:
            scalars[str(name)] = value
    return scalars, merging


def _merges(value: Any) -> bool:
    return hasattr(value, "merge") and hasattr(value, "compute")


def _computed(name: str, metric: Any) -> dict[str, float]:
    value = metric.compute()
    if not isinstance(value, Mapping):
        return {name: number(name, value)}
    prefix = f"{name}/" if name else ""
    return {f"{prefix}{key}": number(f"{prefix}{key}", part) for key, part in value.items()}


def numbers(metrics: Any) -> dict[str, float]:
    """Return metrics as Python numbers by name.

    Raises:
        LoopMetricsError: they are no dict of scalars and no metrics of linen_train.metrics.
    """
    scalars, merging = _split(metrics)
    found = {name: number(name, value) for name, value in jax.device_get(scalars).items()}
    for name, metric in merging.items():
        found.update(_computed(name, metric))
    return found


def number(name: str, value: Any) -> float:
    """Return one metric as a Python number."""
    try:
        array = None if value is None else np.asarray(value, np.float64)
    except (TypeError, ValueError):
        array = None
    if array is None or array.shape:
        found = type(value).__name__ if array is None else f"shape {array.shape}"
        raise LoopMetricsError(
            f"fit: found a metric {name!r} of {found}, expected a scalar. Return its mean, or a "
            "metric of linen_train.metrics."
        )
    return float(array)
