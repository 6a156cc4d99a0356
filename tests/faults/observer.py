"""Starts workers, lets things happen to them, and checks what they leave behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from linen_train import Checkpointer

from .states import KEEP_LAST, data_of, differing_leaves, leftovers, state_of

WORKER = Path(__file__).with_name("worker.py")
PATIENCE = 30.0


class Workers:
    """The script that forks workers.

    Args:
        errors: file for what workers print to standard error, where nothing should come.
    """

    def __init__(self, errors: Path) -> None:
        self.errors = errors
        self._running: set[int] = set()
        with errors.open("w") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, str(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""},
            )

    def start(self, directory: Path, journal: Path, **job: Any) -> "Worker":
        """Starts a worker; see worker.py for the job."""
        job |= {"directory": str(directory), "journal": str(journal)}
        pid = self._ask(job)
        self._running.add(pid)
        return Worker(pid, journal, self)

    def exit_code(self, pid: int) -> int | None:
        """Waits for a worker and returns its exit code: negative for a signal, None if it hung."""
        self._running.discard(pid)
        return self._ask({"await": pid})

    def close(self) -> None:
        for pid in self._running:  # they hold the pipe open
            os.kill(pid, signal.SIGKILL)
        self._process.communicate()

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@dataclass
class Worker:
    """One process that saves."""

    pid: int
    path: Path
    workers: Workers

    @property
    def journal(self) -> "Journal":
        """What it has noted so far."""
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return Journal(lines)

    def wait_for(self, condition: Callable[["Journal"], Any]) -> "Journal":
        """Waits until the journal fulfils a condition, and returns it."""
        end = time.monotonic() + PATIENCE
        while not condition(journal := self.journal):
            assert time.monotonic() < end, f"nothing but {journal.lines} for {PATIENCE:.0f} seconds"
            time.sleep(0.002)
        return journal

    def kill(self, number: int) -> int | None:
        """Sends a signal, waits for the end, and returns the exit code."""
        os.kill(self.pid, number)
        return self.end()

    def end(self) -> int | None:
        """Waits for the end, and returns the exit code."""
        return self.workers.exit_code(self.pid)


@dataclass
class Journal:
    """What a worker noted."""

    lines: list[str]
    begun: list[int] = field(init=False)
    committed: list[int] = field(init=False)
    failures: list[str] = field(init=False)

    def __post_init__(self) -> None:
        def after(word: str) -> list[str]:
            return [line.removeprefix(word) for line in self.lines if line.startswith(word)]

        self.begun = [int(step) for step in after("begin ")]
        self.committed = [int(step) for step in after("committed ")]
        self.failures = after("failed ")

    @property
    def is_open(self) -> bool:
        return "open" in self.lines


@dataclass
class Findings:
    """What is wrong in a directory, and what is there."""

    steps: list[int]
    lost: list[int]
    wrong: list[str]
    leftovers: list[str]


def examine(directory: Path, committed: list[int], begun: list[int]) -> Findings:
    """Compares a directory with what was certain to be committed, and with what was begun.

    Of the committed steps, those that are to be kept have to be there. A step that was begun may be
    there or not. Each that is there has to verify and to hold its state.
    """
    checkpointer = Checkpointer(directory)
    steps = checkpointer.steps()
    possible = set(committed) | set(begun)
    newer = [step for step in steps if step in possible and step not in committed]
    kept = sorted({*committed, *newer})[-KEEP_LAST:]
    lost = [step for step in kept if step not in steps]
    wrong = [f"step {step} was never begun" for step in steps if step not in possible]
    for step in steps:
        checkpointer.verify(step)
        restored = checkpointer.restore(state_of(0), step=step)
        wrong += [f"step {step}: {path}" for path in differing_leaves(restored, step)]
        if checkpointer.data_state(step) != data_of(step):
            wrong.append(f"step {step}: the state of the data")
        if checkpointer.metadata(step) != {"step": step}:
            wrong.append(f"step {step}: the metadata")
    no_steps = sorted(path.name for path in directory.iterdir() if path.name.isdigit())
    no_steps = [f"{name}, which is no step" for name in no_steps if int(name) not in steps]
    return Findings(steps, lost, wrong + no_steps, leftovers(directory))


def save_next(directory: Path) -> int:
    """Saves one more step, as the next run would do, and returns its number."""
    with Checkpointer(directory, keep_last=KEEP_LAST) as checkpointer:
        latest = checkpointer.latest_step()
        step = 0 if latest is None else latest + 1
        checkpointer.save(step, state_of(step), data=data_of(step), metadata={"step": step})
    return step
