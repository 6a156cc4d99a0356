"""The bar that shows how far a run is.

It is drawn on a terminal alone. Where the output is a file, a pipe or a log, nothing is written at
all: lines for a log are a writer's work. With several processes the first one draws.

The bar counts steps a few times a second. Metrics are those of the last log: to show newer ones would
be to wait for the device.
"""

import time
from collections.abc import Mapping

import jax
import rich.console
import rich.progress
from rich.table import Column
from rich.text import Text

__all__ = ["Display"]

_REDRAW_SECONDS = 0.1
_MOST_METRICS = 6
_BAR_WIDTH = 16
_RATES = {"steps_per_second": "steps/s", "examples_per_second": "examples/s"}


class Display:
    """Shows a run on a terminal.

    Args:
        console: where to draw; None draws nothing.
        first_step: the step that the run begins after.
        last_step: the step that it ends at; None if that is not known.
        steps_per_epoch: how many steps an epoch has; None if that is not known.
    """

    def __init__(
        self,
        console: rich.console.Console | None,
        *,
        first_step: int,
        last_step: int | None,
        steps_per_epoch: int | None,
    ) -> None:
        self._bar: rich.progress.Progress | None = None
        self._last_step = last_step
        self._steps_per_epoch = steps_per_epoch
        self._metrics = ""
        self.next_time = float("inf")
        if console is None or not console.is_terminal or jax.process_index() > 0:
            return
        self._bar = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(bar_width=_BAR_WIDTH),
            _Metrics(table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
            rich.progress.TextColumn("ETA"),
            rich.progress.TimeRemainingColumn(),
            console=console,
            expand=True,
        )
        self._task = self._bar.add_task(
            self._where(first_step), total=last_step, completed=first_step, metrics=""
        )
        self.next_time = 0.0

    def start(self) -> None:
        """Begin to draw."""
        if self._bar is not None:
            self._bar.start()

    def stop(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.stop()

    def show(self, step: int, metrics: Mapping[str, float] | None = None) -> None:
        """Move the bar to a step, and show other metrics if they are given."""
        if self._bar is None:
            return
        if metrics is not None:
            self._metrics = _text(metrics)
        self._bar.update(
            self._task, completed=step, description=self._where(step), metrics=self._metrics
        )
        self.next_time = time.monotonic() + _REDRAW_SECONDS

    def say(self, text: str) -> None:
        """Write a line above the bar, on a terminal alone."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _where(self, step: int) -> str:
        of_steps = f"/{self._last_step}" if self._last_step is not None else ""
        if self._steps_per_epoch is None:
            return f"step {step}{of_steps}"
        epoch = max(step - 1, 0) // self._steps_per_epoch + 1
        epochs = f"/{-(-self._last_step // self._steps_per_epoch)}" if self._last_step else ""
        return f"epoch {epoch}{epochs}  step {step}{of_steps}"


class _Metrics(rich.progress.ProgressColumn):
    """The metrics as text: brackets in their names are no markup."""

    def render(self, task: rich.progress.Task) -> Text:
        return Text(task.fields["metrics"])


def _text(metrics: Mapping[str, float]) -> str:
    names = [name for name in metrics if name not in _RATES][:_MOST_METRICS]
    texts = [f"{name} {_short(metrics[name])}" for name in names]
    texts += [f"{_short(metrics[name])} {unit}" for name, unit in _RATES.items() if name in metrics]
    return "  ".join(texts)


def _short(value: float) -> str:
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"
