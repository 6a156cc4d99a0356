"""Cursors: moving, changing, building and searching nested containers."""

import collections
import copy
import dataclasses
import operator
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linen_core import FrozenDict, Module, struct
from linen_core.cursor import AccessType, Cursor, cursor
from linen_core.errors import (
    CursorAttributeError,
    CursorChangeError,
    CursorFindError,
    CursorKeyError,
    CursorMutationError,
    LinenError,
)


class Point(NamedTuple):
    x: Any
    y: Any


@dataclasses.dataclass
class Pair:
    left: Any
    right: Any
    both: Any = dataclasses.field(init=False, default=None)


@dataclasses.dataclass(frozen=True)
class Interval:
    low: float
    high: float

    def __post_init__(self) -> None:
        assert self.low <= self.high


class State(struct.PyTreeNode):
    step: int
    params: Any
    apply_fn: Callable[..., Any] = struct.field(pytree_node=False, default=len)

    def next(self) -> "State":
        return self.replace(step=self.step + 1)


class Dense(Module):
    features: int
    options: Any = None


class Network(Module):
    layers: Any
    factory: type = Dense


def first(c: Any) -> Any:
    return c[0]


CONTAINERS: dict[str, tuple[Any, Callable[[Any], Any], Any]] = {
    # name: (container, how to move a cursor to a part, the container with 10 in its place)
    "dict": ({"a": 1, "b": 2}, lambda c: c["a"], {"a": 10, "b": 2}),
    "dict with other keys": ({(1, 2): 3, None: 4}, lambda c: c[None], {(1, 2): 3, None: 10}),
    "frozen dict": (FrozenDict(a={"b": 1}), lambda c: c["a"]["b"], FrozenDict(a={"b": 10})),
    "ordered dict": (
        collections.OrderedDict(b=1, a=2),
        lambda c: c["b"],
        collections.OrderedDict(b=10, a=2),
    ),
    "list": ([1, 2], lambda c: c[1], [1, 10]),
    "list from the end": ([1, 2, 3], lambda c: c[-2], [1, 10, 3]),
    "tuple": ((1, (2, 3)), lambda c: c[1][0], (1, (10, 3))),
    "numpy index": ((1, 2), lambda c: c[np.int32(1)], (1, 10)),
    "named tuple": (Point(1, 2), lambda c: c.y, Point(1, 10)),
    "named tuple by index": (Point(1, 2), lambda c: c[-1], Point(1, 10)),
    "dataclass": (Pair(1, [2]), lambda c: c.right[0], Pair(1, [10])),
    "struct": (State(0, {"w": 1}), lambda c: c.params["w"], State(0, {"w": 10})),
    "static field": (State(0, {}), lambda c: c.apply_fn, State(0, {}, apply_fn=10)),  # type: ignore[arg-type]
    "module": (Dense(3), lambda c: c.features, Dense(10)),
    "module name": (Dense(3, name="a"), lambda c: c.name, Dense(3, name=10)),  # type: ignore[arg-type]
    "modules in a module": (
        Network([Dense(1), Dense(2)]),
        lambda c: c.layers[1].features,
        Network([Dense(1), Dense(10)]),
    ),
    "everything": (
        {"s": State(1, [Point({"k": 1}, ())])},
        lambda c: c["s"].params[0].x["k"],
        {"s": State(1, [Point({"k": 10}, ())])},
    ),
}
every_container = pytest.mark.parametrize(
    ("value", "move", "expected"), CONTAINERS.values(), ids=CONTAINERS
)


@every_container
def test_set(value: Any, move: Any, expected: Any) -> None:
    before = copy.deepcopy(value)
    found = move(cursor(value)).set(10)
    assert found == expected
    assert type(found) is type(expected)
    assert value == before


@every_container
def test_moving_reads(value: Any, move: Any, expected: Any) -> None:
    assert move(cursor(value)).build() == move(value)
    assert str(move(cursor(value))) == str(move(value))


@every_container
def test_build_gives_a_new_container(value: Any, move: Any, expected: Any) -> None:
    built = cursor(value).build()
    assert built == value
    assert isinstance(value, tuple) or built is not value


def test_changes_are_collected() -> None:
    old = {"a": 1, "b": (2, 3), "c": [4, 5], "d": {"e": 6}}
    c = cursor(old)
    c["b"][0] = 10
    c["a"] = (100, 200)
    c["c"][-1] += 1
    c["c"][1] *= 2
    c["new"] = {"x": 1}
    c["new"]["x"] = 2
    built = c.build()
    assert built == {
        "a": (100, 200), "b": (10, 3), "c": [4, 12], "d": {"e": 6}, "new": {"x": 2},
    }  # fmt: skip
    assert old == {"a": 1, "b": (2, 3), "c": [4, 5], "d": {"e": 6}}
    assert built["d"] is old["d"]
    assert c["c"].build() == [4, 12]


def test_set_keeps_the_change() -> None:
    c = cursor({"a": 1, "b": 2})
    assert c["a"].set(10) == {"a": 10, "b": 2}
    assert c["b"].set(20) == {"a": 10, "b": 20}
    assert cursor(3).set(4) == 4


def test_cursors_of_one_place_share_their_changes() -> None:
    c = cursor({"a": [1, 2]})
    before = c["a"]
    c["a"][0] = 5
    assert before == [5, 2]
    c["a"] = [7, 8, 9]
    assert before == [7, 8, 9]
    before[-1] = 0
    assert c.build() == {"a": [7, 8, 0]}


def test_what_is_assigned_is_not_changed_either() -> None:
    mine = [1, 2]
    c = cursor({"a": None})
    c["a"] = mine
    c["a"][0] = 9
    assert c.build() == {"a": [9, 2]}
    assert mine == [1, 2]


def test_a_cursor_that_is_assigned_gives_its_value() -> None:
    c = cursor({"a": [1], "b": None, "c": None})
    c["b"] = c["a"]
    c["c"] = c["a"].set([2])["a"]
    built = c.apply_update(lambda path, value: c["a"] if path == "b" else value).build()
    assert built == {"a": [2], "b": [2], "c": [2]}
    assert not any(isinstance(value, Cursor) for value in built.values())


def test_cursors_inside_of_what_is_assigned_give_their_values() -> None:
    c = cursor({"a": [1, 2], "b": None})
    c["a"] = [*c["a"], 3]
    c["b"] = {"first": Pair(c["a"][0], 4), "rest": (c["a"][1],)}
    assert c.build() == {"a": [1, 2, 3], "b": {"first": Pair(1, 4), "rest": (2,)}}
    assert isinstance(c["b"].build()["first"].left, int)


@pytest.mark.parametrize(
    ("value", "method"),
    [([2, 1], method) for method in ("append", "extend", "insert", "pop", "sort", "clear")]
    + [({"b": 1}, method) for method in ("update", "pop", "popitem", "setdefault", "clear")]
    + [(collections.OrderedDict(b=1), "popitem")],
    ids=lambda case: case if isinstance(case, str) else type(case).__name__,
)
def test_methods_that_change_a_container_in_place_are_refused(value: Any, method: str) -> None:
    with pytest.raises(CursorMutationError, match=rf"\['a'\]\.{method} would change"):
        getattr(cursor({"a": value})["a"], method)


def test_methods_of_a_frozen_dict_give_new_ones() -> None:
    old = FrozenDict({"a": 1, "b": 2})
    assert cursor([old])[0].pop("a") == (FrozenDict({"b": 2}), 1)


def test_fields_that_change_together_are_checked_together() -> None:
    c = cursor(Interval(1.0, 2.0))
    c.low, c.high = 5.0, 6.0  # type: ignore[attr-defined]
    assert c.build() == Interval(5.0, 6.0)


def test_subclasses_keep_their_types_and_what_they_hold_besides() -> None:
    class Labels(list):  # type: ignore[type-arg]
        pass

    c = cursor({"d": collections.defaultdict(int, a=1), "l": Labels([1])})
    c["d"]["a"], c["l"][0] = 2, 3
    built = c.build()
    assert built["d"].default_factory is int
    assert built["d"]["missing"] == 0
    assert type(built["l"]) is Labels


def test_a_module_is_rebuilt_without_its_parent() -> None:
    c = cursor(Network([Dense(1, name="first")]))
    found = list(c.apply_update(lambda path, value: value).find_all(lambda path, value: True))
    assert len(found) == 3  # layers, factory and name
    bound = Network([Dense(1)]).bind({})
    assert cursor(bound.layers[0]).features.set(2).features == 2
    assert cursor(Network([Dense(1)])).factory.set(Module).factory is Module


def test_a_class_is_a_leaf() -> None:
    assert list(cursor([Dense, Pair]).find_all(lambda path, value: "/" in path)) == []


# What a cursor stands for.


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        (lambda c: c["i"] + 1, 8),
        (lambda c: 1 - c["i"], -6),
        (lambda c: c["i"] ** 2, 49),
        (lambda c: c["i"] + c["i"], 14),
        (lambda c: divmod(c["i"], 2), (3, 1)),
        (lambda c: -c["i"], -7),
        (lambda c: c["i"] == 7, True),
        (lambda c: c["i"] != c["i"], False),
        (lambda c: 3 < c["i"] <= 7, True),
        (lambda c: bool(c["i"]), True),
        (lambda c: bool(c["empty"]), False),
        (lambda c: len(c["t"]), 3),
        (lambda c: 2 in c["t"], True),
        (lambda c: "i" in c, True),
        (lambda c: list(c["t"]), [1, 2, 3]),
        (lambda c: [x + 1 for x in reversed(c["t"])], [4, 3, 2]),
        (lambda c: list(c), ["i", "t", "empty", "array", "state"]),
        (lambda c: next(reversed(c)), "state"),
        (lambda c: list(c["state"].params.items()), [("w", 1)]),
        (lambda c: c["state"].next().step, 1),
        (lambda c: c["array"].shape, (2,)),
        (lambda c: c["array"][1].item(), 1.0),
        (lambda c: (np.ones(2) * c["array"]).tolist(), [0.0, 1.0]),
        (lambda c: (jnp.ones(2) + c["array"]).tolist(), [1.0, 2.0]),
        (lambda c: (c["array"] @ c["array"]).item(), 1.0),
        (lambda c: c["array"].at[0].set(5.0).tolist(), [5.0, 1.0]),
        (lambda c: str(c["t"]), "(1, 2, 3)"),
        (lambda c: repr(c["t"][0]), "<cursor['t'][0] at 1>"),
        (lambda c: repr(c["state"].params["w"]), "<cursor['state'].params['w'] at 1>"),
    ],
)
def test_everything_else_is_that_of_the_value(use: Any, expected: Any) -> None:
    values = {
        "i": 7,
        "t": (1, 2, 3),
        "empty": [],
        "array": jnp.arange(2.0),
        "state": State(0, {"w": 1}),
    }
    assert use(cursor(values)) == expected


def test_operators_see_changes() -> None:
    c = cursor({"a": [1, 2]})
    c["a"][0] = 5
    assert c["a"] + [3] == [5, 2, 3]
    assert c == {"a": [5, 2]}


def test_iterating_gives_cursors() -> None:
    c = cursor(((1, 2), [3, 4], Point(5, 6)))
    for part in c:
        part[1] *= -1
    for part in c[2]:
        part.set(part + 1)
    assert c.build() == ((1, -2), [3, -4], Point(6, -5))


def test_cursors_copy_and_pickle() -> None:
    c = cursor({"a": {"b": 1}})
    c["a"]["b"] = 2
    for again in (copy.deepcopy(c), pickle.loads(pickle.dumps(c))):
        again["a"]["b"] += 1
        assert again.build() == {"a": {"b": 3}}
    assert c.build() == {"a": {"b": 2}}
    copy.copy(c)["a"]["b"] = 7
    assert c.build() == {"a": {"b": 7}}


def test_cursors_have_no_hash() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(cursor(1))


# Updates and searches.

PARAMS = {
    "Dense_0": {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)},
    "Dense_1": {"kernel": jnp.ones((3, 3)), "bias": jnp.zeros(3)},
}


@pytest.mark.parametrize("kind", [dict, FrozenDict])
def test_apply_update(kind: Any) -> None:
    def update(path: str, value: Any) -> Any:
        if path.endswith("kernel"):
            return value * 2
        return value + 1 if path == "Dense_1/bias" else value

    params = kind(PARAMS)
    new = cursor(params).apply_update(update).build()
    assert type(new) is kind
    assert type(new["Dense_0"]) is kind
    expected = {
        "Dense_0": {"kernel": jnp.full((2, 3), 2.0), "bias": jnp.zeros(3)},
        "Dense_1": {"kernel": jnp.full((3, 3), 2.0), "bias": jnp.ones(3)},
    }
    chex.assert_trees_all_equal(kind(expected), new)
    chex.assert_trees_all_equal(params, kind(PARAMS))


def test_apply_update_goes_from_the_outside_in() -> None:
    asked = []

    def update(path: str, value: Any) -> Any:
        asked.append(path)
        return "replaced" if path in ("a", "s/params/0") else value

    value = {"a": {"b": 1}, "s": State(1, [Point({"k": 1}, 2), 3])}
    new = cursor(value).apply_update(update).build()
    assert new == {"a": "replaced", "s": State(1, ["replaced", 3])}
    assert asked == ["a", "s", "s/step", "s/params", "s/params/0", "s/params/1", "s/apply_fn"]


def test_apply_update_sees_earlier_changes() -> None:
    c = cursor({"a": 1, "b": {"c": 2}})
    c["a"] = {"x": 5}
    c["b"]["c"] = 3
    double = lambda path, value: 2 * value if isinstance(value, int) else value  # noqa: E731
    assert c.apply_update(double).build() == {"a": {"x": 10}, "b": {"c": 6}}
    assert c["b"].apply_update(double).build() == {"c": 12}


def test_find() -> None:
    c = cursor(PARAMS)
    kernel = c.find(lambda path, value: path == "Dense_1" or path == "nothing")["kernel"]
    kernel.set(0)
    assert c.build()["Dense_1"]["kernel"] == 0
    assert isinstance(kernel, Cursor)
    assert cursor({"a": {"b": {"c": 1}}})["a"].find(lambda path, value: path == "b/c") == 1


def test_find_all() -> None:
    c = cursor([1, {"a": 2, "b": [3, 1]}, Point(1, 5)])
    for one in c.find_all(lambda path, value: isinstance(value, int) and value == 1):
        one.set(0)
    assert c.build() == [0, {"a": 2, "b": [3, 0]}, Point(0, 5)]
    assert list(c.find_all(lambda path, value: False)) == []


def test_a_search_survives_changes_on_the_way() -> None:
    c = cursor({"a": {"x": 1, "y": 2}, "b": 3})
    for found in c.find_all(lambda path, value: path in ("a/x", "a/y", "b")):
        c["a"] = {}
        found.set(9)
    assert c.build() == {"a": {}, "b": 9}


# Errors.


@pytest.mark.parametrize(
    ("use", "error", "python_error", "text"),
    [
        (
            lambda c: c["b"]["krnel"],
            CursorKeyError,
            KeyError,
            "cursor['b'] has no item 'krnel'; found ['kernel', 'bias']. Did you mean 'kernel'? To "
            "add it, write cursor['b']['krnel'] = value.",
        ),
        (
            lambda c: c["l"][2],
            CursorKeyError,
            IndexError,
            "cursor['l'] has no item 2; found ['0', '1']. Its items are moved to one by one, by "
            "their index.",
        ),
        (
            lambda c: c["l"].__setitem__(2, 0),
            CursorKeyError,
            IndexError,
            "cursor['l'] has no item 2; found ['0', '1']. Its items are moved to one by one, by "
            "their index.",
        ),
        (
            lambda c: c["l"][0:1],
            CursorKeyError,
            LookupError,
            "cursor['l'] has no item slice(0, 1, None); found ['0', '1']. Its items are moved to "
            "one by one, by their index.",
        ),
        (
            lambda c: c["p"]["left"],
            CursorKeyError,
            KeyError,
            "cursor['p'] has no item 'left'; found ['left', 'right']. Did you mean 'left'? Its "
            "parts are attributes: write cursor['p'].name.",
        ),
        (
            lambda c: c["p"].lefft,
            CursorAttributeError,
            AttributeError,
            "cursor['p'] has no part .lefft; found ['left', 'right']. Did you mean 'left'? Its "
            "parts are the fields that its constructor takes.",
        ),
        (
            lambda c: setattr(c["p"], "both", 1),
            CursorAttributeError,
            AttributeError,
            "cursor['p'] has no part .both; found ['left', 'right']. Its parts are the fields that "
            "its constructor takes.",
        ),
        (
            lambda c: setattr(c["b"], "kernel", 1),
            CursorAttributeError,
            AttributeError,
            "cursor['b'] has no part .kernel; found ['kernel', 'bias']. Did you mean 'kernel'? Its "
            "parts are items: write cursor['b']['kernel'].",
        ),
        (
            lambda c: c["b"]["kernel"].__setitem__(0, 1),
            CursorChangeError,
            TypeError,
            "cursor['b']['kernel'][0] cannot be assigned: cursor['b']['kernel'] is an array of shape "
            "(2,) and dtype float32, which is replaced as a whole. Write cursor['b']['kernel'] = "
            "new_value; for an array, new_value can be cursor['b']['kernel'].at[...].set(...).",
        ),
        (
            lambda c: setattr(c["n"], "real", 1),
            CursorChangeError,
            TypeError,
            "cursor['n'].real cannot be assigned: cursor['n'] is None, which is replaced as a whole. "
            "Write cursor['n'] = new_value; for an array, new_value can be "
            "cursor['n'].at[...].set(...).",
        ),
        (
            lambda c: c["l"].append(3),
            CursorMutationError,
            TypeError,
            "cursor['l'].append would change the list that the cursor was made of, which must stay "
            "as it is. Assign to its items, as in cursor['l'][...] = value; to add or remove some, "
            "replace it as a whole: cursor['l'] = new_list.",
        ),
        (
            lambda c: operator.delitem(c["b"], "bias"),
            CursorMutationError,
            TypeError,
            "cursor['b'].__delitem__ would change the dict that the cursor was made of, which must "
            "stay as it is. Assign to its items, as in cursor['b'][...] = value; to add or remove "
            "some, replace it as a whole: cursor['b'] = new_dict.",
        ),
        (
            lambda c: c["b"].find(lambda path, value: path == "Dense_0"),
            CursorFindError,
            LookupError,
            "find: no value below cursor['b'] fulfils the condition, but exactly one should. The "
            "condition takes the path as a string, such as 'params/Dense_0/kernel', and the value.",
        ),
        (
            lambda c: c.find(lambda path, value: "b/" in path),
            CursorFindError,
            LookupError,
            "find: cursor['b']['kernel'] and cursor['b']['bias'] both fulfil the condition, but "
            "exactly one should. Narrow the condition, or write find_all(condition) to get all of "
            "them.",
        ),
    ],
    ids=(
        "missing_key missing_index new_index slice item_of_dataclass missing_attribute init_false "
        "attribute_of_dict array leaf method delete none_found several_found"
    ).split(),
)
def test_errors(use: Any, error: Any, python_error: Any, text: str) -> None:
    c = cursor({"b": {"kernel": jnp.ones(2), "bias": 0}, "l": [1, 2], "p": Pair(1, 2), "n": None})
    with pytest.raises(error) as caught:
        use(c)
    assert str(caught.value) == text
    assert isinstance(caught.value, LinenError)
    assert isinstance(caught.value, python_error)
    assert str(pickle.loads(pickle.dumps(caught.value))) == text


def test_errors_of_rebuilding_come_through() -> None:
    with pytest.raises(AssertionError):
        cursor(Interval(1.0, 2.0)).low.set(3.0)  # type: ignore[attr-defined]


def test_access_types() -> None:
    assert [access.name for access in AccessType] == ["ITEM", "ATTR"]


# Against a model: replacing one leaf after another by plain code.

trees = st.recursive(
    st.integers(),
    lambda parts: (
        st.lists(parts, min_size=1, max_size=3)
        | st.dictionaries(st.text("ab", max_size=2), parts, min_size=1, max_size=3)
        | st.tuples(parts, parts)
        | st.builds(Point, parts, parts)
        | st.builds(Pair, parts, parts)
        | st.builds(State, st.integers(), parts)
    ),
    max_leaves=8,
)


@given(trees, st.data())
def test_updates_are_those_of_tree_map(tree: Any, data: st.DataObject) -> None:
    leaves = [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, int)]
    chosen = data.draw(st.sets(st.sampled_from(leaves))) if leaves else set()
    before = copy.deepcopy(tree)

    def change(leaf: Any) -> Any:
        return (leaf,) if isinstance(leaf, int) and leaf in chosen else leaf

    def pairs(value: Any) -> Any:
        # A dataclass that is no struct is a leaf of jax.tree, which the model has to enter.
        if isinstance(value, Pair):
            return Pair(model(value.left), model(value.right))
        return change(value)

    def model(value: Any) -> Any:
        return jax.tree.map(pairs, value, is_leaf=lambda x: isinstance(x, Pair))

    if isinstance(tree, int):
        assert cursor(tree).apply_update(lambda path, value: 0).build() == tree
        return
    updated = cursor(tree).apply_update(lambda path, value: change(value)).build()
    assert updated == model(tree)
    assert tree == before
    found = cursor(tree)
    for leaf in found.find_all(lambda path, value: isinstance(value, int) and value in chosen):
        leaf.set(change(leaf.build()))
    assert found.build() == updated
