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

import functools
import types
import weakref
from typing import Any

import jax
import numpy as np

from linen_core._module.containers import immutable, map_modules
from linen_core._module.copies import bound_copy
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
    return immutable(map_modules(functools.partial(_own_module, module), value, name))


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
    if submodule.name is None or not _preserves_names(module):
        submodule.__dict__["name"] = name
    attach_to_parent(submodule, module)
    return submodule


def _preserves_names(module: Any) -> bool:
    """Say whether a module leaves their names to modules that it adopts: its class knows, or `config`."""
    return getattr(type(module), "preserve_adopted_names", config.preserve_adopted_names)
