"""How specs are written."""

from typing import Any, NamedTuple

import jax
import pytest

from linen_core import AxisMetadata, FrozenDict, struct
from linen_core._summary.text import text_of, text_of_size

SPEC = jax.ShapeDtypeStruct((2, 3), "float32")


class Pair(NamedTuple):
    left: Any
    right: Any


class Batch(struct.PyTreeNode):
    x: Any
    train: bool = struct.field(pytree_node=False, default=True)


class Box(struct.PyTreeNode, AxisMetadata):
    value: Any

    def unbox(self) -> Any:
        return self.value

    def replace_boxed(self, val: Any) -> "Box":
        return self.replace(value=val)

    def add_axis(self, index: int, params: Any) -> "Box":
        return self

    def remove_axis(self, index: int, params: Any) -> "Box":
        return self


class Named(Box):
    names: tuple[str | None, ...] = struct.field(pytree_node=False, default=("in", None))


@jax.tree_util.register_pytree_with_keys_class
class Node:
    def __init__(self, *children: Any) -> None:
        self.children = children

    def tree_flatten_with_keys(self) -> Any:
        keyed = [(jax.tree_util.GetAttrKey(f"c{i}"), c) for i, c in enumerate(self.children)]
        return keyed, None

    def tree_flatten(self) -> Any:
        return self.children, None

    @classmethod
    def tree_unflatten(cls, _: Any, children: Any) -> Any:
        return cls(*children)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param(SPEC, "float32[2,3]", id="array"),
        pytest.param(jax.ShapeDtypeStruct((), "bool"), "bool[]", id="scalar array"),
        pytest.param(jax.eval_shape(jax.random.key, 0), "key<fry>[]", id="typed key"),
        pytest.param(None, "None", id="None"),
        pytest.param(True, "True", id="boolean"),
        pytest.param("causal", "causal", id="string"),
        pytest.param("a\n  b", "a b", id="string of two lines"),
        pytest.param("x" * 99, f"{'x' * 57}...", id="long string"),
        pytest.param((), "", id="no arguments"),
        pytest.param({}, "", id="empty dict"),
        pytest.param((SPEC, 1), "- float32[2,3]\n- 1", id="tuple"),
        pytest.param([SPEC, []], "- float32[2,3]\n- ()", id="list with an empty one"),
        pytest.param({"x": SPEC, "n": None}, "x: float32[2,3]\nn: None", id="dict"),
        pytest.param(
            {"a": {"b": SPEC, "c": ()}, "d": (SPEC,)},
            "a:\n  b: float32[2,3]\n  c:\nd:\n  - float32[2,3]",
            id="nested dicts",
        ),
        pytest.param(
            (SPEC, {"mask": SPEC, "train": True}),
            "- float32[2,3]\n- mask: float32[2,3]\n  train: True",
            id="arguments and keyword arguments",
        ),
        pytest.param(((SPEC, SPEC),), "- - float32[2,3]\n  - float32[2,3]", id="nested tuples"),
        pytest.param(FrozenDict(a=SPEC), "a: float32[2,3]", id="FrozenDict"),
        pytest.param(Pair(SPEC, 1), "left: float32[2,3]\nright: 1", id="named tuple"),
        pytest.param(Batch(SPEC), "x: float32[2,3]\ntrain: True", id="struct"),
        pytest.param(Node(SPEC, Node()), "c0: float32[2,3]\nc1:", id="pytree"),
        pytest.param(Node(SPEC), "c0: float32[2,3]", id="pytree of one"),
        pytest.param(Named(SPEC), "float32[2,3] P('in', None)", id="box with names"),
        pytest.param({"k": Named(SPEC)}, "k: float32[2,3] P('in', None)", id="box in a dict"),
        pytest.param(Box(SPEC), "float32[2,3] Box", id="box"),
        pytest.param({"k": Box(Named(SPEC))}, "k: float32[2,3] P('in', None) Box", id="two boxes"),
        pytest.param(
            {"k": Box({"a": SPEC, "b": 1})}, "k:\n  a: float32[2,3]\n  b: 1 Box", id="tree in a box"
        ),
    ],
)
def test_text(spec: Any, expected: str) -> None:
    assert text_of(spec) == expected


@pytest.mark.parametrize(
    ("count", "width", "expected"),
    [
        (0, 0, ""),
        (50, 200, "50 (200 B)"),
        (1000, 1000, "1,000 (1,000 B)"),
        (1001, 4004, "1,001 (4.0 KB)"),
        (25_557_032, 102_228_128, "25,557,032 (102.2 MB)"),
        (7 * 10**9, 14 * 10**9, "7,000,000,000 (14.0 GB)"),
    ],
)
def test_sizes(count: int, width: int, expected: str) -> None:
    assert text_of_size(count, width) == expected
