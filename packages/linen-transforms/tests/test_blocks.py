"""Stacked and separate blocks, converted both ways."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linen_core import FrozenDict, Partitioned
from linen_transforms import stack_blocks, unstack_blocks
from linen_transforms.errors import AxisNamesError, StackError
from linen_transforms.partitioning import AxisMetadata


class Moments(NamedTuple):
    """The state of an optimizer."""

    count: Any
    mu: Any


def blocks(number: int, prefix: str = "Block_") -> dict[str, Any]:
    return {
        f"{prefix}{i}": {"dense": {"w": np.full((2, 3), i), "b": np.full(3, i)}}
        for i in range(number)
    }


TREES: dict[str, Any] = {
    "one_level": blocks(2),
    "beside_others": {"params": {"embed": {"w": np.ones(2)}, **blocks(3)}},
    "more_than_ten": {"params": blocks(12)},
    "several_places": {"params": {"encoder": blocks(2), "decoder": blocks(3)}},
    "several_collections": {"params": blocks(2), "batch_stats": blocks(2)},
    "optimizer": (Moments(np.zeros(()), {"params": blocks(2)}), None, [blocks(1)]),
    "frozen": FrozenDict({"params": blocks(2)}),
}


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_there_and_back(tree: Any) -> None:
    stacked = stack_blocks(tree, "layers")
    back = unstack_blocks(stacked, "layers")
    chex.assert_trees_all_equal(back, tree)
    assert type(back) is type(tree)
    assert not any("Block_" in jax.tree_util.keystr(p) for p, _ in _leaves(stacked))


def _leaves(tree: Any) -> Any:
    return jax.tree_util.tree_leaves_with_path(tree)


def test_blocks_are_in_the_order_of_their_numbers() -> None:
    stacked = stack_blocks(blocks(12), "layers")["layers"]["dense"]
    assert stacked["b"][:, 0].tolist() == list(range(12))
    assert stacked["w"].shape == (12, 2, 3)
    assert isinstance(stacked["w"], np.ndarray)


def test_names() -> None:
    stacked = stack_blocks(blocks(2, "layer"), "all", prefix="layer")
    assert list(stacked) == ["all"]
    assert sorted(unstack_blocks(stacked, "all", prefix="h.")) == ["h.0", "h.1"]


def test_what_is_given_stays() -> None:
    tree = {"params": blocks(2)}
    stack_blocks(tree, "layers")
    chex.assert_trees_all_equal(tree, {"params": blocks(2)})


LEAVES: dict[str, Any] = {
    "jax": jnp.ones(3),
    "numpy": np.ones(3, np.float16),
    "numpy_scalar_array": np.ones((), np.int32),
    "abstract": jax.ShapeDtypeStruct((3, 2), jnp.bfloat16),
    "key": jax.random.key(0),
    "box": Partitioned(jnp.ones((3, 2)), ("in", "out")),
    "abstract_box": Partitioned(jax.ShapeDtypeStruct((3,), jnp.float32), ("in",)),
    "tree": {"a": (jnp.ones(2), [jnp.zeros(2)])},
}


@pytest.mark.parametrize("leaf", LEAVES.values(), ids=LEAVES)
def test_leaves(leaf: Any) -> None:
    tree = {f"Block_{i}": {"w": leaf} for i in range(3)}
    stacked = stack_blocks(tree, "s", axis_name="layers")
    back = unstack_blocks(stacked, "s", axis_name="layers")
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    kinds = [jax.tree.map(lambda x: (type(x), x.shape, x.dtype), t) for t in (back, tree)]
    assert kinds[0] == kinds[1]
    if hasattr(leaf, "names"):
        assert stacked["s"]["w"].names == ("layers", *leaf.names)


def test_named_axes() -> None:
    names = {f"Block_{i}": {"w_axes": AxisMetadata(("in", "out"))} for i in range(2)}
    tree = {"params": blocks(2), "params_axes": names}
    stacked = stack_blocks(tree, "s", axis_name="layers")
    assert stacked["params_axes"]["s"]["w_axes"].names == ("layers", "in", "out")
    assert unstack_blocks(stacked, "s", axis_name="layers")["params_axes"] == names
    with pytest.raises(AxisNamesError, match="The axis 0 of variables in /params_axes/s must be"):
        unstack_blocks(stacked, "s", axis_name="other")


def test_compiled() -> None:
    tree = jax.tree.map(jnp.asarray, blocks(3))
    run = jax.jit(lambda tree: unstack_blocks(stack_blocks(tree, "s"), "s"))
    chex.assert_trees_all_equal(run(tree), tree)


@given(st.lists(st.sampled_from(["a", "b", "c"]), unique=True), st.integers(1, 11))
def test_any_number(others: list[str], number: int) -> None:
    tree = {name: np.ones(2) for name in others} | blocks(number)
    chex.assert_trees_all_equal(unstack_blocks(stack_blocks(tree, "s"), "s"), tree)


ERRORS: dict[str, tuple[Any, str]] = {
    "nothing": (
        {"params": {"Dense_0": 1}},
        r"Found no entries Block_0, Block_1, ... in any dict of the tree, which has the entries "
        r"\['params'\] at the top",
    ),
    "gap": (
        {"params": {"Block_0": {}, "Block_2": {}}},
        "/params has the blocks Block_0, Block_2: they must be numbered from 0",
    ),
    "taken": ({"s": 1, **blocks(1)}, "/ has an entry s already, beside Block_0"),
    "shapes": (
        {"Block_0": {"w": np.ones(2)}, "Block_1": {"w": np.ones(3)}},
        r"Only equal blocks can be stacked, but /Block_0 and /Block_1 differ:\n"
        r"  \['w'\]: float\d+\[2\], float\d+\[3\]",
    ),
    "leaves": (
        {"Block_0": {"w": np.ones(2)}, "Block_1": {"w": np.ones(2), "b": np.ones(2)}},
        r"\['b'\]: nothing, float\d+\[2\]",
    ),
    "structure": (
        {"Block_0": {"w": ()}, "Block_1": {"w": None}},
        "/Block_0 and /Block_1 differ in their structure.",
    ),
}


@pytest.mark.parametrize(("tree", "text"), ERRORS.values(), ids=ERRORS)
def test_what_cannot_be_stacked(tree: Any, text: str) -> None:
    with pytest.raises(StackError, match=text):
        stack_blocks(tree, "s")


UNSTACK_ERRORS: dict[str, tuple[Any, str]] = {
    "nothing": ({"params": {}}, "Found no stack 's' in any dict of the tree"),
    "no_dict": ({"s": np.ones(2)}, "Found no stack 's' in any dict of the tree"),
    "no_tree": (3, r"Found no stack 's' in any dict of the tree, which has the entries \[\]"),
    "sizes": (
        {"s": {"a": np.ones(2), "b": np.ones(3)}},
        r"/s is no stack: its arrays differ in the size of axis 0:\n  \['a'\]: \(2,\)\n",
    ),
    "scalar": ({"s": {"a": np.ones(())}}, r"/s is no stack"),
    "empty": ({"s": {}}, "/s holds no arrays, and the other stacks do not say either"),
    "taken": ({"s": {"a": np.ones(2)}, "Block_1": 1}, "/ has an entry Block_1 already, beside s"),
}


@pytest.mark.parametrize(("tree", "text"), UNSTACK_ERRORS.values(), ids=UNSTACK_ERRORS)
def test_what_cannot_be_unstacked(tree: Any, text: str) -> None:
    with pytest.raises(StackError, match=text):
        unstack_blocks(tree, "s")


def test_numbers_with_zeros_in_front_are_other_names() -> None:
    tree = {"Block_0": np.ones(2), "Block_00": np.zeros(2)}
    stacked = stack_blocks(tree, "layers")
    assert sorted(stacked) == ["Block_00", "layers"]
    chex.assert_shape(stacked["layers"], (1, 2))
