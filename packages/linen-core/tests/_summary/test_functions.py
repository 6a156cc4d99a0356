"""The summaries as functions of a module."""

from typing import Any

import pytest

from linen_core import SummaryRow, summary_rows, tabulate
from linen_core.errors import InvalidInstanceModuleError

from .models import KEY, MLP, Autoencoder, X

CONSOLE: dict[str, Any] = {"width": 200, "force_terminal": False}


def test_tabulate_is_the_method() -> None:
    options: dict[str, Any] = {
        "depth": 1,
        "show_repeated": True,
        "mutable": "params",
        "console_kwargs": CONSOLE,
        "table_kwargs": {"title": "Title"},
        "column_kwargs": {"min_width": 12},
        "compute_flops": True,
        "compute_vjp_flops": True,
    }
    text = tabulate(Autoencoder(), KEY, **options)(X)
    assert text == Autoencoder().tabulate(KEY, X, **options)
    assert "Title" in text


def test_tabulate_takes_its_options_by_position() -> None:
    assert tabulate(MLP(), KEY, 0, False, True, CONSOLE)(X) == MLP().tabulate(
        KEY, X, depth=0, mutable=True, console_kwargs=CONSOLE
    )


def test_summary_rows_is_the_method() -> None:
    options: dict[str, Any] = {
        "depth": 1,
        "show_repeated": True,
        "mutable": "params",
        "compute_flops": True,
        "compute_vjp_flops": True,
    }
    rows = summary_rows(Autoencoder(), KEY, **options)(X)
    assert rows == Autoencoder().summary_rows(KEY, X, **options)
    assert all(isinstance(row, SummaryRow) for row in rows)


def test_keyword_arguments_are_those_of_the_call_and_of_init() -> None:
    (row, *_) = summary_rows(MLP(), KEY)(X, train=True)
    assert row.inputs == (X, {"train": True})
    (row, *_) = summary_rows(MLP(), KEY, train=True)(X)
    assert row.inputs == (X, {"train": True})
    (row, *_) = summary_rows(Autoencoder(), KEY, method="encode")(X)
    assert row.method == "encode"


@pytest.mark.parametrize("function", [tabulate, summary_rows])
def test_a_class_is_refused(function: Any) -> None:
    with pytest.raises(InvalidInstanceModuleError, match=r"Construct the module first"):
        function(MLP, KEY)(X)
