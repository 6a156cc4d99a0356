"""Ctrl-C while a step is written in the background: what is being written is finished or not there."""

import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linen_train import Checkpointer
from linen_train.checkpoint import _saving, _writing


@pytest.fixture
def interrupt() -> Iterator[Callable[[], None]]:
    """Returns what lets Ctrl-C come a little later, again and again until the test stops it."""

    def raise_interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, raise_interrupt)
    yield lambda: (signal.setitimer(signal.ITIMER_REAL, 0.05), None)[1]
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


class Gate:
    """Holds the write of a step up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        write = _writing.write_arrays

        def held_up(*arguments: Any, **options: Any) -> Any:
            assert self.open.wait(10)
            return write(*arguments, **options)

        monkeypatch.setattr(_saving, "write_arrays", held_up)

    def open_later(self) -> None:
        threading.Timer(0.1, self.open.set).start()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(monkeypatch)
    yield gate
    gate.open.set()


def saved(directory: Path) -> dict[int, float]:
    checkpointer = Checkpointer(directory)
    return {step: checkpointer.restore(step=step)["x"].item() for step in checkpointer.steps()}


def test_an_interrupted_wait_leaves_the_save_to_be_waited_for(
    tmp_path: Path, gate: Gate, interrupt: Callable[[], None]
) -> None:
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, {"x": np.float32(1)})
        interrupt()
        with pytest.raises(KeyboardInterrupt):
            checkpointer.wait()
        assert checkpointer.steps() == []
        gate.open_later()
    assert saved(tmp_path) == {1: 1.0}
    assert [entry.name for entry in tmp_path.iterdir()] == ["1"]


def test_an_interrupted_close_does_not_take_the_folder_from_under_a_save(
    tmp_path: Path, gate: Gate, interrupt: Callable[[], None]
) -> None:
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(1, {"x": np.float32(1)})
    interrupt()
    with pytest.raises(KeyboardInterrupt):
        checkpointer.close()
    gate.open.set()
    checkpointer.close()
    assert saved(tmp_path) == {1: 1.0}
    assert [entry.name for entry in tmp_path.iterdir()] == ["1"]
