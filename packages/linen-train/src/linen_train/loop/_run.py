"""One run of the loop.

The loop itself is `Run.train`: draw a batch, make a step, keep its metrics. Everything else happens
in `Run._attend`, which is called only after steps where something is due, in this order: log, evaluate,
hooks, save. What a signal leaves undone, `Run._catch_up` does when the run is resumed. What is logged at a step is therefore known when it is evaluated, and what was evaluated is
known when it is saved.
"""

import dataclasses
import signal
import time
from collections.abc import Callable
from typing import Any

import jax

from linen_train.errors import LoopMetricsError, NonFiniteError, StepFunctionError
from linen_train.loop._counters import KEY, Counters
from linen_train.loop._data import Batches, examples_in
from linen_train.loop._display import Display
from linen_train.loop._finite import FiniteCheck
from linen_train.loop._settings import Settings
from linen_train.loop._signals import Interruption
from linen_train.loop._window import Window, numbers
from linen_train.loop.every import Schedule, as_every
from linen_train.loop.hook import Event
from linen_train.loop.profile import Profiler
from linen_train.loop.result import FitResult

__all__ = ["Run"]


@dataclasses.dataclass(frozen=True)
class _Good:
    """A state that is known to be finite, and what is saved with it."""

    step: int
    state: Any
    position: Any
    counters: Counters


class Run:
    """A run from one step on.

    Args:
        settings: what was asked for.
        state: the state to begin with.
        step_fn: makes a step.
        batches: the data.
        step: the step to begin after.
        counters: what earlier parts of the run have counted.
        expected_step: where the run is expected to end, for the bar.
        stopper: the object that decides on early stopping, when it has seen `counters.monitored`.
    """

    def __init__(
        self,
        settings: Settings,
        state: Any,
        step_fn: Callable[[Any, Any], Any],
        batches: Batches,
        *,
        step: int,
        counters: Counters,
        expected_step: int | None,
        stopper: Any,
    ) -> None:
        self.settings = settings
        self.state = state
        self.step = self.first_step = step
        self.counters = counters
        self.stopper = stopper
        self._step_fn = step_fn
        self._batches = batches
        self._window = Window(counters.examples)
        self._window.log.restore(counters.log, counters.merged_log)
        self._window.row.restore(counters.row, counters.merged_row)
        self._log = Schedule(settings.log_every, step)
        self._evaluate = Schedule(settings.evaluate_every, step)
        self._hooks = [(h, Schedule(as_every(h.every, "every"), step)) for h in settings.hooks]
        self._profiler = Profiler(settings.profile, settings.last_step)
        self._display = Display(
            settings.console,
            first_step=step,
            last_step=expected_step,
            steps_per_epoch=settings.steps_per_epoch,
        )
        self._interruption = Interruption(settings.handle_signals)
        self.metrics: dict[str, float] = dict(counters.metrics)
        self._measured: dict[str, float] = {}
        self._measured_step = step
        self._finite = FiniteCheck(state) if settings.check_finite is not None else None
        self._checked_step = step
        self._saved_step = self._newest_saved()
        self._good: _Good | None = None
        self._rate_from = self._counted_from = time.monotonic()
        self._rate_examples, self._rate_step = counters.examples, step

    def execute(self) -> FitResult[Any]:
        """Train until there is a reason to stop."""
        with self._interruption:
            self._display.start()
            try:
                self._profiler.after(self.step, self.state)
                reason = self._catch_up() or self.train()
                self._finish(reason)
            finally:
                self._profiler.stop(self.state)
                self._display.stop()
                if self.settings.writer is not None:
                    self.settings.writer.flush()
        return FitResult(
            state=self.state,
            step=self.step,
            stopped_by=reason,
            metrics=self.metrics,
            history=self.counters.history,
            saved_step=self._saved_step,
            early_stopping=self.stopper,
        )

    def train(self) -> str:
        """Make steps; return why there are no more."""
        last_step = self.settings.last_step
        next_batch, interruption, window = self._batches.next, self._interruption, self._window
        checkpointer = self.settings.checkpointer
        monotonic = time.monotonic
        self._plan()
        while last_step is None or self.step < last_step:
            try:
                batch = next_batch()
            except StopIteration:
                return "data"
            examples = examples_in(batch)  # before the step, which may donate the batch
            result = self._step(batch)
            if not (isinstance(result, tuple) and len(result) == 2):
                raise _not_a_pair(result)
            self.state, metrics = result
            self.step += 1
            window.add(self.step, examples, metrics)
            save = checkpointer is not None and checkpointer.should_save(self.step)
            stop = interruption.poll(self.step)
            if save or stop or self.step >= self._next_step or monotonic() >= self._next_time:
                if reason := self._attend(save, stop):
                    return reason
                self._plan()
        return "steps"

    def _step(self, batch: Any) -> Any:
        try:
            if not self._profiler.is_tracing:
                return self._step_fn(self.state, batch)
            with jax.profiler.StepTraceAnnotation("train", step_num=self.step + 1):
                return self._step_fn(self.state, batch)
        except Exception as error:
            error.add_note(
                f"fit: while making step {self.step + 1}, {self._batch_of(self.step + 1)}"
            )
            raise

    def _plan(self) -> None:
        """Find out when something is due next."""
        schedules = [self._log, self._evaluate, *(schedule for _, schedule in self._hooks)]
        profiled = self._profiler.next_step(self.step)
        self._next_step = min(schedule.next_step for schedule in schedules)
        if profiled is not None:
            self._next_step = min(self._next_step, profiled)
        if self.settings.check_finite == "step":
            self._next_step = self.step + 1
        self._next_time = min(
            self._display.next_time, *(schedule.next_time for schedule in schedules)
        )

    def _attend(self, save: bool, stop: signal.Signals | None) -> str | None:
        """Do what is due after a step; return why to stop, if there is a reason."""
        self._profiler.after(self.step, self.state)
        if self.settings.check_finite == "step":
            self._check()
        is_last = self.step == self.settings.last_step
        if is_last or self._log.is_due(self.step):
            self.log()
        evaluation_is_due = is_last or self._evaluate.is_due(self.step)
        hooks = [i for i, (_, when) in enumerate(self._hooks) if when.is_due(self.step)]
        if stop is not None:  # there may be no time for them now
            self.counters.evaluation_is_due = evaluation_is_due
            self.counters.due_hooks = hooks
            reason = stop.name
        else:
            if evaluation_is_due:
                self.evaluate()
            reason = self._stop_of(hooks)
            if reason is not None:
                self._conclude()
        if save:
            self.save()
        self._display.show(self.step)
        return reason

    def _catch_up(self) -> str | None:
        """Do what an interruption kept from being done; return why to stop, if there is a reason."""
        if self.counters.evaluation_is_due:
            self.evaluate()
            self.counters.evaluation_is_due = False
        hooks, self.counters.due_hooks = self.counters.due_hooks, []
        return self._stop_of([i for i in hooks if i < len(self._hooks)])

    def _stop_of(self, hooks: list[int]) -> str | None:
        """Call hooks; return why to stop, if early stopping or one of them asks for it."""
        if self.stopper is not None and bool(self.stopper.should_stop):
            return "early_stopping"
        return "hook" if self._call(hooks) else None

    def log(self) -> None:
        """Fetch the metrics of the steps since the last log, and write their means."""
        self._window.fold()
        self._check()
        now = time.monotonic()
        seconds = max(now - self._rate_from, 1e-9)
        rates = {
            "steps_per_second": (self.step - self._rate_step) / seconds,
            "examples_per_second": (self._window.examples - self._rate_examples) / seconds,
        }
        self._rate_from, self._rate_step = now, self.step
        self._rate_examples = self._window.examples
        means = self._window.log.means()
        self._window.log.clear()
        self._publish({**means, **{k: v for k, v in rates.items() if k not in means}})
        if self.settings.evaluate is None:
            self._monitor(means)
        self._log.done(self.step)
        self.counters.logged_step = self.step

    def evaluate(self) -> None:
        """Evaluate, and add a row to the history."""
        evaluate = self.settings.evaluate
        if evaluate is None:
            return
        self._window.fold()
        self._check()
        began = time.monotonic()
        evaluated = numbers(evaluate(self.state))
        row = self._window.row.means()
        if twice := sorted(evaluated.keys() & row.keys()):
            raise LoopMetricsError(
                f"fit: found {twice} among the results of evaluate and among the metrics of step_fn, "
                f"expected different names. Call the former {['test_' + name for name in twice]}."
            )
        self._window.row.clear()
        epoch = self._epochs()
        where = {"step": self.step} if epoch is None else {"step": self.step, "epoch": epoch}
        self.counters.history.append({**where, **row, **evaluated})
        self._publish(evaluated)
        self._monitor(evaluated)
        self._evaluate.done(self.step)
        self.counters.evaluated_step = self.step
        self.counters.evaluation_is_due = False
        self._rate_from += time.monotonic() - began

    def save(self) -> None:
        """Save the state, the position in the data and the counters."""
        checkpointer = self.settings.checkpointer
        if checkpointer is None or self._saved_step == self.step:
            return
        began = time.monotonic()
        self._window.fold()
        self._check()
        if self.settings.writer is not None:
            self.settings.writer.flush()  # no row is lost that a resumed run would not write again
        good = _Good(self.step, self.state, self._batches.position(), self._counted())
        self._save(good, self._values_at_this_step())
        self._good = None  # what is on the disk need not be kept in memory
        self._rate_from += time.monotonic() - began

    def _values_at_this_step(self) -> dict[str, float]:
        """Return what is known of the present state, for the checkpointer to compare."""
        values = self._window.row.means()
        history = self.counters.history
        if history and history[-1]["step"] == self.step:
            values.update({k: v for k, v in history[-1].items() if k not in ("step", "epoch")})
        if self._measured_step == self.step:
            values.update(self._measured)
        return values

    def _save(self, good: _Good, metrics: dict[str, float]) -> None:
        if self.settings.monitor is not None:
            metrics = {self.settings.monitor: float("nan"), **metrics}
        self.settings.checkpointer.save(
            good.step,
            good.state,
            data=good.position,
            metadata={**self.settings.metadata, KEY: good.counters.to_json()},
            metrics=metrics,
        )
        self._saved_step = good.step

    def _finish(self, reason: str) -> None:
        """Do what belongs to the end of a run."""
        interrupted = reason in signal.Signals.__members__
        if not interrupted:
            self._conclude()
        if self.step > self.first_step:
            self.save()
        if self.settings.checkpointer is not None:
            self.settings.checkpointer.wait()
        self._display.show(self.step)
        if interrupted:
            saved = f", saved step {self._saved_step}" if self._saved_step is not None else ""
            self._display.say(f"Stopped by {reason} after step {self.step}{saved}.")

    def _conclude(self) -> None:
        """Log and evaluate at the end, if that is not done."""
        if self.counters.logged_step != self.step:
            self.log()
        if self.counters.evaluated_step != self.step:
            self.evaluate()

    def _publish(self, values: dict[str, float]) -> None:
        self.metrics.update(values)
        if self._measured_step != self.step:
            self._measured, self._measured_step = {}, self.step
        self._measured.update(values)
        self._display.show(self.step, self.metrics)
        if self.settings.writer is not None and jax.process_index() == 0:
            self.settings.writer.write(self.step, values)

    def _monitor(self, values: dict[str, float]) -> None:
        """Tell the metric that decides on early stopping."""
        if self.stopper is None:
            return
        monitor = self.settings.monitor
        if monitor not in values:
            raise LoopMetricsError(
                f"fit: found {sorted(values)}, expected the metric {monitor!r} among them, which "
                "decides on early stopping. Name one of these in monitor=."
            )
        self.counters.monitored.append(values[monitor])
        self.stopper = self.stopper.update(values[monitor])

    def _call(self, hooks: list[int]) -> bool:
        """Call hooks; return whether one asks to stop."""
        stop = False
        for hook, schedule in [self._hooks[index] for index in hooks]:
            began = time.monotonic()
            event = Event(self.step, self._epoch(), self.state, dict(self.metrics))
            if (values := hook.call(event)) is not None:
                self._publish(numbers(values))
            stop = stop or event.stop_requested
            schedule.done(self.step)
            self._rate_from += time.monotonic() - began
        return stop

    def _check(self) -> None:
        """Make sure that the metrics so far and the parameters are finite, once for each step."""
        if self._finite is None or self._checked_step == self.step:
            return
        self._window.fold()
        bad, leaf = self._window.bad, self._finite.first_bad_leaf(self.state)
        if bad is not None or leaf is not None:
            raise self._non_finite(leaf)
        self._checked_step = self.step
        if self.settings.checkpointer is not None:
            self._good = _Good(self.step, self.state, self._batches.position(), self._counted())

    def _non_finite(self, leaf: tuple[str, str] | None) -> NonFiniteError:
        """Save the last good state, and say what is not finite and since when."""
        good = self._good
        if good is not None and good.step != self._saved_step and not _is_deleted(good.state):
            self._save(good, {})
        if self.settings.checkpointer is not None:
            self.settings.checkpointer.wait()
        bad = self._window.bad
        path = f"metrics/{bad.name}" if bad else leaf[0] if leaf else ""
        value = str(bad.value) if bad else leaf[1] if leaf else ""
        step = bad.step if bad else self.step
        unsure = 0 if bad else self.step - self._checked_step - 1
        since = f", or at one of the {unsure} steps before it" if unsure else ""
        also = (
            f" The first leaf of the state that is not finite is {leaf[0]}." if bad and leaf else ""
        )
        finer = (
            ""
            if self.settings.check_finite == "step"
            else "check_finite='step' finds the very step, and "
        )
        return NonFiniteError(
            f"fit: found {value} in {path} at step {step}{since}, {self._batch_of(step)}, expected "
            f"finite numbers.{also} {self._what_is_saved()} Lower the learning rate or clip gradients, "
            f"optax.chain(optax.clip_by_global_norm(1.0), optimizer); {finer}check_finite=None goes on "
            "regardless.",
            step=step,
            batch=step - self.counters.data_step,
            path=path,
            good_step=self._checked_step if self._checked_step > self.first_step else None,
            saved_step=self._saved_step,
        )

    def _what_is_saved(self) -> str:
        checkpointer = self.settings.checkpointer
        if checkpointer is None:
            return "No state is saved: give fit a checkpointer."
        if self._saved_step is None:
            return "No state is saved, because none was due before: lower every_steps."
        directory = getattr(checkpointer, "directory", "the checkpoints")
        return f"The last good state that is saved is step {self._saved_step}, in {directory}."

    def _counted(self) -> Counters:
        """Return what was counted so far, as it is now."""
        now = time.monotonic()
        self.counters.seconds += now - self._counted_from
        self._counted_from = now
        return dataclasses.replace(
            self.counters,
            examples=self._window.examples,
            metrics=dict(self.metrics),
            monitored=list(self.counters.monitored),
            history=list(self.counters.history),
            log=self._window.log.sums(),
            row=self._window.row.sums(),
            merged_log=self._window.log.merged(),
            merged_row=self._window.row.merged(),
        )

    def _batch_of(self, step: int) -> str:
        """Say which batch a step had."""
        batch = step - self.counters.data_step
        per_epoch = self.settings.steps_per_epoch
        if per_epoch is None:
            return f"batch {batch}"
        epoch, index = divmod(batch - 1, per_epoch)
        return f"batch {batch} (batch {index + 1} of epoch {epoch + 1})"

    def _epoch(self) -> int | None:
        per_epoch = self.settings.steps_per_epoch
        return None if per_epoch is None else (self.step - 1) // per_epoch + 1

    def _epochs(self) -> float | None:
        """Return how many epochs were made; a whole number at the end of one."""
        per_epoch = self.settings.steps_per_epoch
        if per_epoch is None:
            return None
        return self.step // per_epoch if self.step % per_epoch == 0 else self.step / per_epoch

    def _newest_saved(self) -> int | None:
        checkpointer = self.settings.checkpointer
        return None if checkpointer is None else checkpointer.latest_step()


def _not_a_pair(result: Any) -> StepFunctionError:
    found = f"a tuple of {len(result)}" if isinstance(result, tuple) else type(result).__name__
    return StepFunctionError(
        f"fit: step_fn returned {found}, expected a pair of state and metrics. Write return state, "
        "{'loss': loss}."
    )


def _is_deleted(state: Any) -> bool:
    leaves = (leaf for leaf in jax.tree.leaves(state) if isinstance(leaf, jax.Array))
    return any(leaf.is_deleted() for leaf in leaves)
