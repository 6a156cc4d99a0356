"""Changes to nested containers, collected first and made all at once.

A *container* is a value that has *parts* under *keys*, and that can be built anew around other
parts: a dict, a list, a tuple, a named tuple, a dataclass (structs among them) or a Module. Every
other value is a *leaf*. A *node* stands for one value in a nest of containers. It remembers the
value that was there at first, or that was assigned to it last, and the nodes of those parts that
somebody asked for. Nothing happens to a container until its node is asked for the value: then it
is built once, around the values of the nodes below, whatever number of its parts has changed.
"""

import copy
import dataclasses
import enum
import operator
from collections.abc import (
    Callable,
    Iterator,
    Mapping,
    MutableMapping,
    MutableSequence,
    Sequence,
)
from typing import Any, NamedTuple

from linen_core._frozen_dict import FrozenDict
from linen_core._module.fields import ModuleBase

_MISSING: Any = object()


class AccessType(enum.Enum):
    """How code gets from a container to one of its parts.

    Attributes:
        ITEM: by subscript, `container[key]`.
        ATTR: by attribute, `container.key`.

    Example:
        >>> from linen_core.cursor import AccessType
        >>> [access.name for access in AccessType]
        ['ITEM', 'ATTR']
    """

    ITEM = enum.auto()
    ATTR = enum.auto()


class Kind(NamedTuple):
    """What the containers of one kind have in common.

    Attributes:
        access: how code gets to their parts.
        parts: gives the parts of a container by key.
        rebuild: gives a new container, from an old one and the parts that differ, by key.
        key: gives the key that a subscript means; None if subscripts mean nothing.
        grows: whether parts can be added.
    """

    access: AccessType
    parts: Callable[[Any], dict[Any, Any]]
    rebuild: Callable[[Any, dict[Any, Any]], Any]
    key: Callable[[Any, Any], Any] | None = None
    grows: bool = False


class Node:
    """One value in a nest of containers, with the changes below it.

    Attributes:
        parent: the node of the container that the value is a part of; None for the outermost.
        key: the key of the part.
    """

    __slots__ = ("_below", "_given", "_parts", "key", "parent")

    parent: "Node | None"
    key: Any

    def __init__(self, value: Any, parent: "Node | None" = None, key: Any = None) -> None:
        self.parent = parent
        self.key = key
        self.assign(value)

    def assign(self, value: Any) -> None:
        """Put another value here; changes below the old one are forgotten."""
        self._given = value
        self._parts = {} if self.kind is None else self.kind.parts(value)
        self._below: dict[Any, Node] = {}

    @property
    def kind(self) -> Kind | None:
        """The kind of container that is here, None for a leaf."""
        return kind_of(self._given)

    @property
    def keys(self) -> list[Any]:
        """The keys of the parts."""
        return list(self._parts | self._below)

    @property
    def root(self) -> "Node":
        """The node of the outermost container."""
        return self if self.parent is None else self.parent.root

    @property
    def path(self) -> str:
        """The way from the outermost container to here, as code."""
        if self.parent is None or self.parent.kind is None:
            return "cursor"
        is_item = self.parent.kind.access is AccessType.ITEM
        return f"{self.parent.path}{f'[{self.key!r}]' if is_item else f'.{self.key}'}"

    def child(self, key: Any) -> "Node | None":
        """Give the node of a part, None if there is no such part."""
        if key not in self._below and key in self._parts:
            self._below[key] = Node(self._parts[key], self, key)
        return self._below.get(key)

    def put(self, key: Any, value: Any) -> bool:
        """Replace a part, or add one where that is possible; say whether it was."""
        child = self.child(key)
        if child is not None:
            child.assign(value)
        elif self.kind is not None and self.kind.grows:
            self._below[key] = Node(value, self, key)
        else:
            return False
        return True

    def value(self) -> Any:
        """Give the value with all changes; where there are none, the very value that was given."""
        changes = self._changes()
        return self._rebuilt(changes) if changes else self._given

    def build(self) -> Any:
        """Give the value with all changes; a container is always a new one."""
        return self._rebuilt(self._changes())

    def outermost(
        self, is_found: Callable[[str, "Node"], bool], path: str = ""
    ) -> "Iterator[Node]":
        """Find nodes below by path and node; what is below one that was found is left out."""
        for key in self.keys:
            child = self.child(key)
            if child is None:  # a key that was there is gone: what is walked was changed meanwhile
                continue
            below = f"{path}/{key}" if path else str(key)
            if is_found(below, child):
                yield child
            else:
                yield from child.outermost(is_found, below)

    def _changes(self) -> dict[Any, Any]:
        values = {key: node.value() for key, node in self._below.items()}
        return {k: v for k, v in values.items() if v is not self._parts.get(k, _MISSING)}

    def _rebuilt(self, changes: dict[Any, Any]) -> Any:
        return self._given if self.kind is None else self.kind.rebuild(self._given, changes)


def kind_of(value: Any) -> Kind | None:
    """Say what kind of container a value is, None for a leaf."""
    if isinstance(value, (dict, FrozenDict)):
        return _DICT
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return _NAMED_TUPLE
    if isinstance(value, (list, tuple)):
        return _SEQUENCE
    if isinstance(value, ModuleBase):
        return _MODULE
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _DATACLASS
    return None


def changes_in_place(value: Any, method: str) -> bool:
    """Say whether a method of a container changes the container itself."""
    return any(isinstance(value, type_) and method in names for type_, names in _IN_PLACE.items())


def replaced(function: Callable[[Any], Any], value: Any) -> Any:
    """Replace a value by a function of it or, where that gives the very value, do so with its parts."""
    new = function(value)
    kind = kind_of(value)
    if new is not value or kind is None:
        return new
    parts = {key: (part, replaced(function, part)) for key, part in kind.parts(value).items()}
    changes = {key: new for key, (part, new) in parts.items() if new is not part}
    return kind.rebuild(value, changes) if changes else value


def _updated_dict(old: Any, changes: Mapping[Any, Any]) -> Any:
    if isinstance(old, FrozenDict):
        return old.copy(changes)
    new = copy.copy(old)  # keeps the type of a subclass, and what it holds besides
    new.update(changes)
    return new


def _updated_sequence(old: Any, changes: Mapping[int, Any]) -> Any:
    return type(old)(changes.get(index, item) for index, item in enumerate(old))


def _position(sequence: Any, subscript: Any) -> int:
    index = operator.index(subscript)
    return index + len(sequence) if index < 0 else index


def _field_at(named_tuple: Any, subscript: Any) -> str | None:
    index = _position(named_tuple, subscript)
    return named_tuple._fields[index] if 0 <= index < len(named_tuple) else None


def _fields(value: Any) -> dict[str, Any]:
    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}


def _module_fields(module: Any) -> dict[str, Any]:
    # Not the parent: it is around the module, not a part of it.
    return {name: vars(module)[name] for name in type(module)._init_fields}


_DICT = Kind(AccessType.ITEM, dict, _updated_dict, lambda _, subscript: subscript, grows=True)
_SEQUENCE = Kind(AccessType.ITEM, lambda v: dict(enumerate(v)), _updated_sequence, _position)
_NAMED_TUPLE = Kind(
    AccessType.ATTR, lambda v: v._asdict(), lambda v, changes: v._replace(**changes), _field_at
)
_IN_PLACE: dict[type, set[str]] = {
    MutableMapping: set(dir(MutableMapping)) - set(dir(Mapping)),
    MutableSequence: set(dir(MutableSequence)) - set(dir(Sequence)) | {"sort"},
}
_MODULE = Kind(AccessType.ATTR, _module_fields, lambda v, changes: v.clone(**changes))
_DATACLASS = Kind(AccessType.ATTR, _fields, lambda v, changes: dataclasses.replace(v, **changes))
