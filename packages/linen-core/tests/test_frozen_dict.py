"""FrozenDict and the functions over dicts and FrozenDicts."""

import collections
import copy as standard_copy
import pickle
import types
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linen_core._frozen_dict import FrozenDict, copy, freeze, pop, pretty_repr, unfreeze
from linen_core.errors import FrozenDictMutationError, NotADictError

NESTED: dict[str, Any] = {"b": {"c": 1, "a": {"z": 2}}, "a": 3}
REORDERED: dict[str, Any] = {"a": 3, "b": {"a": {"z": 2}, "c": 1}}

trees = st.recursive(
    st.integers() | st.none() | st.tuples(st.integers()),
    lambda parts: st.dictionaries(st.text(max_size=3), parts, max_size=3),
    max_leaves=8,
).filter(lambda tree: isinstance(tree, dict))


@pytest.mark.parametrize(
    "value",
    [
        FrozenDict(NESTED),
        FrozenDict(NESTED.items()),
        FrozenDict(**NESTED),
        FrozenDict({"b": FrozenDict(NESTED["b"])}, a=3),
        FrozenDict(FrozenDict(NESTED)),
        freeze(types.MappingProxyType(NESTED)),
        freeze(collections.OrderedDict(NESTED)),
    ],
    ids=["dict", "pairs", "keywords", "nested", "frozen", "proxy", "ordered"],
)
def test_construction(value: FrozenDict[str, Any]) -> None:
    assert value == NESTED
    assert list(value) == ["b", "a"]
    assert isinstance(value["b"]["a"], FrozenDict)


def test_is_a_mapping() -> None:
    value = FrozenDict(NESTED)
    assert len(value) == 2
    assert "a" in value
    assert "q" not in value
    assert value.get("q", 5) == 5
    assert list(value.keys()) == ["b", "a"]
    assert list(value.values()) == [NESTED["b"], 3]
    assert list(value.items()) == [("b", NESTED["b"]), ("a", 3)]
    assert {**value} == NESTED
    with pytest.raises(KeyError, match="q"):
        value["q"]


def test_later_changes_of_the_original_do_not_show() -> None:
    original = {"a": {"b": 1}}
    value = freeze(original)
    original["a"]["b"] = 9
    original["z"] = {}
    assert value == {"a": {"b": 1}}


@pytest.mark.parametrize(
    "get",
    [
        lambda value: value["a"],
        lambda value: value.get("a"),
        lambda value: next(iter(value.values())),
        lambda value: dict(value.items())["a"],
        lambda value: value.copy({"c": 1})["a"],
        lambda value: value.pop("a")[1],
        lambda value: jax.tree.map(lambda leaf: leaf, value)["a"],
    ],
    ids=["index", "get", "values", "items", "copy", "pop", "tree map"],
)
def test_nothing_below_can_be_changed(get: Callable[[Any], Any]) -> None:
    below = get(FrozenDict({"a": {"b": 1}}))
    with pytest.raises(FrozenDictMutationError):
        below["b"] = 2


def test_mutation_errors_say_what_to_write() -> None:
    value: Any = FrozenDict(a=1)
    with pytest.raises(FrozenDictMutationError, match=r"variables\.copy\(\{'b': \.\.\.\}\)"):
        value["b"] = 2
    with pytest.raises(FrozenDictMutationError, match=r"rest, value = variables\.pop\('a'\)"):
        del value["a"]
    for standard in (TypeError, ValueError):
        assert issubclass(FrozenDictMutationError, standard)


def test_equality_and_hash_ignore_order_and_kind() -> None:
    value = FrozenDict(NESTED)
    assert value == REORDERED
    assert value == FrozenDict(REORDERED)
    assert value == types.MappingProxyType(REORDERED)
    assert value != FrozenDict({})
    assert value != [1]
    assert hash(value) == hash(FrozenDict(REORDERED))
    with pytest.raises(TypeError, match="unhashable"):
        hash(FrozenDict(a=jnp.ones(1)))


def test_is_a_static_argument() -> None:
    result = jax.jit(lambda x, options: x * options["size"], static_argnums=1)(
        2, freeze({"size": 3})
    )
    assert result == 6


def test_pytree_paths_and_structure() -> None:
    leaves, structure = jax.tree_util.tree_flatten_with_path(FrozenDict(NESTED))
    plain_leaves, _ = jax.tree_util.tree_flatten_with_path(NESTED)
    assert leaves == plain_leaves
    assert structure == jax.tree.structure(FrozenDict(REORDERED))
    assert structure != jax.tree.structure(NESTED)


def test_tree_map_returns_frozen() -> None:
    value = jax.jit(lambda x: jax.tree.map(lambda leaf: leaf + 1, x))(FrozenDict(NESTED))
    assert isinstance(value, FrozenDict)
    chex.assert_trees_all_equal(value.unfreeze(), {"a": 4, "b": {"a": {"z": 3}, "c": 2}})
    with pytest.raises(ValueError, match="FrozenDict"):
        jax.tree.map(lambda x, y: x, value, NESTED)


@given(trees)
def test_freezing_is_undone_by_unfreezing(tree: dict[str, Any]) -> None:
    value = freeze(tree)
    assert unfreeze(value) == tree == value
    assert repr(unfreeze(value)) == repr(tree)
    assert jax.tree.leaves(value) == jax.tree.leaves(tree)
    assert pickle.loads(pickle.dumps(value)) == value
    assert standard_copy.copy(value) == value
    assert standard_copy.deepcopy(value) == value
    assert hash(value) == hash(freeze(tree))


steps = st.one_of(
    st.tuples(st.just("copy"), trees),
    st.tuples(st.just("pop"), st.integers(0, 3)),
    st.tuples(st.just("descend"), st.integers(0, 3)),
    st.tuples(st.just("map"), st.none()),
    st.tuples(st.just("pickle"), st.none()),
)


@given(trees, st.lists(steps, max_size=6))
def test_a_frozen_dict_goes_the_way_of_a_dict(tree: dict[str, Any], path: Any) -> None:
    frozen: Any = freeze(tree)
    model: Any = tree
    for step, argument in path:
        # Numbers choose one of the keys that there are.
        key = dict(enumerate(model)).get(argument) if isinstance(argument, int) else None
        if step == "copy":
            frozen, model = frozen.copy(argument), model | argument
        elif step == "pop" and key is not None:
            frozen, value = frozen.pop(key)
            assert value == model[key]
            model = {k: v for k, v in model.items() if k != key}
        elif step == "descend" and isinstance(model.get(key), dict):
            frozen, model = frozen[key], model[key]
        elif step == "map":
            frozen, model = (jax.tree.map(lambda leaf: (leaf,), x) for x in (frozen, model))
        elif step == "pickle":
            frozen = pickle.loads(pickle.dumps(frozen))
        assert isinstance(frozen, FrozenDict)
        assert (frozen, len(frozen), list(frozen)) == (model, len(model), list(model))
        assert [frozen.get(k) for k in model] == list(frozen.values())
        assert repr(frozen.unfreeze()) == repr(model)
        assert hash(frozen) == hash(freeze(model))


def test_freeze_of_a_frozen_dict_is_itself() -> None:
    value = FrozenDict(NESTED)
    assert freeze(value) is value


def test_unfreeze_gives_dicts_of_its_own() -> None:
    leaf = [FrozenDict(c=1)]
    mixed = {"a": FrozenDict(b={}), "l": leaf}
    result = unfreeze(mixed)
    assert type(result["a"]) is dict
    assert type(result["a"]["b"]) is dict
    assert result["l"] is leaf
    result["new"] = 1
    assert "new" not in mixed
    assert unfreeze(3) == 3


@pytest.mark.parametrize("kind", [dict, FrozenDict])
def test_copy_and_pop_keep_the_kind_and_the_original(kind: Any) -> None:
    value = kind(NESTED)
    copied = copy(value, {"a": {"n": 1}, "x": FrozenDict(y=2)})
    assert type(copied) is kind
    assert copied == {"b": NESTED["b"], "a": {"n": 1}, "x": {"y": 2}}
    assert type(copied["x"]) is kind
    rest, popped = pop(value, "b")
    assert type(rest) is kind
    assert rest == {"a": 3}
    assert popped == NESTED["b"]
    assert copy(value) == value == NESTED
    with pytest.raises(KeyError, match="q"):
        pop(value, "q")


def test_copied_dicts_are_new_all_the_way_down() -> None:
    original: dict[str, Any] = {"a": {"b": 1}, "z": 0}
    copy(original)["a"]["b"] = 2
    pop(original, "z")[0]["a"]["b"] = 2
    assert original == {"a": {"b": 1}, "z": 0}


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: freeze(3), "freeze"),  # type: ignore[arg-type]
        (lambda: copy([1], {}), "copy"),  # type: ignore[call-overload]
        (lambda: pop([1], 0), "pop"),  # type: ignore[call-overload]
    ],
    ids=["freeze", "copy", "pop"],
)
def test_other_types_are_refused(call: Callable[[], Any], name: str) -> None:
    with pytest.raises(NotADictError, match=rf"{name}: found (int|list), expected a dict or a Fr"):
        call()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({}, "{}"),
        (3, "3"),
        (FrozenDict(), "FrozenDict({})"),
        ({"b": {"c": [1]}, 1: {}}, "{\n  b: {\n    c: [1],\n  },\n  1: {},\n}"),
        (FrozenDict(b={"c": 1}), "FrozenDict({\n  b: {\n    c: 1,\n  },\n})"),
        ({"b": FrozenDict(c=1)}, "{\n  b: {\n    c: 1,\n  },\n}"),
    ],
    ids=["empty", "leaf", "empty frozen", "dict", "frozen", "mixed"],
)
def test_pretty_repr(value: Any, expected: str) -> None:
    assert pretty_repr(value, 2) == expected


def test_repr_indents_by_four() -> None:
    assert repr(FrozenDict(a=1)) == "FrozenDict({\n    a: 1,\n})"
