"""Processes that end in the middle of a save lose nothing that was committed."""

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from .complete import is_complete
from .observer import Workers, examine, save_next

LONGEST = 0.12  # seconds from the first save to the signal


@dataclass(frozen=True)
class Ending:
    """A way in which a process ends.

    Attributes:
        name: for the table.
        signal: what it is sent.
        asynchronous: how it saves.
        code: its exit code.
        on_sigterm: what it does on SIGTERM.
        few: trials by default.
        all: trials of a complete run.
        campaigns: how many tests share these.
    """

    name: str
    signal: int
    asynchronous: bool
    code: int
    on_sigterm: str | None = None
    few: int = 2
    all: int = 20
    campaigns: int = 1


ENDINGS = [
    Ending("kill -9, sync", signal.SIGKILL, False, -9, few=6, all=20, campaigns=5),
    Ending("kill -9, async", signal.SIGKILL, True, -9, few=6, all=20, campaigns=5),
    Ending("SIGTERM, sync", signal.SIGTERM, False, -15),
    Ending("SIGTERM, async", signal.SIGTERM, True, -15),
    Ending("SIGTERM with sys.exit, sync", signal.SIGTERM, False, 143, "exit"),
    Ending("SIGTERM with sys.exit, async", signal.SIGTERM, True, 143, "exit"),
]
CAMPAIGNS = [
    (ending, number)
    for ending in ENDINGS
    for number in range(ending.campaigns if is_complete() else 1)
]


@pytest.mark.parametrize(
    ("ending", "campaign"), CAMPAIGNS, ids=[f"{e.name} {number}" for e, number in CAMPAIGNS]
)
def test_nothing_that_was_committed_is_lost(
    ending: Ending,
    campaign: int,
    workers: Workers,
    tmp_path: Path,
    trials: Callable[[int, int], int],
    outcome: Callable[..., None],
) -> None:
    rng = random.Random(f"{ending.name} {campaign}")
    count = trials(ending.few, ending.all)
    committed: list[int] = []
    in_flight = cleaned = 0
    for trial in range(count):
        journal_path = tmp_path / f"journal-{trial}"
        directory = tmp_path / f"run-{trial // 5}"
        if trial % 5 == 0:
            committed = []
        worker = workers.start(
            directory, journal_path, asynchronous=ending.asynchronous, on_sigterm=ending.on_sigterm
        )
        worker.wait_for(lambda journal: journal.begun)
        time.sleep(rng.uniform(0, LONGEST))
        assert worker.kill(ending.signal) == ending.code
        journal = worker.journal
        assert journal.failures == []
        committed += journal.committed
        found = examine(directory, committed, journal.begun)
        assert (found.lost, found.wrong) == ([], [])
        in_flight += journal.begun[-1] not in found.steps
        cleaned += bool(found.leftovers)
        if ending.on_sigterm:
            assert found.leftovers == []
        committed = sorted({*committed, *found.steps})
        committed.append(save_next(directory))
        found = examine(directory, committed, [])
        assert (found.lost, found.wrong, found.leftovers) == ([], [], [])
    assert workers.errors.read_text() == ""
    outcome(
        f"{ending.name}, {campaign + 1}",
        count,
        f"0 committed steps lost, 0 wrong; {in_flight} hit a save, {cleaned} leftovers cleaned",
    )
