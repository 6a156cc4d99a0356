"""Two processes that save into one directory: one of them does, the other one is told."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from linen_train import Checkpointer
from linen_train.errors import CheckpointBusyError

from .observer import Worker, Workers, examine, save_next
from .states import state_of


def refused_first(pair: list[Worker]) -> list[Worker]:
    """Waits until one of two workers has failed, and returns that one first."""
    pair[0].wait_for(lambda _: any(worker.journal.failures for worker in pair))
    return sorted(pair, key=lambda worker: not worker.journal.failures)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_one_of_two_writers_is_told(
    asynchronous: bool,
    workers: Workers,
    tmp_path: Path,
    trials: Callable[[int, int], int],
    outcome: Callable[..., None],
) -> None:
    count = trials(2, 10)
    for trial in range(count):
        directory = tmp_path / f"run-{trial}"
        pair = [
            workers.start(
                directory,
                tmp_path / f"journal-{trial}-{i}",
                asynchronous=asynchronous,
                first=1000 * i,
            )
            for i in range(2)
        ]
        refused, writer = refused_first(pair)
        assert refused.end() == 1
        text = refused.journal.failures[0]
        if text.startswith("CheckpointStepError"):  # it looked when the other was ahead
            assert f"{directory}: found step 0, expected more than" in text
        else:
            assert text.startswith(f"CheckpointBusyError: {directory}: found ")
            assert f"process {writer.pid} on" in text or "another process" in text
        writer.wait_for(lambda journal: journal.committed)
        assert writer.journal.failures == []
        assert writer.kill(signal.SIGKILL) == -9
        found = examine(directory, writer.journal.committed, writer.journal.begun)
        assert (found.lost, found.wrong) == ([], [])
        save_next(directory)
    assert workers.errors.read_text() == ""
    mode = "async" if asynchronous else "sync"
    outcome(f"two writers, {mode}", count, "one saves, one gets an error that names the other")


def test_two_writers_in_one_process(tmp_path: Path, outcome: Callable[..., None]) -> None:
    with Checkpointer(tmp_path) as first, Checkpointer(tmp_path) as second:
        first.save(0, state_of(0))
        first.wait()
        with pytest.raises(
            CheckpointBusyError, match=f"{tmp_path}: found another checkpointer of this process"
        ):
            second.save(1, state_of(1))
        first.close()
        second.save(1, state_of(1))
    assert Checkpointer(tmp_path).steps() == [0, 1]
    outcome("two writers, one process", 1, "the second is told, and saves once the first is closed")
