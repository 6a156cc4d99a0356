"""Workers for the tests of faults, and a table of what came of them at the end.

By default a part of the trials runs; with `LINEN_FAULTS=all` in the environment, all of them.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .complete import is_complete
from .observer import Workers

COLUMNS = ("fault", "trials", "outcome")


@pytest.fixture(scope="session")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    started = Workers(tmp_path_factory.mktemp("workers") / "errors.txt")
    yield started
    started.close()


@pytest.fixture
def trials() -> Callable[[int, int], int]:
    """Returns the second of two numbers of trials where all are to be run, else the first."""
    return lambda few, all_: all_ if is_complete() else few


@pytest.fixture
def outcome(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Adds a row to the table."""

    def add(fault: str, trials: int, text: str) -> None:
        request.node.user_properties.append(("outcome", (fault, str(trials), text)))

    return add


def pytest_terminal_summary(terminalreporter: Any) -> None:
    rows = [
        tuple(value)
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, value in report.user_properties
        if name == "outcome"
    ]
    if not rows:
        return
    terminalreporter.section("faults and what came of them")
    widths = [max(len(row[i]) for row in [COLUMNS, *rows]) for i in range(2)]
    for fault, trials, text in [COLUMNS, *sorted(rows)]:
        terminalreporter.line(f"{fault:<{widths[0]}}  {trials:>{widths[1]}}  {text}")
