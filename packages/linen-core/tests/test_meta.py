"""Boxes: unboxing, replacing, axes; boxes of variables in scopes."""

from collections.abc import Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linen_core import (
    AxisMetadata,
    Scope,
    add_axis,
    apply,
    bind,
    init,
    is_axis_metadata,
    map_axis_meta,
    remove_axis,
    replace_boxed,
    struct,
    unbox,
)


@struct.dataclass
class Named(AxisMetadata):
    value: Any
    names: tuple[Any, ...] = struct.field(pytree_node=False)

    def unbox(self) -> Any:
        return self.value

    def replace_boxed(self, val: Any) -> "Named":
        return Named(val, self.names)

    def add_axis(self, index: int, params: Mapping[Any, Any]) -> "Named":
        names = list(self.names)
        names.insert(index, params.get("name"))
        return Named(self.value, tuple(names))

    def remove_axis(self, index: int, params: Mapping[Any, Any]) -> "Named":
        assert self.names[index] == params.get("name")
        return Named(self.value, self.names[:index] + self.names[index + 1 :])


TREE = {"a": Named(1, ("in",)), "b": 2, "c": [Named({"d": 3}, ("in", "out"))], "none": None}


def test_the_base_class_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        AxisMetadata()  # type: ignore[abstract]


@pytest.mark.parametrize("value", [3, None, np.ones(2), {"a": 1}], ids=repr)
def test_what_is_no_box(value: Any) -> None:
    assert not is_axis_metadata(value)


def test_what_is_a_box() -> None:
    assert is_axis_metadata(TREE["a"])


def test_unbox() -> None:
    assert unbox(TREE) == {"a": 1, "b": 2, "c": [{"d": 3}], "none": None}


def test_unbox_boxes_in_boxes() -> None:
    assert unbox({"a": Named(Named(1, ("in",)), ("out",))}) == {"a": 1}


def test_unbox_gives_arrays_as_they_are() -> None:
    for array in (jnp.ones(2), np.ones(2)):
        assert unbox(array) is array


def test_map_axis_meta_leaves_the_rest() -> None:
    mapped = map_axis_meta(lambda box: len(box.names), TREE)  # type: ignore[attr-defined]
    assert mapped == {"a": 1, "b": 2, "c": [2], "none": None}


def test_replace_boxed_keeps_boxes() -> None:
    new = replace_boxed(TREE, {"a": 4, "b": 5, "c": [{"d": 6}], "none": None})
    assert new == {
        "a": Named(4, ("in",)),
        "b": 5,
        "c": [Named({"d": 6}, ("in", "out"))],
        "none": None,
    }


def test_replace_boxed_without_boxes_takes_any_structure() -> None:
    assert replace_boxed({"a": 1}, [2]) == [2]


def test_replace_boxed_keeps_boxes_in_boxes() -> None:
    box = Named(Named({"a": 1}, ("in",)), ("out",))
    assert replace_boxed(box, {"a": 2}) == Named(Named({"a": 2}, ("in",)), ("out",))


def test_replace_boxed_undoes_unbox() -> None:
    assert replace_boxed(TREE, unbox(TREE)) == TREE


def test_axes() -> None:
    added = add_axis(TREE, 0, {"name": "layers"})
    assert added["a"].names == ("layers", "in")
    assert added["c"][0].names == ("layers", "in", "out")
    assert added["b"] == 2
    assert remove_axis(added, 0, {"name": "layers"}) == TREE


def boxed(key: jax.Array, size: int) -> Named:
    return Named(jnp.zeros(size), ("in",))


def test_a_parameter_is_unboxed_on_reading() -> None:
    def model(scope: Scope) -> Any:
        value = scope.param("w", boxed, 2)
        kept = scope.rewound().param("w", boxed, 2, unbox=False)
        return value, kept

    (value, kept), variables = init(model)(jax.random.key(0))
    assert isinstance(value, jax.Array)
    assert isinstance(kept, Named)
    assert variables["params"]["w"].names == ("in",)
    chex.assert_trees_all_equal(apply(model)(variables)[0], value)


def test_a_variable_keeps_its_box() -> None:
    scope = bind({"state": {"x": Named(1, ("in",))}}, mutable=True)
    variable = scope.variable("state", "x")
    assert variable.value == 1
    variable.value = 2
    assert scope.get_variable("state", "x") == Named(2, ("in",))


def test_a_variable_can_show_its_box() -> None:
    scope = bind({"state": {"x": Named(1, ("in",))}}, mutable=True)
    variable = scope.variable("state", "x", unbox=False)
    assert variable.value == Named(1, ("in",))
    variable.value = Named(3, ("out",))
    assert scope.get_variable("state", "x") == Named(3, ("out",))
