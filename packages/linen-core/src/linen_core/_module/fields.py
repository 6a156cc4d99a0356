"""Fields: a Module class is a dataclass.

Every class body that inherits from Module is made a dataclass by the rules of the standard
library. Two keyword-only fields come from Module itself: `parent` and `name`. A parent that is
not given is `UNSPECIFIED`, which construction replaces by the module whose method runs.

The parent is held by a weak reference: a parent owns its submodules, not the other way round, so
that a tree of modules has no reference cycles.
"""

import dataclasses
import functools
import inspect
import weakref
from collections.abc import Callable
from typing import Any, ClassVar

from linen_core.errors import (
    HashBoundModuleError,
    IncorrectPostInitOverrideError,
    ReservedModuleAttributeError,
)

# Attributes that Module sets on instances; a field of that name would break it.
RESERVED = frozenset({"parent", "scope", "_state", "_parent", "_init_only"})


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
    """Refuse a dataclass whose body, or a base class that is no module, defines a name of Module's.

    Raises:
        ReservedModuleAttributeError: it does.
    """
    module_class = next(base for base in cls.__mro__[1:] if issubclass(base, ModuleBase))
    own, fields = vars(module_class)["__dataclass_fields__"], vars(cls)["__dataclass_fields__"]
    annotated = {name for name, field in fields.items() if field is not own.get(name)}
    if reserved := RESERVED & vars(cls).keys() | (RESERVED | {"name"}) & annotated:
        raise ReservedModuleAttributeError(cls.__name__, sorted(reserved))


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
        # Not hash_fields, which the autoreload of notebooks cannot replace when fields change.
        return vars(__hash__)["__wrapped__"](self)

    return __hash__


def init_field_names(cls: type) -> tuple[str, ...]:
    """Name the fields that the constructor takes, without `parent`."""
    return tuple(f.name for f in dataclasses.fields(cls) if f.init and f.name != "parent")


def remember_init_only(cls: type) -> None:
    """Let instances remember the values of `InitVar`s, which are no fields, to be copied with them."""
    fields = {f.name for f in dataclasses.fields(cls)}
    others = vars(cls)["__dataclass_fields__"].keys() - fields
    if not others:
        return
    names = [name for name in inspect.signature(cls).parameters if name in others]
    if not names:
        return
    post_init = getattr(cls, "__post_init__")  # noqa: B009 - type checkers know of none

    @functools.wraps(post_init)
    def __post_init__(self: Any, *values: Any) -> None:  # noqa: N807 - it is one
        # That of a base class gets only what the base class knows of.
        vars(self).setdefault("_init_only", dict(zip(names, values, strict=True)))
        post_init(self, *values)

    setattr(cls, "__post_init__", __post_init__)  # noqa: B010


def has_plain_construction(cls: type, base: type) -> bool:
    """Say whether construction stores its arguments as attributes, and does nothing else of a class.

    A class takes part in it with methods that differ from those of `base`, with a metaclass that is
    called in place of `type`, with fields that are no arguments, and with descriptors for fields.
    """
    methods = ("__new__", "__post_init__", "__setattr__")
    metaclass: Any = type(cls)
    if metaclass.__call__ is not type.__call__:
        return False
    return all(getattr(cls, name) is getattr(base, name) for name in methods) and not any(
        not f.init or hasattr(inspect.getattr_static(cls, f.name, None), "__set__")
        for f in dataclasses.fields(cls)
        if f.name != "parent"
    )


def state_of(module: Any) -> Any:
    """Give the state of a module.

    Raises:
        IncorrectPostInitOverrideError: construction did not reach `Module.__post_init__`.
    """
    try:
        return module.__dict__["_state"]
    except KeyError:
        raise IncorrectPostInitOverrideError(type(module).__name__) from None
