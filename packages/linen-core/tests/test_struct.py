"""Structs: fields, pytrees, replace, definition errors, state dicts."""

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linen_core import struct
from linen_core.errors import LinenError, StructDefinitionError, UnknownStructFieldError
from linen_core.state_dict import from_state_dict, to_state_dict

T = TypeVar("T")


@struct.dataclass
class Decorated:
    weight: Any
    size: int = struct.field(pytree_node=False, default=3)


class Subclassed(struct.PyTreeNode):
    weight: Any
    size: int = struct.field(pytree_node=False, default=3)


class Extended(Subclassed, kw_only=True):
    bias: Any


@struct.dataclass
class Box(Generic[T]):
    value: T


class Normalised(struct.PyTreeNode):
    weight: float
    total: float = struct.field(pytree_node=False, init=False, default=0.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", self.weight)


@struct.dataclass(slots=True)
class Slotted:
    weight: Any


both = pytest.mark.parametrize("make", [Decorated, Subclassed], ids=["decorator", "base class"])


@both
def test_is_a_frozen_dataclass(make: Callable[..., Any]) -> None:
    value = make(1.0)
    assert repr(value) == f"{make.__name__}(weight=1.0, size=3)"
    assert value == make(1.0)
    assert hash(value) == hash(make(1.0))
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.weight = 2.0


@both
def test_children_have_attribute_paths_and_static_fields_are_structure(
    make: Callable[..., Any],
) -> None:
    leaves, structure = jax.tree_util.tree_flatten_with_path(make({"a": 1.0}))
    path = (jax.tree_util.GetAttrKey("weight"), jax.tree_util.DictKey("a"))
    assert leaves == [(path, 1.0)]
    assert structure == jax.tree.structure(make({"a": 2.0}))
    assert structure != jax.tree.structure(make({"a": 1.0}, size=4))


@both
def test_survives_transformations(make: Callable[..., Any]) -> None:
    value = make(jnp.arange(3.0))
    doubled = jax.jit(lambda x: jax.tree.map(lambda leaf: 2 * leaf, x))(value)
    chex.assert_trees_all_equal(doubled, make(jnp.array([0.0, 2.0, 4.0])))
    gradient = jax.grad(lambda x: (x.weight**2).sum() * x.size)(value)
    chex.assert_trees_all_close(gradient, make(6 * jnp.arange(3.0)))
    assert isinstance(jax.vmap(lambda x: x)(value), make)  # type: ignore[arg-type]


def test_jit_compiles_anew_only_for_other_static_fields() -> None:
    traced = []

    @jax.jit
    def scaled(value: Decorated) -> Any:
        traced.append(value.size)
        return value.weight * value.size

    for weight, size in [(1.0, 3), (2.0, 3), (1.0, 4), (5.0, 4)]:
        assert scaled(Decorated(weight, size)) == weight * size
    assert traced == [3, 4]


@both
def test_replace(make: Callable[..., Any]) -> None:
    value = make(1.0)
    assert value.replace(weight=2.0, size=1) == make(2.0, 1)
    assert value == make(1.0)


@both
def test_replace_names_unknown_fields(make: Callable[..., Any]) -> None:
    with pytest.raises(UnknownStructFieldError) as caught:
        make(1.0).replace(wieght=2.0, bias=1.0)
    assert str(caught.value) == (
        f"{make.__name__}.replace: found no field wieght (did you mean weight?), bias; "
        "its fields are weight, size."
    )


def test_replace_lets_errors_of_post_init_through() -> None:
    class Checked(struct.PyTreeNode):
        weight: Any

        def __post_init__(self) -> None:
            len(self.weight)

    with pytest.raises(TypeError, match="has no len") as caught:
        Checked([1]).replace(weight=1)
    assert not isinstance(caught.value, LinenError)


def test_own_replace_is_kept() -> None:
    @struct.dataclass
    class Versioned:
        weight: Any

        def replace(self, **updates: Any) -> Any:
            return "own", updates

    assert Versioned(1).replace(weight=2) == ("own", {"weight": 2})


def test_inheritance_follows_dataclass_rules() -> None:
    value = Extended(1.0, bias=2.0)
    assert value == Extended(weight=1.0, size=3, bias=2.0)
    assert jax.tree.leaves(value) == [1.0, 2.0]
    with pytest.raises(TypeError):
        Extended(1.0, 3, 2.0)  # type: ignore[call-arg]


def test_undecorated_subclass_of_a_decorated_struct_is_a_leaf_until_decorated() -> None:
    class Child(Decorated):
        pass

    assert jax.tree.leaves(Child(1.0)) == [Child(1.0)]
    struct.dataclass(Child)
    assert jax.tree.leaves(Child(1.0)) == [1.0]


def test_decorating_twice_changes_nothing() -> None:
    assert struct.dataclass(Decorated) is Decorated
    assert struct.dataclass(Subclassed) is Subclassed


def test_generic() -> None:
    assert jax.tree.map(lambda leaf: leaf + 1, Box[int](3)) == Box(4)


def test_unfrozen() -> None:
    class Mutable(struct.PyTreeNode, frozen=False):
        weight: Any

    value = Mutable(1.0)
    value.weight = 2.0
    assert jax.tree.leaves(value) == [2.0]


def test_slots() -> None:
    assert not hasattr(Slotted(1.0), "__dict__")
    assert jax.tree.map(lambda leaf: leaf + 1, Slotted(1.0)) == Slotted(2.0)
    assert Slotted(1.0).replace(weight=3.0) == Slotted(3.0)  # type: ignore[attr-defined]


def test_static_field_with_init_false_is_derived_anew() -> None:
    value = jax.tree.map(lambda leaf: 2 * leaf, Normalised(1.0))
    assert (value.weight, value.total) == (2.0, 2.0)
    assert to_state_dict(value) == {"weight": 2.0}


def test_metadata_is_kept() -> None:
    entry = struct.field(pytree_node=False, metadata={"unit": "m"}, default=1)
    assert dict(entry.metadata) == {"unit": "m", "pytree_node": False}


def make_child_without_init() -> None:
    class Wrong(struct.PyTreeNode):
        weight: Any = struct.field(init=False, default=1)


def make_without_constructor() -> None:
    struct.dataclass(init=False)(type("Wrong", (), {}))  # type: ignore[call-overload]


def make_with_late_options() -> None:
    struct.dataclass(kw_only=True)(Subclassed)


def make_slotted_base_class() -> None:
    class Wrong(struct.PyTreeNode, slots=True):
        weight: Any


@pytest.mark.parametrize(
    ("define", "texts"),
    [
        (
            make_child_without_init,
            ["Wrong.weight", "init=False", "field(pytree_node=False, init=False)"],
        ),
        (make_without_constructor, ["Wrong", "init=False", "classmethod"]),
        (
            make_with_late_options,
            ["Subclassed is a struct already", "kw_only", "(PyTreeNode, ...)"],
        ),
        (make_slotted_base_class, ["Wrong", "slots=True", "@struct.dataclass(slots=True)"]),
    ],
    ids=["child without init", "no constructor", "late options", "slots"],
)
def test_definition_errors(define: Callable[[], None], texts: list[str]) -> None:
    with pytest.raises(StructDefinitionError) as caught:
        define()
    assert isinstance(caught.value, LinenError)
    for text in texts:
        assert text in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [Decorated(1.0, 4), Subclassed({"a": 1.0}), Extended(1.0, bias=None), Box([1]), Slotted(2.0)],
    ids=lambda value: type(value).__name__,
)
def test_copies_and_pickles(value: Any) -> None:
    assert pickle.loads(pickle.dumps(value)) == value
    assert copy.copy(value) == value
    assert copy.deepcopy(value) == value


def test_state_dict_holds_the_children() -> None:
    value = Extended(Decorated(np.arange(2), size=9), size=4, bias=[1.0])
    state = to_state_dict(value)
    chex.assert_trees_all_equal(state, {"weight": {"weight": np.arange(2)}, "bias": {"0": 1.0}})
    target = Extended(Decorated(None, size=7), size=5, bias=[None])
    restored = from_state_dict(target, state)
    chex.assert_trees_all_equal(
        restored, Extended(Decorated(np.arange(2), size=7), size=5, bias=[1.0])
    )
