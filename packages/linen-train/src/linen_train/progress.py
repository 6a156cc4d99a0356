"""Progress of a training run on the terminal.

A *run* is a number of epochs of equally many steps. While it goes on, a bar shows how far it is,
the means of the metrics over the epoch so far, examples per second and the time that is left. At
the end of each epoch one line says the same, so that the lines tell the story of the run. Where the
output is no terminal (a file, a pipe, a notebook's log) there is no bar, only the lines.

Metrics may be arrays that are still being computed. They are looked at when the bar is redrawn, a
few times a second, so that showing them does not make every step wait for its result.
"""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import rich.console
import rich.progress

from linen_train.errors import ProgressError

__all__ = ["TrainingProgress"]

_REDRAW_SECONDS = 0.1


class TrainingProgress:
    """Shows the progress of a run: a bar on a terminal, and one line per epoch everywhere.

    Args:
        epochs: epochs of the whole run.
        steps_per_epoch: steps of one epoch.
        first_step: steps that were made already, when a run is resumed.
        console: where to write; by default standard output.

    Example:
        >>> import rich.console
        >>> from linen_train import TrainingProgress
        >>> console = rich.console.Console(force_terminal=False, width=80)
        >>> with TrainingProgress(epochs=1, steps_per_epoch=2, console=console) as progress:
        ...     for loss in (0.5, 0.25):
        ...         progress.update(examples=32, loss=loss)
        ...     averages = progress.end_epoch(test_accuracy=0.75)
        epoch 1/1  loss 0.3750  test_accuracy 0.7500  ... examples/s
        >>> averages
        {'loss': 0.375}
    """

    def __init__(
        self,
        *,
        epochs: int,
        steps_per_epoch: int,
        first_step: int = 0,
        console: rich.console.Console | None = None,
    ) -> None:
        self._epochs = epochs
        self._steps_per_epoch = steps_per_epoch
        self._steps = first_step
        self._epoch = first_step // steps_per_epoch + 1
        self._console = console or rich.console.Console()
        self._bar = rich.progress.Progress(
            rich.progress.TextColumn("epoch {task.fields[epoch]}"),
            rich.progress.BarColumn(bar_width=None),
            rich.progress.TextColumn("{task.fields[metrics]}"),
            rich.progress.TextColumn("ETA"),
            rich.progress.TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task(
            "", total=epochs * steps_per_epoch, completed=first_step, epoch="", metrics=""
        )
        self._running = False
        self._pending: list[tuple[int, Mapping[str, Any]]] = []
        self._begin_epoch()

    def update(self, examples: int, **metrics: Any) -> None:
        """Count one step.

        Args:
            examples: how many examples the step used. Means over the epoch are weighted by it.
            **metrics: means over the step's examples, scalars.

        Raises:
            ProgressError: the progress is not inside its `with` block.
        """
        self._check_running()
        self._pending.append((examples, metrics))
        self._steps += 1
        self._bar.advance(self._task)
        is_last = self._steps % self._steps_per_epoch == 0
        if is_last or time.monotonic() - self._collected >= _REDRAW_SECONDS:
            self._redraw()

    def end_epoch(self, **metrics: Any) -> dict[str, float]:
        """Write the line of the epoch and begin the next one.

        Args:
            **metrics: what was measured at the end of the epoch, on the test data for one.

        Returns:
            Means over the epoch of the metrics given to `update`.

        Raises:
            ProgressError: the progress is not inside its `with` block.
        """
        self._check_running()
        self._collect()
        means = self._means()
        shown = {**means, **{name: float(value) for name, value in metrics.items()}}
        self.print(f"epoch {self._epoch_text()}  {self._metrics_text(shown)}")
        self._epoch += 1
        self._begin_epoch()
        return means

    def print(self, text: str) -> None:
        """Write a line without disturbing the bar.

        Args:
            text: the line.
        """
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        self._running = True
        self._begin_epoch()
        self._redraw()
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._running = False
        if self._console.is_terminal:
            self._bar.stop()

    def _check_running(self) -> None:
        if not self._running or self._epoch > self._epochs:
            raise ProgressError(
                f"TrainingProgress: epoch {self._epoch_text()} is not running. Use it inside its "
                "`with` block, for as many epochs as it was made for."
            )

    def _begin_epoch(self) -> None:
        self._weighted: dict[str, float] = {}
        self._weights: dict[str, int] = {}
        self._examples = 0
        self._started = self._collected = time.monotonic()

    def _redraw(self) -> None:
        self._collect()
        self._bar.update(
            self._task, epoch=self._epoch_text(), metrics=self._metrics_text(self._means())
        )

    def _collect(self) -> None:
        """Add the metrics of the steps since the last time to the sums of the epoch."""
        if not self._pending:
            return  # what happens between steps, an evaluation say, is no time of training
        for examples, metrics in self._pending:
            self._examples += examples
            for name, value in metrics.items():
                self._weighted[name] = self._weighted.get(name, 0.0) + examples * float(value)
                self._weights[name] = self._weights.get(name, 0) + examples
        self._pending.clear()
        self._collected = time.monotonic()

    def _means(self) -> dict[str, float]:
        return {name: total / self._weights[name] for name, total in self._weighted.items()}

    def _epoch_text(self) -> str:
        return f"{self._epoch:>{len(str(self._epochs))}}/{self._epochs}"

    def _metrics_text(self, metrics: Mapping[str, float]) -> str:
        rate = self._examples / max(self._collected - self._started, 1e-9)
        texts = [f"{name} {value:.4f}" for name, value in metrics.items()]
        return "  ".join([*texts, f"{rate:,.0f} examples/s"])
