"""Steps that Orbax wrote for others are read, and nothing is promised about them."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from linen_train import Checkpointer
from linen_train.errors import (
    CheckpointFormatError,
    CheckpointMismatchError,
    CheckpointReadError,
    CheckpointWarning,
)

PARAMS = {"Dense.0": {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.ones(3, jnp.bfloat16)}}
STATE: dict[str, Any] = {
    "params": PARAMS,
    "opt_state": optax.adam(0.1).init(PARAMS),
    "step": 4,
    "lists": [np.ones(2), {}],
    "counts": jnp.arange(4, dtype=jnp.uint32),
    "key": jax.random.key(3),
}


def by_manager(directory: Path) -> None:
    with ocp.CheckpointManager(directory) as manager:
        manager.save(3, args=ocp.args.StandardSave(STATE))
        manager.wait_until_finished()


def by_manager_with_items(directory: Path) -> None:
    with ocp.CheckpointManager(directory) as manager:
        items = {"extra": ocp.args.JsonSave({"a": 1}), "train": ocp.args.PyTreeSave(STATE)}
        manager.save(3, args=ocp.args.Composite(**items))
        manager.wait_until_finished()


def by_checkpointer(directory: Path) -> None:
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(directory / "3", STATE)


WRITERS: dict[str, Callable[[Path], None]] = {
    "manager": by_manager,
    "manager_with_items": by_manager_with_items,
    "checkpointer": by_checkpointer,
}


@pytest.mark.filterwarnings("ignore")  # of Orbax, while it writes
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_what_orbax_wrote(
    tmp_path: Path, write: Callable[[Path], None], capfd: pytest.CaptureFixture[str]
) -> None:
    logging.disable()
    try:
        write(tmp_path)
    finally:
        logging.disable(logging.NOTSET)
    capfd.readouterr()
    with Checkpointer(tmp_path) as checkpointer:
        assert checkpointer.steps() == [3]
        restored = checkpointer.restore(STATE)
        assert jax.tree.structure(restored) == jax.tree.structure(STATE)
        assert restored.pop("key") == STATE["key"]
        expected = {name: leaf for name, leaf in STATE.items() if name != "key"}
        chex.assert_trees_all_equal(restored, expected, strict=True)
        alone = checkpointer.restore(paths=["params"], dtypes={"params": jnp.float32})
        assert alone["params"]["Dense.0"]["bias"].dtype == np.float32
        with pytest.raises(CheckpointMismatchError, match=f"{tmp_path}/3 does not fit"):
            checkpointer.restore({"params": PARAMS})
        for ask in (checkpointer.metadata, checkpointer.data_state, checkpointer.verify):
            with pytest.raises(CheckpointFormatError, match=f"{tmp_path}/3: found a step of Orbax"):
                ask()
    assert capfd.readouterr() == ("", "")


@pytest.mark.filterwarnings("ignore")  # of Orbax, while it writes
def test_several_trees_are_a_dict_by_name(tmp_path: Path) -> None:
    trees = {"state": {"w": np.arange(3.0)}, "opt": {"mu": np.ones(2)}}
    with ocp.CheckpointManager(tmp_path) as manager:
        items = {name: ocp.args.StandardSave(tree) for name, tree in trees.items()}
        manager.save(3, args=ocp.args.Composite(**items))
        manager.wait_until_finished()
    checkpointer = Checkpointer(tmp_path)
    chex.assert_trees_all_equal(checkpointer.restore(), trees)
    restored = checkpointer.restore(trees["opt"], rename={"": "opt"}, strict=False)
    chex.assert_trees_all_equal(restored, trees["opt"])


@pytest.mark.filterwarnings("ignore")  # of Orbax, while it writes
def test_a_step_that_orbax_cannot_read(tmp_path: Path) -> None:
    by_checkpointer(tmp_path)
    with Checkpointer(tmp_path, asynchronous=False) as checkpointer:
        checkpointer.save(5, {"x": 5})
        shutil.copytree(tmp_path / "3", tmp_path / "6")
        (tmp_path / "6" / "manifest.ocdbt").write_bytes(b"")
        with pytest.raises(CheckpointReadError, match=rf"{tmp_path}/6 is damaged:\n.* by Orbax"):
            checkpointer.restore()
        with pytest.warns(CheckpointWarning, match="restored step 5"):
            assert checkpointer.restore({"x": 0}, fallback=True) == {"x": 5}


@pytest.mark.filterwarnings("ignore")  # of Orbax, while it writes
def test_steps_of_others_are_kept(tmp_path: Path) -> None:
    by_checkpointer(tmp_path)
    (tmp_path / "2").mkdir()
    with Checkpointer(tmp_path, keep_last=1) as checkpointer:
        for step in (4, 5):
            checkpointer.save(step, {"x": step})
        checkpointer.wait()
        assert checkpointer.steps() == [3, 5]
        assert checkpointer.restore({"x": 0}) == {"x": 5}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["2", "3", "5"]
