import dataclasses
import errno
import hashlib
import os
import subprocess
import sys
import textwrap
import threading
import types
from collections import namedtuple
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from linen_train import Checkpointer, TrainState
from linen_train.errors import (
    CheckpointClosedError,
    CheckpointDirectoryError,
    CheckpointFormatError,
    CheckpointLeafError,
    CheckpointMetadataError,
    CheckpointMismatchError,
    CheckpointNotFoundError,
    CheckpointOptionError,
    CheckpointStepError,
)

Pair = namedtuple("Pair", ["first", "second"])


def make_state(width: int = 3) -> TrainState:
    return TrainState.create(
        apply_fn=lambda variables, x: x,
        params={"Dense_0": {"kernel": jnp.ones((2, width)), "bias": jnp.zeros(width)}},
        collections={"batch_stats": {"mean": jnp.arange(3.0)}},
        rngs={"dropout": jax.random.key(1)},
        tx=optax.adam(1e-3),
    )


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in an interpreter of its own, where warnings are errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


LEAVES: dict[str, Any] = {
    "float32": jnp.arange(6.0).reshape(2, 3),
    "bfloat16": jnp.ones(3, jnp.bfloat16),
    "float8": jnp.ones(3, jnp.float8_e4m3fn),
    "int4": jnp.arange(4).astype(jnp.int4),
    "bool": jnp.array([True, False]),
    "complex": jnp.array([1j, 2.0]),
    "scalar": jnp.array(3),
    "no_elements": jnp.zeros((0, 3)),
    "key": jax.random.key(7),
    "keys": jax.random.split(jax.random.key(7, impl="rbg"), (2, 3)),
    "no_keys": jax.random.split(jax.random.key(7), 0),
    "raw_key": jax.random.PRNGKey(7),
    "numpy": np.arange(4.0),
    "numpy_scalar": np.float64(1.5),
    "python_int": 3,
    "python_float": 0.1,
    "python_bool": True,
    "python_complex": 1.5j,
    "bare_array": None,
}


def values(leaf: Any) -> np.ndarray:
    is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


@pytest.mark.parametrize("leaf", LEAVES.values(), ids=LEAVES)
def test_a_leaf_comes_back_as_it_was(tmp_path: Path, leaf: Any) -> None:
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, {"leaf": leaf})
        restored = checkpointer.restore({"leaf": leaf})["leaf"]
    assert type(restored) is type(leaf)
    assert getattr(restored, "dtype", None) == getattr(leaf, "dtype", None)
    np.testing.assert_array_equal(values(restored), values(leaf))


TREES: dict[str, Any] = {
    "empty": {},
    "empty_inside": {"a": {}, "b": [jnp.ones(2)], "c": None},
    "array_alone": jnp.ones(3),
    "named_tuple": Pair(jnp.ones(2), (1, [2.0])),
    "clash_of_dots": {"a.b": jnp.ones(2), "a": {"b": jnp.zeros(3)}},
    "clash_of_slashes": {"a/b": jnp.ones(2), "a": {"b": jnp.zeros(3)}},
    "clash_of_escapes": {"a%2Fb": jnp.ones(2), "a/b": jnp.zeros(3)},
    "names": {"": jnp.ones(1), " ": jnp.ones(2), "é": jnp.ones(3), "..": jnp.ones(4)},
    "integer_keys": {0: jnp.ones(1), 10: jnp.ones(2)},
    "optimizer": optax.chain(optax.clip(1.0), optax.adam(0.1)).init({"w": jnp.ones(2)}),
}


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_a_tree_comes_back_as_it_was(tmp_path: Path, tree: Any) -> None:
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, tree)
        restored = checkpointer.restore(tree)
    assert jax.tree.structure(restored) == jax.tree.structure(tree)
    jax.tree.map(np.testing.assert_array_equal, restored, tree)


def test_a_train_state_comes_back_onto_itself_and_onto_its_abstract_form(tmp_path: Path) -> None:
    state = make_state().apply_gradients(grads=make_state().params)
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(state.step, state)
        for target in (make_state(), jax.eval_shape(make_state)):
            restored = checkpointer.restore(target)
            chex.assert_trees_all_equal(restored.params, state.params)
            chex.assert_trees_all_equal(restored.opt_state, state.opt_state)
            assert restored.rngs["dropout"] == state.rngs["dropout"]
            assert restored.apply_fn is target.apply_fn
            assert int(restored.step) == 1


def test_arrays_are_committed_to_devices_where_those_of_the_target_are(tmp_path: Path) -> None:
    device = jax.devices()[0]
    target = {
        "free": jnp.ones(2),
        "committed": jax.device_put(jnp.ones(2), device),
        "committed_key": jax.device_put(jax.random.key(0), device),
        "committed_without_elements": jax.device_put(jnp.ones(0), device),
    }
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, target)
        restored = checkpointer.restore(target)
    for name, leaf in restored.items():
        assert leaf.committed == target[name].committed == name.startswith("committed")


def test_what_save_got_is_what_is_saved(tmp_path: Path) -> None:
    overwrite = jax.jit(lambda x: x * 0 - 1, donate_argnums=0)
    state = {"jax": jnp.arange(100_000.0) + 0, "numpy": np.arange(100_000.0)}
    expected = jax.tree.map(np.array, state)
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, state)
        overwrite(state["jax"]).block_until_ready()
        state["numpy"][:] = -1
        restored = checkpointer.restore(expected)
    chex.assert_trees_all_equal(restored, expected)


@pytest.mark.parametrize("how", ["donated", "deleted"])
def test_the_next_step_may_reuse_the_memory_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    begin = threading.Event()
    write = os.pwrite
    arrays = {"numpy": np.arange(100_000.0), "jax": jnp.arange(100_000.0) + 0}
    expected = jax.tree.map(np.array, arrays)
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, {"x": 1})
        checkpointer.wait()
        monkeypatch.setattr(os, "pwrite", lambda *args: begin.wait() and write(*args))
        checkpointer.save(2, arrays)
        arrays["numpy"][:] = -1
        if how == "donated":
            step = jax.jit(lambda x: x * 0 - 1, donate_argnums=0)
            for _ in range(3):
                arrays["jax"] = step(arrays["jax"]).block_until_ready()
        else:
            arrays["jax"].delete()
            assert jax.block_until_ready(jnp.zeros(100_000) - 1)[0] == -1
        begin.set()
        chex.assert_trees_all_equal(checkpointer.restore(expected), expected)


def test_steps(tmp_path: Path) -> None:
    with Checkpointer(tmp_path, keep_last=2) as checkpointer:
        assert (checkpointer.steps(), checkpointer.latest_step()) == ([], None)
        for step in (0, 5, 10):
            checkpointer.save(step, {"x": step}, metadata={"step": step})
        checkpointer.wait()
        assert (checkpointer.steps(), checkpointer.latest_step()) == ([5, 10], 10)
        assert checkpointer.restore({"x": 0}) == {"x": 10}
        assert checkpointer.restore({"x": 0}, step=5) == {"x": 5}
        assert checkpointer.metadata(5) == {"step": 5}
    with Checkpointer(tmp_path, keep_last=None) as checkpointer:
        assert checkpointer.steps() == [5, 10]
        checkpointer.save(11, {"x": 0})
        checkpointer.wait()
        assert checkpointer.steps() == [5, 10, 11]
        assert checkpointer.metadata() == {}


def test_restoring_waits_for_the_step_that_is_being_saved(tmp_path: Path) -> None:
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, {"x": jnp.arange(1_000_000.0)})
        checkpointer.restore({"x": jax.ShapeDtypeStruct((1_000_000,), jnp.float32)}, step=1)


def test_other_entries_of_the_directory_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "today.txt").write_text("keep me")
    (tmp_path / "7.backup").mkdir()
    with Checkpointer(tmp_path, keep_last=1) as checkpointer:
        for step in (1, 2):
            checkpointer.save(step, {"x": step})
        checkpointer.wait()
        assert checkpointer.steps() == [2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "7.backup", "notes"]


def test_a_relative_directory_is_resolved_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Checkpointer("runs/first") as checkpointer:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        checkpointer.save(1, {"x": 1})
    assert checkpointer.directory == tmp_path / "runs" / "first"
    assert (tmp_path / "runs" / "first" / "1").is_dir()


@pytest.mark.parametrize("step", [-1, 3, 5])
def test_steps_only_grow(tmp_path: Path, step: int) -> None:
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(5, {"x": 1})
        with pytest.raises(CheckpointStepError) as caught:
            checkpointer.save(step, {"x": 2})
        assert str(caught.value) == (
            f"{tmp_path}: found step {step}, expected more than 5, the newest step there. To begin "
            "again from an older step, save into another directory."
        )
        assert checkpointer.restore({"x": 0}) == {"x": 1}


def test_every_difference_is_listed(tmp_path: Path) -> None:
    state = {"same": jnp.ones(1), "shape": jnp.ones((2, 3)), "dtype": jnp.ones(2), "gone": 1.0}
    target = {
        "same": jnp.ones(1),
        "shape": jnp.ones((3, 2)),
        "dtype": jnp.ones(2, jnp.bfloat16),
        "new": {"key": jax.random.key(0)},
    }
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(4, state)
        with pytest.raises(CheckpointMismatchError) as caught:
            checkpointer.restore(target)
    assert str(caught.value) == textwrap.dedent(f"""\
        {tmp_path}/4 does not fit the target: 1 dtype, 1 missing, 1 shape, 1 unexpected (of 4 leaves in the target)
          dtype       dtype: found float32[2], expected bfloat16[2]
          unexpected  gone: found float64[], expected nothing
          missing     new/key: expected key<fry>[], found nothing
          shape       shape: found float32[2,3], expected float32[3,2]
        Make the target as the saved state was made.""")


def test_long_lists_of_differences_are_cut(tmp_path: Path) -> None:
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, {f"old_{i:02}": i for i in range(15)})
        with pytest.raises(CheckpointMismatchError) as caught:
            checkpointer.restore({f"new_{i:02}": i for i in range(10)})
    lines = str(caught.value).splitlines()
    assert "10 missing, 15 unexpected" in lines[0]
    assert len(lines) == 1 + 20 + 1 + 1
    assert lines[-2] == "  ... and 5 more"


def test_a_key_is_never_cast(tmp_path: Path) -> None:
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, {"key": jax.random.key(0)})
        for target in (jax.random.PRNGKey(0), jax.random.key(0, impl="rbg")):
            with pytest.raises(CheckpointMismatchError, match="key: found key<fry>") as caught:
                checkpointer.restore({"key": target})
            assert "dtypes=" not in str(caught.value)  # that would not help


def test_jax_without_64_bits_does_not_narrow_silently(tmp_path: Path) -> None:
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, {"x": np.arange(3.0)})
        with pytest.raises(CheckpointMismatchError, match="jax_enable_x64"):
            checkpointer.restore({"x": jax.ShapeDtypeStruct((3,), np.float64)})


@pytest.mark.parametrize(
    ("leaf", "found"),
    [
        ("text", "'text' of type str"),
        (object, "of type type"),
        (2**70, "of type int"),
        (types.SimpleNamespace(dtype="strange", shape=()), "of type SimpleNamespace"),
        (np.array(["a"]), "of type ndarray"),
        (np.datetime64("2020-01-01"), "of type datetime64"),
        (np.ma.masked_array(1.0, True), "of type MaskedArray"),
    ],
    ids=["text", "class", "huge", "foreign_array", "array_of_text", "date", "masked"],
)
def test_leaves_that_cannot_be_saved(tmp_path: Path, leaf: Any, found: str) -> None:
    with Checkpointer(tmp_path) as checkpointer:
        with pytest.raises(
            CheckpointLeafError, match=f"a/b: (?s:found .*{found}), expected arrays"
        ):
            checkpointer.save(1, {"a": {"b": leaf}})
        assert checkpointer.steps() == []


def test_leaves_without_values(tmp_path: Path) -> None:
    donated = jnp.ones(3)
    donated.delete()
    leaves = {
        "found a deleted array, .* A step that donates its state returns the next one": donated,
        "found an abstract array, .* Save the state itself": jax.eval_shape(lambda: jnp.ones(3)),
    }
    with Checkpointer(tmp_path) as checkpointer:
        for message, leaf in leaves.items():
            with pytest.raises(CheckpointLeafError, match=f"a/b: {message}"):
                checkpointer.save(1, {"a": {"b": leaf}})
        with pytest.raises(CheckpointLeafError, match=r"a: .* Call save outside"):
            jax.jit(lambda x: checkpointer.save(1, {"a": x}))(1.0)
        checkpointer.save(1, {"a": 1.0})
        with pytest.raises(CheckpointLeafError, match=r"a: .* Call restore outside"):
            jax.jit(lambda x: checkpointer.restore({"a": x}))(1.0)


def test_keys_without_an_order(tmp_path: Path) -> None:
    with (
        Checkpointer(tmp_path) as checkpointer,
        pytest.raises(CheckpointLeafError, match="Use text for all keys of a dict"),
    ):
        checkpointer.save(1, {"a": {1: 1, "b": 2}})


@jax.tree_util.register_pytree_with_keys_class
@dataclasses.dataclass
class Twins:
    """A container whose two keys are the same as text."""

    one: Any
    other: Any

    def tree_flatten_with_keys(self) -> Any:
        keys = jax.tree_util.DictKey(1), jax.tree_util.DictKey("1")
        return ((keys[0], self.one), (keys[1], self.other)), None

    @classmethod
    def tree_unflatten(cls, _: None, children: Any) -> "Twins":
        return cls(*children)


def test_two_leaves_at_one_path(tmp_path: Path) -> None:
    with (
        Checkpointer(tmp_path) as checkpointer,
        pytest.raises(CheckpointLeafError, match="a/1: found two leaves at this path"),
    ):
        checkpointer.save(1, {"a": Twins(1, 2)})


WRONG_METADATA: list[tuple[Any, str]] = [
    ({"loss": [1, jnp.array(1.0)]}, r"metadata\['loss'\]\[1\]: found .* write float\(x\)"),
    ({"best": {1: "one"}}, r"metadata\['best'\]: found the key 1, expected text.* Write \{'1': "),
    ([("loss", 1)], "metadata: found .* of type list, expected JSON"),
]


def test_metadata_that_is_not_json(tmp_path: Path) -> None:
    with Checkpointer(tmp_path) as checkpointer:
        for metadata, message in WRONG_METADATA:
            with pytest.raises(CheckpointMetadataError, match=message):
                checkpointer.save(1, {"x": 1}, metadata=metadata)
        assert checkpointer.steps() == []


def test_nothing_to_restore(tmp_path: Path) -> None:
    with Checkpointer(tmp_path) as checkpointer:
        with pytest.raises(CheckpointNotFoundError, match=f"{tmp_path}: found no checkpoint"):
            checkpointer.restore({})
        checkpointer.save(2, {})
        with pytest.raises(
            CheckpointNotFoundError, match=r"found no step 3, expected one of \[2\]"
        ):
            checkpointer.metadata(3)


@pytest.mark.parametrize("directory", ["file", "file/below", "gs://bucket/runs"])
def test_directories_that_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, directory: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointDirectoryError, match=directory):
        Checkpointer(directory)


def test_keeping_nothing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointOptionError, match="found keep_last=0, expected at least 1"):
        Checkpointer(tmp_path, keep_last=0)


def test_after_close(tmp_path: Path) -> None:
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(1, {"x": 1})
    checkpointer.close()
    checkpointer.close()
    assert checkpointer.steps() == [1]
    for use in (
        lambda: checkpointer.save(2, {"x": 1}),
        lambda: checkpointer.restore({"x": 1}),
        lambda: checkpointer.should_save(2),
        checkpointer.__enter__,
    ):
        with pytest.raises(CheckpointClosedError, match="the checkpointer is closed"):
            use()


def test_what_ends_the_block_is_raised_beside_a_failed_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("linen_train.checkpoint._saving.write_arrays", full)

    def program() -> None:
        with Checkpointer(tmp_path) as checkpointer:
            checkpointer.save(2, {"x": 2})
            sys.exit(130)

    with pytest.raises(SystemExit) as caught:
        program()
    assert caught.value.code == 130
    assert caught.value.__notes__ == [
        f"{tmp_path}: step 2 could not be saved: No space left on device. Committed steps: []. Once "
        "the cause is gone, save it again."
    ]


@pytest.mark.parametrize("step", [1.5, "3", None], ids=str)
def test_steps_that_are_no_numbers(tmp_path: Path, step: Any) -> None:
    with Checkpointer(tmp_path) as checkpointer:
        for use in (checkpointer.should_save, lambda step: checkpointer.save(step, {"x": 1})):
            with pytest.raises(CheckpointStepError, match=f"found {step!r} for a step, expected a"):
                use(step)


def edit_manifest(step: Path, old: str, new: str) -> None:
    """Change the manifest of a step, and its digest with it."""
    file = step / "manifest.json"
    body = file.read_text().partition("\n")[2]
    assert old in body
    body = body.replace(old, new)
    digest = hashlib.sha256(body.encode()).hexdigest()
    file.write_text(f'{{"sha256": "{digest}",\n{body}')


def test_a_newer_format(tmp_path: Path) -> None:
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, {"x": 1})
        checkpointer.wait()
        edit_manifest(tmp_path / "1", '"format_version": 1', '"format_version": 2')
        with pytest.raises(CheckpointFormatError) as caught:
            checkpointer.restore({"x": 1})
    assert str(caught.value) == (
        f"{tmp_path}/1/manifest.json: found format version 2 of 'linen-train', expected version 1 of "
        "'linen-train'. A newer release of linen-train may read it."
    )


def test_a_save_that_fails_is_heard_of_and_can_be_repeated(tmp_path: Path) -> None:
    completed = run_python(f"""
        import resource
        import jax.numpy as jnp
        from linen_train import Checkpointer
        from linen_train.errors import CheckpointSaveError

        def limit_files(size):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

        state = {{"x": jnp.arange(1_000_000.0)}}
        with Checkpointer({str(tmp_path)!r}) as checkpointer:
            checkpointer.save(1, state)
            checkpointer.wait()
            limit_files(100_000)
            try:
                checkpointer.save(2, state)
                checkpointer.wait()
            except CheckpointSaveError as error:
                print(error)
            print(checkpointer.steps())
            limit_files(resource.RLIM_INFINITY)
            checkpointer.restore(state)
            checkpointer.save(2, state)
            checkpointer.restore(state, step=2)
            print(checkpointer.steps())
    """)
    assert completed.returncode == 0, completed.stderr
    error, after_failure, after_repetition = completed.stdout.splitlines()
    assert error.startswith(f"{tmp_path}: step 2 could not be saved: ")
    assert error.endswith("Committed steps: [1]. Once the cause is gone, save it again.")
    assert (after_failure, after_repetition) == ("[1]", "[1, 2]")


def test_nothing_is_written_to_the_terminal(tmp_path: Path) -> None:
    completed = run_python(f"""
        import jax, jax.numpy as jnp, optax
        from linen_train import Checkpointer, TrainState

        state = TrainState.create(
            apply_fn=lambda variables: None,
            params={{"w": jax.device_put(jnp.ones(3), jax.devices()[0])}},
            rngs={{"dropout": jax.random.key(0)}},
            tx=optax.adam(0.1),
        )
        with Checkpointer({str(tmp_path)!r}, keep_last=2) as checkpointer:
            for step in range(4):
                checkpointer.save(step, state)
            checkpointer.restore(state)
        with Checkpointer({str(tmp_path)!r}) as checkpointer:
            checkpointer.restore(jax.eval_shape(lambda: state))
            checkpointer.metadata()
    """)
    assert (completed.returncode, completed.stdout, completed.stderr) == (0, "", "")


def placed(devices: int, *spec: str | None) -> NamedSharding:
    mesh = jax.make_mesh(
        (devices,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices]
    )
    return NamedSharding(mesh, PartitionSpec(*spec))


@pytest.mark.parametrize("saved", [("data",), (None, "data"), ()], ids=["rows", "columns", "whole"])
def test_onto_another_mesh(tmp_path: Path, saved: tuple[str | None, ...]) -> None:
    x = jnp.arange(64.0).reshape(8, 8)
    keys = jax.random.split(jax.random.key(0), 8)
    over_8, over_4, whole = placed(8, "data"), placed(4, None, "data"), placed(2)
    state = {
        "x": jax.device_put(x, placed(8, *saved)),
        "keys": jax.device_put(keys, placed(8, *saved[:1])),
    }
    targets = [
        state,
        {"x": jax.device_put(x, over_4), "keys": jax.device_put(keys, whole)},
        {
            "x": jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole),
            "keys": jax.ShapeDtypeStruct(keys.shape, keys.dtype, sharding=over_8),
        },
        {"x": x, "keys": keys},
    ]
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, state)
        for target in targets:
            restored = checkpointer.restore(target)
            for name in state:
                assert restored[name].sharding == target[name].sharding, name
            np.testing.assert_array_equal(restored["x"], x)
            assert (restored["keys"] == keys).all()
    pieces = (tmp_path / "1" / "manifest.json").read_text().count('["x",')
    assert pieces == (8 if saved else 1)  # what several devices hold is saved once
