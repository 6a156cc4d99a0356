"""Filters: what they match, and that their algebra is that of sets."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linen_core import (
    CollectionFilter,
    DenyList,
    group_collections,
    in_filter,
    intersect_filters,
    is_filter_empty,
    subtract_filters,
    union_filters,
)
from linen_core.errors import InvalidFilterError, LinenError

UNIVERSE: tuple[str, ...] = ("params", "cache", "batch_stats", "intermediates")

names = st.sampled_from(UNIVERSE[:3])
plain_filters = st.one_of(
    st.booleans(),
    names,
    st.lists(names),
    st.sets(names),
    st.frozensets(names),
    st.lists(names).map(tuple),
)
filters = st.recursive(plain_filters, lambda inner: inner.map(DenyList), max_leaves=4)


def matched(filter_like: CollectionFilter) -> set[str]:
    """Name what a filter matches, by the definition alone."""
    if isinstance(filter_like, bool):
        return set(UNIVERSE) if filter_like else set()
    if isinstance(filter_like, str):
        return {filter_like}
    if isinstance(filter_like, DenyList):
        return set(UNIVERSE) - matched(filter_like.deny)
    return set(filter_like)


def found(filter_like: CollectionFilter) -> set[str]:
    return {name for name in UNIVERSE if in_filter(filter_like, name)}


@pytest.mark.parametrize(
    ("filter_like", "expected"),
    [
        (True, True),
        (False, False),
        ("params", True),
        ("param", False),
        ("params_and_more", False),
        (["cache", "params"], True),
        (("cache",), False),
        ({"params"}, True),
        ({"params": 1}.keys(), True),
        (DenyList("params"), False),
        (DenyList(["cache"]), True),
        (DenyList(True), False),
        (DenyList(DenyList("params")), True),
    ],
    ids=repr,
)
def test_in_filter(filter_like: CollectionFilter, expected: bool) -> None:
    assert in_filter(filter_like, "params") is expected


@pytest.mark.parametrize(
    ("filter_like", "expected"),
    [
        (True, False),
        (False, True),
        ("params", False),
        ([], True),
        ((), True),
        (set(), True),
        (DenyList(True), True),
        (DenyList([]), False),
        (DenyList("params"), False),
        (DenyList(DenyList([])), True),
    ],
    ids=repr,
)
def test_is_filter_empty(filter_like: CollectionFilter, expected: bool) -> None:
    assert is_filter_empty(filter_like) is expected


@given(filters)
def test_a_filter_matches_its_set(a: CollectionFilter) -> None:
    assert found(a) == matched(a)


@given(filters)
def test_negation_is_the_complement(a: CollectionFilter) -> None:
    assert found(DenyList(a)) == set(UNIVERSE) - found(a)


@given(filters, filters)
def test_union_is_that_of_sets(a: CollectionFilter, b: CollectionFilter) -> None:
    assert found(union_filters(a, b)) == found(a) | found(b)


@given(filters, filters)
def test_intersection_is_that_of_sets(a: CollectionFilter, b: CollectionFilter) -> None:
    assert found(intersect_filters(a, b)) == found(a) & found(b)


@given(filters, filters)
def test_difference_is_that_of_sets(a: CollectionFilter, b: CollectionFilter) -> None:
    assert found(subtract_filters(a, b)) == found(a) - found(b)


@given(filters, filters)
def test_operations_give_canonical_filters(a: CollectionFilter, b: CollectionFilter) -> None:
    for result in (union_filters(a, b), intersect_filters(a, b), subtract_filters(a, b)):
        assert isinstance(result, (bool, set, DenyList))
        # "intermediates" stands for all the names that no filter of these tests mentions.
        assert is_filter_empty(result) == (not found(result))


def test_arguments_are_not_changed() -> None:
    a, b = {"params"}, {"cache"}
    union = union_filters(a, b)
    assert (a, b, union) == ({"params"}, {"cache"}, {"params", "cache"})
    assert union_filters(a, False) is not a


def test_deny_lists_compare_by_value() -> None:
    assert DenyList("a") == DenyList("a")
    assert hash(DenyList("a")) == hash(DenyList("a"))
    assert DenyList("a") != DenyList("b")


@given(st.lists(filters, max_size=4))
def test_the_first_filter_that_matches_gets_the_entry(col_filters: list[CollectionFilter]) -> None:
    xs = {name: object() for name in UNIVERSE}
    groups = group_collections(xs, col_filters)
    expected: list[dict[str, Any]] = [{} for _ in col_filters]
    for name, value in xs.items():
        for group, filter_like in zip(expected, col_filters, strict=True):
            if name in matched(filter_like):
                group[name] = value
                break
    assert groups == expected
    assert list(xs) == list(UNIVERSE)


@pytest.mark.parametrize("bad", [None, 3, DenyList(3)], ids=repr)  # type: ignore[arg-type]
@pytest.mark.parametrize(
    "use",
    [
        lambda f: in_filter(f, "params"),
        is_filter_empty,
        lambda f: union_filters(f, "a"),
        lambda f: union_filters("a", f),
        lambda f: intersect_filters(f, "a"),
        lambda f: subtract_filters("a", f),
        lambda f: group_collections({"a": 1}, [f]),
    ],
    ids=["in", "empty", "union", "union right", "intersect", "subtract", "group"],
)
def test_what_is_no_filter(use: Any, bad: Any) -> None:
    wrong = bad.deny if isinstance(bad, DenyList) else bad
    with pytest.raises(InvalidFilterError) as caught:
        use(bad)
    assert isinstance(caught.value, LinenError)
    assert isinstance(caught.value, TypeError)
    assert str(caught.value) == (
        f"{wrong!r} is no filter. A filter is True, False, a name, a sequence of names, or "
        'DenyList(filter), for example mutable=["batch_stats"].'
    )
