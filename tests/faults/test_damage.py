"""Whatever happens to the files of a step is found, and told with the step and the file."""

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from linen_train import Checkpointer
from linen_train.errors import CheckpointError, CheckpointFormatError, CheckpointReadError

from .states import data_of, differing_leaves, state_of

STEPS = (3, 4)
LEAF = "params/dense/kernel"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("damage")
    with Checkpointer(directory, asynchronous=False) as checkpointer:
        for step in STEPS:
            checkpointer.save(step, state_of(step), data=data_of(step), metadata={"step": step})
    return directory


@pytest.fixture
def step(directory: Path) -> Iterator[Path]:
    """Returns the folder of the newest step, and puts every file of it back afterwards."""
    folder = directory / str(STEPS[-1])
    copy = directory.with_name("copy")
    shutil.copytree(directory, copy)
    yield folder
    shutil.rmtree(directory)
    copy.rename(directory)


def files_of(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def complaints(folder: Path, file: Path) -> list[str]:
    """Returns what is wrong with the way in which damage of a file is found."""
    checkpointer = Checkpointer(folder.parent)
    wrong = []
    for name, call in {
        "verify": lambda: checkpointer.verify(STEPS[-1]),
        "restore": lambda: checkpointer.restore(state_of(0)),
    }.items():
        try:
            call()
        except (CheckpointReadError, CheckpointFormatError) as error:
            text = str(error)
            wrong += [
                f"{name}: no {what!r} in {text!r}"
                for what in (str(folder), file.name)
                if what not in text
            ]
        except Exception as error:
            wrong.append(f"{name}: {type(error).__name__}: {error}")
        else:
            wrong.append(f"{name}: not found")
    return wrong


def flip(file: Path, bit: int) -> None:
    with file.open("r+b") as opened:
        opened.seek(bit // 8)
        byte = opened.read(1)[0]
        opened.seek(bit // 8)
        opened.write(bytes([byte ^ 1 << bit % 8]))


@pytest.mark.parametrize("index", [0, 1])
def test_every_flipped_bit_is_found(
    index: int,
    directory: Path,
    trials: Callable[[int, int], int],
    outcome: Callable[..., None],
) -> None:
    folder = directory / str(STEPS[-1])
    file = files_of(folder)[index]
    rng = random.Random(file.name)
    size = file.stat().st_size * 8
    # Half of them in the first kilobyte, where formats keep what they need to read the rest.
    count = trials(25, 250)
    bits = [rng.randrange(size if i % 2 else min(size, 8192)) for i in range(count)]
    for bit in bits:
        flip(file, bit)
        assert complaints(folder, file) == [], f"bit {bit} of {file.name}"
        flip(file, bit)
    assert differing_leaves(Checkpointer(directory).restore(state_of(0)), STEPS[-1]) == []
    outcome(f"bit flips, {file.name}", count, "all found by verify and restore, file named")


def test_all_files_have_their_test_of_flipped_bits(directory: Path) -> None:
    assert len(files_of(directory / str(STEPS[-1]))) == 2


def test_the_leaf_of_a_flipped_bit_is_named(step: Path) -> None:
    content = state_of(STEPS[-1])["params"]["dense"]["kernel"].tobytes()
    file = next(file for file in files_of(step) if content[:64] in file.read_bytes())
    flip(file, 8 * (file.read_bytes().index(content[:64]) + 1000))
    with pytest.raises(CheckpointReadError) as caught:
        Checkpointer(step.parent).restore(state_of(0))
    assert LEAF in str(caught.value)
    assert file.name in str(caught.value)
    assert "embed" not in str(caught.value)


def truncate(part: float) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        size = file.stat().st_size
        with file.open("r+b") as opened:
            opened.truncate(min(int(size * part), size - 1))

    return change


def swap_with_older(file: Path) -> None:
    other = file.parent.with_name(str(STEPS[0])) / file.name
    third = file.with_name("third")
    file.rename(third)
    other.rename(file)
    third.rename(other)


def swap_within(file: Path) -> None:
    other = next(other for other in files_of(file.parent) if other != file)
    content = file.read_bytes()
    file.write_bytes(other.read_bytes())
    other.write_bytes(content)


def replace_by_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


CHANGES: dict[str, Callable[[Path], object]] = {
    "truncated to nothing": truncate(0),
    "truncated to a tenth": truncate(0.1),
    "truncated to a half": truncate(0.5),
    "truncated by a byte": truncate(1),
    "deleted": Path.unlink,
    "swapped with an older step's": swap_with_older,
    "swapped with another": swap_within,
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
    "longer by a byte": lambda file: file.write_bytes(file.read_bytes() + b"\0"),
    "a folder": replace_by_folder,
    "another's text": lambda file: file.write_text("{}"),
}


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("change", CHANGES)
def test_changed_files_are_found(
    change: str, index: int, step: Path, outcome: Callable[..., None]
) -> None:
    file = files_of(step)[index]
    CHANGES[change](file)
    if change == "swapped with another":
        file = step / "manifest.json"  # which is to say what the others should be
    assert complaints(step, file) == []
    outcome(f"file {change}", 1, f"found by verify and restore, {file.name} named")


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("change", CHANGES)
def test_an_older_step_takes_the_place_of_a_damaged_one(
    change: str, index: int, step: Path
) -> None:
    CHANGES[change](files_of(step)[index])
    if change == "swapped with an older step's":
        with pytest.raises(CheckpointError, match=f"{step.parent}: no step up to .* is intact"):
            Checkpointer(step.parent).restore(state_of(0), fallback=True)
        return
    with Checkpointer(step.parent) as checkpointer:
        with pytest.warns(UserWarning, match=f"{step}"):
            restored = checkpointer.restore(state_of(0), fallback=True)
        assert differing_leaves(restored, STEPS[0]) == []
        checkpointer.save(STEPS[-1], state_of(STEPS[-1]))
        checkpointer.wait()
        assert differing_leaves(checkpointer.restore(state_of(0)), STEPS[-1]) == []


def test_a_missing_step_is_not_restored_from(step: Path) -> None:
    shutil.rmtree(step)
    checkpointer = Checkpointer(step.parent)
    assert checkpointer.steps() == [STEPS[0]]
    assert differing_leaves(checkpointer.restore(state_of(0)), STEPS[0]) == []
