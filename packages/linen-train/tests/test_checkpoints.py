"""Checkpoints of one file for each step: what is saved is restored, what is complete stays."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from linen_train import _msgpack, _step_files
from linen_train.checkpoints import (
    AsyncManager,
    available_steps,
    latest_checkpoint,
    natural_sort,
    restore_checkpoint,
    safe_normpath,
    save_checkpoint,
    save_checkpoint_multiprocess,
)
from linen_train.errors import (
    CheckpointDirectoryError,
    CheckpointFormatError,
    CheckpointMismatchError,
    CheckpointNotFoundError,
    CheckpointOptionError,
    CheckpointReadError,
    CheckpointSaveError,
    CheckpointStepError,
    UnserializableValueError,
)

TREE = {"a": np.arange(3.0), "b": {"c": 1, "d": [2.5, None]}}
SAVES = pytest.mark.parametrize("save", [save_checkpoint, save_checkpoint_multiprocess])


class Pair(NamedTuple):
    left: Any
    right: Any


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def save_all(folder: Path, steps: Any, **options: Any) -> None:
    for step in steps:
        save_checkpoint(folder, {"step": float(step)}, step, **options)


def test_what_is_saved_is_restored(tmp_path: Path) -> None:
    state = {"opt": optax.adam(0.1).init({"k": jnp.ones(2)}), "p": Pair(1, (jnp.bfloat16(2),))}
    path = save_checkpoint(tmp_path / "deep/er", state, 3)
    assert path == str(tmp_path / "deep/er/checkpoint_3")
    restored = restore_checkpoint(tmp_path / "deep/er", state)
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    chex.assert_trees_all_equal(restored, state)


def test_the_steps_there_are(tmp_path: Path) -> None:
    save_all(tmp_path, [1, 2, 10, 9.5 + 1], keep=9)
    save_all(tmp_path, [1, jnp.int32(3)], keep=9, prefix="other_")
    save_all(tmp_path, [7], prefix="below/best-")
    for name in ("checkpoint_11tmp", "checkpoint_", "checkpoint_12.orbax-checkpoint-tmp-1"):
        (tmp_path / name).touch()
    assert available_steps(tmp_path, step_type=float) == [1, 2, 10, 10.5]
    assert latest_checkpoint(tmp_path) == str(tmp_path / "checkpoint_10.5")
    assert available_steps(tmp_path, "other_") == [1, 3]
    assert latest_checkpoint(tmp_path, "below/best-") == str(tmp_path / "below/best-7")
    assert restore_checkpoint(tmp_path, None, prefix="below/best-") == {"step": 7.0}
    assert (latest_checkpoint(tmp_path, "no"), available_steps(tmp_path / "no")) == (None, [])
    with pytest.raises(
        CheckpointStepError, match=r"checkpoint_10\.5: found a step that is no whole"
    ):
        available_steps(tmp_path)


def test_which_checkpoint_is_restored(tmp_path: Path) -> None:
    save_all(tmp_path, [1, 2, 10], keep=9)
    assert restore_checkpoint(tmp_path, None) == {"step": 10.0}
    assert restore_checkpoint(tmp_path, None, step=2) == {"step": 2.0}
    assert restore_checkpoint(tmp_path, None, step=2.0) == {"step": 2.0}
    assert restore_checkpoint(tmp_path / "checkpoint_1", None) == {"step": 1.0}
    with pytest.raises(CheckpointNotFoundError) as caught:
        restore_checkpoint(tmp_path, None, step=3)
    assert str(caught.value).startswith(f"{tmp_path}/checkpoint_3: found no checkpoint of step 3")
    assert "[1, 2, 10]" in str(caught.value)


def test_without_a_checkpoint_the_target_comes_back(tmp_path: Path) -> None:
    assert restore_checkpoint(tmp_path, TREE) is TREE
    assert restore_checkpoint(tmp_path / "nowhere", TREE) is TREE


# Which are kept.


KEPT: dict[str, tuple[list[float], dict[str, Any], list[float]]] = {
    # steps saved, options, steps there in the end
    "the last": ([1, 2, 3], {}, [3]),
    "the last two": ([1, 2, 10], {"keep": 2}, [2, 10]),
    "every third": ([*range(1, 11)], {"keep": 2, "keep_every_n_steps": 3}, [1, 4, 7, 9, 10]),
    "every fifth of even ones": ([*range(2, 20, 2)], {"keep_every_n_steps": 5}, [2, 8, 14, 18]),
    "from zero": ([0, 1, 2, 3], {"keep_every_n_steps": 2}, [0, 2, 3]),
    "fractions": ([0.5, 1, 1.5, 2], {"keep": 1, "keep_every_n_steps": 1}, [0.5, 1.5, 2]),
    "negative": ([-5, -4, -3, 1], {"keep": 2}, [-3, 1]),
    "overwritten": ([1, 2, 3, 2], {"keep": 9, "overwrite": True}, [1, 2]),
    "overwritten, all later": ([5, 6, 3], {"keep": 9, "overwrite": True}, [3]),
}


@pytest.mark.parametrize("name", KEPT)
def test_which_are_kept(name: str, tmp_path: Path) -> None:
    steps, options, kept = KEPT[name]
    save_all(tmp_path, steps, **options)
    assert available_steps(tmp_path, step_type=float) == kept
    assert names(tmp_path) == sorted(f"checkpoint_{step:g}" for step in kept)
    for step in kept:
        assert restore_checkpoint(tmp_path, None, step) == {"step": step}


def test_nothing_else_is_deleted(tmp_path: Path) -> None:
    others = ["checkpoint_notes", "checkpoint_1.txt", "other_1", "1", ".linen-new-mine"]
    for name in others:
        (tmp_path / name).write_text("mine")
    save_all(tmp_path, range(4))
    assert names(tmp_path) == sorted([*others, "checkpoint_3"])


@pytest.mark.parametrize("step", [2, 3, -1])
def test_steps_only_grow(step: int, tmp_path: Path) -> None:
    save_all(tmp_path, [3])
    with pytest.raises(CheckpointStepError) as caught:
        save_checkpoint(tmp_path, {"step": 0.0}, step)
    assert f"checkpoint_{step}: found checkpoint_3 there" in str(caught.value)
    assert "overwrite=True" in str(caught.value)
    assert restore_checkpoint(tmp_path, None) == {"step": 3.0}


# In the background.


def test_saves_in_the_background(tmp_path: Path) -> None:
    manager = AsyncManager()
    state = {"a": np.zeros(3)}
    for step in range(3):
        state["a"][:] = step
        save_checkpoint(tmp_path, state, step, keep=2, async_manager=manager)
        state["a"][:] = -1
    manager.wait_previous_save()
    assert available_steps(tmp_path) == [1, 2]
    restored = restore_checkpoint(tmp_path, state)
    np.testing.assert_array_equal(restored["a"], np.full(3, 2.0))


def test_errors_in_the_background_are_raised_once(tmp_path: Path) -> None:
    manager = AsyncManager()
    manager.save_async(lambda: 1 / 0)
    threading.Event().wait(0.05)
    with pytest.raises(ZeroDivisionError):
        manager.save_async(lambda: None)
    manager.wait_previous_save()


def test_a_step_is_refused_before_it_is_in_the_background(tmp_path: Path) -> None:
    manager = AsyncManager()
    save_checkpoint(tmp_path, {}, 3, async_manager=manager)
    with pytest.raises(CheckpointStepError):
        save_checkpoint(tmp_path, {}, 3, async_manager=manager)


# What goes wrong.


def break_write(monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    def failing(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    owner = {"replace": Path, "fsync": os, "write": FileIO}[at]
    if at == "write":
        monkeypatch.setattr(_step_files, "FileIO", type("Full", (owner,), {"write": failing}))
    else:
        monkeypatch.setattr(owner, at, failing)


@pytest.mark.parametrize("at", ["write", "fsync", "replace"])
def test_a_failed_save_loses_nothing(
    at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_all(tmp_path, [1])
    with monkeypatch.context() as patch:
        break_write(patch, at)
        with pytest.raises(CheckpointSaveError) as caught:
            save_checkpoint(tmp_path, {"step": 2.0}, 2)
    assert f"{tmp_path}/checkpoint_2: cannot be written: No space left" in str(caught.value)
    assert names(tmp_path) == ["checkpoint_1"]
    save_all(tmp_path, [2])
    assert restore_checkpoint(tmp_path, None) == {"step": 2.0}


def test_a_file_is_synced_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append("sync"), fsync(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda *a: (events.append("name"), replace(*a))[1])
    save_all(tmp_path, [1])
    assert events == ["sync", "name", "sync"]


def test_leftovers_of_a_killed_writer_are_removed_and_those_of_others_are_not(
    tmp_path: Path,
) -> None:
    left, used = (tmp_path / f".linen-new-{digit * 32}" for digit in "ab")
    left.write_bytes(b"left")
    program = (
        "import fcntl, sys\n"
        f"file = open({str(used)!r}, 'xb'); fcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        other.stdout.readline()
        save_all(tmp_path, [1])
        assert names(tmp_path) == [used.name, "checkpoint_1"]
        other.stdin.close()
    save_all(tmp_path, [2])
    assert names(tmp_path) == ["checkpoint_2"]


def test_damaged_files_are_told_of(tmp_path: Path) -> None:
    path = Path(save_checkpoint(tmp_path, TREE, 1))
    for content in (path.read_bytes()[:-5], b"", b"\xc1"):
        path.write_bytes(content)
        with pytest.raises(CheckpointReadError) as caught:
            restore_checkpoint(tmp_path, TREE)
        assert str(caught.value).startswith(f"{path}: found a damaged checkpoint")


def test_other_structures_are_told_of(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, TREE, 1)
    with pytest.raises(CheckpointMismatchError) as caught:
        restore_checkpoint(tmp_path, {"a": 0, "z": 1})
    assert str(caught.value).startswith(f"{path} does not fit the target. The state dict")
    assert re.search(r"missing +\./z", str(caught.value))


def test_the_format_before_orbax_is_told_of(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, {"a": ["//GDAPlaceholder:a"]}, 1)
    with pytest.raises(
        CheckpointFormatError, match="checkpoint_1: found arrays in files beside it"
    ):
        restore_checkpoint(tmp_path, None)


def test_directories_that_cannot_be_made_are_told_of(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointDirectoryError, match="file/deep: cannot make this directory"):
        save_checkpoint(tmp_path / "file/deep", {}, 1)


REFUSED: dict[str, tuple[Callable[[Path], Any], type[Exception], str]] = {
    "step": (lambda d: save_checkpoint(d, {}, "3"), CheckpointStepError, "found step '3', expected a finite number"),  # type: ignore[arg-type]
    "NaN": (lambda d: save_checkpoint(d, {}, float("nan")), CheckpointStepError, "found step nan"),
    "keep": (lambda d: save_checkpoint(d, {}, 1, keep=0), CheckpointOptionError, "found keep=0"),
    "every": (lambda d: save_checkpoint(d, {}, 1, keep_every_n_steps=0), CheckpointOptionError, "keep_every_n_steps=0"),
    "url": (lambda d: save_checkpoint("gs://bucket/a", {}, 1), CheckpointOptionError, "found the URL gs://bucket/a"),
    "value": (lambda d: save_checkpoint(d, {"a": object()}, 1), UnserializableValueError, "a: found a value of type object"),
    "two in the background": (
        lambda d: save_checkpoint(d, {}, 1, async_manager=AsyncManager(), orbax_checkpointer=1),
        CheckpointOptionError, "found an async_manager beside an orbax_checkpointer",
    ),
    "gda_manager": (lambda d: save_checkpoint_multiprocess(d, {}, 1, gda_manager=1), CheckpointOptionError, "gda_manager: found one"),
    "gda_manager, restoring": (lambda d: restore_checkpoint(d, None, gda_manager=1), CheckpointOptionError, "gda_manager: found one"),
    "partial": (
        lambda d: restore_checkpoint(d, None, allow_partial_mpa_restoration=True),
        CheckpointOptionError, "found allow_partial_mpa_restoration=True",
    ),
    "transforms": (
        lambda d: restore_checkpoint(save_checkpoint(d, {}, 1), None, orbax_transforms={}),
        CheckpointOptionError, "found orbax_transforms for a checkpoint that is a file",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_options_that_make_no_sense_are_refused(name: str, tmp_path: Path) -> None:
    call, error, text = REFUSED[name]
    with pytest.raises(error, match=re.escape(text)):
        call(tmp_path)


# Large files.


def test_large_arrays_and_files_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_msgpack, "MAX_CHUNK_BYTES", 1000)
    monkeypatch.setattr(_step_files, "_PIECE_BYTES", 333)
    state = {"a": np.arange(5000)}
    save_checkpoint(tmp_path, state, 1)
    for parallel in (True, False):
        chex.assert_trees_all_equal(restore_checkpoint(tmp_path, state, parallel=parallel), state)


# Through Orbax.


def sharded(array: Any) -> jax.Array:
    mesh = Mesh(np.array(jax.devices()), ("x",))
    return jax.device_put(array, NamedSharding(mesh, PartitionSpec("x")))


ORBAX_STATE: dict[str, Any] = {
    "opt": optax.adam(0.1).init({"k": jnp.ones(2, jnp.bfloat16)}),
    "pair": Pair(np.float32(2), (3, 2.5)),
    "empty": {},
    "none": None,
}


@SAVES
def test_an_orbax_checkpointer_writes_directories(save: Any, tmp_path: Path) -> None:
    with ocp.PyTreeCheckpointer() as checkpointer:
        for step in range(3):
            save(tmp_path, ORBAX_STATE, step, keep=2, orbax_checkpointer=checkpointer)
    assert available_steps(tmp_path) == [1, 2]
    assert (tmp_path / "checkpoint_2").is_dir()
    restored = restore_checkpoint(tmp_path, ORBAX_STATE)
    assert jax.tree.structure(restored) == jax.tree.structure(ORBAX_STATE)
    chex.assert_trees_all_equal(restored, ORBAX_STATE)
    assert type(restored["pair"].right[0]) is int
    state: Any = None
    state = restore_checkpoint(tmp_path / "checkpoint_2", state)
    assert state["pair"]["right"]["1"] == 2.5


def test_orbax_restores_onto_shardings(tmp_path: Path) -> None:
    state = {"a": sharded(np.arange(8.0))}
    with ocp.PyTreeCheckpointer() as checkpointer:
        save_checkpoint(tmp_path, state, 1, orbax_checkpointer=checkpointer)
        restored = restore_checkpoint(tmp_path, state, orbax_checkpointer=checkpointer)
    assert restored["a"].sharding == state["a"].sharding
    chex.assert_trees_all_equal(restored, state)


def test_the_standard_checkpointer_of_orbax(tmp_path: Path) -> None:
    state = {"a": sharded(np.arange(8.0)), "b": 3}
    with ocp.StandardCheckpointer() as checkpointer:
        save_checkpoint(tmp_path, state, 1, orbax_checkpointer=checkpointer)
        checkpointer.wait_until_finished()
        restored = restore_checkpoint(tmp_path, state, orbax_checkpointer=checkpointer)
        chex.assert_trees_all_equal(restored, state)
    chex.assert_trees_all_equal(restore_checkpoint(tmp_path, state), state)


def test_transformations_of_orbax(tmp_path: Path) -> None:
    with ocp.PyTreeCheckpointer() as checkpointer:
        save_checkpoint(tmp_path, {"old": np.arange(3)}, 1, orbax_checkpointer=checkpointer)
    renamed = restore_checkpoint(
        tmp_path, {"new": np.zeros(3, int)}, orbax_transforms={"new": ocp.Transform("old")}
    )
    chex.assert_trees_all_equal(renamed, {"new": np.arange(3)})


def test_orbax_directories_of_another_structure_are_told_of(tmp_path: Path) -> None:
    with ocp.PyTreeCheckpointer() as checkpointer:
        save_checkpoint(tmp_path, TREE, 1, orbax_checkpointer=checkpointer)
    with pytest.raises(CheckpointMismatchError, match="checkpoint_1 does not fit the target"):
        restore_checkpoint(tmp_path, {"z": 1})


def test_damaged_orbax_directories_are_told_of(tmp_path: Path) -> None:
    (tmp_path / "checkpoint_1").mkdir()
    with pytest.raises(CheckpointReadError, match="checkpoint_1: Orbax cannot read this directory"):
        restore_checkpoint(tmp_path, None)


def test_a_file_takes_the_place_of_a_directory(tmp_path: Path) -> None:
    with ocp.PyTreeCheckpointer() as checkpointer:
        save_checkpoint(tmp_path, {"a": 1}, 1, orbax_checkpointer=checkpointer)
    save_checkpoint(tmp_path, {"a": 2}, 1, overwrite=True)
    assert restore_checkpoint(tmp_path, None) == {"a": 2}
    assert names(tmp_path) == ["checkpoint_1"]


# Names.


def test_numbers_in_names_count_as_numbers() -> None:
    files = ["a10", "a2", "a-3", "a1.5", "b1", "a1e3", "a", ""]
    assert natural_sort(files) == ["", "a", "a-3", "a1.5", "a2", "a10", "a1e3", "b1"]
    assert natural_sort(["a3", "a-2", "a-10", "a1"], signed=False) == ["a1", "a-2", "a3", "a-10"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("gs://a//b/../c", "gs://a/c"),
        ("a//b", "a/b"),
        ("/a/./b/", "/a/b"),
        ("", "."),
        ("~x", "~x"),
    ],
)
def test_paths_are_normalized_behind_their_scheme(path: str, expected: str) -> None:
    assert safe_normpath(path) == expected
