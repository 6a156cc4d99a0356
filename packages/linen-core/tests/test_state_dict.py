"""State dicts: taking trees apart and putting them back."""

import collections
import pickle
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linen_core import struct
from linen_core._frozen_dict import FrozenDict
from linen_core.errors import (
    DuplicateSerializationError,
    StateDictKeyError,
    StateDictMismatch,
    StateDictMismatchError,
)
from linen_core.state_dict import (
    current_path,
    from_state_dict,
    is_serializable,
    register_container,
    register_serialization_state,
    to_state_dict,
)


class Moments(NamedTuple):
    mu: Any
    nu: Any


class Empty(NamedTuple):
    pass


@struct.dataclass
class Layer:
    kernel: Any
    size: int = struct.field(pytree_node=False, default=0)


class Opaque:
    pass


class Wrapped:
    """Registers conversions of its own, which report where they run."""

    def __init__(self, value: Any, path: str = "") -> None:
        self.value, self.path = value, path


register_serialization_state(
    Wrapped,
    lambda target: {"value": to_state_dict(target.value)},
    lambda target, state: Wrapped(
        from_state_dict(target.value, state["value"], name="value"), current_path()
    ),
)

OPAQUE = Opaque()

CASES: dict[str, tuple[Any, Any, Any]] = {
    # name: (object, its state dict, a target with other values)
    "dict": ({"b": 1, "a": {"c": 2}}, {"b": 1, "a": {"c": 2}}, {"b": 0, "a": {"c": 0}}),
    "dict with other keys": ({1: 2, (1, 2): 3}, {"1": 2, "(1, 2)": 3}, {1: 0, (1, 2): 0}),
    "frozen dict": (FrozenDict(a={"b": 1}), {"a": {"b": 1}}, FrozenDict(a={"b": 0})),
    "list": ([1, (2,)], {"0": 1, "1": {"0": 2}}, [0, (0,)]),
    "tuple": ((1, [2]), {"0": 1, "1": {"0": 2}}, (0, [0])),
    "long list": (list(range(12)), {str(i): i for i in range(12)}, [0] * 12),
    "named tuple": (Moments(1, [2]), {"mu": 1, "nu": {"0": 2}}, Moments(0, [0])),
    "optimizer state": (
        (Moments({"w": 1}, {"w": 2}), Empty()),
        {"0": {"mu": {"w": 1}, "nu": {"w": 2}}, "1": {}},
        (Moments({"w": 0}, {"w": 0}), Empty()),
    ),
    "struct": ([Layer(1, size=4)], {"0": {"kernel": 1}}, [Layer(0, size=4)]),
    "empty containers": (
        {"a": [], "b": {}, "c": ()},
        {"a": {}, "b": {}, "c": {}},
        {"a": [], "b": {}, "c": ()},
    ),
    "None": ({"a": None}, {"a": None}, {"a": None}),
    "None as a target": ({"a": [1]}, {"a": {"0": 1}}, {"a": [None]}),
    "leaf": (3, 3, 0),
    "other objects": ([OPAQUE], {"0": OPAQUE}, [Opaque()]),
    "mapping subclass": (
        collections.OrderedDict(a=[1]),
        collections.OrderedDict(a=[1]),
        collections.OrderedDict(),
    ),
}


@pytest.mark.parametrize(("value", "state", "target"), CASES.values(), ids=CASES)
def test_there_and_back(value: Any, state: Any, target: Any) -> None:
    found = to_state_dict(value)
    assert found == state
    assert list(found) == list(state) if isinstance(state, dict) else True
    restored = from_state_dict(target, state)
    assert restored == value
    assert type(restored) is type(value)


LEAVES = [1, 2.5, "text", jnp.ones(2), np.ones(3), jax.random.key(1), jax.random.PRNGKey(1)]


@given(
    st.recursive(
        st.sampled_from(LEAVES) | st.none(),
        lambda parts: (
            st.lists(parts, max_size=3)
            | st.dictionaries(st.text(max_size=2), parts, max_size=3)
            | st.dictionaries(st.text(max_size=2), parts, max_size=3).map(FrozenDict)
            | st.builds(Moments, parts, parts)
            | st.builds(Layer, parts)
            | st.tuples(parts)
        ),
        max_leaves=8,
    )
)
def test_any_tree_comes_back(tree: Any) -> None:
    blank = jax.tree.map(lambda leaf: None, tree)
    restored = from_state_dict(blank, to_state_dict(tree))
    assert jax.tree.structure(restored) == jax.tree.structure(tree)
    pairs = zip(jax.tree.leaves(restored), jax.tree.leaves(tree), strict=True)
    assert all(found is expected for found, expected in pairs)


def test_arrays_and_random_keys_pass_through() -> None:
    tree = {"array": jnp.ones(2), "host": np.ones(3), "key": jax.random.key(1)}
    state = to_state_dict(tree)
    assert all(state[name] is tree[name] for name in tree)
    target = {
        "array": jax.ShapeDtypeStruct((2,), jnp.float32),
        "host": None,
        "key": jax.random.key(0),
    }
    restored = from_state_dict(target, state)
    assert all(restored[name] is tree[name] for name in tree)
    chex.assert_trees_all_equal_dtypes(restored, tree)


def test_partial() -> None:
    value = jax.tree_util.Partial(jnp.add, 1, y=[2])
    assert to_state_dict(value) == {"args": {"0": 1}, "keywords": {"y": {"0": 2}}}
    restored = from_state_dict(value, {"args": {"0": 5}, "keywords": {"y": {"0": 6}}})
    assert isinstance(restored, jax.tree_util.Partial)
    assert (restored.func, restored.args, restored.keywords) == (jnp.add, (5,), {"y": [6]})


def test_nothing_is_changed_or_shared() -> None:
    value, state, target = {"a": {"b": 1}}, {"a": {"b": 2}}, {"a": {"b": 0}}
    to_state_dict(value)["a"]["b"] = 9
    from_state_dict(target, state)["a"]["b"] = 9
    assert (value, state, target) == ({"a": {"b": 1}}, {"a": {"b": 2}}, {"a": {"b": 0}})


def test_any_mapping_serves_as_a_state() -> None:
    assert from_state_dict({"a": [0]}, FrozenDict(a={"0": 1})) == {"a": [1]}


@pytest.mark.parametrize(
    ("target", "state", "expected"),
    [
        ({"a": 1, "b": 2, "c": 3}, {"a": 1}, ["missing ./b", "missing ./c"]),
        ({"a": 1}, {"a": 1, "y": 2, "z": 3}, ["unexpected ./y", "unexpected ./z"]),
        ({"a": [0]}, {"a": None}, ["mismatched ./a"]),
        ([0, 0], {"0": 1}, ["missing ./1"]),
        ((0,), {"0": 1, "1": 2}, ["unexpected ./1"]),
        ([0, 0], [1, 2], ["mismatched ."]),
        (Moments(0, 0), {"mu": 1, "xi": 2}, ["missing ./nu", "unexpected ./xi"]),
        (Layer(0), {"size": 1}, ["missing ./kernel", "unexpected ./size"]),
        (FrozenDict(a={"b": 0}), {"a": {}}, ["missing ./a/b"]),
        (
            {"x": [{"k": 0}], "y": Layer({"w": 0}), "z": 0},
            {"x": {"0": {}}, "y": {"kernel": {"w": 1, "v": 2}}},
            ["missing ./z", "missing ./x/0/k", "unexpected ./y/kernel/v"],
        ),
        ([Wrapped([0]), 0], {"0": {"value": {}}}, ["missing ./1", "missing ./0/value/0"]),
    ],
    ids=[
        "missing",
        "unexpected",
        "leaf for a container",
        "short list",
        "long tuple",
        "list for a list",
        "named tuple",
        "struct",
        "frozen dict",
        "whole tree",
        "own conversions",
    ],
)
def test_every_mismatch_is_listed(target: Any, state: Any, expected: list[str]) -> None:
    with pytest.raises(StateDictMismatchError) as caught:
        from_state_dict(target, state)
    assert [f"{entry.kind} {entry.path}" for entry in caught.value.mismatches] == expected
    assert current_path() == ""


def test_mismatch_text() -> None:
    target = {"kernel": np.zeros((2, 3), np.float32), "bias": {"a": 0}, "scale": 1.0}
    state = {"bias": 1, "offset": {"x": 1}, "scale": 2.0}
    with pytest.raises(StateDictMismatchError) as caught:
        from_state_dict(target, state, name="params")
    assert str(caught.value).splitlines() == [
        "The state dict does not fit its target (1 missing, 1 unexpected, 1 mismatched):",
        "  missing    params/kernel: found nothing, expected float32[2,3]",
        "  unexpected params/offset: found a dict with the keys 'x', expected nothing",
        "  mismatched params/bias: found int, expected a dict with the keys 'a'",
        "Give from_state_dict a target with the structure that was saved, or edit the state "
        "first (linen_core.traverse_util.flatten_dict and unflatten_dict).",
    ]
    assert isinstance(caught.value, ValueError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_long_lists_of_mismatches_are_cut() -> None:
    rows = [StateDictMismatch("missing", f"./{i}", "nothing", "int") for i in range(25)]
    lines = str(StateDictMismatchError(rows)).splitlines()
    assert lines[0] == "The state dict does not fit its target (25 missing):"
    assert lines[21] == "  ... and 5 more"
    assert len(lines) == 23


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: to_state_dict({1: 2, "1": 3}), "found 1, '1'. Keys must differ"),
        (lambda: from_state_dict({"a": {1: 2, "1": 3}}, {"a": {"1": 5}}), "At ./a: different keys"),
    ],
    ids=["to", "from"],
)
def test_ambiguous_keys(call: Callable[[], Any], text: str) -> None:
    with pytest.raises(StateDictKeyError) as caught:
        call()
    assert text in str(caught.value)


def test_registered_conversions_see_the_path() -> None:
    restored = from_state_dict([Wrapped({"a": 0})], {"0": {"value": {"a": 2}}}, name="root")
    assert restored[0].value == {"a": 2}
    assert restored[0].path == "root/0"
    assert current_path() == ""


def test_the_path_belongs_to_the_thread() -> None:
    seen: list[str] = []

    class Probe:
        pass

    def restore(target: Probe, state: Any) -> Probe:
        thread = threading.Thread(target=lambda: seen.append(current_path()))
        thread.start()
        thread.join()
        return target

    register_serialization_state(Probe, lambda target: {}, restore)
    from_state_dict([Probe()], {"0": {}})
    assert seen == [""]


def test_registration() -> None:
    class Pair:
        def __init__(self, left: Any, right: Any) -> None:
            self.left, self.right = left, right

    class Child(Pair):
        pass

    assert not is_serializable(Pair)
    register_container(Pair, vars, lambda target, parts: Pair(**parts))
    assert is_serializable(Pair(1, 2))
    assert not is_serializable(Child)
    assert to_state_dict(Pair([1], 2)) == {"left": {"0": 1}, "right": 2}
    assert from_state_dict(Pair([0], 0), {"left": {"0": 1}, "right": 2}).left == [1]
    with pytest.raises(DuplicateSerializationError, match="pass override=True"):
        register_container(Pair, vars, lambda target, parts: target)
    register_serialization_state(Pair, lambda target: "pair", lambda target, state: target, True)
    assert to_state_dict([Pair(1, 2)]) == {"0": "pair"}


def test_conversions_must_return_string_keys() -> None:
    class Wrong:
        pass

    register_serialization_state(Wrong, lambda target: {1: 2}, lambda target, state: target)
    with pytest.raises(StateDictKeyError, match=r"Wrong has the keys \[1\]; all must be strings"):
        to_state_dict(Wrong())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({}, True),
        ([], True),
        ((), True),
        (FrozenDict(), True),
        (Moments(1, 2), True),
        (Moments, True),
        (Layer, True),
        (3, False),
        (None, False),
        ("text", False),
        (np.ones(1), False),
        (OPAQUE, False),
    ],
    ids=lambda value: str(getattr(value, "__name__", type(value).__name__)),
)
def test_is_serializable(value: Any, expected: bool) -> None:
    assert is_serializable(value) is expected
