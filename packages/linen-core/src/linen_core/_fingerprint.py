"""Fingerprints: what determines a value, as something that hashes and compares.

Python compares functions by identity: a closure that is made anew by the same code, or a method of
a rebuilt module, differs from the first one although it does the same. A *fingerprint* compares by
what determines the value:

- a function: its code, defaults, captured variables, and the globals that its code names;
- a bound method or a `functools.partial`: its function and what that is bound to;
- tuples, lists, dicts, sets, slices and ranges: their type and the fingerprints of their elements;
- a dataclass that compares and hashes by value, as modules do that are not bound: its type and its
  compared fields;
- everything else is an *atom*. What stands for an atom is up to the caller; as a rule a hashable
  value stands for itself and anything else for its identity.

Fingerprints err on one side only. Values that do the same may differ (two functions that captured
two equal arrays, say); values that differ in anything they can see never compare equal. The
exception is an object that claims to equal another and behaves differently.
"""

import dataclasses
import dis
import functools
from collections.abc import Callable, Hashable, Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np

from linen_core._frozen_dict import FrozenDict
from linen_core._module.fields import ModuleBase


class Identity:
    """Equal to another one that holds the same object."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def atom_of(value: Any) -> Hashable:
    """Stand for a value that is not looked into: itself if it hashes, otherwise its identity."""
    try:
        hash(value)
    except TypeError:
        return Identity(value)
    return type(value), value


def _whole(value: Any) -> Hashable:
    """Stand for a value that is not looked into, whatever the caller says."""
    return atom_of(value.hex() if isinstance(value, float) else value)


_Atom: TypeAlias = Callable[[Any], Hashable]

# What functions were found to have captured, and the fingerprints of that, by atom.
_CAPTURED: WeakKeyDictionary[FunctionType, dict[_Atom, dict[str, tuple[Any, Hashable]]]] = (
    WeakKeyDictionary()
)


def fingerprint(value: Any, atom: _Atom = atom_of) -> Hashable:
    """Give what determines a value.

    Args:
        value: anything.
        atom: gives what stands for a value that is not looked into.

    Returns:
        Something hashable, equal for values that are determined alike. It means nothing in
        another process.

    Example:
        >>> from linen_core.extend import fingerprint
        >>> def scaled(factor):
        ...     return lambda x: factor * x
        >>> fingerprint(scaled(2)) == fingerprint(scaled(2)) != fingerprint(scaled(3))
        True
    """
    return _fingerprint(value, atom, ())


def _fingerprint(value: Any, atom: _Atom, outer: tuple[Any, ...]) -> Hashable:
    """Do the work of `fingerprint`; `outer` are the objects that the value was reached through."""
    if isinstance(value, (float, complex, np.generic)):
        return type(value), np.asarray(value).tobytes()  # tells 0.0 from -0.0, and NaN is itself
    if any(value is container for container in outer):
        return Identity(value)
    if isinstance(value, FunctionType):
        return _of_function(value, atom, outer)
    if isinstance(value, (set, frozenset)):
        return type(value), frozenset(_fingerprint(item, atom, (*outer, value)) for item in value)
    parts = _parts(value)
    if parts is None:
        return atom(value)
    return type(value), *(_fingerprint(part, atom, (*outer, value)) for part in parts)


def _of_function(fn: FunctionType, atom: _Atom, outer: tuple[Any, ...]) -> Hashable:
    """Do the work of `fingerprint` for a function.

    Some functions change what they captured when they are called, for example to count their calls.
    A variable that the function assigns itself is known by what it was at first, and so is a
    container that is changed in place. A variable that somebody else gives another value counts.
    """
    own, cells, names = _captured_names(fn.__code__)
    outer = (*outer, fn)

    def content(name: str, cell: Any) -> Hashable:
        value = _content(cell)
        if name in own:
            return _at_first(fn, atom, name, None, lambda: _fingerprint(value, atom, outer))
        if isinstance(value, _CONTAINERS):
            return _at_first(fn, atom, name, value, lambda: _fingerprint(value, atom, outer))
        return _fingerprint(value, atom, outer)

    def named(name: str) -> Hashable:
        # Globals are not looked into: that would walk through whole libraries.
        value = fn.__globals__[name]
        name = f"global {name}"
        return (
            _at_first(fn, atom, name, None, lambda: _whole(value)) if name in own else _whole(value)
        )

    given = tuple(name for name in names if name in fn.__globals__)
    return (
        FunctionType,
        atom(fn.__code__),
        _fingerprint((fn.__defaults__, fn.__kwdefaults__), atom, outer),
        tuple(map(content, cells, fn.__closure__ or ())),
        given,
        tuple(map(named, given)),
    )


def _at_first(
    fn: FunctionType, atom: _Atom, name: str, value: Any, find: Callable[[], Hashable]
) -> Hashable:
    """Find a fingerprint once, for as long as a variable of a function has the same value."""
    known = _CAPTURED.setdefault(fn, {}).setdefault(atom, {})
    if name not in known or known[name][0] is not value:
        known[name] = value, find()
    return known[name][1]


# What is changed in place without becoming something else.
_CONTAINERS = (list, dict, set)


def _parts(value: Any) -> tuple[Any, ...] | None:
    """Give the parts that determine a value, or None where there is nothing to look into."""
    match value:
        case MethodType():
            return value.__func__, value.__self__
        case functools.partial():
            return value.func, value.args, value.keywords
        case tuple() | list():
            return tuple(value)
        case dict() | FrozenDict():
            return tuple(value.items())
        case slice() | range():
            return value.start, value.stop, value.step
    if _is_value(value):
        fields = (f.name for f in dataclasses.fields(value) if f.compare)
        return tuple(getattr(value, name, None) for name in fields)
    return None


def _is_value(value: Any) -> bool:
    """Say whether something is a dataclass instance that stands for its fields and no more."""
    by_value = getattr(getattr(type(value), "__dataclass_params__", None), "eq", False)
    # What compares but does not hash is meant to be changed in place.
    if not by_value or type(value).__hash__ is None:
        return False
    return not isinstance(value, ModuleBase) or value.scope is None


@functools.lru_cache(maxsize=4096)
def _captured_names(code: CodeType) -> tuple[frozenset[str], tuple[str, ...], tuple[str, ...]]:
    """Name what the code of a function uses from outside.

    Returns:
        The variables that it assigns itself, those of its closure, and those that it, or code nested
        in it, may look up among the globals, as "global " + name in the first.
    """
    stored = {
        "STORE_DEREF": "",
        "DELETE_DEREF": "",
        "STORE_GLOBAL": "global ",
        "DELETE_GLOBAL": "global ",
    }
    own = {
        stored[step.opname] + step.argval
        for nested in _codes(code)
        for step in dis.get_instructions(nested)
        if step.opname in stored
    }
    named = sorted({name for nested in _codes(code) for name in nested.co_names})
    return frozenset(own), code.co_freevars, tuple(named)


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield the code and the code nested in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that has no value yet
        return Identity(cell)
