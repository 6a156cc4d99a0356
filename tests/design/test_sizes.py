"""Files and function bodies stay short enough to be read in one go."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from repository import ROOT

FILE_LINES = 600
BODY_LINES = 60
FILES = sorted(
    path.relative_to(ROOT)
    for folder in ("packages", "tests", "docs")
    for path in (ROOT / folder).rglob("*.py")
)


def long_file(text: str) -> list[str]:
    """Returns a complaint if a file has more than `FILE_LINES` lines."""
    lines = len(text.splitlines())
    return [f"{lines} lines, at most {FILE_LINES}"] if lines > FILE_LINES else []


def long_bodies(text: str) -> Iterator[str]:
    """Yields each function whose body, without its docstring, has more than `BODY_LINES` lines."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            if lines > BODY_LINES:
                yield f"{node.lineno}: {node.name} has {lines} lines, at most {BODY_LINES}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_and_its_functions_are_short(path: Path) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    assert [*long_file(text), *long_bodies(text)] == []


def test_long_files_are_found() -> None:
    assert long_file("x = 1\n" * 600) == []
    assert long_file("x = 1\n" * 601) == ["601 lines, at most 600"]


def test_long_bodies_are_found() -> None:
    docstring = '    """' + "\n" * 70 + '    """\n'
    fits = "def f():\n" + docstring + "    x = 1\n" * 60
    assert list(long_bodies(fits)) == []
    assert list(long_bodies(fits + "    x = 1\n")) == ["1: f has 61 lines, at most 60"]
