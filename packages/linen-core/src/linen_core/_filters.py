"""Filters: which collections, or which random streams, something applies to.

A filter is one of

* `True` (every name) or `False` (none),
* a string: just that name,
* a sequence or set of strings: any of those names,
* `DenyList(filter)`: every name that the inner filter does not match.

Filters are closed under union, intersection and subtraction: each of these gives a filter again.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

from linen_core.errors import InvalidFilterError


@dataclasses.dataclass(frozen=True, eq=True)
class DenyList:
    """A filter that matches every name except those that `deny` matches.

    Args:
        deny: the filter to negate.

    Example:
        >>> from linen_core import DenyList, in_filter
        >>> in_filter(DenyList("intermediates"), "params")
        True
        >>> in_filter(DenyList(["params", "cache"]), "params")
        False
    """

    deny: "CollectionFilter"


CollectionFilter: TypeAlias = bool | str | Collection[str] | DenyList


def in_filter(filter_like: CollectionFilter, col: str) -> bool:
    """Say whether a filter matches a name.

    Args:
        filter_like: the filter.
        col: the name of a collection or of a random stream.

    Returns:
        True if the filter matches the name.

    Raises:
        InvalidFilterError: `filter_like` is no filter.

    Example:
        >>> from linen_core import in_filter
        >>> in_filter(["params", "batch_stats"], "cache")
        False
    """
    if isinstance(filter_like, bool):
        return filter_like
    if isinstance(filter_like, str):
        return col == filter_like
    if isinstance(filter_like, Collection):
        return col in filter_like
    if isinstance(filter_like, DenyList):
        return not in_filter(filter_like.deny, col)
    raise InvalidFilterError(filter_like)


def is_filter_empty(filter_like: CollectionFilter) -> bool:
    """Say whether a filter can match no name at all.

    Args:
        filter_like: the filter.

    Returns:
        True if the filter matches nothing.

    Raises:
        InvalidFilterError: `filter_like` is no filter.

    Example:
        >>> from linen_core import DenyList, is_filter_empty
        >>> is_filter_empty([]), is_filter_empty(DenyList(True)), is_filter_empty("params")
        (True, True, False)
    """
    names, is_complement = _as_names(filter_like)
    return not is_complement and not names


def _as_names(filter_like: CollectionFilter) -> tuple[frozenset[str], bool]:
    """Reduce a filter to a set of names and whether it means all names but those."""
    if isinstance(filter_like, bool):
        return frozenset(), filter_like
    if isinstance(filter_like, str):
        return frozenset((filter_like,)), False
    if isinstance(filter_like, Collection):
        return frozenset(filter_like), False
    if isinstance(filter_like, DenyList):
        names, is_complement = _as_names(filter_like.deny)
        return names, not is_complement
    raise InvalidFilterError(filter_like)


def _from_names(names: frozenset[str], is_complement: bool) -> CollectionFilter:
    if not is_complement:
        return set(names) if names else False
    return DenyList(set(names)) if names else True


def union_filters(a: CollectionFilter, b: CollectionFilter) -> CollectionFilter:
    """Give the filter that matches what `a` or `b` matches.

    Args:
        a: a filter.
        b: a filter.

    Returns:
        A filter: a bool, a set of names, or a `DenyList` of a set.

    Raises:
        InvalidFilterError: an argument is no filter.

    Example:
        >>> from linen_core import union_filters
        >>> sorted(union_filters("params", ["cache"]))
        ['cache', 'params']
    """
    names_a, complement_a = _as_names(a)
    names_b, complement_b = _as_names(b)
    if complement_a and complement_b:
        return _from_names(names_a & names_b, True)
    if complement_a:
        return _from_names(names_a - names_b, True)
    if complement_b:
        return _from_names(names_b - names_a, True)
    return _from_names(names_a | names_b, False)


def _complement(filter_like: CollectionFilter) -> CollectionFilter:
    names, is_complement = _as_names(filter_like)
    return _from_names(names, not is_complement)


def intersect_filters(a: CollectionFilter, b: CollectionFilter) -> CollectionFilter:
    """Give the filter that matches what both `a` and `b` match.

    Args:
        a: a filter.
        b: a filter.

    Returns:
        A filter: a bool, a set of names, or a `DenyList` of a set.

    Raises:
        InvalidFilterError: an argument is no filter.

    Example:
        >>> from linen_core import DenyList, intersect_filters
        >>> intersect_filters(["params", "cache"], DenyList("cache"))
        {'params'}
    """
    return _complement(union_filters(_complement(a), _complement(b)))


def subtract_filters(a: CollectionFilter, b: CollectionFilter) -> CollectionFilter:
    """Give the filter that matches what `a` matches and `b` does not.

    Args:
        a: a filter.
        b: a filter.

    Returns:
        A filter: a bool, a set of names, or a `DenyList` of a set.

    Raises:
        InvalidFilterError: an argument is no filter.

    Example:
        >>> from linen_core import subtract_filters
        >>> subtract_filters(["params", "cache"], "cache")
        {'params'}
    """
    return intersect_filters(a, _complement(b))


def group_collections(
    xs: Mapping[str, Any], col_filters: Sequence[CollectionFilter]
) -> list[dict[str, Any]]:
    """Share out the entries of a mapping among filters; the first filter that matches gets it.

    Args:
        xs: a mapping from names to anything.
        col_filters: the filters, in order of precedence.

    Returns:
        One dict per filter. Names that no filter matches are in none.

    Raises:
        InvalidFilterError: one of `col_filters` is no filter.

    Example:
        >>> from linen_core import group_collections
        >>> group_collections({"params": 1, "cache": 2}, ["params", True])
        [{'params': 1}, {'cache': 2}]
    """
    remaining = dict(xs)
    groups = []
    for filter_like in col_filters:
        names = [name for name in remaining if in_filter(filter_like, name)]
        groups.append({name: remaining.pop(name) for name in names})
    return groups
