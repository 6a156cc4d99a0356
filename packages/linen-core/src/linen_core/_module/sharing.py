"""Submodules as attributes: who owns them, what they are called, and when two are the same one.

A submodule reaches a module as an attribute: as a dataclass field, or assigned in `setup`, alone
or inside lists, tuples, dicts and struct dataclasses. The attribute's name, followed by the keys
inside the containers, names it: `self.layers = [Dense(3), Dense(4)]` makes "layers_0", "layers_1".

* A submodule made in this `setup` is claimed: it gets the name and its place.
* A module that comes from outside the tree, made before `init` or `apply`, is **adopted**: a copy
  of it is claimed. All copies of one module in one tree are one copy, so that sharing a module
  outside means sharing its variables inside. The first attribute that owns it names it.
* A submodule that has its place already keeps it: it is shared.

Containers become immutable: lists become tuples and dicts become `FrozenDict`s. Inside of structs
they stay what they are, so that the structure of the pytree does.
"""

import dataclasses
import functools
import operator
import types
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from linen_core import struct
from linen_core._frozen_dict import FrozenDict
from linen_core._module.fields import ModuleBase
from linen_core.config import config

# The types of most fields: they hold no modules, so that one look-up is enough.
_ATOMS = frozenset(
    {
        type(None), bool, int, float, complex, str, bytes, type, types.FunctionType,
        types.BuiltinFunctionType, np.dtype, type(jax.numpy.float32), type(jax.nn.silu),
    }
)  # fmt: skip


def adopt_fields(module: Any) -> None:
    """Claim or adopt the submodules among the fields of a module that was just attached."""
    attributes = module.__dict__
    for name in type(module)._init_fields:
        value = attributes.get(name)
        if type(value) not in _ATOMS:
            owned = own(module, name, value)
            if owned is not value:
                module._state.given[name] = value
                attributes[name] = owned


def own(module: Any, name: str, value: Any) -> Any:
    """Make the submodules in an attribute's value submodules of this module.

    Args:
        module: the module whose attribute it is.
        name: the name of the attribute.
        value: the attribute's value.

    Returns:
        The value to store; `value` itself if nothing in it has to change.
    """
    if type(value) in _ATOMS:
        return value
    return _immutable(map_modules(functools.partial(_own_module, module), value, name))


def map_modules(fn: Callable[[str, Any], Any], value: Any, name: str = "") -> Any:
    """Replace the modules in a value, alone or inside containers.

    Args:
        fn: gives what replaces a module, from its name and the module.
        value: anything; lists, tuples, dicts and structs are looked into.
        name: the name of the value; the names inside of containers have the keys appended.

    Returns:
        The value, with new containers only where something in them was replaced.
    """
    if isinstance(value, ModuleBase):
        return fn(name, value)
    old = _items(value)
    new = {key: map_modules(fn, item, f"{name}_{key}") for key, item in old.items()}
    if all(item is old[key] for key, item in new.items()):
        return value
    return _with_items(value, new)


def _items(value: Any) -> dict[Any, Any]:
    """Give what a container holds, by key; nothing for what is no container."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (list, tuple)):
        return dict(enumerate(value))
    if struct.is_struct(value):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return {}


def _with_items(value: Any, items: dict[Any, Any]) -> Any:
    """Give a container of the same kind that holds other items."""
    if isinstance(value, Mapping):
        return FrozenDict(items) if isinstance(value, FrozenDict) else items
    if struct.is_struct(value):
        return dataclasses.replace(value, **items)
    return (
        type(value)(*items.values()) if hasattr(value, "_fields") else type(value)(items.values())
    )


def _immutable(value: Any) -> Any:
    """Make lists tuples and dicts `FrozenDict`s, except inside of structs."""
    if isinstance(value, Mapping):
        return FrozenDict({key: _immutable(item) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        items = [_immutable(item) for item in value]
        if isinstance(value, tuple) and all(map(operator.is_, items, value)):
            return value
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value


def _own_module(module: Any, name: str, submodule: Any) -> Any:
    # Here, since attaching a module adopts the modules among its fields.
    from linen_core._module.lifecycle import attach_to_parent

    if submodule.scope is not None and submodule.scope.is_same_tree(module.scope):
        return submodule
    is_pending = submodule.scope is None and submodule.parent is not None
    if not is_pending:
        adopted = module.scope.adopted
        if (known := adopted.get(id(submodule))) is not None:
            return known
        copy = bound_copy(submodule, None)
        adopted[id(submodule)] = copy
        submodule = copy
    submodule.__dict__["_parent"] = weakref.ref(module)
    if not (config.preserve_adopted_names and submodule.name):
        submodule.__dict__["name"] = name
    attach_to_parent(submodule, module)
    return submodule


def copy_fields(module: Any, updates: Mapping[str, Any]) -> Any:
    """Construct a module of the same class and fields, except for `updates`."""
    attributes = module.__dict__
    fields = {name: attributes[name] for name in type(module)._init_fields}
    return type(module)(**fields | dict(updates))


def bound_copy(module: Any, parent: Any) -> Any:
    """Copy a module to be attached, and remember what it is a copy of."""
    copy = copy_fields(module, {"parent": parent})
    copy._state.origin = module
    return copy


def detached_copy(module: Any) -> Any:
    """Give what a bound module was before it was bound: an equal module that stands alone."""
    if module._state.origin is not None:
        return detached_copy(module._state.origin)
    if module.scope is None:
        return copy_fields(module, {"parent": None})
    fields = {name: module.__dict__[name] for name in type(module)._init_fields}
    given = fields | module._state.given | {"name": None}
    detached = {name: map_modules(_detach, value) for name, value in given.items()}
    return type(module)(**detached, parent=None)


def _detach(name: str, module: Any) -> Any:
    del name
    return detached_copy(module)
