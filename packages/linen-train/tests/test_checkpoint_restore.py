"""What of a step is restored, under which names, and as what."""

import dataclasses
import textwrap
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from linen_core import struct
from linen_train import Checkpointer
from linen_train.errors import CheckpointMismatchError, CheckpointPathError

Pair = namedtuple("Pair", ["first", "second"])


@struct.dataclass
class Model:
    params: Any
    name: str = struct.field(pytree_node=False, default="model")


SAVED = {
    "params": {
        "Dense_0": {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)},
        "Dense_1": {"kernel": jnp.full((3, 1), 2.0)},
    },
    "opt_state": [{"count": jnp.array(5), "mu": jnp.full(3, 0.5)}],
    "key": jax.random.key(4),
}


@pytest.fixture
def checkpointer(tmp_path: Path) -> Any:
    with Checkpointer(tmp_path, asynchronous=False) as checkpointer:
        checkpointer.save(1, SAVED)
        yield checkpointer


def zeros() -> dict[str, Any]:
    cleared = jax.tree.map(jnp.zeros_like, {k: v for k, v in SAVED.items() if k != "key"})
    return {**cleared, "key": jax.random.key(0)}


def test_without_a_target(tmp_path: Path) -> None:
    state = {
        "model": Model({"a/b": jnp.ones(2, jnp.bfloat16), "": np.zeros((0, 2))}),
        "pair": Pair(1, [2.5, jnp.arange(3)]),
        "keys": jax.random.split(jax.random.key(0), 3),
        "left_out": ({}, None, []),
    }
    with Checkpointer(tmp_path, asynchronous=False) as checkpointer:
        checkpointer.save(1, state)
        restored = checkpointer.restore()
    keys = restored.pop("keys")
    assert isinstance(keys, jax.Array)
    assert (keys == state["keys"]).all()
    expected = {
        "model": {"params": {"a/b": np.ones(2, jnp.bfloat16), "": np.zeros((0, 2))}},
        "pair": {
            "first": np.array(1),
            "second": {"0": np.array(2.5), "1": np.arange(3, dtype=np.int32)},
        },
    }
    chex.assert_trees_all_equal(restored, expected, strict=True)
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(restored))


@pytest.mark.parametrize("leaf", [jnp.arange(3), 5, np.float32(1.5)], ids=["array", "int", "numpy"])
def test_a_state_that_is_a_leaf(tmp_path: Path, leaf: Any) -> None:
    with Checkpointer(tmp_path, asynchronous=False) as checkpointer:
        checkpointer.save(1, leaf)
        np.testing.assert_array_equal(checkpointer.restore(), leaf)
        restored = checkpointer.restore(leaf)
    assert isinstance(restored, type(leaf))
    np.testing.assert_array_equal(restored, leaf)


def test_an_optimizer_state_and_a_dataclass(tmp_path: Path) -> None:
    params = {"w": jnp.ones(3)}
    state = Model(params), optax.adamw(0.1).init(params)
    with Checkpointer(tmp_path, asynchronous=False) as checkpointer:
        checkpointer.save(1, state)
        restored = checkpointer.restore(jax.eval_shape(lambda: state))
    chex.assert_trees_all_equal(restored, state, strict=True)


CHOICES: dict[str, tuple[Any, set[str]]] = {
    "one_prefix": (["params"], {"params"}),
    "part_of_a_prefix": (["params/Dense_1"], {"params/Dense_1"}),
    "several": (iter(["params/Dense_0/bias", "key"]), {"params/Dense_0/bias", "key"}),
    "function": (lambda path: path.endswith("bias"), {"params/Dense_0/bias"}),
    "all": ([""], {""}),
    "none": ([], set()),
}


@pytest.mark.parametrize(("paths", "restored"), CHOICES.values(), ids=CHOICES)
def test_some_paths(checkpointer: Checkpointer, paths: Any, restored: set[str]) -> None:
    paths = paths if callable(paths) else [*paths]
    target = zeros()
    result = checkpointer.restore(target, paths=paths)
    leaves = jax.tree_util.tree_leaves_with_path(result)
    for (keys, leaf), old, new in zip(
        leaves, jax.tree.leaves(target), jax.tree.leaves(SAVED), strict=True
    ):
        path = jax.tree_util.keystr(keys, simple=True, separator="/")
        is_chosen = any(path.startswith(prefix) for prefix in restored)
        assert (leaf == (new if is_chosen else old)).all(), path
    alone = checkpointer.restore(paths=paths)
    assert set(alone) == ({p.split("/")[0] for p in restored} if "" not in restored else set(SAVED))


def test_a_part_of_a_state_that_has_grown(checkpointer: Checkpointer) -> None:
    target = {"params": {"Dense_0": zeros()["params"]["Dense_0"], "new": jnp.ones(1)}}
    restored = checkpointer.restore(target, paths=["params/Dense_0"])
    chex.assert_trees_all_equal(restored["params"]["Dense_0"], SAVED["params"]["Dense_0"])
    chex.assert_trees_all_equal(restored["params"]["new"], jnp.ones(1))
    with pytest.raises(CheckpointMismatchError, match="1 missing, 1 unexpected"):
        checkpointer.restore(target, paths=["params"])


def test_renamed_paths(checkpointer: Checkpointer) -> None:
    params = SAVED["params"]
    target = {
        "encoder": {"first": zeros()["params"]["Dense_0"], "Dense_1": zeros()["params"]["Dense_1"]},
        "opt_state": zeros()["opt_state"],
        "key": jax.random.key(0),
    }
    rename = {"encoder": "params", "encoder/first": "params/Dense_0"}
    expected = {
        **{name: SAVED[name] for name in ("opt_state", "key")},
        "encoder": {"first": params["Dense_0"], "Dense_1": params["Dense_1"]},
    }
    restored = checkpointer.restore(target, rename=rename)
    chex.assert_trees_all_equal_structs(restored, expected)
    for one, other in zip(jax.tree.leaves(restored), jax.tree.leaves(expected), strict=True):
        assert (one == other).all()
    assert set(checkpointer.restore(rename=rename)["encoder"]) == {"first", "Dense_1"}


def test_swapped_and_rooted_names(tmp_path: Path) -> None:
    with Checkpointer(tmp_path, asynchronous=False) as checkpointer:
        checkpointer.save(1, {"a": 1, "b": 2})
        swapped = {"a": "b", "b": "a"}
        assert checkpointer.restore({"a": 0, "b": 0}, rename=swapped) == {"a": 2, "b": 1}
        assert checkpointer.restore(rename=swapped) == {"a": 2, "b": 1}
        inner = {"model": {"a": 0, "b": 0}}
        assert checkpointer.restore(inner, rename={"model": ""}) == {"model": {"a": 1, "b": 2}}
        assert checkpointer.restore(rename={"model": ""}) == {"model": {"a": 1, "b": 2}}
        with pytest.raises(CheckpointPathError, match="found a and b renamed to b"):
            checkpointer.restore(rename={"b": "a"})


def test_differences_of_renamed_leaves_give_both_names(checkpointer: Checkpointer) -> None:
    with pytest.raises(CheckpointMismatchError) as caught:
        checkpointer.restore({"w": jnp.ones(2), "v": 1}, rename={"w": "params/Dense_0/bias"})
    text = str(caught.value)
    assert (
        "shape       w (saved as params/Dense_0/bias): found float32[3], expected float32[2]"
        in text
    )
    assert "unexpected  params/Dense_0/kernel: found float32[2,3], expected nothing" in text
    assert "missing     v: expected" in text


def test_casting(checkpointer: Checkpointer) -> None:
    dtypes = {"": jnp.bfloat16, "params/Dense_1": np.float16, "opt_state": np.int16}
    half = checkpointer.restore(dtypes=dtypes)
    assert half["params"]["Dense_0"]["kernel"].dtype == jnp.bfloat16
    assert half["params"]["Dense_1"]["kernel"].dtype == np.float16
    assert half["opt_state"]["0"]["count"].dtype == np.int16
    assert half["opt_state"]["0"]["mu"].dtype == np.float32  # the longest prefix holds
    assert half["key"] == SAVED["key"]
    for target in (zeros(), jax.tree.map(lambda x: x, half) | {"opt_state": zeros()["opt_state"]}):
        restored = checkpointer.restore(target, dtypes=dtypes)
        assert restored["params"]["Dense_0"]["kernel"].dtype == jnp.bfloat16
        np.testing.assert_array_equal(restored["params"]["Dense_1"]["kernel"], [[2], [2], [2]])
        assert restored["key"] == SAVED["key"]


def test_casting_integers_that_do_not_fit(tmp_path: Path) -> None:
    with Checkpointer(tmp_path, asynchronous=False) as checkpointer:
        checkpointer.save(1, {"count": jnp.array(300)})
        with pytest.raises(CheckpointMismatchError, match="count: found integers that int8 cannot"):
            checkpointer.restore(dtypes={"count": np.int8})


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "paths": ({"paths": ["parms"]}, r"found paths with \['parms'\], where no leaf is"),
    "half_a_name": ({"paths": ["params/Dense"]}, "found paths with"),
    "text": ({"paths": "params"}, r"Write paths=\['params'\]"),
    "rename": ({"rename": {"x": "y"}}, "found rename with"),
    "dtypes": ({"dtypes": {"x": np.float16}}, "for no leaf, expected"),
    "key": ({"dtypes": {"key": np.float16}}, r"for key: key<fry>\[\], expected .* never cast"),
    "kind": ({"dtypes": {"params": np.int32}}, r"for params/.*: float32\[.*\], expected"),
    "rename_list": ({"rename": ["x"]}, r"found rename=\['x'\], expected a dict by prefix"),
    "one_dtype": ({"dtypes": jnp.float16}, r"found dtypes=.*float16.*Write dtypes=\{'': "),
    "no_dtype": ({"dtypes": {"params": "floaty"}}, "'floaty'}, expected a dtype of numbers"),
}


@pytest.mark.parametrize("target", [zeros, lambda: None], ids=["target", "no_target"])
@pytest.mark.parametrize(("options", "message"), WRONG.values(), ids=WRONG)
def test_paths_of_nothing(
    checkpointer: Checkpointer,
    options: dict[str, Any],
    message: str,
    target: Callable[[], Any],
) -> None:
    with pytest.raises(CheckpointPathError, match=message):
        checkpointer.restore(target(), **options)


def test_not_strict(checkpointer: Checkpointer) -> None:
    target = {"params": {"Dense_0": {"kernel": jnp.zeros((2, 3)), "scale": jnp.full(1, 7.0)}}}
    restored = checkpointer.restore(target, strict=False)
    chex.assert_trees_all_equal(
        restored,
        {"params": {"Dense_0": {"kernel": jnp.ones((2, 3)), "scale": jnp.full(1, 7.0)}}},
    )
    for wrong in (jnp.zeros((3, 2)), jnp.zeros((2, 3), jnp.bfloat16)):
        target["params"]["Dense_0"]["kernel"] = wrong
        with pytest.raises(CheckpointMismatchError, match="params/Dense_0/kernel"):
            checkpointer.restore(target, strict=False)


def test_the_remedy_fits_the_differences(checkpointer: Checkpointer) -> None:
    def error(target: Any) -> str:
        with pytest.raises(CheckpointMismatchError) as caught:
            checkpointer.restore(target)
        return str(caught.value)

    half = {**zeros(), "params": jax.tree.map(lambda x: x.astype(jnp.bfloat16), SAVED["params"])}
    assert error(half).endswith("or ask for a cast: dtypes={path: dtype}.")
    assert (
        error({**zeros(), "more": 1})
        == textwrap.dedent(f"""\
        {checkpointer.directory}/1 does not fit the target: 1 missing (of 7 leaves in the target)
          missing     more: expected int64[], found nothing
        Make the target as the saved state was made, or choose: paths=[...], rename={{target path: saved path}}, strict=False.""")
    )


def test_kinds_of_numbers_are_not_cast_into_each_other(tmp_path: Path) -> None:
    with Checkpointer(tmp_path, asynchronous=False) as checkpointer:
        checkpointer.save(1, {"n": 3, "flag": True})
        for target in ({"n": 3.0, "flag": True}, {"n": 3, "flag": 1}):
            with pytest.raises(CheckpointMismatchError, match="no kind of number into another"):
                checkpointer.restore(target)


def test_a_cast_of_everything_reaches_python_numbers(tmp_path: Path) -> None:
    with Checkpointer(tmp_path, asynchronous=False) as checkpointer:
        checkpointer.save(1, {"w": jnp.ones(2), "rate": 0.1})
        restored = checkpointer.restore({"w": jnp.ones(2), "rate": 0.0}, dtypes={"": jnp.bfloat16})
    assert restored["w"].dtype == jnp.bfloat16
    assert restored["rate"] == float(jnp.bfloat16(0.1))


def test_a_sharding_that_does_not_divide(tmp_path: Path) -> None:
    mesh = jax.make_mesh((3,), ("x",), devices=jax.devices()[:3])
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
    with Checkpointer(tmp_path, asynchronous=False) as checkpointer:
        checkpointer.save(1, {"w": jnp.ones((4, 8))})
        target = {"w": jax.ShapeDtypeStruct((4, 8), jnp.float32, sharding=sharding)}
        with pytest.raises(
            CheckpointMismatchError, match=r"w: found the sharding .* divides float32"
        ):
            checkpointer.restore(target)


def test_leaves_of_a_target_stay_the_kind_they_are(tmp_path: Path) -> None:
    @dataclasses.dataclass
    class Holder:
        value: Any

    jax.tree_util.register_dataclass(Holder, ["value"], [])
    saved = Holder({"x": np.arange(3, dtype=np.int32)})
    with Checkpointer(tmp_path, asynchronous=False) as checkpointer:
        checkpointer.save(1, saved)
        for target in (np.zeros(3, np.int32), jnp.zeros(3, jnp.int32)):
            restored = checkpointer.restore(Holder({"x": target})).value["x"]
            assert isinstance(restored, type(target))
            np.testing.assert_array_equal(restored, saved.value["x"])


def test_restored_arrays_can_be_donated(checkpointer: Checkpointer) -> None:
    restored = checkpointer.restore(zeros())
    double = jax.jit(lambda tree: jax.tree.map(lambda x: x * 2, tree), donate_argnums=0)
    chex.assert_trees_all_equal(
        double(restored["params"]), jax.tree.map(lambda x: x * 2, SAVED["params"])
    )
