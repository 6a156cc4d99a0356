"""The training loop."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import rich.console

from linen_train.checkpoint import Checkpointer
from linen_train.errors import LoopResumeError
from linen_train.loop._arguments import check_arguments
from linen_train.loop._counters import Counters
from linen_train.loop._data import Batches, expected_end
from linen_train.loop._run import Run
from linen_train.loop._settings import Settings, evaluation_schedule, last_step_of
from linen_train.loop.every import Every, as_every
from linen_train.loop.hook import Hook
from linen_train.loop.profile import Profile
from linen_train.loop.result import FitResult

__all__ = ["fit"]

_State = TypeVar("_State")


def fit(
    state: _State,
    step_fn: Callable[[_State, Any], tuple[_State, Any]],
    data: Any,
    *,
    num_steps: int | None = None,
    epochs: int | None = None,
    steps_per_epoch: int | None = None,
    log_every: Every | int | None = 100,
    evaluate: Callable[[_State], Any] | None = None,
    evaluate_every: Every | int | None = None,
    checkpointer: Checkpointer | None = None,
    resume: bool = False,
    metadata: Mapping[str, Any] | None = None,
    writer: Any = None,
    progress: bool | rich.console.Console = True,
    early_stopping: Any = None,
    monitor: str | None = None,
    check_finite: Literal["log", "step"] | None = "log",
    profile: Profile | None = None,
    hooks: Sequence[Hook] = (),
    prefetch: int = 0,
    sharding: Any = None,
    handle_signals: bool = True,
) -> FitResult[_State]:
    """Train: draw a batch, make a step, again and again, and look after all that is around it.

    The device is waited for when something is logged, evaluated or saved, and never in between. With
    several processes, all of them call it alike; the first one writes and draws.

    Args:
        state: what a step changes, a `TrainState` or any pytree. Steps are counted from its `step`,
            where it has one, or from 0.
        step_fn: takes state and batch, returns the new state and the metrics of the batch: a dict of
            scalars and of metrics as in `linen_train.metrics`, or a metric that computes a dict.
            It should be compiled with `jax.jit`, and may donate the state.
        data: batches: an `ArrayLoader`, a grain dataset, a list, a generator. A list is read once
            for each epoch; a loader or a dataset says itself how often it is read, `epochs=None`,
            `repeat()`. Of a batch with a boolean `mask` over its examples, as
            `ArrayLoader(remainder="pad")` makes, those count that the mask keeps.
        num_steps: the step to end at, steps before a resumption included.
        epochs: the same in epochs. Without both, the run ends with the data.
        steps_per_epoch: how many batches an epoch has, where the data does not tell.
        log_every: when to fetch the metrics and to write their means, weighted by the examples of
            each batch; a number counts steps, None only writes in the end.
        evaluate: takes the state, returns scalars by name, or metrics, under other names than those
            of `step_fn`.
        evaluate_every: when; by default after each epoch, and in any case in the end.
        checkpointer: saves at the steps that it says are due, at an interruption, and in the end. Its
            `every_steps` should be given: it saves every step otherwise.
        resume: go on from the newest step of the checkpointer that is intact, if there is one: state,
            position in the data, counters. What follows is bit for bit what would have followed.
        metadata: JSON values to save with each step, beside the counters under `"fit"`.
        writer: `write(step, values)`, `flush()`: a writer of `linen_train.writers`. It is flushed
            before each save, and not closed.
        progress: whether to draw a bar where standard output is a terminal; or a console.
        early_stopping: an object with `update(metric)`, which returns such an object, and
            `should_stop`: an `EarlyStopping`. It gets the metric `monitor` of each evaluation, or
            of each log without `evaluate`.
        monitor: the name of the metric for `early_stopping`, by default the checkpointer's
            `best_metric`, which is saved as NaN where a step that is saved was not evaluated.
        check_finite: when to make sure that metrics and state are finite: at each log, and before
            anything is saved (`"log"`); after each step, which waits for each (`"step"`); never
            (None). The metrics of all steps are looked at in both; of the state, parameters, and
            every array that is finite in the beginning.
        profile: steps to profile.
        hooks: functions to call at some steps.
        prefetch: how many batches to put on the device ahead of time, in a background thread; 0
            gives them to `step_fn` as they are.
        sharding: where prefetched batches go, as in `linen_train.data.prefetch_to_device`.
        handle_signals: whether the first Ctrl-C and SIGTERM finish the step, save, and end the run.
            They are handled in the main thread alone; the second Ctrl-C stops at once, a second
            SIGTERM says nothing new. With several
            processes, a signal to one of them stops all at the same step, by JAX's preemption
            service (`jax_enable_preemption_service`, on by default).

    Returns:
        The state after the last step, why it was the last, the exit code that goes with that, and
        the history of evaluations.

    Raises:
        LoopArgumentError: arguments are out of range, without effect, or do not go together.
        DataOptionError: `sharding` is no sharding.
        BatchShardingError: `sharding` does not fit a batch.
        DataLeafError: a batch that is prefetched holds something that is no array.
        LoopDataError: the data cannot go on from the position that was saved.
        LoopMetricsError: metrics are no scalars, or one is missing, or a name stands for two things.
        LoopResumeError: there are steps in the checkpointer that the run would not go on from.
        NonFiniteError: a metric or the state is NaN or infinite. The last good state is saved
            before it is raised: the one of the last check if it is still there, which it is not if
            `step_fn` donates it, or else the newest that was saved.
        StepFunctionError: `step_fn` does not return a pair.

    Example:
        >>> import jax, jax.numpy as jnp, numpy as np, optax
        >>> from linen_train import TrainState, fit
        >>> from linen_train.data import ArrayLoader
        >>> state = TrainState.create(
        ...     apply_fn=lambda variables, x: x @ variables["params"],
        ...     params=jnp.zeros(2),
        ...     tx=optax.sgd(0.1),
        ... )
        >>> @jax.jit
        ... def train_step(state, batch):
        ...     def loss_of(params):
        ...         predictions = state.apply_fn({"params": params}, batch["x"])
        ...         return ((predictions - batch["y"]) ** 2).mean()
        ...     loss, grads = jax.value_and_grad(loss_of)(state.params)
        ...     return state.apply_gradients(grads=grads), {"loss": loss}
        >>> x = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
        >>> loader = ArrayLoader(
        ...     {"x": x, "y": x @ np.float32([1, -2])}, batch_size=16, epochs=20, shuffle_seed=0
        ... )
        >>> result = fit(state, train_step, loader)
        >>> result.stopped_by, result.step, result.state.params.round(2)
        ('data', 80, Array([ 1., -2.], dtype=float32))
    """
    monitor = getattr(checkpointer, "best_metric", None) if monitor is None else monitor
    check_arguments(
        {
            "log_every": log_every,
            "evaluate": evaluate,
            "checkpointer": checkpointer,
            "resume": resume,
            "metadata": metadata,
            "writer": writer,
            "progress": progress,
            "early_stopping": early_stopping,
            "monitor": monitor,
            "check_finite": check_finite,
            "profile": profile,
            "hooks": hooks,
            "prefetch": prefetch,
            "sharding": sharding,
        }
    )
    last_step, in_epoch = last_step_of(data, num_steps, epochs, steps_per_epoch)
    settings = Settings(
        last_step=last_step,
        steps_per_epoch=in_epoch,
        log_every=as_every(log_every, "log_every"),
        evaluate=evaluate,
        evaluate_every=evaluation_schedule(evaluate, evaluate_every, in_epoch),
        checkpointer=checkpointer,
        metadata=dict(metadata or {}),
        writer=writer,
        console=rich.console.Console() if progress is True else progress or None,
        monitor=monitor,
        check_finite=check_finite,
        profile=profile,
        hooks=hooks,
        handle_signals=handle_signals,
    )
    state, step, counters, position = _begin(state, checkpointer, resume)
    batches = Batches(
        data,
        passes=epochs or (1 if num_steps is None else None),
        resumed=step > counters.data_step,
        position=position,
        prefetch=prefetch,
        sharding=sharding,
    )
    try:
        run = Run(
            settings,
            state,
            step_fn,
            batches,
            step=step,
            counters=counters,
            expected_step=expected_end(data, counters.data_step, last_step),
            stopper=_as_it_was(early_stopping, counters),
        )
        return run.execute()
    finally:
        batches.close()


def _begin(
    state: _State, checkpointer: Checkpointer | None, resume: bool
) -> tuple[_State, int, Counters, Any]:
    """Return state, step, counters and position in the data to begin with."""
    step = _step_of(state)
    newest = None if checkpointer is None else checkpointer.latest_step()
    if checkpointer is None or newest is None or (not resume and newest <= step):
        counters = Counters(data_step=step, logged_step=step, evaluated_step=step)
        return state, step, counters, None
    if not resume:
        raise LoopResumeError(
            f"fit: found step {newest} in {checkpointer.directory}, but the run begins after step "
            f"{step}, and steps only grow. Write resume=True to go on, or save into another "
            "directory."
        )
    state = checkpointer.restore(state, fallback=True)
    newest = checkpointer.latest_step()
    assert newest is not None  # it has just been restored
    counters = Counters.from_json(
        checkpointer.metadata(newest), f"step {newest} in {checkpointer.directory}"
    )
    return state, newest, counters, checkpointer.data_state(newest)


def _as_it_was(stopper: Any, counters: Counters) -> Any:
    """Return what decides on early stopping, when it has seen what an earlier run has shown it."""
    if stopper is not None:
        for value in counters.monitored:
            stopper = stopper.update(value)
    return stopper


def _step_of(state: Any) -> int:
    step = getattr(state, "step", None)
    return 0 if step is None or callable(step) else int(step)
