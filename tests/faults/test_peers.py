"""A process that is killed among several loses nothing that they committed together."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from linen_train import Checkpointer

from .complete import is_complete
from .observer import Journal
from .states import KEEP_LAST, leftovers, shared_values

PEER = Path(__file__).with_name("peer.py")
PATIENCE = 120.0
PEER_TIMEOUT = 3.0


class Pair:
    """Two processes that save together."""

    def __init__(self, folder: Path, directory: Path, asynchronous: bool) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.journals = [folder / f"journal-{port}-{process}" for process in range(2)]
        self.processes = []
        for process, journal in enumerate(self.journals):
            arguments = [port, process, directory, journal, int(asynchronous), PEER_TIMEOUT]
            with journal.with_suffix(".txt").open("w") as output:
                self.processes.append(
                    subprocess.Popen(
                        [sys.executable, PEER, *map(str, arguments)],
                        stdout=output,
                        stderr=output,
                        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""},
                    )
                )

    def journal(self, process: int) -> Journal:
        path = self.journals[process]
        return Journal(path.read_text().splitlines() if path.exists() else [])

    def output(self) -> str:
        return "\n".join(path.with_suffix(".txt").read_text() for path in self.journals)

    def wait_for_commits(self) -> None:
        """Waits until both have saved together."""
        end = time.monotonic() + PATIENCE
        while len(self.journal(0).committed) < 2:
            ended = [process.poll() for process in self.processes]
            assert time.monotonic() < end, self.output()
            assert ended == [None, None], self.output()
            time.sleep(0.01)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def pairs(tmp_path: Path) -> Iterator[Callable[[Path, bool], Pair]]:
    started: list[Pair] = []

    def start(directory: Path, asynchronous: bool) -> Pair:
        started.append(Pair(tmp_path, directory, asynchronous))
        return started[-1]

    yield start
    for pair in started:
        pair.close()


def examine_pair(directory: Path, committed: list[int], begun: list[int]) -> list[int]:
    """Checks that one process alone finds all that two committed, and returns the steps."""
    checkpointer = Checkpointer(directory)
    steps = checkpointer.steps()
    newer = [step for step in steps if step in begun and step not in committed]
    assert set(sorted({*committed, *newer})[-KEEP_LAST:]) <= set(steps)
    assert set(steps) <= {*committed, *begun}
    for step in steps:
        checkpointer.verify(step)
        target = {"kernel": np.zeros_like(shared_values(step)), "step": 0}
        restored = checkpointer.restore(target, step=step)
        assert restored["step"] == step
        assert restored["kernel"].tobytes() == shared_values(step).tobytes()
    return steps


KILLED = {"the writer": 0, "the other": 1} if is_complete() else {"the writer": 0}


@pytest.mark.parametrize("killed", KILLED.values(), ids=KILLED)
def test_the_death_of_a_process_loses_nothing(
    killed: int,
    pairs: Callable[[Path, bool], Pair],
    tmp_path: Path,
    trials: Callable[[int, int], int],
    outcome: Callable[..., None],
) -> None:
    rng = random.Random(killed)
    count = trials(1, 5)
    told = 0
    committed: list[int] = []
    directory = tmp_path / "run"
    for trial in range(count):
        pair = pairs(directory, trial % 2 == 0)
        pair.wait_for_commits()
        time.sleep(rng.uniform(0, 0.1))
        pair.processes[killed].send_signal(signal.SIGKILL)
        pair.processes[killed].wait()
        survivor = pair.processes[1 - killed]
        # It ends by an error of its own, or JAX ends it when the other one's heart stands still.
        assert survivor.wait(PATIENCE) != 0
        journal = pair.journal(1 - killed)
        for text in journal.failures:
            assert text.startswith(
                f"CheckpointSaveError: {directory}: step {journal.begun[-1]} could"
            )
            told += 1
        committed = sorted({*committed, *pair.journal(0).committed, *pair.journal(1).committed})
        committed = examine_pair(directory, committed, pair.journal(0).begun)
        with Checkpointer(directory, keep_last=KEEP_LAST) as checkpointer:
            step = committed[-1] + 1
            checkpointer.save(step, {"kernel": shared_values(step), "step": step})
        committed.append(step)
        assert examine_pair(directory, committed, []) == committed[-KEEP_LAST:]
        assert leftovers(directory) == []
    who = ("the one that commits", "the other one")[killed]
    text = f"0 committed steps lost, 0 wrong; {told} survivors raised, {count - told} ended by JAX"
    outcome(f"killed process of two: {who}", count, text)
