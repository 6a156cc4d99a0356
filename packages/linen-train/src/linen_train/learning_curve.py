"""The learning curve as a picture."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from linen_train._extras import extra
from linen_train.errors import PlotError

__all__ = ["History", "plot_learning_curve"]

History: TypeAlias = Iterable[Mapping[str, Any]] | str | os.PathLike[str]

_AXES = ("step", "epoch")
_PREFIXES = ("train", "test", "val", "valid", "validation", "eval")
_COLUMNS = 3

Series: TypeAlias = tuple[list[float], list[float]]


def plot_learning_curve(
    history: History,
    file: str | os.PathLike[str],
    *,
    metrics: Sequence[str] | None = None,
    log_scale: Sequence[str] = ("loss",),
) -> None:
    """Draw every metric over the steps, into a PNG file.

    Metrics that differ in a prefix alone share a panel: `loss`, `test_loss` and `eval/loss`. Values
    that are not finite are gaps. Needs `pip install 'linen-train[plot]'`; no screen is needed, and
    settings of `matplotlib.pyplot` are neither used nor changed.

    Args:
        history: rows that map names to numbers, one of them `step` (or else `epoch`), in any
            order; or the path of a file that a `JSONLWriter` wrote. Rows need not have the same
            names.
        file: the picture; folders above it are made.
        metrics: which panels to draw, by name without prefix; None draws all.
        log_scale: panels with a logarithmic axis, where all values are positive.

    Raises:
        MissingExtraError: matplotlib is not installed.
        PlotError: the history has no rows, a row has no step, a value is no number, or there is no
            metric of a name.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from linen_train import plot_learning_curve
        >>> file = Path(tempfile.mkdtemp(), "learning_curve.png")
        >>> rows = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0, "test_loss": 1.5}]
        >>> plot_learning_curve(rows, file)
        >>> file.stat().st_size > 1000
        True
    """
    with extra("plot", needed_by="plot_learning_curve"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    rows = _read(history) if isinstance(history, str | os.PathLike) else list(history)
    axis = _axis(rows)
    panels = _panels(rows, axis, metrics)
    columns = min(_COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(5 * columns, 4 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    for place, (name, curves) in enumerate(panels.items(), start=1):
        plot: Any = figure.add_subplot(lines, columns, place)
        for label, (steps, values) in curves.items():
            plot.plot(steps, values, marker="." if len(steps) < 50 else "", label=label)
        plot.set(xlabel=axis, ylabel=name)
        plot.xaxis.set_major_locator(MaxNLocator(integer=True))
        if name in log_scale and all(y > 0 for _, values in curves.values() for y in values):
            plot.set_yscale("log")
        plot.grid(alpha=0.3)
        plot.legend()
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, format="png", dpi=120)


def _read(path: str | os.PathLike[str]) -> list[Any]:
    rows = []
    with Path(path).open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                if not line.endswith("\n"):  # the last row, cut off while it was written
                    break
                raise PlotError(
                    f"plot_learning_curve: found {line.strip()[:80]!r} in line {number} of {path}, "
                    "expected rows that a JSONLWriter wrote."
                ) from error
    return rows


def _axis(rows: list[Any]) -> str:
    for row in rows:
        if not isinstance(row, Mapping):
            raise PlotError(
                f"plot_learning_curve: found {row!r:.80} in the history, expected rows like "
                '{"step": 3, "loss": 0.5}.'
            )
    for name in _AXES:
        if rows and all(name in row for row in rows):
            return name
    found = "no rows" if not rows else f"a row with {', '.join(sorted(_lacking(rows)))} alone"
    raise PlotError(
        f'plot_learning_curve: found {found}, expected rows with a "step", or all with an "epoch".'
    )


def _lacking(rows: list[Any]) -> list[str]:
    return next(list(row) for row in rows if "step" not in row) or ["nothing"]


def _panels(
    rows: list[Any], axis: str, metrics: Sequence[str] | None
) -> dict[str, dict[str, Series]]:
    """Return steps and values by label, by the name of the panel."""
    panels: dict[str, dict[str, Series]] = {}
    for row in sorted(rows, key=lambda row: float(row[axis])):
        for label, value in row.items():
            name = _base(label)
            if label in _AXES or (metrics is not None and name not in metrics):
                continue
            steps, values = panels.setdefault(name, {}).setdefault(label, ([], []))
            steps.append(float(row[axis]))
            values.append(_number(label, value))
    missing = [name for name in metrics or () if name not in panels]
    if missing or not panels:
        names = sorted({_base(name) for row in rows for name in row if name not in _AXES})
        raise PlotError(
            f"plot_learning_curve: found the metrics {names}, expected "
            f"{'those and ' + ', '.join(missing) if missing else 'at least one'}."
        )
    return {name: panels[name] for name in metrics or panels}


def _base(label: str) -> str:
    """Return the name of a metric without what says on which data it was measured."""
    name = label.rpartition("/")[2]
    prefix, _, rest = name.partition("_")
    return rest if rest and prefix in _PREFIXES else name


def _number(label: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise PlotError(
            f"plot_learning_curve: found {label!r} with the value {value!r:.80}, expected a number."
        ) from error
    return number if abs(number) != float("inf") else float("nan")
