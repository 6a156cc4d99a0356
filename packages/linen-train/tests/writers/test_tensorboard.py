import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from linen_train.errors import MissingExtraError
from linen_train.writers import TensorBoardWriter


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events: Any = EventAccumulator(str(folder))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_rows_are_read_back(tmp_path: Path) -> None:
    with TensorBoardWriter(tmp_path / "run") as writer:
        writer.write(1, {"loss": 0.5, "accuracy": np.float32(0.25)})
        writer.write(2, {"loss": np.nan})
    np.testing.assert_equal(
        scalars(tmp_path / "run"), {"loss": [(1, 0.5), (2, np.nan)], "accuracy": [(1, 0.25)]}
    )


def test_flushed_rows_are_in_the_file(tmp_path: Path) -> None:
    with TensorBoardWriter(tmp_path) as writer:
        writer.write(1, {"loss": 0.5})
        writer.flush()
        assert scalars(tmp_path) == {"loss": [(1, 0.5)]}


def test_a_resumed_run_holds_no_step_twice(tmp_path: Path, monkeypatch: Any) -> None:
    with TensorBoardWriter(tmp_path) as writer:
        for step in range(6):
            writer.write(step, {"loss": step})
    with monkeypatch.context() as patch:  # the names of event files begin with the second
        patch.setattr("time.time", lambda: 4e9)
        with TensorBoardWriter(tmp_path, resume_step=3) as writer:
            for step in range(4, 8):
                writer.write(step, {"loss": 10 + step})
    assert scalars(tmp_path)["loss"] == [(0, 0), (1, 1), (2, 2), (3, 3)] + [
        (step, 10 + step) for step in range(4, 8)
    ]


def test_the_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.event_file_writer", None)
    with pytest.raises(MissingExtraError) as caught:
        TensorBoardWriter(tmp_path / "run")
    assert str(caught.value) == (
        "TensorBoardWriter: found no module 'tensorboard.summary.writer.event_file_writer', expected "
        "it to be installed. Write pip install 'linen-train[tensorboard]'."
    )
    assert not (tmp_path / "run").exists()
