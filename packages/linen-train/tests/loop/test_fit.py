"""The loop on a model of two numbers: what it computes, writes, keeps and restores."""

import io
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rich.console

from linen_train import Checkpointer, Event, Every, Hook, TrainState, fit
from linen_train.errors import (
    CheckpointWarning,
    LoopDataError,
    LoopMetricsError,
    LoopResumeError,
    StepFunctionError,
)
from linen_train.metrics import Last, Mean, MetricCollection

from .line import (
    BATCH,
    IN_EPOCH,
    Patience,
    Rows,
    evaluate,
    generated,
    make_batches,
    make_loader,
    make_state,
    run,
    train_step,
    without_rates,
)


@jax.jit
def measured_step(state: TrainState, batch: Any) -> tuple[TrainState, dict[str, Any]]:
    """Make the same step, with metrics that merge beside the others."""
    state, metrics = train_step(state, batch)
    several = {"y": Mean.from_batch(batch["y"]), "last": Last.from_batch(metrics["loss"])}
    return state, {**metrics, "x": Mean.from_batch(batch["x"]), "": MetricCollection(several)}


def bare(steps: int) -> tuple[TrainState, list[dict[str, float]]]:
    """Run the loop that one would write by hand."""
    state, metrics, batches = make_state(), [], iter(make_loader())
    for _ in range(steps):
        state, found = train_step(state, next(batches))
        metrics.append({name: float(value) for name, value in found.items()})
    return state, metrics


def test_it_is_the_loop_that_one_would_write_by_hand() -> None:
    rows = Rows()
    state, metrics = bare(14)
    result = run(14, log_every=4, writer=rows)
    chex.assert_trees_all_equal(result.state, state)
    assert (result.step, result.stopped_by, result.exit_code) == (14, "steps", 0)
    assert [step for step, _ in rows.rows] == [4, 8, 12, 14]
    for (step, row), before in zip(rows.rows, (0, 4, 8, 12), strict=True):
        expected = {name: np.mean([m[name] for m in metrics[before:step]]) for name in row}
        assert row == pytest.approx(expected, rel=1e-12)
    assert result.metrics.keys() == {"loss", "first", "steps_per_second", "examples_per_second"}
    assert rows.flushes == 1


def test_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def step_fn(state: int, batch: Any) -> tuple[int, dict[str, float]]:
        now[0] += 0.5
        return state, {"loss": 1.0}

    def slow_evaluation(state: int) -> dict[str, float]:
        now[0] += 100.0
        return {"test_loss": 1.0}

    result = fit(
        0,
        step_fn,
        make_batches(),
        epochs=2,
        log_every=4,
        evaluate=slow_evaluation,
        evaluate_every=2,
    )
    assert result.metrics["steps_per_second"] == pytest.approx(2.0)
    assert result.metrics["examples_per_second"] == pytest.approx(2.0 * BATCH)


@pytest.mark.parametrize(
    ("options", "steps", "reason"),
    [
        ({"num_steps": 5}, 5, "steps"),
        ({"epochs": 2}, 12, "steps"),
        ({"epochs": 2, "steps_per_epoch": 4}, 8, "steps"),
        ({"num_steps": 0}, 0, "steps"),
        ({}, IN_EPOCH, "data"),
    ],
    ids=["steps", "epochs", "own_epochs", "none", "data"],
)
def test_when_it_ends(options: dict[str, Any], steps: int, reason: str) -> None:
    loader = make_loader(epochs=1 if reason == "data" else None)
    result = fit(make_state(), train_step, loader, **options)
    assert (result.step, result.stopped_by) == (steps, reason)
    assert int(result.state.step) == steps


def test_evaluation_after_each_epoch_and_in_the_end() -> None:
    rows = Rows()
    result = run(15, log_every=None, evaluate=evaluate, writer=rows)
    assert [row["step"] for row in result.history] == [6, 12, 15]
    assert [row["epoch"] for row in result.history] == [1, 2, 2.5]
    _, metrics = bare(15)
    for row, (first, last) in zip(result.history, ((0, 6), (6, 12), (12, 15)), strict=True):
        losses = [m["loss"] for m in metrics[first:last]]
        assert row["loss"] == pytest.approx(np.mean(losses), rel=1e-12)
    assert [(step, set(row)) for step, row in rows.rows] == [
        (6, {"distance"}),
        (12, {"distance"}),
        (15, {"loss", "first"}),
        (15, {"distance"}),
    ]
    assert result.metrics["distance"] == result.history[-1]["distance"] < 3.0


def test_history_does_not_depend_on_the_log() -> None:
    histories = [
        run(13, log_every=every, evaluate=evaluate, evaluate_every=4).history
        for every in (1, 3, 4, 100, None)
    ]
    for history in histories[1:]:
        assert [row.keys() for row in history] == [row.keys() for row in histories[0]]
        for row, expected in zip(history, histories[0], strict=True):
            assert row == pytest.approx(expected, rel=1e-12)


def test_metrics_that_merge() -> None:
    @jax.jit
    def step_fn(state: jax.Array, batch: Any) -> tuple[jax.Array, MetricCollection]:
        return state + 1, MetricCollection({"y": Mean.from_batch(batch["y"])})

    def evaluate(state: jax.Array) -> MetricCollection:
        return MetricCollection({"test_y": Mean.from_batch(state)})

    result = fit(jnp.int32(0), step_fn, make_batches(), epochs=1, evaluate=evaluate)
    expected = np.mean([batch["y"] for batch in make_batches()])
    assert result.history == [
        {"step": 6, "epoch": 1, "y": pytest.approx(expected, rel=1e-5), "test_y": 6.0}
    ]


def test_hooks() -> None:
    events: list[Event] = []

    def remember(event: Event) -> dict[str, float]:
        events.append(event)
        return {"remembered": 2.0 * event.step}

    rows = Rows()
    result = run(9, log_every=4, writer=rows, hooks=[Hook(Every(steps=4), remember)])
    assert [event.step for event in events] == [4, 8]
    assert [event.epoch for event in events] == [1, 2]
    assert events[0].metrics["loss"] == rows.rows[0][1]["loss"]
    assert "remembered" not in events[0].metrics
    assert int(events[1].state.step) == 8
    assert rows.rows[1] == (4, {"remembered": 8.0})
    assert result.metrics["remembered"] == 16.0


def test_a_hook_stops() -> None:
    result = run(100, hooks=[Hook(1, lambda event: event.stop() if event.step == 7 else None)])
    assert (result.step, result.stopped_by, result.exit_code) == (7, "hook", 0)


def interrupting(step: int, number: signal.Signals = signal.SIGTERM) -> Hook:
    """Return a hook that gets the process a signal in the middle of a step."""
    return Hook(1, lambda event: os.kill(os.getpid(), number) if event.step == step else None)


@pytest.mark.parametrize("by_evaluation", [True, False])
def test_early_stopping(by_evaluation: bool) -> None:
    def step_fn(state: int, batch: Any) -> tuple[int, dict[str, float]]:
        return state + 1, {"loss": state / 4}

    options: dict[str, Any] = {"log_every": 4, "monitor": "loss"}
    if by_evaluation:
        options = {"evaluate": lambda state: {"test": state / 4}, "evaluate_every": 4}
        options["monitor"] = "test"
    result = fit(0, step_fn, make_batches(), num_steps=99, early_stopping=Patience(), **options)
    assert result.stopped_by == "early_stopping"
    assert result.step == 12
    assert result.early_stopping.seen == (
        (1.0, 2.0, 3.0) if by_evaluation else (0.375, 1.375, 2.375)
    )


def checkpointed(
    directory: Path, steps: int, hooks: Sequence[Hook] = (), **options: Any
) -> tuple[Any, Rows]:
    rows = Rows()
    with Checkpointer(directory, every_steps=5, keep_last=None) as checkpointer:
        result = run(
            steps,
            step_fn=measured_step,
            hooks=[Hook(4, lambda event: {"hooked": event.metrics["distance"]}), *hooks],
            log_every=3,
            evaluate=evaluate,
            evaluate_every=4,
            checkpointer=checkpointer,
            writer=rows,
            early_stopping=Patience(limit=99.0),
            monitor="distance",
            **options,
        )
        assert checkpointer.latest_step() == result.saved_step
    return result, rows


@pytest.mark.parametrize("prefetch", [0, 3])
@pytest.mark.parametrize("parts", [[11], [5], [2, 9], [3, 6, 12], [7, 15]], ids=str)
def test_a_run_in_parts_is_the_run_in_one(tmp_path: Path, parts: list[int], prefetch: int) -> None:
    whole, rows = checkpointed(tmp_path / "whole", 16)
    found = []
    for step in parts:
        options: dict[str, Any] = {"resume": True, "prefetch": prefetch}
        result, part = checkpointed(tmp_path / "parts", 16, hooks=[interrupting(step)], **options)
        # The signal comes between two steps, so one more is made.
        assert (result.stopped_by, result.exit_code) == ("SIGTERM", 143)
        assert result.step == result.saved_step == step + 1
        found += part.rows
    result, part = checkpointed(tmp_path / "parts", 16, resume=True, prefetch=prefetch)
    chex.assert_trees_all_equal(result.state, whole.state)
    assert (result.step, result.stopped_by) == (16, "steps")
    assert result.history == whole.history
    assert without_rates(result.metrics) == without_rates(whole.metrics)
    assert result.early_stopping.seen == whole.early_stopping.seen
    assert [*found, *part.rows] == rows.rows
    with Checkpointer(tmp_path / "parts") as checkpointer:
        assert checkpointer.metadata()["fit"]["examples"] == 16 * BATCH


def test_what_is_saved(tmp_path: Path) -> None:
    with Checkpointer(tmp_path, every_steps=4, best_metric="distance", keep_best=1) as checkpointer:
        run(
            10,
            evaluate=evaluate,
            evaluate_every=4,
            checkpointer=checkpointer,
            monitor="distance",
            metadata={"seed": 1},
        )
        assert checkpointer.steps() == [4, 8, 10]
        assert checkpointer.metadata()["seed"] == 1
        saved = checkpointer.metrics(8)
        assert saved.keys() >= {"loss", "distance"}
        assert checkpointer.data_state(8)["position"] == 8
        json.dumps(checkpointer.metadata(), allow_nan=False)


def test_a_step_that_was_not_evaluated_is_saved_as_the_worst(tmp_path: Path) -> None:
    with Checkpointer(tmp_path, every_steps=2, best_metric="distance") as checkpointer:
        run(
            3,
            evaluate=evaluate,
            evaluate_every=3,
            checkpointer=checkpointer,
            monitor="distance",
        )
        assert np.isnan(checkpointer.metrics(2)["distance"])
        assert checkpointer.best_step() == 3


def test_the_end_is_saved_once(tmp_path: Path) -> None:
    with Checkpointer(tmp_path, every_steps=3) as checkpointer:
        assert run(6, checkpointer=checkpointer).saved_step == 6
        again = fit(
            make_state(),
            train_step,
            make_loader(),
            num_steps=6,
            checkpointer=checkpointer,
            resume=True,
        )
        assert (again.step, again.stopped_by, again.saved_step) == (6, "steps", 6)
        assert again.metrics["loss"] == checkpointer.metrics()["loss"]  # known from the first run
        assert checkpointer.steps() == [3, 6]


def test_a_damaged_step_is_passed_over(tmp_path: Path) -> None:
    whole, _ = checkpointed(tmp_path / "whole", 12)
    checkpointed(tmp_path / "run", 10)
    for file in (tmp_path / "run" / "10").glob("arrays-*"):
        file.write_bytes(file.read_bytes()[:-1])
    with pytest.warns(CheckpointWarning, match="restored step 5, the newest one that is intact"):
        result, _ = checkpointed(tmp_path / "run", 12, resume=True)
    chex.assert_trees_all_equal(result.state, whole.state)
    assert result.history == whole.history
    with Checkpointer(tmp_path / "run") as checkpointer:
        assert checkpointer.steps() == [5, 10, 12]


def test_to_resume_without_a_checkpoint_is_to_begin(tmp_path: Path) -> None:
    with Checkpointer(tmp_path, every_steps=3) as checkpointer:
        assert run(3, checkpointer=checkpointer, resume=True).step == 3


def test_an_early_stop_stays_one(tmp_path: Path) -> None:
    def resumed() -> Any:
        with Checkpointer(tmp_path, every_steps=100) as checkpointer:
            return fit(
                jnp.int32(0),
                lambda state, batch: (state + 1, {"loss": state}),
                make_batches(),
                num_steps=99,
                log_every=2,
                early_stopping=Patience(),
                monitor="loss",
                checkpointer=checkpointer,
                resume=True,
            )

    first, second = resumed(), resumed()
    assert first.stopped_by == second.stopped_by == "early_stopping"
    assert first.step == second.step == 4
    assert second.state == 4


def test_plain_batches_are_resumed_by_their_number(tmp_path: Path) -> None:
    seen: list[float] = []

    def step_fn(state: Any, batch: Any) -> tuple[Any, dict[str, Any]]:
        seen.append(float(batch["y"][0]))
        return state + 1, {}

    for steps in (4, 13):
        with Checkpointer(tmp_path, every_steps=100) as checkpointer:
            fit(
                jnp.int32(0),
                step_fn,
                make_batches(),
                num_steps=steps,
                checkpointer=checkpointer,
                resume=True,
            )
    once = [float(batch["y"][0]) for batch in make_batches()]
    assert seen == (once * 3)[:13]


def refused(directory: Path, data: Any, error: type[Exception], **options: Any) -> str:
    with Checkpointer(directory, every_steps=100) as checkpointer, pytest.raises(error) as caught:
        run(9, data, checkpointer=checkpointer, **options)
    return str(caught.value)


def test_what_cannot_be_resumed(tmp_path: Path) -> None:
    with Checkpointer(tmp_path / "run", every_steps=100) as checkpointer:
        run(4, checkpointer=checkpointer)
    assert refused(tmp_path / "run", None, LoopResumeError) == (
        f"fit: found step 4 in {tmp_path}/run, but the run begins after step 0, and steps only grow. "
        "Write resume=True to go on, or save into another directory."
    )
    text = refused(tmp_path / "run", generated(), LoopDataError, resume=True)
    assert text.startswith(
        "fit: cannot go on in the data: the iterator of generator has no get_state and set_state."
    )
    text = refused(tmp_path / "run", make_batches()[:3], LoopDataError, resume=True)
    assert text.startswith("fit: found a position in data of another kind, but data has 3 batch")
    with Checkpointer(tmp_path / "other") as checkpointer:
        checkpointer.save(4, make_state(), metadata={"epoch": 1})
    text = refused(tmp_path / "other", None, LoopResumeError, resume=True)
    assert text.startswith(f"fit: step 4 in {tmp_path}/other holds no counters of fit")
    with Checkpointer(tmp_path / "unknown", every_steps=100) as checkpointer:
        run(4, generated(), checkpointer=checkpointer)
    text = refused(tmp_path / "unknown", None, LoopDataError, resume=True)
    assert "the checkpoint holds no position in the data" in text


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (None, "returned NoneType"),
        ((1, {}, 2), "returned a tuple of 3"),
        ([1, {}], "returned list"),
    ],
    ids=["nothing", "three", "list"],
)
def test_steps_that_return_no_pair(result: Any, text: str) -> None:
    with pytest.raises(StepFunctionError) as caught:
        fit(0, lambda state, batch: result, make_batches())
    assert text in str(caught.value)


def test_errors_of_a_step_say_where() -> None:
    def step_fn(state: int, batch: Any) -> tuple[int, dict[str, Any]]:
        if state == 7:
            raise KeyError("label")
        return state + 1, {}

    with pytest.raises(KeyError, match="label") as caught:
        fit(0, step_fn, make_batches(), epochs=3)
    assert caught.value.__notes__ == ["fit: while making step 8, batch 8 (batch 2 of epoch 2)"]


def test_names_that_stand_for_two_things() -> None:
    with pytest.raises(LoopMetricsError) as caught:
        run(3, evaluate=lambda state: {"loss": 1.0})
    assert str(caught.value) == (
        "fit: found ['loss'] among the results of evaluate and among the metrics of step_fn, "
        "expected different names. Call the former ['test_loss']."
    )


def test_a_monitor_that_is_missing() -> None:
    with pytest.raises(LoopMetricsError, match=r"found \['distance'\], expected the metric 'los'"):
        run(3, evaluate=evaluate, early_stopping=Patience(), monitor="los")


def test_the_bar_knows_where_the_data_ends() -> None:
    output = io.StringIO()
    console = rich.console.Console(file=output, force_terminal=True, width=100)
    run(None, make_loader(epochs=2), progress=console)
    assert "epoch 2/2  step 12/12" in output.getvalue()


def test_a_console_that_is_no_terminal_shows_nothing() -> None:
    output = io.StringIO()
    run(8, log_every=2, progress=rich.console.Console(file=output, force_terminal=False))
    assert output.getvalue() == ""
