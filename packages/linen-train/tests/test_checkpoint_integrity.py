"""Whatever happens to the files of a step is found, and the files and leaves are named."""

import re
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import chex
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linen_train import Checkpointer
from linen_train.checkpoint._manifest import Manifest
from linen_train.errors import (
    CheckpointNotFoundError,
    CheckpointReadError,
    CheckpointStepError,
    CheckpointWarning,
)

ARRAYS = "arrays-0.safetensors"
STATE = {"a": {"kernel": np.arange(1000.0), "bias": np.ones(10)}, "b": jax.random.key(0)}

Pair = namedtuple("Pair", ["first", "second"])

DTYPES = [
    *(np.dtype(name) for name in ("?", "u1", "i4", "f2", "f4", "f8", "c8")),
    *map(np.dtype, (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.int4)),
]


def make_array(dtype: np.dtype, shape: tuple[int, ...], seed: int) -> np.ndarray:
    numbers = np.random.default_rng(seed).uniform(-7, 7, shape)
    return numbers.astype(dtype)


arrays = st.builds(
    make_array,
    st.sampled_from(DTYPES),
    st.lists(st.integers(0, 4), max_size=3).map(tuple),
    st.integers(0, 2**16),
)
leaves = st.one_of(
    arrays,
    arrays.filter(lambda a: a.dtype.itemsize < 8).map(jnp.asarray),
    st.integers(0, 99).map(jax.random.key),
    st.integers(-5, 5),
    st.booleans(),
    st.none(),
)
trees = st.recursive(
    leaves,
    lambda children: st.one_of(
        st.dictionaries(st.text("ab/%.é", max_size=2), children, max_size=3),
        st.lists(children, max_size=3),
        st.builds(Pair, children, children),
    ),
    max_leaves=8,
).filter(lambda tree: tree is not None)  # as a target None stands for no target


def raw(leaf: Any) -> bytes:
    is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf).tobytes()


def flip_bit(file: Path, number: int) -> None:
    content = bytearray(file.read_bytes())
    content[number // 8 % len(content)] ^= 1 << number % 8
    file.write_bytes(content)


@settings(max_examples=25)
@given(tree=trees, compression=st.booleans(), number=st.integers(0, 2**32))
def test_any_tree_and_any_flipped_bit(tree: Any, compression: bool, number: int) -> None:
    with (
        TemporaryDirectory() as directory,
        Checkpointer(directory, asynchronous=False, compression=compression) as checkpointer,
    ):
        checkpointer.save(1, tree)
        restored = checkpointer.restore(tree)
        assert jax.tree.structure(restored) == jax.tree.structure(tree)
        for one, other in zip(jax.tree.leaves(restored), jax.tree.leaves(tree), strict=True):
            assert type(one) is type(other)
            assert getattr(one, "dtype", None) == getattr(other, "dtype", None)
            assert raw(one) == raw(other)
        files = sorted(Path(directory, "1").iterdir())
        file = files[number % len(files)]
        flip_bit(file, number)
        for read in (checkpointer.verify, lambda: checkpointer.restore(tree)):
            with pytest.raises(CheckpointReadError) as caught:
                read()
            assert f"{Path(directory).resolve()}/1 is damaged:\n  {file.name} " in str(caught.value)


def test_a_flipped_bit_names_its_leaf(tmp_path: Path) -> None:
    with Checkpointer(tmp_path, asynchronous=False) as checkpointer:
        checkpointer.save(3, STATE)
        file = tmp_path / "3" / ARRAYS
        for leaf, path in ((STATE["a"]["kernel"], "a/kernel"), (STATE["a"]["bias"], "a/bias")):
            undamaged = file.read_bytes()
            begin = undamaged.index(leaf.tobytes())
            flip_bit(file, begin * 8 + 77)
            with pytest.raises(CheckpointReadError) as caught:
                checkpointer.restore()
            assert str(caught.value) == (
                f"{tmp_path}/3 is damaged:\n"
                f"  {ARRAYS} bytes {begin} to {begin + leaf.nbytes} have another checksum than when "
                f"they were saved: {path}\n"
                "Other steps: []. Write restore(target, fallback=True) to go back to the newest one "
                "that is intact."
            )
            assert checkpointer.restore(verify=False).keys() == STATE.keys()
            file.write_bytes(undamaged)
        checkpointer.verify()


def truncate(step: Path, name: str) -> None:
    with (step / name).open("r+b") as file:
        file.truncate((step / name).stat().st_size - 9)


def lengthen(step: Path, name: str) -> None:
    with (step / name).open("ab") as file:
        file.write(b"\n")


def delete(step: Path, name: str) -> None:
    (step / name).unlink()


def swap(step: Path, name: str) -> None:
    shutil.copy(step.parent / "1" / name, step / name)


def replace_by_directory(step: Path, name: str) -> None:
    (step / name).unlink()
    (step / name).mkdir()


FAULTS: dict[str, tuple[Callable[[Path, str], None], str, str, str]] = {
    "truncate_arrays": (truncate, ARRAYS, r"bytes \d+ to \d+ are missing", "b"),
    "truncate_manifest": (truncate, "manifest.json", "has another checksum", "every leaf"),
    "lengthen_arrays": (lengthen, ARRAYS, r"has \d+ bytes, expected \d+", "a/bias"),
    "lengthen_manifest": (lengthen, "manifest.json", "has another checksum", "every leaf"),
    "delete_arrays": (delete, ARRAYS, "is missing", "a/bias, a/kernel, b"),
    "delete_manifest": (delete, "manifest.json", "is missing", "every leaf"),
    "swap_arrays": (swap, ARRAYS, r"bytes \d+ to \d+ have another checksum", "a/kernel"),
    "swap_manifest": (swap, "manifest.json", "is that of step 1", "every leaf"),
    "directory_for_arrays": (replace_by_directory, ARRAYS, "Is a directory", "a/bias"),
    "directory_for_manifest": (replace_by_directory, "manifest.json", "cannot be read", "every"),
}


@pytest.mark.parametrize(("damage", "name", "what", "path"), FAULTS.values(), ids=FAULTS)
def test_faults(
    tmp_path: Path, damage: Callable[[Path, str], None], name: str, what: str, path: str
) -> None:
    with Checkpointer(tmp_path, asynchronous=False) as checkpointer:
        checkpointer.save(1, {**STATE, "a": {"kernel": np.ones(1000), "bias": np.ones(10)}})
        checkpointer.save(2, STATE)
        damage(tmp_path / "2", name)
        assert checkpointer.steps() == [1, 2]
        for read in (checkpointer.verify, lambda: checkpointer.restore(STATE)):
            with pytest.raises(CheckpointReadError) as caught:
                read()
            text = str(caught.value)
            assert text.startswith(f"{tmp_path}/2 is damaged:\n")
            assert re.search(f"  {name} {what}.*: .*{path}", text), text
            assert "Other steps: [1]." in text
        with pytest.warns(CheckpointWarning, match=f"{tmp_path}/2 is damaged:\n  {name} "):
            restored = checkpointer.restore(STATE, fallback=True)
        np.testing.assert_array_equal(restored["a"]["kernel"], np.ones(1000))


def test_a_file_that_does_not_belong_there(tmp_path: Path) -> None:
    with Checkpointer(tmp_path, asynchronous=False) as checkpointer:
        checkpointer.save(1, STATE)
        (tmp_path / "1" / ".DS_Store").touch()  # hidden files are the system's
        checkpointer.verify()
        checkpointer.restore()
        (tmp_path / "1" / "notes.txt").touch()
        for read in (checkpointer.verify, checkpointer.restore):
            with pytest.raises(CheckpointReadError, match=r"notes\.txt is no file of this step"):
                read()


def test_steps_that_changed_places(tmp_path: Path) -> None:
    with Checkpointer(tmp_path, asynchronous=False) as checkpointer:
        checkpointer.save(1, STATE)
        (tmp_path / "1").rename(tmp_path / "4")
        with pytest.raises(CheckpointReadError, match=r"manifest.json is that of step 1"):
            checkpointer.restore()


def damage_all(directory: Path, steps: list[int]) -> None:
    for step in steps:
        flip_bit(directory / str(step) / ARRAYS, 8 * 5000)


def test_falling_back_and_going_on(tmp_path: Path) -> None:
    with Checkpointer(tmp_path, asynchronous=False) as checkpointer:
        for step in (1, 2, 3):
            checkpointer.save(step, {**STATE, "step": step}, data=step, metrics={"m": step})
        damage_all(tmp_path, [2, 3])
        with pytest.warns(CheckpointWarning) as warned:
            assert checkpointer.restore(fallback=True)["step"] == 1
        (text,) = [str(warning.message) for warning in warned]
        assert [line for line in text.split("\n") if not line.startswith(" ")] == [
            f"{tmp_path}: restored step 1, the newest one that is intact.",
            f"{tmp_path}/3 is damaged:",
            f"{tmp_path}/2 is damaged:",
        ]
        # What goes with the restored step is that of this step.
        assert (checkpointer.latest_step(), checkpointer.data_state()) == (1, 1)
        assert (checkpointer.metrics(), checkpointer.metadata()) == ({"m": 1}, {})
        assert checkpointer.steps() == [1, 2, 3]
        checkpointer.save(2, {"step": 22})
        assert checkpointer.steps() == [1, 2]
        assert checkpointer.restore()["step"] == 22
        checkpointer.save(3, {"step": 33})
    names = sorted(re.sub("-.*", "", path.name) for path in tmp_path.iterdir())
    assert names == ["1", "2", "2.damaged", "3", "3.damaged"]


def test_without_falling_back_a_damaged_step_stays_the_newest(tmp_path: Path) -> None:
    with Checkpointer(tmp_path, asynchronous=False) as checkpointer:
        checkpointer.save(5, STATE)
        damage_all(tmp_path, [5])
        with pytest.raises(CheckpointStepError, match="more than 5"):
            checkpointer.save(5, STATE)


def test_no_step_is_intact(tmp_path: Path) -> None:
    with Checkpointer(tmp_path, asynchronous=False) as checkpointer:
        for step in (1, 2):
            checkpointer.save(step, STATE)
        damage_all(tmp_path, [1, 2])
        for _ in range(2):
            with pytest.raises(CheckpointReadError, match="no step up to 2 is intact") as caught:
                checkpointer.restore(fallback=True)
            assert f"{tmp_path}/1 is damaged" in str(caught.value)
            assert f"{tmp_path}/2 is damaged" in str(caught.value)


def test_a_step_that_a_writer_deletes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step 3 goes when it is read first, by whatever way of reading; then it is as if it had never been."""
    read_manifest = Manifest.read

    def read(folder: Path) -> Manifest:
        if folder.name == "3":
            shutil.rmtree(folder)
        return read_manifest(folder)

    monkeypatch.setattr(Manifest, "read", read)
    ways: dict[str, tuple[Callable[[Checkpointer], Any], Any]] = {
        "restore": (lambda reader: reader.restore({"step": 0}), {"step": 2}),
        "fallback": (lambda reader: reader.restore({"step": 0}, fallback=True), {"step": 2}),
        "data": (lambda reader: reader.data_state(), 2),
        "best": (lambda reader: reader.best_step(), 2),
        "verify": (lambda reader: reader.verify(), None),
    }
    for name, (way, expected) in ways.items():
        with Checkpointer(tmp_path / name, asynchronous=False) as writer:
            for step in (1, 2, 3):
                writer.save(step, {"step": step}, data=step, metrics={"m": step})
        reader = Checkpointer(tmp_path / name, best_metric="m", best_mode="max")
        assert way(reader) == expected, name
        assert reader.steps() == [1, 2]
        with pytest.raises(
            CheckpointNotFoundError, match=r"found no step 3, expected one of \[1, 2\]"
        ):
            reader.restore({"step": 0}, 3)


def test_falling_back_from_a_given_step(tmp_path: Path) -> None:
    with Checkpointer(tmp_path, asynchronous=False) as checkpointer:
        for step in (1, 2, 3):
            checkpointer.save(step, {**STATE, "step": step})
        damage_all(tmp_path, [2])
        with pytest.warns(CheckpointWarning, match=f"{tmp_path}/2 is damaged"):
            assert checkpointer.restore(step=2, fallback=True)["step"] == 1
        assert checkpointer.restore(fallback=True)["step"] == 3


def test_what_is_not_read_is_not_verified(tmp_path: Path) -> None:
    with Checkpointer(tmp_path, asynchronous=False) as checkpointer:
        checkpointer.save(1, STATE)
        file = tmp_path / "1" / ARRAYS
        flip_bit(file, 8 * file.read_bytes().index(STATE["a"]["kernel"].tobytes()))
        restored = checkpointer.restore(paths=["a/bias", "b"])
        chex.assert_trees_all_equal(restored["a"], {"bias": STATE["a"]["bias"]})
        with pytest.raises(CheckpointReadError, match="a/kernel"):
            checkpointer.restore(paths=["a"])


def test_large_arrays_have_several_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linen_train.checkpoint._writing.BLOCK_SIZE", 1000)
    monkeypatch.setattr("linen_train.checkpoint._writing._SYNC_SIZE", 3000)
    state = {"x": np.arange(5000.0), "y": jnp.arange(7), "z": np.zeros(0)}
    for step, compression in enumerate((False, True)):
        with Checkpointer(tmp_path, asynchronous=False, compression=compression) as checkpointer:
            checkpointer.save(step, state)
            chex.assert_trees_all_equal(checkpointer.restore(state), state)
            assert (tmp_path / "0" / "manifest.json").read_text().count(",1000,1000,") == 40
            checkpointer.verify()
    assert (tmp_path / "1" / f"{ARRAYS}.zst").stat().st_size < 20_000
