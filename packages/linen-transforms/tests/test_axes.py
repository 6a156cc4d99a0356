"""Axes: their sizes, and trees of them."""

from typing import Any

import jax.numpy as jnp
import pytest

from linen_core import Partitioned
from linen_transforms._axes import common_size, leaves_with_axes, with_axis, without_axis
from linen_transforms.errors import AxisSizeError

X = jnp.ones((2, 3))


@pytest.mark.parametrize(
    ("axes", "tree", "expected"),
    [
        (0, X, [(0, "x")]),
        (None, X, [(None, "x")]),
        (1, {"a": X, "b": [X]}, [(1, "x['a']"), (1, "x['b'][0]")]),
        ({"a": 0, "b": None}, {"a": X, "b": [X, X]}, [(0, "x['a']"), (None, "x['b'][0]"), (None, "x['b'][1]")]),
        (0, None, []),
    ],
    ids=["leaf", "none", "tree", "prefix", "nothing"],
)  # fmt: skip
def test_every_leaf_gets_its_axis(axes: Any, tree: Any, expected: Any) -> None:
    found = leaves_with_axes("vmap", axes, tree, "x")
    assert [(axis, where) for axis, where, _ in found] == expected


@pytest.mark.parametrize(
    ("given", "mapped", "expected"),
    [
        (None, {"x": (0, X)}, 2),
        (None, {"x": (-1, X)}, 3),
        (4, {"x": (None, X)}, 4),
        (None, {"x": (None, X), "y": ({"a": 1}, {"a": X})}, 3),
        (2, {"x": (0, X), "y": (0, None)}, 2),
    ],
    ids=["axis", "negative", "given", "tree", "both"],
)
def test_sizes_are_found(given: Any, mapped: Any, expected: int) -> None:
    assert common_size("vmap", "axis_size", given, mapped) == expected


@pytest.mark.parametrize(
    ("given", "mapped", "text"),
    [
        (
            None,
            {"x": (None, X)},
            "vmap: there is nothing to map over, so the number of iterations is not known. Pass "
            "axis_size=..., or an argument or a collection with an axis.",
        ),
        (
            None,
            {"x": (0, [X] * 5), "y": (1, X)},
            "vmap: the mapped axes have different sizes:\n  2: x[0], x[1], x[2] and 2 more\n  3: y",
        ),
        (
            2,
            {"y": (1, X)},
            "vmap: the mapped axes have different sizes:\n  2: axis_size\n  3: y",
        ),
        (None, {"x": (2, X)}, "vmap: x has the shape [2, 3], and so no axis 2."),
        (None, {"x": (-3, [X])}, "vmap: x[0] has the shape [2, 3], and so no axis -3."),
        (
            None,
            {"x": ((0, 0), (X,))},
            "vmap: the axes (0, 0) do not fit the structure of the x, which is PyTreeDef((*,)). Give "
            "one axis for all of it, or a tree of axes that is a prefix of it.",
        ),
    ],
    ids=["nothing", "sizes", "given", "axis", "negative", "structure"],
)
def test_errors(given: Any, mapped: Any, text: str) -> None:
    with pytest.raises(AxisSizeError) as caught:
        common_size("vmap", "axis_size", given, mapped)
    assert str(caught.value) == text


def test_boxes_lose_and_gain_a_name() -> None:
    box = Partitioned(jnp.ones((4, 2)), ("layers", "out"))
    params = {"partition_name": "layers"}
    inner = without_axis({"w": box}, 0, params)["w"]
    assert inner.names == ("out",)
    assert with_axis({"w": inner}, 0, params)["w"].names == ("layers", "out")
    assert without_axis({"w": box}, None, params)["w"] is box
