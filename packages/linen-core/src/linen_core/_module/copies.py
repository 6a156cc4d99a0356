"""Copies of modules: bound, detached, and independent ones.

A copy is constructed anew, from the arguments that the constructor of the module was given.

* A **bound** copy is what `init`, `apply`, `bind` and adoption work on. It remembers the module that
  it is a copy of, its **origin**.
* A **detached** copy of a bound module stands alone, as its origin did. A module that has no origin
  because a method of another module made it stands alone together with the submodules in its fields.
* An **independent** copy is detached, and so are copies of the submodules in its fields: the copy
  and what it was made from can be used side by side, each with variables of its own.

In all of them, a module that is in two places is one module in two places of the copy.
"""

from collections.abc import Mapping
from typing import Any

from linen_core._module.containers import map_modules


def copy_fields(module: Any, updates: Mapping[str, Any]) -> Any:
    """Construct a module of the same class and fields, except for `updates`."""
    return type(module)(**arguments_of(module) | dict(updates))


def bound_copy(module: Any, parent: Any) -> Any:
    """Copy a module to be attached, and remember what it is a copy of."""
    cls = type(module)
    if cls._plain_init is cls.__init__:  # not one that a decorator has put there
        attributes = module.__dict__
        copy = object.__new__(cls)
        try:
            fields = {name: attributes[name] for name in cls._init_fields}
        except KeyError:  # a field that the class was given later, as below
            fields = arguments_of(module)
        copy.__dict__.update(fields)
        copy.__dict__["_parent"] = parent
        copy.__post_init__()
    else:
        copy = copy_fields(module, {"parent": parent})
    copy._state.origin = module
    return copy


def detached_copy(module: Any) -> Any:
    """Give what a bound module was before it was bound: an equal module that stands alone."""
    return type(module)(**_Detaching().arguments(module) | {"parent": None})


def independent_copy(module: Any, updates: Mapping[str, Any]) -> Any:
    """Copy a module and the submodules in its fields, except for `updates`."""
    return type(module)(**_Separating().arguments(module) | dict(updates))


class _Detaching:
    """One round of detaching, which remembers what it gave for each module."""

    def __init__(self) -> None:
        self._known: dict[int, Any] = {}

    def arguments(self, module: Any) -> dict[str, Any]:
        """Give the arguments of the constructor, with detached modules."""
        module = _origin(module)
        arguments = arguments_of(module)
        if module.scope is not None:
            arguments |= module._state.given | {"name": None}
        return {
            name: map_modules(lambda _, submodule: self.detached(submodule), value)
            for name, value in arguments.items()
        }

    def detached(self, module: Any) -> Any:
        """Give a module that stands alone: the module itself if it does."""
        module = _origin(module)
        return module if module.scope is None else self.copied(module)

    def copied(self, module: Any) -> Any:
        """Give the copy of a module; there is one."""
        if (copy := self._known.get(id(module))) is None:
            copy = type(module)(**self.arguments(module) | {"parent": None})
            self._known[id(module)] = copy
        return copy


class _Separating(_Detaching):
    """One round of detaching that copies modules that stand alone, too."""

    def detached(self, module: Any) -> Any:
        """Give a copy that stands alone."""
        return self.copied(_origin(module))


def _origin(module: Any) -> Any:
    while module._state.origin is not None:
        module = module._state.origin
    return module


def arguments_of(module: Any) -> dict[str, Any]:
    """Give the arguments of the constructor; a bound module's are those that it owns."""
    attributes = module.__dict__
    # A field that its class was given later, by the autoreload of a notebook, has its default.
    arguments = {n: attributes[n] for n in type(module)._init_fields if n in attributes}
    if init_only := attributes.get("_init_only"):
        arguments.update(init_only)
    return arguments
