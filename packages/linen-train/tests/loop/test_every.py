import math
from typing import Any

import pytest

from linen_train import Every
from linen_train.errors import LoopArgumentError
from linen_train.loop.every import Schedule, as_every


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "Every: found neither steps nor seconds, expected at least one."),
        ({"steps": 0}, "Every: found steps=0, expected 1 or more."),
        ({"steps": 1.5}, "Every: found steps=1.5, expected 1 or more."),
        ({"steps": True}, "Every: found steps=True, expected 1 or more."),
        ({"seconds": 0.0}, "Every: found seconds=0.0, expected more than 0."),
        ({"seconds": math.inf}, "Every: found seconds=inf, expected more than 0."),
        ({"seconds": math.nan}, "Every: found seconds=nan, expected more than 0."),
    ],
    ids=["nothing", "zero", "fraction", "bool", "no_time", "infinite", "nan"],
)
def test_out_of_range(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(LoopArgumentError) as caught:
        Every(**arguments)
    assert str(caught.value).startswith(text)


def test_a_number_counts_steps() -> None:
    assert as_every(5, "log_every") == Every(steps=5)
    assert as_every(None, "log_every") is None
    with pytest.raises(LoopArgumentError, match="found steps=0"):
        as_every(0, "log_every")


def test_seconds_with_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jax.process_count", lambda: 2)
    assert as_every(Every(steps=3), "log_every") == Every(steps=3)
    with pytest.raises(LoopArgumentError) as caught:
        as_every(Every(seconds=3), "log_every")
    assert str(caught.value) == (
        "fit: found log_every=Every(steps=None, seconds=3) with 2 processes, which would be due at "
        "different steps in each. Write Every(steps=...)."
    )


def due_steps(every: Every | None, first: int, last: int) -> list[int]:
    schedule, found = Schedule(every, first), []
    for step in range(first + 1, last + 1):
        if schedule.is_due(step):
            found.append(step)
            schedule.done(step)
    return found


def test_multiples_whatever_the_first_step() -> None:
    assert due_steps(Every(steps=4), 0, 13) == [4, 8, 12]
    assert due_steps(Every(steps=4), 4, 13) == [8, 12]
    assert due_steps(Every(steps=4), 5, 13) == [8, 12]
    assert due_steps(None, 0, 100) == []


def test_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    schedule, found = Schedule(Every(seconds=10.0), 0), []
    both, found_both = Schedule(Every(steps=5, seconds=10.0), 0), []
    for step in range(1, 11):
        now[0] = 4.0 * step
        if schedule.is_due(step):
            found.append(step)
            schedule.done(step)
        if both.is_due(step):
            found_both.append(step)
            both.done(step)
    assert found == [3, 6, 9]
    assert found_both == [3, 5, 8, 10]
