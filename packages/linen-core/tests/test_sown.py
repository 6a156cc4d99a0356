"""Sowing, and noting down what was sown where nothing else can be done."""

from typing import Any

import jax
import pytest

from linen_core import Scope, bind
from linen_core._sown import Sowing, Sown, sow, sow_again, sown_below
from linen_core.errors import JaxTransformError, NameInUseError
from linen_core.extend import changed_collections, inner_scope, put_collections, sowable


def append(values: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    return (*values, value)


def sowing(scope: Scope, name: str = "x") -> Sowing:
    return Sowing(scope.debug_path, name, append, tuple)


def inner(outer: Scope, mutable: Any = False) -> Scope:
    return inner_scope(outer, {}, {}, mutable, sowable=["notes"])


@pytest.mark.parametrize(("col", "is_stored"), [("notes", True), ("state", True), ("other", False)])
def test_sow(col: str, is_stored: bool) -> None:
    scope = inner(bind({}, mutable=True), "state").push("below")
    assert sow(scope, col, sowing(scope), 1) is is_stored
    assert scope.root.mutable_variables() == (
        {"state": {"below": {"x": (1,)}}} if col == "state" else {}
    )


def test_sown_again_outside() -> None:
    outer = bind({"notes": {"deep": {"below": {"x": (0,)}}}}, mutable=["notes"]).push("deep")
    scope = inner(outer)
    below = scope.push("below")
    for value in (1, 2):
        sow(below, "notes", sowing(below), value)
    changed = changed_collections(scope)
    assert set(changed) == {"notes"}
    doubled = jax.tree.map(lambda x: 2 * x, changed)
    put_collections(outer, doubled)
    assert outer.variables() == {"notes": {"below": {"x": (0, 2, 4)}}}


def test_sown_through_two() -> None:
    outer = bind({}, mutable=["notes"])
    middle = inner(outer)
    innermost = inner(middle)
    sow(innermost, "notes", sowing(innermost), 1)
    put_collections(middle, changed_collections(innermost))
    assert outer.variables() == {}
    put_collections(outer, changed_collections(middle))
    assert outer.variables() == {"notes": {"x": (1,)}}


def test_only_what_is_below() -> None:
    root = inner(bind({}, mutable=["notes"]))
    one, other = root.push("one"), root.push("other")
    sow(one, "notes", sowing(one), 1)
    sow(other, "notes", sowing(other), 2)
    assert sown_below(one)["notes"].values == (1,)
    assert sown_below(root)["notes"].values == (1, 2)
    assert sown_below(one)["notes"].sowings[0].path == ()
    assert sown_below(root)["notes"].sowings[0].path == ("one",)


def test_is_data() -> None:
    sown = Sown([Sowing((), "x", append, tuple)], [1])
    leaves, structure = jax.tree.flatten(sown)
    assert leaves == [1]
    assert structure == jax.tree.structure(Sown([Sowing((), "x", append, tuple)], [2]))
    scope = bind({}, mutable="notes")
    sow_again(scope, "notes", structure.unflatten([3]))
    assert scope.variables() == {"notes": {"x": (3,)}}


def test_filter() -> None:
    outer = bind({}, mutable=["state"])
    assert sowable(outer) == {"state"}
    assert sowable(inner(outer, "state")) == {"state", "notes"}


def test_names_and_traces() -> None:
    scope = inner(bind({}, mutable=True))
    scope.reserve("x", "notes")
    with pytest.raises(NameInUseError):
        sow(scope, "notes", sowing(scope), 1)
    with pytest.raises(JaxTransformError, match='sows "y" into the collection "notes"'):
        jax.jit(lambda: sow(scope, "notes", sowing(scope, "y"), 1))()
