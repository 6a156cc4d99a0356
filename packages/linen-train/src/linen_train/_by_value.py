"""Functions that are equal when they do the same.

`jax.jit` keeps one trace per structure of its arguments, and the static fields of a train state are
part of that structure. Python compares functions by identity: `model.apply` of a rebuilt model, or
the closures inside a rebuilt `optax.adam(1e-3)`, differ from the first ones although they do the
same, and every jitted function would be traced and compiled anew.

A *function by value* wraps a function and compares by its *fingerprint*, everything that
determines what the function does:

- a function: its code, defaults, captured variables, and the globals that its code names;
- a bound method or a `functools.partial`: its function and what that is bound to;
- tuples, lists and dicts: their type and the fingerprints of their elements;
- any other hashable object: its type and itself, so equal models have equal fingerprints;
- everything else, arrays above all: its identity.

Fingerprints err on one side only. Functions that do the same may differ (they captured two equal
arrays, or themselves), which costs a trace; functions that differ in anything they can see never
compare equal, unless a captured object claims to equal another one and behaves differently.

A function's fingerprint is taken once, when it is first seen: optax has schedules that replace their
captured settings by converted ones at the first call, and a function must go on to equal itself.
"""

import functools
import weakref
from collections.abc import Callable, Hashable, Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any, Generic, ParamSpec, TypeVar

__all__ = ["FunctionByValue"]

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class FunctionByValue(Generic[_Parameters, _Result]):
    """A function that equals every other one with the same fingerprint.

    Args:
        function: what a call is passed on to. It must be pure, as for `jax.jit`.
    """

    def __init__(self, function: Callable[_Parameters, _Result]):
        self.__wrapped__ = function
        self._fingerprint = _fingerprint(function, ())
        self._hash = hash(self._fingerprint)

    def __call__(self, *args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        return self.__wrapped__(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FunctionByValue):
            return NotImplemented
        return self is other or self._fingerprint == other._fingerprint

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"FunctionByValue({self.__wrapped__!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Fingerprints hold identities, which mean nothing in another process.
        return FunctionByValue, (self.__wrapped__,)


class _Identity:
    """Equal to another one that holds the same object."""

    def __init__(self, value: object):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


_SEEN: weakref.WeakKeyDictionary[FunctionType, Hashable] = weakref.WeakKeyDictionary()


def _fingerprint(value: Any, outer: tuple[Any, ...]) -> Hashable:
    """Return what determines a value; `outer` are the objects that it was reached through."""
    if any(value is container for container in outer):
        return _Identity(value)
    if isinstance(value, FunctionType) and value in _SEEN:
        return _SEEN[value]
    parts = _parts(value)
    if parts is None:
        return _atom(value)
    fingerprint = (type(value), *(_fingerprint(part, (*outer, value)) for part in parts))
    if isinstance(value, FunctionType):
        _SEEN[value] = fingerprint
    return fingerprint


def _parts(value: Any) -> tuple[Any, ...] | None:
    """Return the parts that determine a value, or None where there is nothing to look into."""
    if isinstance(value, FunctionType):
        names = sorted(set(_names(value.__code__)) & value.__globals__.keys())
        return (
            value.__code__,
            value.__defaults__,
            value.__kwdefaults__,
            tuple(_content(cell) for cell in value.__closure__ or ()),
            tuple((name, _Shallow(value.__globals__[name])) for name in names),
        )
    if isinstance(value, MethodType):
        return value.__func__, value.__self__
    if isinstance(value, functools.partial):
        return value.func, value.args, value.keywords
    if isinstance(value, tuple | list):
        return tuple(value)
    if isinstance(value, dict):
        return tuple(value.items())
    return None


class _Shallow:
    """A global: taken as it is, because following globals would walk through whole libraries."""

    def __init__(self, value: object):
        self.atom = _atom(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Shallow) and self.atom == other.atom

    def __hash__(self) -> int:
        return hash(self.atom)


def _atom(value: Any) -> Hashable:
    if isinstance(value, float):
        return type(value), value.hex()  # tells 0.0 from -0.0, and equals itself when NaN
    try:
        hash(value)
    except TypeError:
        return _Identity(value)
    return type(value), value


def _names(code: CodeType) -> Iterator[str]:
    """Yield every name that the code, or code nested in it, may look up among the globals."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return _Identity(cell)
