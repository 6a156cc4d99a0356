"""Cutting places out of scopes, and putting variables back."""

import functools
from typing import Any

import chex
import jax
import pytest

from linen_core import DenyList, Scope, in_filter, init
from linen_core.errors import (
    InvalidRngError,
    InvalidScopeError,
    ModifyScopeVariableError,
)
from linen_transforms import lift
from linen_transforms._pack import Cut
from linen_transforms.errors import (
    NotAScopeError,
    SplitRngsError,
)

from .places import AB, BESIDE, EVERYTHING, KEY, ROOT, A, C, at, entered, sow, tree

# Places

# Scopes, the paths of the roots, and the place of each scope.
PLACES: dict[str, tuple[Any, list[tuple[str, ...]], list[tuple[int, tuple[str, ...]]]]] = {
    "one": (A, [("a",)], [(0, ())]),
    "a root": (ROOT, [()], [(0, ())]),
    "side by side": ((A, AB), [("a",), ("ab",)], [(0, ()), (1, ())]),
    "one below another": ([C, A], [("a",)], [(0, ("c",)), (0, ())]),
    "all below the root": ({"x": C, "y": ROOT}, [()], [(0, ("a", "c")), (0, ())]),
    "one twice": ((A, at(ROOT, "a")), [("a",)], [(0, ()), (0, ())]),
    "one twice below another": ((A, C, C), [("a",)], [(0, ()), (0, ("c",)), (0, ("c",))]),
    "two trees": ((A, at(BESIDE, "a", "c")), [("a",), ("a", "c")], [(0, ()), (1, ())]),
    "nested": ({"x": [C, (AB,)]}, [("ab",), ("a", "c")], [(1, ()), (0, ())]),
}


@pytest.mark.parametrize(("scopes", "roots", "places"), PLACES.values(), ids=PLACES)
def test_places_below_another_one_come_with_it(scopes: Any, roots: Any, places: Any) -> None:
    cut = Cut(scopes, EVERYTHING)
    assert [root.path for root in cut.roots] == roots
    assert cut.places == places


@pytest.mark.parametrize("name", PLACES)
def test_inner_scopes_are_where_the_scopes_are(name: str) -> None:
    scopes, _, places = PLACES[name]
    cut = Cut(scopes, EVERYTHING)
    inner = entered(cut)
    chex.assert_trees_all_equal_structs(inner, scopes)
    found, given = jax.tree.leaves(inner), jax.tree.leaves(scopes)
    for one, outer, (_, below) in zip(found, given, places, strict=True):
        assert (one.path, one.path_text) == (outer.path, outer.path_text)
        assert one.root.path == outer.path[: len(outer.path) - len(below)]
        assert not one.is_same_tree(outer)
        for other, beside in zip(found, given, strict=True):
            assert one.is_same_tree(other) is outer.is_same_tree(beside)


def test_a_place_below_another_one_is_below_it_inside() -> None:
    c, a = entered(Cut((C, A), EVERYTHING))
    assert c.parent is a
    assert c.variables() == {"params": {"w": 2.0}}


NO_SCOPES: dict[str, tuple[Any, str]] = {
    "number": (3.0, "3.0"),
    "nothing": ((), "()"),
    "one of several": ({"x": A, "y": [A, "text"]}, "'text'"),
}


@pytest.mark.parametrize(("scopes", "found"), NO_SCOPES.values(), ids=NO_SCOPES)
def test_there_must_be_scopes_only(scopes: Any, found: str) -> None:
    with pytest.raises(NotAScopeError) as caught:
        lift.pack(lambda *args: (None, ()), (), (), ())(scopes)
    assert str(caught.value) == (
        "The first argument of a lifted function of scopes must be a Scope or a pytree of Scopes, "
        f"but has {found} in it. Functions of Modules are lifted by the transformations of "
        "linen_transforms itself."
    )


# Groups

COLLECTIONS = {"params": {"w": 1.0, "c": {"w": 2.0}}, "state": {"n": 4.0}, "cache": {"x": 6.0}}


def only(*names: str) -> dict[str, Any]:
    """Give some of the collections at /a."""
    return {name: COLLECTIONS[name] for name in names}


# Filters, and the collections at /a in the group of each.
GROUPS: dict[str, tuple[tuple[Any, ...], list[set[str]]]] = {
    "no filter": ((), []),
    "all": ((True,), [{"params", "state", "cache"}]),
    "none": ((False,), [set()]),
    "one": (("state",), [{"state"}]),
    "the first that matches": (("params", True, "state"), [{"params"}, {"state", "cache"}, set()]),
    "the order is that of the filters": (("cache", "params"), [{"cache"}, {"params"}]),
    "several names": ((["cache", "params"],), [{"params", "cache"}]),
    "all but one": ((DenyList("params"),), [{"state", "cache"}]),
    "what is nowhere": (("nowhere", "state"), [set(), {"state"}]),
}


@pytest.mark.parametrize(("filters", "expected"), GROUPS.values(), ids=GROUPS)
def test_variables_are_in_the_group_of_the_first_filter(filters: Any, expected: Any) -> None:
    groups = Cut(A, EVERYTHING).variables(filters)
    assert groups == tuple((only(*names),) for names in expected)


def test_groups_have_what_is_at_each_root() -> None:
    cut = Cut((AB, A, C), EVERYTHING)
    assert cut.variables(("state", "other")) == (
        ({"state": {"n": 5.0}}, {"state": {"n": 4.0}}),
        ({"other": {"x": 7.0}}, {}),
    )


def test_streams_are_in_groups_too() -> None:
    groups = Cut((A, AB), EVERYTHING).keys(("noise", DenyList("params")))
    assert [[set(keys) for keys in group] for group in groups] == [
        [{"noise"}, {"noise"}],
        [{"dropout"}, {"dropout"}],
    ]


# Inner scopes


def test_the_body_sees_what_it_is_given() -> None:
    cut = Cut((AB, A), EVERYTHING)
    _, a = cut.enter((({}, {"params": {"w": 8.0}}), ({}, {"state": {"m": 9.0}})), ())
    assert a.variables() == {"params": {"w": 8.0}, "state": {"m": 9.0}}
    assert not a.rngs


# What the outer scope may change, the filters of what the body may, the argument, and the result.
MUTABLE: dict[str, tuple[Any, tuple[Any, ...], Any, set[str]]] = {
    "all": (True, (True,), True, {"params", "state", "cache"}),
    "what the outer scope may not": ("state", (True,), True, {"state"}),
    "what no filter matches": (True, ("cache", "params"), True, {"params", "cache"}),
    "no filter": (True, (), True, set()),
    "some of what it may": (True, ("state", "params"), ["state", "cache"], {"state"}),
    "nothing": (True, (True,), False, set()),
    "by a function": (
        ["state", "params"],
        (True,),
        lambda allowed: [col for col in ("state", "cache") if in_filter(allowed, col)],
        {"state"},
    ),
    "more by a function": ("state", (True,), lambda allowed: ["cache"], {"cache"}),
}


@pytest.mark.parametrize(
    ("outer", "filters", "argument", "expected"), MUTABLE.values(), ids=MUTABLE
)
def test_what_the_body_may_change(outer: Any, filters: Any, argument: Any, expected: Any) -> None:
    inner = entered(Cut(at(tree(outer), "a"), filters), mutable=argument)
    assert {col for col in COLLECTIONS if inner.is_mutable_collection(col)} == expected


def test_trees_of_which_only_one_may_change() -> None:
    scopes = at(tree("state"), "a"), A
    cut = Cut(scopes, EVERYTHING)
    one, other = inner = entered(cut)
    one.put_variable("state", "n", -1.0)
    with pytest.raises(ModifyScopeVariableError):
        other.put_variable("state", "n", -1.0)
    cut.put(cut.leave(inner))
    assert [scope.get_variable("state", "n") for scope in scopes] == [-1.0, 4.0]


def test_places_of_one_tree_are_one_tree_for_both() -> None:
    a, ab = entered(Cut((at(tree(True), "a"), at(tree(True), "ab")), EVERYTHING))
    assert not a.is_same_tree(ab)
    root = tree("state")
    a, ab = entered(Cut((at(root, "a"), at(root, "ab")), EVERYTHING))
    assert a.is_same_tree(ab)
    ab.put_variable("state", "n", -1.0)
    assert (a.get_variable("state", "n"), ab.get_variable("state", "n")) == (4.0, -1.0)


def test_scopes_need_not_say_where_they_are() -> None:
    cut = Cut((A, C), EVERYTHING)
    a, c = entered(cut, is_anonymous=True)
    assert [(scope.path, scope.path_text) for scope in (a, c)] == [((), "/a"), (("c",), "/a/c")]
    assert a.name is None
    assert (a.get_variable("params", "w"), c.get_variable("params", "w")) == (1.0, 2.0)


def draws(scope: Scope, number: int) -> list[Any]:
    return [jax.random.key_data(scope.make_rng("noise")).tolist() for _ in range(number)]


def test_draws_go_on_counting_in_and_out() -> None:
    expected = draws(at(tree(), "a"), 4)
    scope = at(tree(), "a")
    found = draws(scope, 1)
    found += draws(entered(Cut(scope, EVERYTHING)), 2)
    assert found + draws(scope, 1) == expected


@pytest.mark.parametrize("runs", [1, 2, 3])
def test_the_draws_of_a_rehearsal_count_as_those_of_several_runs(runs: int) -> None:
    expected = draws(at(tree(), "a"), 7)
    scope = at(tree(), "a")
    cut = Cut(scope, EVERYTHING)
    rehearsal = cut.rehearse(False, runs)
    draws(entered(cut, rehearsal=rehearsal), 2)
    rehearsal.end()
    assert draws(scope, 1) == [expected[2 * runs]]


def test_new_variables_are_drawn_for_once_in_a_rehearsal() -> None:
    scope = at(tree("fresh"), "a")
    cut = Cut(scope, EVERYTHING)
    rehearsal = cut.rehearse("fresh")
    inner = entered(cut, rehearsal=rehearsal)
    inner.variable("fresh", "x", lambda: draws(inner, 1))
    rehearsal.end()
    assert draws(scope, 1) == [draws(at(tree(), "a"), 2)[1]]


# Sowing


def sown_in_body(scope: Scope, out_filters: Any, sown: Any, **kwargs: Any) -> Any:
    """Sow inside, at the place and below, and give the groups that leave, put back already."""
    cut = Cut(scope, out_filters, sown)
    inner = entered(cut, **kwargs)
    sow(inner, 1.0, 2.0)
    sow(at(inner, "c"), 3.0)
    groups = cut.leave(inner)
    cut.put(groups)
    return groups


def test_what_is_sown_where_no_filter_matches_is_the_last_group() -> None:
    scope = at(tree(["sums", "state"]), "a")
    sow(scope, 0.0)
    groups = sown_in_body(scope, ("state",), True)
    assert [[set(found) for found in group] for group in groups] == [[{"state"}], [{"sums"}]]
    assert jax.tree.leaves(groups[1]) == [1.0, 2.0, 3.0]
    assert scope.variables()["sums"] == {"y": (0.0, 1.0, 2.0), "c": {"y": (3.0,)}}


# The argument `sown`, and whether something can be sown.
SOWN: dict[str, tuple[Any, bool]] = {
    "all": (True, True),
    "it": (["sums", "other"], True),
    "another": ("other", False),
    "nothing": (False, False),
    "what the filters match": (None, False),
}


@pytest.mark.parametrize(("sown", "is_sown"), SOWN.values(), ids=SOWN)
def test_what_the_body_may_sow_into(sown: Any, is_sown: bool) -> None:
    scope = at(tree(["sums", "state"]), "a")
    cut = Cut(scope, ("state",), sown)
    inner = entered(cut)
    assert sow(inner, 1.0) is is_sown
    cut.put(cut.leave(inner))
    assert ("sums" in scope.variables()) is is_sown


def test_what_a_filter_matches_is_sown_as_it_is() -> None:
    scope = at(tree(["sums"]), "a")
    sow(scope, 0.0)
    (group, rest) = sown_in_body(scope, ("sums",), True)
    assert group == ({"sums": {"y": (0.0, 1.0, 2.0), "c": {"y": (3.0,)}}},)
    assert rest == ({},)


@pytest.mark.parametrize("is_asked_for", [True, False])
def test_nothing_is_sown_unasked(is_asked_for: bool) -> None:
    scope = at(tree(["sums"] if is_asked_for else ["state"]), "a")
    (group,) = sown_in_body(scope, (), True)
    assert [set(found) for found in group] == [{"sums"} if is_asked_for else set()]
    (group,) = sown_in_body(scope, (), True, mutable=False)
    assert group == ({},)


@pytest.mark.parametrize("sown", [True, None])
def test_what_is_sown_in_a_body_of_a_body(sown: Any) -> None:
    scope = at(tree(["sums"]), "a")
    outer = Cut(scope, ("state",), True)
    middle = entered(outer)
    # All that the scopes in the middle can do is to sow.
    sown_in_body(middle, ("sums",), sown)
    outer.put(outer.leave(middle))
    assert scope.variables()["sums"] == {"y": (1.0, 2.0), "c": {"y": (3.0,)}}


def test_init_sows_only_what_a_filter_matches() -> None:
    def body(scope: Scope, out_filters: Any) -> None:
        sown_in_body(scope, out_filters, True)

    assert init(body, mutable=True)(KEY, ())[1] == {}
    expected = {"sums": {"y": (1.0, 2.0), "c": {"y": (3.0,)}}}
    chex.assert_trees_all_equal(init(body, mutable=True)(KEY, ("sums",))[1], expected)


# Streams that are not there


def test_a_stream_that_is_withheld() -> None:
    cut = Cut((A, C), EVERYTHING, withheld=functools.partial(SplitRngsError, "loop"))
    _, c = cut.enter((), cut.keys(("dropout",)))
    assert c.make_rng("dropout") is not None
    with pytest.raises(SplitRngsError, match=r"^/a/c draws from the random stream 'noise' inside"):
        c.make_rng("noise")
    with pytest.raises(SplitRngsError, match=r"^/a/c draws from the random stream 'params' inside"):
        c.make_rng("nowhere")


def test_a_stream_that_is_left_out() -> None:
    cut = Cut(A, EVERYTHING)
    inner = cut.enter((), cut.keys(("dropout",)))
    assert not inner.has_rng("noise")
    with pytest.raises(InvalidRngError):
        inner.make_rng("noise")


# The way back


def test_what_could_change_leaves_in_groups() -> None:
    cut = Cut((at(tree(["state", "cache", "fresh"]), "a"), AB), ("cache", DenyList("state")))
    inner = a, _ = entered(cut)
    a.put_variable("cache", "x", -6.0)
    at(a, "c").put_variable("fresh", "x", 8.0)
    assert cut.leave(inner) == (
        ({"cache": {"x": -6.0}}, {}),
        ({"fresh": {"c": {"x": 8.0}}}, {}),
    )


def test_inner_scopes_end() -> None:
    cut = Cut((A, at(BESIDE, "ab")), EVERYTHING)
    inner = a, ab = entered(cut)
    below = a.push("below")
    cut.leave(inner)
    for scope in (a, below, ab):
        with pytest.raises(InvalidScopeError):
            scope.get_variable("params", "w")
    assert not any(scope.invalid for scope in (A, ROOT, BESIDE))


def test_what_is_put_back_replaces_what_was_there() -> None:
    root = tree(["state", "cache"])
    cut = Cut((at(root, "ab"), at(root, "a", "c")), EVERYTHING)
    groups = ({"state": {"n": -5.0}}, {"state": {"n": -4.0}}), ({}, {"cache": {"d": {"x": 8.0}}})
    cut.put(groups)
    variables = root.variables()
    assert variables["state"] == {"a": {"n": 4.0, "c": {"n": -4.0}}, "ab": {"n": -5.0}}
    assert variables["cache"] == {"a": {"x": 6.0, "c": {"d": {"x": 8.0}}}}


def test_what_does_not_come_back_stays_what_it_was() -> None:
    scope = at(tree(True), "a")
    cut = Cut(scope, EVERYTHING)
    before = scope.variables()
    inner = entered(cut)
    inner.put_variable("state", "n", -1.0)
    at(inner, "c").put_variable("params", "w", -1.0)
    assert scope.variables() == before


# What a cut says of its places


def test_groups_are_parted_by_what_can_change() -> None:
    cut = Cut((at(tree(["state", "cache"]), "a"), AB), EVERYTHING)
    (group,) = cut.variables((DenyList("params"),))
    assert cut.split(group) == (
        ({"state": {"n": 4.0}, "cache": {"x": 6.0}}, {}),
        ({}, {"state": {"n": 5.0}, "other": {"x": 7.0}}),
    )


def test_groups_have_names_for_error_texts() -> None:
    cut = Cut((A, AB), EVERYTHING)
    assert cut.named((0, None), cut.variables(("params", "state"))) == {
        'collection "params" of /a': (0, {"w": 1.0, "c": {"w": 2.0}}),
        'collection "params" of /ab': (0, {"w": 3.0}),
        'collection "state" of /a': (None, {"n": 4.0}),
        'collection "state" of /ab': (None, {"n": 5.0}),
    }


def test_variables_have_names_for_error_texts() -> None:
    cut = Cut((A, AB), EVERYTHING)
    (group,) = cut.variables((["params", "other"],))
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(group)]
    assert [cut.describe(path) for path in paths] == [
        'variable /a/c/w of collection "params"',
        'variable /a/w of collection "params"',
        'variable /ab/x of collection "other"',
        'variable /ab/w of collection "params"',
    ]


# A filter of which collections the body might change, what the outer scopes may, and the answer.
CHANGEABLE: dict[str, tuple[Any, Any, bool]] = {
    "all": (True, ["state"], True),
    "it": ("state", ["state", "params"], True),
    "immutable": (["params", "cache"], ["state"], False),
    "all immutable": (True, False, False),
    "no out filter": ("cache", True, False),
    "none": (False, True, False),
}


@pytest.mark.parametrize(("filters", "mutable", "expected"), CHANGEABLE.values(), ids=CHANGEABLE)
def test_whether_the_body_can_change_something(filters: Any, mutable: Any, expected: bool) -> None:
    for scopes in (at(tree(mutable), "a"), (A, at(tree(mutable), "ab"))):
        assert Cut(scopes, ("params", "state")).is_mutable(filters) is expected
