"""Flattening nested dicts, and traversals of parameters."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linen_core._frozen_dict import FrozenDict, freeze
from linen_core.errors import NotADictError, TraverseTreeError
from linen_core.traverse_util import (
    ModelParamTraversal,
    empty_node,
    flatten_dict,
    path_aware_map,
    unflatten_dict,
)

NESTED: dict[str, Any] = {"foo": 1, "bar": {"a": 2, "b": {}}}
PARAMS = {"y": {"kernel": 4}, "x": {"kernel": 1, "bias": 2}}

trees = st.recursive(
    st.integers() | st.lists(st.integers()),
    lambda parts: st.dictionaries(st.text("ab", max_size=2), parts, max_size=3),
    max_leaves=8,
).filter(lambda tree: isinstance(tree, dict))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {("foo",): 1, ("bar", "a"): 2}),
        (
            {"keep_empty_nodes": True},
            {("foo",): 1, ("bar", "a"): 2, ("bar", "b"): empty_node},
        ),
        ({"sep": "/"}, {"foo": 1, "bar/a": 2}),
        (
            {"is_leaf": lambda path, value: path == ("bar",)},
            {("foo",): 1, ("bar",): {"a": 2, "b": {}}},
        ),
        (
            {"is_leaf": lambda path, value: path == ("bar",), "sep": "."},
            {"foo": 1, "bar": {"a": 2, "b": {}}},
        ),
        ({"is_leaf": lambda path, value: True}, {(): NESTED}),
    ],
    ids=["plain", "empty nodes", "separator", "leaf", "leaf and separator", "root is a leaf"],
)
@pytest.mark.parametrize("kind", [dict, FrozenDict])
def test_flatten(kind: Any, options: Any, expected: Any) -> None:
    flat = flatten_dict(kind(NESTED), **options)
    assert flat == expected
    assert list(flat) == list(expected)


def test_is_leaf_is_asked_about_dicts_alone() -> None:
    asked: list[Any] = []
    flatten_dict(NESTED, is_leaf=lambda path, value: asked.append((path, value)) is not None)
    assert asked == [((), NESTED), (("bar",), NESTED["bar"]), (("bar", "b"), {})]


def test_an_empty_root_has_no_paths() -> None:
    assert flatten_dict({}, keep_empty_nodes=True) == {}
    assert unflatten_dict({}) == {}


@given(trees)
def test_unflatten_undoes_flatten(tree: dict[str, Any]) -> None:
    for sep in (None, "/"):
        flat = flatten_dict(tree, keep_empty_nodes=True, sep=sep)
        back = unflatten_dict(flat, sep=sep)
        assert repr(back) == repr(tree)
    assert unflatten_dict(freeze(flatten_dict(tree, keep_empty_nodes=True))) == tree


@pytest.mark.parametrize(
    ("flat", "sep", "expected"),
    [
        ({"a/b": 1, "c": 2}, "/", {"a": {"b": 1}, "c": 2}),
        ({("a",): empty_node, ("a", "b"): 1}, None, {"a": {"b": 1}}),
        ({("a", "b"): 1, ("a",): empty_node}, None, {"a": {"b": 1}}),
        ({(1, 2): [3]}, None, {1: {2: [3]}}),
        ({("a",): {}}, None, {"a": {}}),
    ],
    ids=["separator", "empty then filled", "filled then empty", "integers", "dict as a leaf"],
)
def test_unflatten(flat: Any, sep: str | None, expected: Any) -> None:
    assert unflatten_dict(flat, sep=sep) == expected


@pytest.mark.parametrize(
    ("call", "texts"),
    [
        (lambda: flatten_dict({1: {2: 3}}, sep="/"), ["(1, 2)", "strings", "Leave sep out"]),
        (
            lambda: flatten_dict({"a/b": {"c": 1}, "a": {"b/c": 2}}, sep="/"),
            ["'a/b/c'", "Pass another sep"],
        ),
        (
            lambda: unflatten_dict({("a",): 1, ("a", "b"): 2}),
            ["('a',)", "('a', 'b')", "Remove one"],
        ),
        (lambda: unflatten_dict({"a/b/c": 2, "a": {}}, sep="/"), ["'a'", "'a/b/c'", "Remove one"]),
        (lambda: unflatten_dict({"ab": 1}), ["'ab'", "a tuple", "Pass sep='/'"]),
        (lambda: unflatten_dict({(): 1}), ["()", "at least one key"]),
        (lambda: unflatten_dict({("a",): 1}, sep="/"), ["('a',)", "a string", "Leave sep out"]),
    ],
    ids=[
        "joining integers",
        "same joined path",
        "leaf inside of a leaf",
        "leaf inside of a leaf, later",
        "string without separator",
        "empty path",
        "tuple with separator",
    ],
)
def test_paths_that_do_not_describe_a_dict(call: Callable[[], Any], texts: list[str]) -> None:
    with pytest.raises(TraverseTreeError) as caught:
        call()
    for text in texts:
        assert text in str(caught.value)


def test_unflatten_does_not_change_leaves() -> None:
    leaf = {"z": 1}
    with pytest.raises(TraverseTreeError):
        unflatten_dict({("a",): leaf, ("a", "b"): 3})
    assert leaf == {"z": 1}


traversal = ModelParamTraversal(lambda path, value: path.endswith("/kernel"))


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda value: flatten_dict(value), "flatten_dict"),
        (lambda value: unflatten_dict(value), "unflatten_dict"),
        (lambda value: path_aware_map(lambda path, leaf: leaf, value), "path_aware_map"),
        (lambda value: traversal.iterate(value), "ModelParamTraversal.iterate"),
        (lambda value: traversal.update(lambda leaf: leaf, value), "ModelParamTraversal.update"),
    ],
    ids=["flatten", "unflatten", "path_aware_map", "iterate", "update"],
)
def test_other_types_are_refused(call: Callable[[Any], Any], name: str) -> None:
    with pytest.raises(NotADictError, match=f"{name}: found list, expected a dict or a FrozenDict"):
        call([1])


@pytest.mark.parametrize("kind", [dict, FrozenDict])
def test_path_aware_map(kind: Any) -> None:
    result = path_aware_map(lambda path, value: (path, value), kind({**NESTED, "n": None}))
    assert result == {
        "foo": (("foo",), 1),
        "bar": {"a": (("bar", "a"), 2), "b": {}},
        "n": (("n",), None),
    }
    assert list(result) == ["foo", "bar", "n"]
    assert type(result["bar"]) is dict


def test_empty_node_is_one_object_and_no_leaf() -> None:
    assert repr(empty_node) == "empty_node"
    assert pickle.loads(pickle.dumps(empty_node)) is empty_node
    assert copy.deepcopy(empty_node) is empty_node
    flat = flatten_dict(NESTED, keep_empty_nodes=True)
    assert jax.tree.leaves(empty_node) == []
    assert jax.tree.map(lambda leaf: leaf + 1, flat)[("bar", "b")] is empty_node


@pytest.mark.parametrize("kind", [dict, FrozenDict])
def test_traversal(kind: Any) -> None:
    params = kind(PARAMS)
    assert list(traversal.iterate(params)) == [1, 4]
    updated = traversal.update(lambda value: 10 * value, params)
    assert type(updated) is kind
    assert updated == {"y": {"kernel": 40}, "x": {"kernel": 10, "bias": 2}}
    assert params == PARAMS


def test_traversal_filters_by_path_and_value() -> None:
    seen: list[Any] = []
    everything = ModelParamTraversal(lambda path, value: seen.append((path, value)) is None)
    assert list(everything.iterate(PARAMS)) == jax.tree.leaves(PARAMS)
    assert seen == [("/x/bias", 2), ("/x/kernel", 1), ("/y/kernel", 4)]
    assert everything.update(lambda value: -value, {"a": {}}) == {"a": {}}
