"""Modules inside of containers: what an attribute of a module may hold them in.

A *container* is a list, tuple, named tuple, dict, `FrozenDict` or struct dataclass. The name of a
module inside is the container's name followed by the keys that lead to it: "layers_0", "heads_left".
"""

import dataclasses
import operator
from collections.abc import Callable, Mapping
from typing import Any

from linen_core import struct
from linen_core._frozen_dict import FrozenDict
from linen_core._module.fields import ModuleBase


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
    return map_items(lambda key, item: map_modules(fn, item, f"{name}_{key}"), value)


def map_items(fn: Callable[[Any, Any], Any], value: Any) -> Any:
    """Replace what a container holds.

    Args:
        fn: gives what replaces an item, from its key and the item.
        value: a list, tuple, dict or struct, or something else, which holds nothing.

    Returns:
        The value, or a new container of the same kind if something in it was replaced.

    Example:
        >>> from linen_core.extend import map_items
        >>> map_items(lambda key, item: item + key, {1: 10, 2: 20})
        {1: 11, 2: 22}
    """
    old = items_of(value)
    new = {key: fn(key, item) for key, item in old.items()}
    if all(item is old[key] for key, item in new.items()):
        return value
    return with_items(value, new)


def is_record(value: Any) -> bool:
    """Say whether a value is a named tuple or a struct."""
    return struct.is_struct(value) or (isinstance(value, tuple) and hasattr(value, "_fields"))


def items_of(value: Any) -> dict[Any, Any]:
    """Give what a container holds, by key; nothing for what is no container."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (list, tuple)):
        return dict(zip(getattr(value, "_fields", range(len(value))), value, strict=True))
    if struct.is_struct(value):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
    return {}


def with_items(value: Any, items: dict[Any, Any]) -> Any:
    """Give a container of the same kind that holds other items."""
    if isinstance(value, Mapping):
        return FrozenDict(items) if isinstance(value, FrozenDict) else items
    if struct.is_struct(value):
        return dataclasses.replace(value, **items)
    return (
        type(value)(*items.values()) if hasattr(value, "_fields") else type(value)(items.values())
    )


def immutable(value: Any) -> Any:
    """Make lists tuples and dicts `FrozenDict`s, except inside of structs and of other mappings."""
    if isinstance(value, (dict, FrozenDict)):
        return FrozenDict({key: immutable(item) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        items = [immutable(item) for item in value]
        if isinstance(value, tuple) and all(map(operator.is_, items, value)):
            return value
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value
