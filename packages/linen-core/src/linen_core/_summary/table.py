"""The table: a summary as text, drawn by rich.

Where the console is wide enough for it, there is a column for each fact. Where it is not, a row
has two columns: the module, and all facts of it below each other, so that nothing is
squeezed into columns of a few letters.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from linen_core._summary.rows import SummaryRow
from linen_core._summary.text import text_of, text_of_size

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

# A column: its name and what it says of a row.
_Column = tuple[str, Callable[[SummaryRow], str]]


def render(
    rows: Sequence[SummaryRow],
    title: str,
    flops: Sequence[str],
    console_kwargs: Mapping[str, Any] | None,
    table_kwargs: Mapping[str, Any],
    column_kwargs: Mapping[str, Any],
) -> str:
    """Draw a table.

    Args:
        rows: the rows.
        title: what is written above.
        flops: which of "flops" and "vjp_flops" are columns.
        console_kwargs: arguments of `rich.console.Console`.
        table_kwargs: arguments of `rich.table.Table`.
        column_kwargs: arguments of `rich.table.Table.add_column`, for every column.

    Returns:
        The text of the table.
    """
    # Not at the top: it takes longer than all of this package.
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table

    table_options = {
        "show_header": True,
        "show_lines": True,
        "show_footer": True,
        "title": title,
        "caption": _caption(rows, flops),
        "caption_style": "bold",
    }

    def empty_table() -> Table:
        return Table(**{**table_options, **table_kwargs})

    console = Console(**{"force_terminal": True, "force_jupyter": False, **(console_kwargs or {})})
    table = _wide(empty_table(), rows, flops, column_kwargs)
    unlimited = console.options.update(max_width=10**6)
    if Measurement.get(console, unlimited, table).minimum > console.width:
        table = _narrow(empty_table(), rows, flops, column_kwargs)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def _wide(
    table: "Table",
    rows: Sequence[SummaryRow],
    flops: Sequence[str],
    column_kwargs: Mapping[str, Any],
) -> "Table":
    """Give every fact a column."""
    facts: list[_Column] = [("path", _path), ("module", _module), *_facts(flops)]
    for name, _ in facts:
        table.add_column(name, **column_kwargs)
    for col in _collections(rows):
        table.add_column(col, footer=_total(rows, col), **column_kwargs)
    table.columns[len(facts) - 1].footer = _text("Total", justify="right")
    for row in rows:
        cells = [_text(fact(row)) for _, fact in facts]
        table.add_row(*cells, *(_variables(row, col) for col in _collections(rows)))
    return table


def _narrow(
    table: "Table",
    rows: Sequence[SummaryRow],
    flops: Sequence[str],
    column_kwargs: Mapping[str, Any],
) -> "Table":
    """Give the module a column, and all facts one more."""
    totals = [f"{col}: {_total(rows, col)}" for col in _collections(rows)]
    table.add_column("module", footer=_text("Total", justify="right"), **column_kwargs)
    table.add_column("summary", footer=_text("\n".join(totals)), **column_kwargs)
    for row in rows:
        cell = _text("")
        for name, fact in _facts(flops):
            cell = _below(cell, name, _text(fact(row)))
        for col in _collections(rows):
            cell = _below(cell, col, _variables(row, col))
        table.add_row(_text("\n".join(filter(None, (_path(row), _module(row))))), cell)
    return table


def _facts(flops: Sequence[str]) -> list[_Column]:
    def number(name: str) -> _Column:
        return name, lambda row: _number(getattr(row, name))

    inputs: _Column = "inputs", lambda row: text_of(row.inputs)
    outputs: _Column = "outputs", lambda row: text_of(row.outputs)
    return [inputs, outputs, *map(number, flops)]


def _path(row: SummaryRow) -> str:
    return row.path


def _module(row: SummaryRow) -> str:
    is_usual = row.method in ("__call__", "<lambda>")
    return row.class_name if is_usual else f"{row.class_name} ({row.method})"


def _number(value: int | None) -> str:
    return "n/a" if value is None else f"{value:,}"


def _variables(row: SummaryRow, col: str) -> "Text":
    variables = text_of(row.variables.get(col, {}))
    cell = _text(f"{variables}\n\n" if variables else "")
    return cell.append(text_of_size(row.counts[col], row.bytes[col]), style="bold")


def _below(cell: "Text", name: str, content: "Text") -> "Text":
    """Append a fact to a cell: its name, and behind it what is one line and below it what is more."""
    if not content.plain:
        return cell
    lines = [line for line in content.split() if line.plain]
    cell.append("\n" if cell.plain else "").append(name, style="dim")
    if len(lines) == 1:
        return cell.append(" ").append_text(lines[0])
    for line in lines:
        cell.append("\n  ").append_text(line)
    return cell


def _text(text: str, justify: Any = None) -> "Text":
    from rich.text import Text

    return Text(text, justify=justify)


def _collections(rows: Sequence[SummaryRow]) -> list[str]:
    return sorted(rows[0].counts)


def _total(rows: Sequence[SummaryRow], *cols: str) -> str:
    counts = sum(row.counts.get(col, 0) for row in rows for col in cols)
    return text_of_size(counts, sum(row.bytes.get(col, 0) for row in rows for col in cols))


def _caption(rows: Sequence[SummaryRow], flops: Sequence[str]) -> str:
    lines = ["", f"Total Parameters: {_total(rows, 'params') or '0'}"]
    if any(col != "params" for col in rows[0].counts):
        lines.append(f"Total Variables: {_total(rows, *rows[0].counts)}")
    if flops and (uncounted := {reason for row in rows for reason in row.uncounted}):
        lines.append(f"n/a, not counted: {', '.join(sorted(uncounted))}")
    return "\n".join(lines)
