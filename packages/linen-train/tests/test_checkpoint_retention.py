"""Which steps are saved, kept, and best."""

import time
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from linen_train import Checkpointer
from linen_train.errors import (
    CheckpointMetadataError,
    CheckpointMetricError,
    CheckpointOptionError,
)

NAN = float("nan")

# Metrics of the steps 0, 1, ...; None where none are given.
KEPT: dict[str, tuple[dict[str, Any], list[float | None], list[int], int | None]] = {
    "last": ({"keep_last": 2}, [1, 2, 3], [1, 2], 0),
    "all": ({"keep_last": None}, [1, 2, 3], [0, 1, 2], 0),
    "best_and_last": ({"keep_last": 1, "keep_best": 2}, [3, 1, 2, 4, 5], [1, 2, 4], 1),
    "best_is_last": ({"keep_last": 1, "keep_best": 2}, [5, 4, 3], [1, 2], 2),
    "newest_is_worst": ({"keep_last": 1, "keep_best": 1}, [1, 2, 3], [0, 2], 0),
    "max": ({"keep_last": 1, "keep_best": 1, "best_mode": "max"}, [1, 9, 3], [1, 2], 1),
    "nan_is_worst": ({"keep_last": 1, "keep_best": 1}, [NAN, 5, NAN, 6], [1, 3], 1),
    "nan_is_worst_max": (
        {"keep_last": 1, "keep_best": 1, "best_mode": "max"},
        [NAN, 5, NAN, 4],
        [1, 3],
        1,
    ),
    "infinite": ({"keep_last": 1, "keep_best": 1}, [float("inf"), NAN, NAN], [0, 2], 0),
    "newest_of_equal": ({"keep_last": 1, "keep_best": 1}, [1, 1, 2], [1, 2], 1),
    "some_without": ({"keep_last": 1, "keep_best": 2}, [None, 2, None, 1, None], [1, 3, 4], 3),
    "none": ({"keep_last": 1, "keep_best": 2}, [None, None], [1], None),
}


@pytest.mark.parametrize(("options", "losses", "kept", "best"), KEPT.values(), ids=KEPT)
def test_steps_that_are_kept(
    tmp_path: Path,
    options: dict[str, Any],
    losses: list[float | None],
    kept: list[int],
    best: int | None,
) -> None:
    for step, loss in enumerate(losses):  # what was measured before is known when opened again
        with Checkpointer(tmp_path, best_metric="loss", **options) as checkpointer:
            metrics = None if loss is None else {"loss": loss, "other": -step}
            checkpointer.save(step, {"x": step}, metrics=metrics)
            checkpointer.wait()
    with Checkpointer(tmp_path, best_metric="loss", **options) as checkpointer:
        assert checkpointer.steps() == kept
        if options.get("keep_best", 1) and best in kept:
            assert checkpointer.best_step() == best
        for step in kept:
            expected = {} if losses[step] is None else {"loss": losses[step], "other": -step}
            np.testing.assert_equal(checkpointer.metrics(step), expected)


def test_metrics_are_numbers(tmp_path: Path) -> None:
    with Checkpointer(tmp_path, best_metric="loss") as checkpointer:
        checkpointer.save(1, {"x": 1}, metrics={"loss": jnp.array(0.5), "n": np.int32(3)})
        assert checkpointer.metrics() == {"loss": 0.5, "n": 3.0}
        with pytest.raises(
            CheckpointMetricError, match=r"metrics\['loss'\]: found 'low' of type str"
        ):
            checkpointer.save(2, {"x": 1}, metrics={"loss": "low"})
        with pytest.raises(CheckpointMetricError) as caught:
            checkpointer.save(2, {"x": 1}, metrics={"acc": 0.5})
        assert str(caught.value) == (
            "metrics: found ['acc'], expected 'loss' among them, which tells the best step. Write "
            "metrics={'loss': value, ...}."
        )
        assert checkpointer.steps() == [1]
    with (
        Checkpointer(tmp_path) as checkpointer,
        pytest.raises(CheckpointMetricError, match="found no best_metric"),
    ):
        checkpointer.best_step()


def test_metadata_is_copied(tmp_path: Path) -> None:
    metadata = {"list": [1]}
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, {"x": 1}, metadata=metadata)
        metadata["list"].append(2)
        assert checkpointer.metadata() == {"list": [1]}
        with pytest.raises(CheckpointMetadataError):
            checkpointer.save(2, {"x": 1}, metadata={"x": {1}})


def due(checkpointer: Checkpointer, steps: range) -> list[int]:
    return [step for step in steps if checkpointer.should_save(jnp.array(step))]


def test_steps_that_are_due(tmp_path: Path) -> None:
    with Checkpointer(tmp_path) as checkpointer:
        assert due(checkpointer, range(3)) == [0, 1, 2]
        checkpointer.save(1, {"x": 1})
        assert due(checkpointer, range(4)) == [2, 3]
    with Checkpointer(tmp_path, every_steps=3) as checkpointer:
        assert due(checkpointer, range(10)) == [3, 6, 9]
        checkpointer.save(7, {"x": 1})
        assert due(checkpointer, range(10)) == [9]


def test_seconds_that_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with Checkpointer(tmp_path, every_seconds=60) as checkpointer:
        assert not checkpointer.should_save(1)
        now += 61
        assert checkpointer.should_save(1)
        checkpointer.save(1, {"x": 1})
        assert not checkpointer.should_save(2)
    with Checkpointer(tmp_path, every_seconds=60, every_steps=5) as checkpointer:
        assert due(checkpointer, range(12)) == [5, 10]
        now += 61
        assert due(checkpointer, range(5)) == [2, 3, 4]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "keep_last": ({"keep_last": 0}, "found keep_last=0, expected at least 1"),
    "keep_best": ({"keep_best": 0, "best_metric": "x"}, "found keep_best=0, expected at least 1"),
    "no_metric": ({"keep_best": 1}, "found keep_best=1 alone, expected best_metric="),
    "all_and_best": (
        {"keep_best": 1, "best_metric": "x", "keep_last": None},
        "beside keep_last=None, which keeps every step",
    ),
    "mode": ({"best_mode": "lowest"}, "found best_mode='lowest', expected 'min' or 'max'"),
    "every_steps": ({"every_steps": 0}, "found every_steps=0, expected at least 1"),
    "every_seconds": ({"every_seconds": 0.0}, "found every_seconds=0.0, expected more than 0"),
    "peer_timeout": ({"peer_timeout": NAN}, "found peer_timeout=nan, expected more than 0"),
    "part_of_a_step": ({"keep_last": 1.5}, "found keep_last=1.5, expected a whole number"),
    "steps_as_float": ({"every_steps": 2.0}, "found every_steps=2.0, expected a whole number"),
    "text": ({"every_seconds": "5"}, "found every_seconds='5', expected a number of seconds"),
    "best_of_nothing": ({"best_mode": "max"}, "found best_mode='max' alone, expected best_metric"),
    "flag": ({"asynchronous": "no"}, "found asynchronous='no', expected True or False"),
    "compression": ({"compression": "zstd"}, "found compression='zstd', expected True or False"),
}


@pytest.mark.parametrize(("options", "message"), WRONG.values(), ids=WRONG)
def test_options_that_make_no_sense(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointOptionError, match=message):
        Checkpointer(tmp_path / "runs", **options)
    assert not (tmp_path / "runs").exists()
