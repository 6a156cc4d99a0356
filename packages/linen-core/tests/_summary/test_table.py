"""The table as text."""

import subprocess
import sys
from typing import Any

import pytest

from linen_core._summary.rows import SummaryRow
from linen_core._summary.table import render

from .models import spec

PLAIN: dict[str, Any] = {"force_terminal": False}
WHOLE = SummaryRow(
    path="",
    class_name="Net",
    method="__call__",
    inputs=(spec(16, 9), {"train": True}),
    outputs={"logits": spec(16, 2)},
    variables={},
    counts={"state": 0, "params": 0},
    bytes={"state": 0, "params": 0},
    flops=None,
    vjp_flops=123456,
    uncounted=("while",),
)
DENSE = SummaryRow(
    path="encoder/Dense_0",
    class_name="Dense",
    method="project",
    inputs=spec(16, 9),
    outputs=None,
    variables={"params": {"kernel": spec(9, 2), "bias": spec(2)}},
    counts={"state": 3, "params": 20},
    bytes={"state": 12, "params": 80},
    flops=1234,
    vjp_flops=0,
)


def table(
    *rows: SummaryRow, width: int, flops: Any = ("flops", "vjp_flops"), **options: Any
) -> str:
    console = {**PLAIN, "width": width, **options.pop("console", {})}
    text = render(
        rows, "Net Summary", flops, console, options.get("table", {}), options.get("column", {})
    )
    return "\n".join(line.strip() for line in text.splitlines())


def test_wide() -> None:
    assert (
        table(WHOLE, DENSE, width=240)
        == """\
Net Summary
┏━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━┳━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━┓
┃ path            ┃ module          ┃ inputs          ┃ outputs               ┃ flops ┃ vjp_flops ┃ params               ┃ state    ┃
┡━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━╇━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━┩
│                 │ Net             │ - float32[16,9] │ logits: float32[16,2] │ n/a   │ 123,456   │                      │          │
│                 │                 │ - train: True   │                       │       │           │                      │          │
├─────────────────┼─────────────────┼─────────────────┼───────────────────────┼───────┼───────────┼──────────────────────┼──────────┤
│ encoder/Dense_0 │ Dense (project) │ float32[16,9]   │ None                  │ 1,234 │ 0         │ kernel: float32[9,2] │ 3 (12 B) │
│                 │                 │                 │                       │       │           │ bias: float32[2]     │          │
│                 │                 │                 │                       │       │           │                      │          │
│                 │                 │                 │                       │       │           │ 20 (80 B)            │          │
├─────────────────┼─────────────────┼─────────────────┼───────────────────────┼───────┼───────────┼──────────────────────┼──────────┤
│                 │                 │                 │                       │       │     Total │ 20 (80 B)            │ 3 (12 B) │
└─────────────────┴─────────────────┴─────────────────┴───────────────────────┴───────┴───────────┴──────────────────────┴──────────┘

Total Parameters: 20 (80 B)
Total Variables: 23 (92 B)
n/a, not counted: while"""
    )


def test_narrow() -> None:
    assert (
        table(WHOLE, DENSE, width=80)
        == """\
Net Summary
┏━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┓
┃ module          ┃ summary                       ┃
┡━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┩
│ Net             │ inputs                        │
│                 │   - float32[16,9]             │
│                 │   - train: True               │
│                 │ outputs logits: float32[16,2] │
│                 │ flops n/a                     │
│                 │ vjp_flops 123,456             │
├─────────────────┼───────────────────────────────┤
│ encoder/Dense_0 │ inputs float32[16,9]          │
│ Dense (project) │ outputs None                  │
│                 │ flops 1,234                   │
│                 │ vjp_flops 0                   │
│                 │ params                        │
│                 │   kernel: float32[9,2]        │
│                 │   bias: float32[2]            │
│                 │   20 (80 B)                   │
│                 │ state 3 (12 B)                │
├─────────────────┼───────────────────────────────┤
│           Total │ params: 20 (80 B)             │
│                 │ state: 3 (12 B)               │
└─────────────────┴───────────────────────────────┘

Total Parameters: 20 (80 B)
Total Variables: 23 (92 B)
n/a, not counted: while"""
    )


@pytest.mark.parametrize("width", [40, 60, 80, 100, 132, 240])
def test_no_line_is_longer_than_the_console(width: int) -> None:
    lines = table(WHOLE, DENSE, width=width).splitlines()
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("width", [60, 80, 100, 132, 240])
def test_no_word_is_broken(width: int) -> None:
    text = table(WHOLE, DENSE, width=width)
    for word in ("encoder/Dense_0", "float32[16,9]", "vjp_flops", "123,456", "state"):
        assert word in text


def test_flops_are_columns_only_where_they_are_asked_for() -> None:
    assert "flops" not in table(WHOLE, DENSE, width=240, flops=())
    text = table(WHOLE, DENSE, width=240, flops=("flops",))
    assert "flops" in text
    assert "vjp_flops" not in text


def test_names_that_look_like_markup_are_names() -> None:
    row = SummaryRow("[bold]", "Net", "__call__", "[red]text", None, {}, {}, {})
    assert "[bold]" in table(row, width=100)
    assert "[red]text" in table(row, width=100)


@pytest.mark.parametrize("method", ["__call__", "<lambda>"])
def test_usual_methods_are_not_named(method: str) -> None:
    row = SummaryRow("", "Net", method, None, None, {}, {}, {})
    assert method not in table(row, width=100)


def test_a_model_without_variables() -> None:
    row = SummaryRow("", "Net", "__call__", None, None, {}, {}, {})
    assert "Total Parameters: 0" in table(row, width=100)
    assert "Total Parameters: 0" in table(row, width=20)


def test_options_of_rich() -> None:
    text = table(
        WHOLE,
        width=240,
        table={"title": "Another", "show_footer": False},
        column={"min_width": 20},
    )
    assert "Another" in text
    assert "Net Summary" not in text
    assert "Total │" not in text
    assert "│ Net                  │" in text
    with pytest.raises(TypeError, match="colour"):
        table(WHOLE, width=240, table={"colour": "red"})


def test_a_terminal_is_the_default() -> None:
    assert "\x1b[" in render([DENSE], "Net Summary", (), None, {}, {})
    assert "\x1b[" not in render([DENSE], "Net Summary", (), PLAIN, {}, {})


def test_importing_the_package_imports_nothing_to_draw_with() -> None:
    code = "import sys, linen_core; print({'rich', 'linen_core._summary.table'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
