"""Logical axis rules: what they map, where they come from, and what is refused."""

import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import PartitionSpec

from linen_core import (
    get_logical_axis_rules,
    logical_axis_rules,
    logical_to_mesh_axes,
    set_logical_axis_rules,
)
from linen_core._context import context
from linen_core._spmd.mesh import axes_of, mesh_axes
from linen_core._spmd.rules import NO_RULE, assign_axes
from linen_core.errors import DuplicateLogicalNameError, LogicalAxisRulesError, LogicalNamesError

UNCONSTRAINED = PartitionSpec.UNCONSTRAINED


@pytest.mark.parametrize(
    ("names", "rules", "spec"),
    [
        ((), (), ()),
        (("a",), (), (None,)),
        (("a",), [("a", "x")], ("x",)),
        (("a", "b"), [("b", "x")], (None, "x")),
        (("a", "b"), [("b", "x"), ("a", "x")], (None, "x")),
        (("a", "b"), [("a", "x"), ("b", "x"), ("b", "y")], ("x", "y")),
        (("a", "b"), [("a", "x"), ("a", "y"), ("b", "y")], ("x", "y")),
        (("a", "b"), [("a", ("x", "y")), ("b", "y")], (("x", "y"), None)),
        (("a", "b"), [("b", "y"), ("a", ("x", "y")), ("a", "x")], ("x", "y")),
        (("a", "b"), [("a", ["x", "y"]), ("b", "z")], (("x", "y"), "z")),
        (("a", "b"), [("a", None), ("a", "x"), ("b", "x")], (None, "x")),
        (("a", "b"), [("a", ()), ("b", ())], ((), ())),
        (("a", None, "b"), [("b", "x")], (None, None, "x")),
        (("a", UNCONSTRAINED, None, None), [("a", "x")], ("x", UNCONSTRAINED, None, None)),
        (("a", "b"), [("a", UNCONSTRAINED), ("b", UNCONSTRAINED)], (UNCONSTRAINED,) * 2),
        (("a", ("x", "y")), [("a", "x"), ("a", "z")], ("z", ("x", "y"))),
        (["a", "b"], (("a", "x"),), ("x", None)),
        (PartitionSpec("a", "b"), (["b", "x"],), (None, "x")),
    ],
)
def test_names_to_mesh_axes(names: Any, rules: Any, spec: tuple[Any, ...]) -> None:
    assert logical_to_mesh_axes(names, rules) == PartitionSpec(*spec)
    with logical_axis_rules(rules):
        assert logical_to_mesh_axes(names) == PartitionSpec(*spec)


def test_no_names() -> None:
    assert logical_to_mesh_axes(None, [("a", "x")]) is None


NAMES = st.lists(st.sampled_from("abcd"), unique=True, max_size=4)
SOME_AXES = st.lists(st.sampled_from("xyz"), unique=True).map(tuple)
MESH_AXES = st.none() | st.sampled_from("xyz") | SOME_AXES
RULES = st.lists(st.tuples(st.sampled_from("abcd"), MESH_AXES), max_size=8)


@given(names=NAMES, rules=RULES)
def test_no_mesh_axis_is_used_twice(names: list[str], rules: list[Any]) -> None:
    used = list(mesh_axes(logical_to_mesh_axes(names, rules) or ()))
    assert len(used) == len(set(used))


@given(names=NAMES, rules=RULES)
def test_every_axis_follows_a_rule_or_is_whole(names: list[str], rules: list[Any]) -> None:
    for name, assigned in zip(names, assign_axes(names, tuple(rules)), strict=True):
        assert assigned.name == name
        assert (assigned.rule is None) == bool(assigned.reason)
        assert (assigned.rule or (name, None)) == (name, assigned.mesh_axes)
        assert assigned.rule is None or assigned.rule in rules
        assert (assigned.reason == NO_RULE) == (name not in dict(rules))


@given(names=NAMES, rules=RULES, more=RULES)
def test_later_rules_change_no_axis_that_is_mapped(
    names: list[str], rules: list[Any], more: list[Any]
) -> None:
    before = logical_to_mesh_axes(names, rules) or ()
    after = logical_to_mesh_axes(names, [*rules, *more]) or ()
    assert all(old is None or old == new for old, new in zip(before, after, strict=True))


@given(names=NAMES, rules=RULES, data=st.data())
def test_the_order_of_names_does_not_matter(
    names: list[str], rules: list[Any], data: st.DataObject
) -> None:
    other = data.draw(st.permutations(names))
    spec = dict(zip(names, logical_to_mesh_axes(names, rules) or (), strict=True))
    assert dict(zip(other, logical_to_mesh_axes(other, rules) or (), strict=True)) == spec


@given(names=NAMES, rules=RULES)
def test_a_reason_names_what_took_the_axis(names: list[str], rules: list[Any]) -> None:
    assignments = assign_axes(names, tuple(rules))
    users = {axis: a.name for a in assignments for axis in axes_of(a.mesh_axes)}
    for assigned in assignments:
        if assigned.reason not in ("", NO_RULE):
            for clash in assigned.reason.split(", "):
                axis, user = clash.split(" is taken by ")
                assert users[axis] == user


# Rules of the thread.


def test_rules_last_as_long_as_the_block() -> None:
    with logical_axis_rules([("a", "x")]):
        with logical_axis_rules((("b", "y"),)):
            assert get_logical_axis_rules() == (("b", "y"),)
        assert get_logical_axis_rules() == (("a", "x"),)
        with pytest.raises(KeyError), logical_axis_rules(()):
            raise KeyError
        assert get_logical_axis_rules() == (("a", "x"),)
    assert get_logical_axis_rules() == ()


def test_rules_that_are_set_stay() -> None:
    with logical_axis_rules([("a", "x")]):
        set_logical_axis_rules([("b", ["x", "y"])])
        assert get_logical_axis_rules() == (("b", ("x", "y")),)
    assert get_logical_axis_rules() == ()
    set_logical_axis_rules([("a", None)])
    assert context.axis_rules == (("a", None),)
    set_logical_axis_rules(())


def test_rules_are_those_of_the_thread() -> None:
    found = []
    with logical_axis_rules([("a", "x")]):
        thread = threading.Thread(target=lambda: found.append(get_logical_axis_rules()))
        thread.start()
        thread.join()
    assert found == [()]


def test_an_argument_takes_the_place_of_the_rules_of_the_thread() -> None:
    with logical_axis_rules([("a", "x"), ("b", "y")]):
        assert logical_to_mesh_axes(("a", "b"), [("a", "z")]) == PartitionSpec("z", None)
        assert logical_to_mesh_axes(("a", "b"), ()) == PartitionSpec(None, None)


# What is refused.


@pytest.mark.parametrize(
    "use", [set_logical_axis_rules, lambda rules: logical_to_mesh_axes((), rules)]
)
@pytest.mark.parametrize(
    ("rules", "text"),
    [
        (
            {"a": "x"},
            "the first that fits is used, but got {'a': 'x'}. Write tuple(rules.items()).",
        ),
        ("ab", "the first that fits is used, but got 'ab'. Write [(\"embed\", None), "),
        (
            [("a", "x"), "bx"],
            "Logical axis rule 1 must be a pair of a logical name and a mesh axis, ",
        ),
        ([("a",)], 'but is (\'a\',). Write [("embed", None), ("mlp", "model")].'),
        ([(None, "x")], "but is (None, 'x')."),
        ([("a", 1)], "but is ('a', 1)."),
        ([("a", ("x", None))], "but is ('a', ('x', None))."),
    ],
)
def test_what_is_no_rules(use: Any, rules: Any, text: str) -> None:
    with pytest.raises(LogicalAxisRulesError) as error:
        use(rules)
    assert text in str(error.value)
    assert get_logical_axis_rules() == ()


def test_a_name_that_occurs_twice() -> None:
    with pytest.raises(DuplicateLogicalNameError) as error:
        logical_to_mesh_axes(("embed", None, "embed", None), ())
    assert str(error.value) == (
        "The names ['embed'] stand for more than one axis of the same array, which could not both "
        'be mapped: found ("embed", None, "embed", None). Give each axis a name of its own, and '
        "rules for both."
    )


def test_names_that_are_no_tuple() -> None:
    with pytest.raises(LogicalNamesError, match="but got 'embed'"):
        logical_to_mesh_axes("embed", ())
