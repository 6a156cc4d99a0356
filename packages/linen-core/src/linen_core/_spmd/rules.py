"""Logical axis rules: from the names of array axes to the axes of a device mesh.

A *logical name* says what an axis of an array means ("batch", "embed", "heads"), whatever mesh the
model will run on. A *rule* is a pair of a logical name and the *mesh axes* that axis is split over: a
name, a tuple of names, or None to leave it whole. Rules are in order of precedence: each rule in turn
maps the axis of its name, provided that no earlier rule did and that none of its mesh axes is taken
by another axis of the same array, since a mesh axis can split only one of them. A name may have
several rules, to fall back on. An axis that is not mapped in the end is not split.

An entry that is no string stands for itself: None, `PartitionSpec.UNCONSTRAINED` (the compiler
chooses), or a tuple of mesh axes.

Rules are given as an argument, or else they are those of the thread, set for the length of a `with`
block by `logical_axis_rules` or for good by `set_logical_axis_rules`. They are applied while Python
runs: a function that `jax.jit` has traced keeps the sharding of the rules that it was traced under.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from jax.sharding import PartitionSpec

from linen_core._context import context, using_axis_rules
from linen_core._spmd.mesh import axes_of
from linen_core.errors import DuplicateLogicalNameError, LogicalAxisRulesError, LogicalNamesError

MeshAxes: TypeAlias = str | Sequence[str] | None
LogicalRules: TypeAlias = Sequence[tuple[str, MeshAxes]]
Rules: TypeAlias = tuple[tuple[str, MeshAxes], ...]
# Any: the type of PartitionSpec.UNCONSTRAINED has no public name.
LogicalNames: TypeAlias = Sequence[str | Any | None] | PartitionSpec

NO_RULE = "no rule"


class Assignment(NamedTuple):
    """What the rules make of one axis of an array.

    Attributes:
        name: its logical name, or an entry that stands for itself.
        mesh_axes: what it is split over.
        rule: the rule that says so; None if there is none.
        reason: why there is none, in words; empty if there is one or none is needed.
    """

    name: Any
    mesh_axes: Any
    rule: tuple[str, MeshAxes] | None = None
    reason: str = ""


def get_logical_axis_rules() -> LogicalRules:
    """Give the logical axis rules of this thread.

    Returns:
        A tuple of pairs of a logical name and mesh axes, in order of precedence.

    Example:
        >>> from linen_core import get_logical_axis_rules
        >>> get_logical_axis_rules()
        ()
    """
    return context.axis_rules


def set_logical_axis_rules(rules: LogicalRules) -> None:
    """Set the logical axis rules of this thread; other threads have their own.

    Args:
        rules: pairs of a logical name and mesh axes, in order of precedence.

    Raises:
        LogicalAxisRulesError: these are no rules.

    Example:
        >>> from linen_core import get_logical_axis_rules, set_logical_axis_rules
        >>> set_logical_axis_rules([("batch", "data")])
        >>> get_logical_axis_rules()
        (('batch', 'data'),)
        >>> set_logical_axis_rules(())
    """
    context.axis_rules = checked_rules(rules)


@contextlib.contextmanager
def logical_axis_rules(rules: LogicalRules) -> Iterator[None]:
    """Use logical axis rules for the length of a `with` block, in this thread.

    Args:
        rules: pairs of a logical name and mesh axes, in order of precedence. They take the place of
            those that there are.

    Yields:
        None.

    Raises:
        LogicalAxisRulesError: these are no rules.

    Example:
        >>> from linen_core import logical_axis_rules, logical_to_mesh_axes
        >>> with logical_axis_rules([("batch", "data"), ("mlp", "model")]):
        ...     tuple(logical_to_mesh_axes(("batch", "embed", "mlp")))
        ('data', None, 'model')
    """
    with using_axis_rules(checked_rules(rules)):
        yield


def logical_to_mesh_axes(
    array_dim_names: LogicalNames | None, rules: LogicalRules | None = None
) -> PartitionSpec | None:
    """Map the logical names of the axes of an array to mesh axes.

    Args:
        array_dim_names: a name for each axis of the array; entries that are no strings stand for
            themselves. None for an array that has no names.
        rules: the rules to use in place of those of the thread.

    Returns:
        The partition spec, with None for axes that no rule maps; None if there are no names.

    Raises:
        LogicalNamesError: the names are no sequence.
        DuplicateLogicalNameError: a name occurs twice.
        LogicalAxisRulesError: the rules are no rules.

    Example:
        >>> from linen_core import logical_to_mesh_axes
        >>> rules = [("batch", "data"), ("mlp", "model"), ("embed", "model"), ("embed", "data")]
        >>> tuple(logical_to_mesh_axes(("embed", "mlp"), rules))
        ('data', 'model')
    """
    if array_dim_names is None:
        return None
    return spec_of(assign_axes(array_dim_names, rules_in_use(rules)))


def spec_of(assignments: Sequence[Assignment]) -> PartitionSpec:
    """Give the partition spec that assignments amount to."""
    return PartitionSpec(*(assignment.mesh_axes for assignment in assignments))


def rules_in_use(rules: LogicalRules | None) -> Rules:
    """Give the rules of an argument, or else those of the thread.

    Raises:
        LogicalAxisRulesError: these are no rules.
    """
    return context.axis_rules if rules is None else checked_rules(rules)


def assign_axes(names: LogicalNames, rules: Rules) -> list[Assignment]:
    """Say for every axis of an array what the rules make of it.

    Raises:
        LogicalNamesError: the names are no sequence.
        DuplicateLogicalNameError: a name occurs twice.
    """
    names = names_tuple(names)
    counts = Counter(name for name in names if isinstance(name, str))
    if repeated := [name for name, count in counts.items() if count > 1]:
        raise DuplicateLogicalNameError(repeated, names)
    waiting = {name: names.index(name) for name in counts}
    assigned = {i: Assignment(x, x) for i, x in enumerate(names) if not isinstance(x, str)}
    taken = {axis: x for x in names if not isinstance(x, str) for axis in axes_of(x)}
    for name, axes in rules:
        if name in waiting and taken.keys().isdisjoint(axes_of(axes)):
            assigned[waiting.pop(name)] = Assignment(name, axes, (name, axes))
            taken |= dict.fromkeys(axes_of(axes), name)
    for name, position in waiting.items():
        assigned[position] = Assignment(name, None, reason=_why_not(name, rules, taken))
    return [assigned[position] for position in range(len(names))]


def _why_not(name: str, rules: Rules, taken: dict[Any, Any]) -> str:
    wanted = [axis for known, axes in rules if known == name for axis in axes_of(axes)]
    clashes = [f"{axis} is taken by {taken[axis]}" for axis in wanted if axis in taken]
    return ", ".join(dict.fromkeys(clashes)) or NO_RULE


def names_tuple(names: LogicalNames) -> tuple[Any, ...]:
    """Give axis names as a tuple.

    Raises:
        LogicalNamesError: they are no sequence.
    """
    if not isinstance(names, (tuple, list, PartitionSpec)):
        raise LogicalNamesError(names)
    return tuple(names)


def checked_rules(rules: LogicalRules) -> Rules:
    """Give rules as a tuple of tuples.

    Raises:
        LogicalAxisRulesError: they are no sequence, or an entry is no rule.
    """
    if not isinstance(rules, (tuple, list)):
        raise LogicalAxisRulesError.no_sequence(rules)
    return tuple(_checked_rule(position, rule) for position, rule in enumerate(rules))


def _checked_rule(position: int, rule: Any) -> tuple[str, MeshAxes]:
    match rule:
        case [str(name), str() | None as axes]:
            return name, axes
        case [str(name), tuple() | list() as axes] if all(isinstance(x, str) for x in axes):
            return name, tuple(axes)
        case [str(name), axes] if axes is PartitionSpec.UNCONSTRAINED:
            return name, axes
    raise LogicalAxisRulesError.no_rule(position, rule)
