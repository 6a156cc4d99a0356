"""Submodules as attributes: who owns them, what they are called, and when two are the same one.

A submodule reaches a module as an attribute: as a dataclass field, or assigned in `setup`, alone
or inside lists, tuples, dicts and struct dataclasses. The attribute's name, followed by the keys
inside the containers, names it: `self.layers = [Dense(3), Dense(4)]` makes "layers_0", "layers_1".

* A submodule made in this `setup` is claimed: it gets the name and its place.
* A module that comes from outside the tree, made before `init` or `apply`, is **adopted**: a copy
  of it is claimed. All copies of one module in one tree are one copy, so that sharing a module
  outside means sharing its variables inside. The first attribute that owns it names it.
* A submodule that has its place already keeps it: it is shared.

Containers become immutable: lists become tuples and dicts become `FrozenDict`s.
"""

import dataclasses
import types
import weakref
from collections.abc import Mapping
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
        name: the name of the attribute, followed by keys in containers.
        value: the attribute's value.

    Returns:
        The value to store.
    """
    if type(value) in _ATOMS:
        return value
    if isinstance(value, ModuleBase):
        return _own_module(module, name, value)
    if isinstance(value, Mapping):
        return FrozenDict({k: own(module, f"{name}_{k}", v) for k, v in value.items()})
    if isinstance(value, (list, tuple)):
        items = [own(module, f"{name}_{i}", v) for i, v in enumerate(value)]
        if hasattr(value, "_fields"):
            return type(value)(*items)
        return tuple(items)
    if struct.is_struct(value):
        parts = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        owned = {key: own(module, f"{name}_{key}", part) for key, part in parts.items()}
        changed = {key: part for key, part in owned.items() if part is not parts[key]}
        return dataclasses.replace(value, **changed) if changed else value
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
    origin = module._state.origin
    if origin is not None:
        return detached_copy(origin) if origin.scope is not None else origin.clone()
    fields = {name: module.__dict__[name] for name in type(module)._init_fields}
    detached = {name: _detached(x) for name, x in (fields | module._state.given).items()}
    return type(module)(**detached | {"name": None, "parent": None})


def _detached(value: Any) -> Any:
    if isinstance(value, ModuleBase):
        return detached_copy(value)
    if isinstance(value, (list, tuple)):
        items = [_detached(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, dict):
        return {key: _detached(item) for key, item in value.items()}
    return value
