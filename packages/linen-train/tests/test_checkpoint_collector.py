"""Reading a checkpoint keeps the garbage collector away, and leaves it as it was."""

import gc
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import pytest

from linen_train import Checkpointer
from linen_train.checkpoint._collector import paused_collection
from linen_train.errors import CheckpointMismatchError


@pytest.fixture(autouse=True)
def keep_collector() -> Iterator[None]:
    assert gc.isenabled()
    yield
    gc.enable()


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_it_is_left_as_it_was(enabled: bool, fails: bool, tmp_path: Path) -> None:
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, {"kernel": jnp.ones(2)})
        checkpointer.wait()
        if not enabled:
            gc.disable()
        if fails:
            with pytest.raises(CheckpointMismatchError):
                checkpointer.restore({"kernel": jnp.ones(3)})
        else:
            checkpointer.restore({"kernel": jnp.ones(2)})
        assert gc.isenabled() is enabled


def test_it_does_not_run_meanwhile() -> None:
    with paused_collection():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_every_restore_reads_without_it(tmp_path: Path) -> None:
    seen = []

    def selects(path: str) -> bool:
        seen.append(gc.isenabled())
        return True

    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, {"kernel": jnp.ones(2)})
        checkpointer.restore(paths=selects)
    assert seen == [False]
