"""Fields: a Module class is a dataclass.

Every class body that inherits from Module is made a dataclass by the rules of the standard
library. Two keyword-only fields come from Module itself: `parent` and `name`. A parent that is
not given is `UNSPECIFIED`, which construction replaces by the module whose method runs.

The parent is held by a weak reference: a parent owns its submodules, not the other way round, so
that a tree of modules has no reference cycles.
"""

import dataclasses
import functools
import weakref
from collections.abc import Callable
from typing import Any, ClassVar

from linen_core.errors import (
    HashBoundModuleError,
    IncorrectPostInitOverrideError,
    ReservedModuleAttributeError,
)

# Attributes that Module sets on instances; a field of that name would break it.
RESERVED = frozenset({"parent", "scope", "_state", "_parent"})


class ModuleBase:
    """What every module is an instance of, for code that Module itself is made of."""

    _state: Any
    scope: ClassVar[Any] = None


class _Unspecified:
    """The parent of a module that was constructed without one."""

    def __repr__(self) -> str:
        return "<the module whose method runs>"

    def __reduce__(self) -> str:
        return "UNSPECIFIED"


UNSPECIFIED: Any = _Unspecified()


class ParentField:
    """A descriptor that stores a module as a weak reference and anything else as it is."""

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        parent = instance.__dict__.get("_parent")
        return parent() if isinstance(parent, weakref.ref) else parent

    def __set__(self, instance: Any, parent: Any) -> None:
        is_module = isinstance(parent, ModuleBase)
        instance.__dict__["_parent"] = weakref.ref(parent) if is_module else parent


def check_names(cls: type) -> None:
    """Refuse a dataclass whose body defines a name that Module needs.

    Raises:
        ReservedModuleAttributeError: it does.
    """
    fields, inherited = (vars(c)["__dataclass_fields__"] for c in (cls, _nearest_dataclass(cls)))
    annotated = {name for name, field in fields.items() if field is not inherited.get(name)}
    if reserved := RESERVED & (annotated | vars(cls).keys()):
        raise ReservedModuleAttributeError(cls.__name__, sorted(reserved))


def _nearest_dataclass(cls: type) -> type:
    return next(base for base in cls.__mro__[1:] if "__dataclass_fields__" in vars(base))


def make_dataclass(cls: type, kw_only: bool) -> None:
    """Make a class a dataclass, in place. Its own `__eq__` and `__hash__` stay."""
    has_hash = "__hash__" in vars(cls)
    dataclasses.dataclass(
        cls,
        repr=False,
        eq="__eq__" not in cls.__dict__,
        unsafe_hash=not has_hash,
        kw_only=kw_only,
    )
    if not has_hash:
        setattr(cls, "__hash__", _unless_bound(vars(cls)["__hash__"]))  # noqa: B010


def _unless_bound(hash_fields: Callable[[Any], int]) -> Callable[[Any], int]:
    """Refuse to hash a module with variables: a cache would take it for one with others."""

    @functools.wraps(hash_fields)
    def __hash__(self: Any) -> int:  # noqa: N807 - it is one
        if self.scope is not None:
            raise HashBoundModuleError(type(self).__name__)
        return hash_fields(self)

    return __hash__


def init_field_names(cls: type) -> tuple[str, ...]:
    """Name the fields that the constructor takes, without `parent`."""
    return tuple(f.name for f in dataclasses.fields(cls) if f.init and f.name != "parent")


def state_of(module: Any) -> Any:
    """Give the state of a module.

    Raises:
        IncorrectPostInitOverrideError: construction did not reach `Module.__post_init__`.
    """
    try:
        return module.__dict__["_state"]
    except KeyError:
        raise IncorrectPostInitOverrideError(type(module).__name__) from None
