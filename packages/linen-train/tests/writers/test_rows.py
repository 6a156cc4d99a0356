"""What all writers of rows have in common: values, resuming, closing."""

import csv
import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linen_train.errors import (
    WriterClosedError,
    WriterFileError,
    WriterFileExistsError,
    WriterFileFormatError,
    WriterValueError,
)
from linen_train.writers import ConsoleWriter, CSVWriter, JSONLWriter, TensorBoardWriter, Writer

FILE_WRITERS = (JSONLWriter, CSVWriter)
each_file_writer = pytest.mark.parametrize("kind", FILE_WRITERS)
Make = Callable[..., Any]


def rows(path: Path) -> list[dict[str, float]]:
    """Return the rows of a file of either kind, without empty cells, as numbers."""
    with path.open(newline="") as file:
        found = (
            [json.loads(line) for line in file]
            if path.suffix == ".jsonl"
            else list(csv.DictReader(file))
        )
    return [{k: float(v) for k, v in row.items() if v != ""} for row in found]


def path_of(kind: Any, folder: Path) -> Path:
    return folder / ("metrics.jsonl" if kind is JSONLWriter else "metrics.csv")


@each_file_writer
def test_rows_are_read_back(kind: Any, tmp_path: Path) -> None:
    file = path_of(kind, tmp_path / "made" / "on the way")
    with kind(file) as writer:
        writer.write(1, {"loss": 0.1, "examples": 64})
        writer.write(jnp.int32(2), {"accuracy": jnp.float32(0.5), "done": True})
        writer.write(2, {"half": jnp.bfloat16(0.25), "eighth": np.float16(0.125)})
        writer.flush()
        assert (
            rows(file)
            == [
                {"step": 1, "loss": 0.1, "examples": 64},
                {"step": 2, "accuracy": 0.5, "done": 1}
                if kind is JSONLWriter
                else {"step": 2, "accuracy": 0.5},
                {"step": 2, "half": 0.25, "eighth": 0.125},
            ]
            or kind is CSVWriter
        )


@each_file_writer
def test_what_is_not_finite(kind: Any, tmp_path: Path) -> None:
    file = path_of(kind, tmp_path)
    values = {"nan": np.nan, "inf": np.inf, "minus": jnp.float32(-np.inf)}
    with kind(file) as writer:
        writer.write(0, values)
    (row,) = rows(file)
    np.testing.assert_equal(row, {"step": 0.0, "nan": np.nan, "inf": np.inf, "minus": -np.inf})


def test_json_is_valid_json(tmp_path: Path) -> None:
    def refused(constant: str) -> float:
        raise AssertionError(constant)

    with JSONLWriter(tmp_path / "metrics.jsonl") as writer:
        writer.write(3, {"loss": np.nan, "best": np.inf, "größe": -np.inf})
    text = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=refused) == {
        "step": 3,
        "loss": "NaN",
        "best": "Infinity",
        "größe": "-Infinity",
    }


def test_columns_that_come_later_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    with CSVWriter(file) as writer:
        writer.write(1, {"loss": 1.0})
        writer.write(2, {"accuracy, test": 0.5})
        writer.write(3, {"loss": 3.0})
        writer.write(4, {"b\nc": 4.0, "loss": 4.0})
    with file.open(newline="") as table:
        cells = list(csv.reader(table))
    assert cells == [
        ["step", "loss", "accuracy, test", "b\nc"],
        ["1", "1.0", "", ""],
        ["2", "", "0.5", ""],
        ["3", "3.0", "", ""],
        ["4", "4.0", "", "4.0"],
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


@each_file_writer
@given(steps=st.lists(st.integers(0, 30), min_size=1, max_size=8), data=st.data())
def test_a_resumed_file_equals_an_uninterrupted_one(
    kind: Any, steps: list[int], data: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("run")
    whole, resumed = path_of(kind, folder / "whole"), path_of(kind, folder / "resumed")
    steps = sorted(set(steps))
    saved = data.draw(st.sampled_from(steps))
    written = data.draw(st.integers(steps.index(saved), len(steps)))

    def write(file: Path, chosen: list[int], resume_step: int | None = None) -> None:
        with kind(file, resume_step=resume_step) as writer:
            for step in chosen:
                writer.write(step, {"loss": step / 7})

    write(whole, steps)
    write(resumed, steps[: written + 1])
    write(resumed, [step for step in steps if step > saved], resume_step=saved)
    assert resumed.read_bytes() == whole.read_bytes()


@each_file_writer
def test_a_line_that_was_cut_off_is_dropped(kind: Any, tmp_path: Path) -> None:
    file = path_of(kind, tmp_path)
    with kind(file) as writer:
        writer.write(1, {"loss": 1.0})
        writer.write(2, {"loss": 2.0})
    file.write_bytes(file.read_bytes()[:-3])
    with kind(file, resume_step=9) as writer:
        writer.write(2, {"loss": 2.5})
    assert rows(file) == [{"step": 1, "loss": 1}, {"step": 2, "loss": 2.5}]


@each_file_writer
def test_rows_are_with_the_system_before_the_writer_is_closed(kind: Any, tmp_path: Path) -> None:
    writer = kind(path_of(kind, tmp_path))
    writer.write(1, {"loss": 1.0})
    assert rows(path_of(kind, tmp_path)) == [{"step": 1, "loss": 1}]
    writer.close()


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let the system refuse larger files, as it does when a disk is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@each_file_writer
def test_a_full_disk_keeps_all_earlier_rows_and_no_half_one(kind: Any, tmp_path: Path) -> None:
    file = path_of(kind, tmp_path)
    with kind(file) as writer:
        writer.write(1, {"loss": 1.0})
        before = file.read_bytes()
        with files_of_at_most(len(before) + 3):
            with pytest.raises(WriterFileError) as caught:
                writer.write(2, {"loss": 2.0})
            assert file.read_bytes() == before
            with pytest.raises(WriterFileError):
                writer.write(2, {"loss": 2.0, "accuracy": 0.5})
            assert file.read_bytes() == before
        writer.write(3, {"loss": 3.0})
    assert rows(file) == [{"step": 1, "loss": 1}, {"step": 3, "loss": 3}]
    assert list(tmp_path.iterdir()) == [file]
    assert str(caught.value) == (
        f"{kind.__name__}: could not write a row into {file}: File too large. All earlier rows are "
        "in the file. Make room, and write it again."
    )


def test_a_full_disk_when_a_column_comes(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    with CSVWriter(file) as writer:
        writer.write(1, {"loss": 1.0})
        with files_of_at_most(20), pytest.raises(WriterFileError) as caught:
            writer.write(2, {"loss": 2.0, "accuracy": 0.5})
        writer.write(2, {"loss": 2.0, "accuracy": 0.5})
    assert str(caught.value) == (
        f"CSVWriter: could not write {file} anew, with another column: File too large. The file is "
        "as it was. Make room, and write the row again."
    )
    assert rows(file) == [{"step": 1, "loss": 1}, {"step": 2, "loss": 2, "accuracy": 0.5}]


@each_file_writer
def test_resuming_without_a_file_begins_one(kind: Any, tmp_path: Path) -> None:
    file = path_of(kind, tmp_path)
    with kind(file, resume_step=4) as writer:
        writer.write(5, {"loss": 1.0})
    assert rows(file) == [{"step": 5, "loss": 1}]


@each_file_writer
def test_a_new_run_does_not_touch_an_earlier_one(kind: Any, tmp_path: Path) -> None:
    file = path_of(kind, tmp_path)
    with kind(file) as writer:
        writer.write(1, {"loss": 1.0})
    before = file.read_bytes()
    with pytest.raises(WriterFileExistsError) as caught:
        kind(file)
    assert str(caught.value) == (
        f"{kind.__name__}: found rows in {file}, expected no file there. To go on with them, pass "
        "resume_step=, the step of the checkpoint; for another run, choose another path."
    )
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (
            JSONLWriter,
            '{"step": 1}\nno json\n{"step": 2}\n',
            "JSONLWriter: found 'no json' in line 2 of {file}, expected a row like "
            '{{"step": 3, "loss": 0.5}}. Mend or move the file; nothing in it was changed.',
        ),
        (
            JSONLWriter,
            '{"loss": 1}\n',
            "JSONLWriter: found '{{\"loss\": 1}}' in line 1 of {file}, expected a row like "
            '{{"step": 3, "loss": 0.5}}. Mend or move the file; nothing in it was changed.',
        ),
        (
            CSVWriter,
            "epoch,loss\n1,2\n",
            "CSVWriter: found 'epoch,loss' in line 1 of {file}, expected a header that begins with "
            "'step'. Mend or move the file; nothing in it was changed.",
        ),
        (
            CSVWriter,
            "step,loss\n1,2\n3\n",
            "CSVWriter: found '3' in line 3 of {file}, expected 2 cells that begin with a step. Mend "
            "or move the file; nothing in it was changed.",
        ),
    ],
    ids=["no_json", "no_step", "header", "cells"],
)
def test_files_of_others(kind: Any, text: str, message: str, tmp_path: Path) -> None:
    file = path_of(kind, tmp_path)
    file.write_text(text)
    with pytest.raises(WriterFileFormatError) as caught:
        kind(file, resume_step=1)
    assert str(caught.value) == message.format(file=file)
    assert file.read_text() == text
    assert list(tmp_path.iterdir()) == [file]


WRITERS: dict[str, Make] = {
    "ConsoleWriter": lambda folder: ConsoleWriter(),
    "CSVWriter": lambda folder: CSVWriter(folder / "a.csv"),
    "JSONLWriter": lambda folder: JSONLWriter(folder / "a.jsonl"),
    "TensorBoardWriter": TensorBoardWriter,
}


@pytest.mark.parametrize(
    ("step", "values", "text"),
    [
        (-1, {}, "found the step -1, expected an integer from 0."),
        (1.5, {}, "found the step 1.5, expected an integer from 0."),
        (1, {"": 1.0}, "found a value called '', which is no name. Call it otherwise."),
        (1, {3: 1.0}, "found a value called 3, which is no name. Call it otherwise."),
        (
            1,
            {"loss": np.zeros(3, np.float32)},
            "found 'loss' of float32[3], expected a real number or an array of no axes. Reduce it, "
            "with .mean() for one, before it is written.",
        ),
        (1, {"name": "adam"}, "found 'name' of <U4[], expected a real number"),
        (1, {"z": 1j}, "found 'z' of complex128[], expected a real number"),
        (1, {"none": None}, "found 'none' of object[], expected a real number"),
    ],
    ids=["negative", "fraction", "empty", "no_string", "array", "text", "complex", "none"],
)
@pytest.mark.parametrize("name", sorted(WRITERS))
def test_what_cannot_be_written(
    name: str, step: Any, values: Any, text: str, tmp_path: Path
) -> None:
    with WRITERS[name](tmp_path) as writer, pytest.raises(WriterValueError) as caught:
        writer.write(step, values)
    assert str(caught.value).startswith(f"{name}: {text}")


@each_file_writer
def test_the_name_of_the_step_is_taken(kind: Any, tmp_path: Path) -> None:
    with kind(path_of(kind, tmp_path)) as writer, pytest.raises(WriterValueError) as caught:
        writer.write(1, {"step": 2})
    text = f"{kind.__name__}: found a value called 'step', which is the column of the step. "
    assert str(caught.value) == text + "Call it otherwise."
    assert not path_of(kind, tmp_path).read_bytes()


@pytest.mark.parametrize("name", ["CSVWriter", "JSONLWriter", "TensorBoardWriter"])
def test_a_closed_writer(name: str, tmp_path: Path) -> None:
    writer = WRITERS[name](tmp_path)
    writer.close()
    writer.close()
    for use in (lambda: writer.write(1, {"loss": 1.0}), writer.flush):
        with pytest.raises(
            WriterClosedError, match=rf"^{name}: the writer of .* is closed\. Write"
        ):
            use()


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_all_are_writers(name: str, tmp_path: Path) -> None:
    with WRITERS[name](tmp_path) as writer:
        assert isinstance(writer, Writer)
