"""Fingerprints: what determines a value, as something that hashes and compares.

Python compares functions by identity: a closure that is made anew by the same code, or a method of
a rebuilt module, differs from the first one although it does the same. A *fingerprint* compares by
what determines the value:

- a function: its code, defaults, captured variables, and the globals that its code names;
- a bound method or a `functools.partial`: its function and what that is bound to;
- tuples, lists, dicts, sets and slices: their type and the fingerprints of their elements;
- a dataclass that compares and hashes by value, as modules do that are not bound: its type and its
  compared fields;
- everything else is an *atom*. What stands for an atom is up to the caller; as a rule a hashable
  value stands for itself and anything else for its identity.

Fingerprints err on one side only. Values that do the same may differ (two functions that captured
two equal arrays, say); values that differ in anything they can see never compare equal. The
exception is an object that claims to equal another and behaves differently.
"""

import dataclasses
import functools
from collections.abc import Callable, Hashable, Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np

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


class _Whole:
    """Stands for a value that is not looked into, inside of one that is."""

    __slots__ = ("atom",)

    def __init__(self, value: Any) -> None:
        self.atom = atom_of(value.hex() if isinstance(value, float) else value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Whole) and self.atom == other.atom

    def __hash__(self) -> int:
        return hash(self.atom)


_Atom: TypeAlias = Callable[[Any], Hashable]

# By function and atom. Some functions change what they captured when they are called; what they
# were at first is what they are known by.
_REMEMBERED: WeakKeyDictionary[FunctionType, dict[_Atom, Hashable]] = WeakKeyDictionary()


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
    is_function = isinstance(value, FunctionType)
    if is_function and atom in (known := _REMEMBERED.setdefault(value, {})):
        return known[atom]
    parts = _parts(value)
    if parts is None:
        return atom(value)
    result = type(value), *(_fingerprint(part, atom, (*outer, value)) for part in parts)
    if is_function:
        _REMEMBERED[value][atom] = result
    return result


def _parts(value: Any) -> tuple[Any, ...] | None:
    """Give the parts that determine a value, or None where there is nothing to look into."""
    match value:
        case FunctionType():
            own = (value.__code__, value.__defaults__, value.__kwdefaults__)
            # Globals are not looked into: that would walk through whole libraries.
            named = tuple(map(_Whole, _named_globals(value)))
            return *own, tuple(map(_content, value.__closure__ or ())), named
        case MethodType():
            return value.__func__, value.__self__
        case functools.partial():
            return value.func, value.args, value.keywords
        case tuple() | list():
            return tuple(value)
        case dict():
            return tuple(value.items())
        case set():
            return (frozenset(value),)
        case slice():
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


def _named_globals(fn: FunctionType) -> list[Any]:
    """Give the values of the globals that a function names, in the order of their names."""
    names = sorted(set(_names(fn.__code__)) & fn.__globals__.keys())
    return [fn.__globals__[name] for name in names]


def _names(code: CodeType) -> Iterator[str]:
    """Yield every name that the code, or code nested in it, may look up among the globals."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that has no value yet
        return Identity(cell)
