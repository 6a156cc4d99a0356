"""Checkpoints that flax.training writes are restored here, and the other way round."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.configurations import config
from flax.training import checkpoints as theirs

from linen_train import _msgpack
from linen_train import checkpoints as ours

from .comparison import differences

# What flax says of itself, and of Orbax, to which it gives no sharding where there is no target.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Flax Checkpointing will soon be:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Sharding info not provided:UserWarning"),
]


class Pair(NamedTuple):
    left: Any
    right: Any


PARAMS = {"kernel": jnp.ones((4, 5), jnp.bfloat16), "bias": np.arange(5, dtype=np.float32)}
STATES: dict[str, Any] = {
    "params": {"params": PARAMS, "step": 3},
    "optimizer": {"opt_state": optax.adam(0.1).init(PARAMS), "rng": jax.random.PRNGKey(0)},
    "containers": [Pair(np.arange(3), (1.5, True)), {"a": {"b": np.int32(3)}}],
}
every_state = pytest.mark.parametrize("name", STATES)


@pytest.fixture(params=[False, True], ids=["files", "directories"])
def through_orbax(request: pytest.FixtureRequest) -> Iterator[bool]:
    config.update("flax_use_orbax_checkpointing", request.param)
    yield request.param
    config.update("flax_use_orbax_checkpointing", True)


@pytest.fixture(params=["whole", "in pieces"])
def limit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "in pieces":
        monkeypatch.setattr(_msgpack, "MAX_CHUNK_BYTES", 16)
        monkeypatch.setattr(flax.serialization, "MAX_CHUNK_SIZE", 16)


def values(tree: Any) -> Any:
    """Returns the tree with numpy arrays, and numbers as arrays: Orbax keeps no more than this."""
    return jax.tree.map(np.asarray, tree)


@pytest.mark.usefixtures("limit")
@every_state
def test_what_flax_saves_is_restored_here(name: str, through_orbax: bool, tmp_path: Path) -> None:
    state = STATES[name]
    path = theirs.save_checkpoint(tmp_path, state, 7)
    assert Path(path).is_dir() == through_orbax
    assert list(differences(values(ours.restore_checkpoint(tmp_path, state)), values(state))) == []
    assert ours.available_steps(tmp_path) == [7]
    assert ours.latest_checkpoint(tmp_path) == path


@pytest.mark.usefixtures("limit")
@every_state
def test_what_is_saved_here_flax_restores(name: str, through_orbax: bool, tmp_path: Path) -> None:
    state = STATES[name]
    path = ours.save_checkpoint(tmp_path, state, 7)
    assert (
        list(differences(values(theirs.restore_checkpoint(tmp_path, state)), values(state))) == []
    )
    assert theirs.available_steps(tmp_path) == [7]
    assert theirs.latest_checkpoint(tmp_path) == path
    if not through_orbax:
        their_path = theirs.save_checkpoint(tmp_path / "theirs", state, 7)
        assert Path(their_path).read_bytes() == Path(path).read_bytes()


def test_state_dicts_without_a_target(through_orbax: bool, tmp_path: Path) -> None:
    theirs.save_checkpoint(tmp_path, STATES["params"], 7)
    found = ours.restore_checkpoint(tmp_path, None)
    expected = theirs.restore_checkpoint(tmp_path, None)
    assert list(differences(values(found), values(expected))) == []


RETENTION: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "last": ([1, 2, 5, 10], {}),
    "three": ([1, 2, 5, 10, 11], {"keep": 3}),
    "every": ([*range(1, 12)], {"keep": 2, "keep_every_n_steps": 3}),
    "every of even ones": ([*range(2, 20, 2)], {"keep_every_n_steps": 5}),
    "fractions": ([0.5, 1, 1.5, 2, 2.5], {"keep_every_n_steps": 1}),
    "negative": ([-5, -4, -3, 1, 2], {"keep": 2}),
    "arrays": ([np.int64(3), jnp.int32(4)], {"keep": 2}),
    "overwrite": ([1, 2, 3, 2], {"keep": 5, "overwrite": True}),
}


@pytest.mark.parametrize("name", RETENTION)
def test_the_same_ones_are_kept(name: str, tmp_path: Path) -> None:
    steps, options = RETENTION[name]
    config.update("flax_use_orbax_checkpointing", False)
    try:
        for library, folder in ((ours, "ours"), (theirs, "theirs")):
            for step in steps:
                library.save_checkpoint(tmp_path / folder, {"a": 1}, step, **options)
    finally:
        config.update("flax_use_orbax_checkpointing", True)
    found, expected = (
        sorted(path.name for path in (tmp_path / folder).iterdir()) for folder in ("ours", "theirs")
    )
    assert found == expected


def test_flax_forgets_that_zero_is_a_step(tmp_path: Path) -> None:
    for library, kept in ((ours, [0, 5, 6]), (theirs, [5, 6])):
        folder = tmp_path / library.__name__
        for step in (0, 5, 6):
            library.save_checkpoint(folder, {"a": 1}, step, keep_every_n_steps=5)
        assert library.available_steps(folder) == kept


def test_natural_order() -> None:
    rng = random.Random(0)
    parts = ["a", "b", "_", "1", "2", "10", "-3", "1.5", "-20", "1e3", ".5", ""]
    names = ["".join(rng.choices(parts, k=3)) for _ in range(300)]
    for signed in (True, False):
        assert ours.natural_sort(names, signed) == theirs.natural_sort(names, signed)


@pytest.mark.parametrize(
    "path",
    ["gs://a//b/../c", "http://a//b/", "a//b", "/a/./b", "./x", "", "~x", "a:b//c", "s3://x"],
)
def test_normal_paths(path: str) -> None:
    assert ours.safe_normpath(path) == theirs.safe_normpath(path)
