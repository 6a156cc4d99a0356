"""Cursors: changing values deep inside immutable containers.

A *cursor* points at one value in a nest of containers: dicts and `FrozenDict`s, lists, tuples, named
tuples, dataclasses, structs such as a train state, and Modules. It is moved and assigned to as the
container itself would be, by item and by attribute. The container that it was made of never
changes: assignments are collected, and `build` gives a new container with all of them.

    state = cursor(state).params["Dense_0"]["bias"].set(0.0)  # one change

    c = cursor(state)  # several changes
    c.step = 0
    c.params["Dense_0"]["kernel"] *= 0.5
    state = c.build()

A cursor stands for its value with the changes so far. Operators (`+`, `==`, `len`, ...) act on that
value, and so does everything about it that is no part of a container: `c.params.items()`,
`c.step.dtype` and `c.kernel.at[0].set(1.0)` are what they are without a cursor. Names that a cursor
has itself (`set`, `build`, `apply_update`, `find`, `find_all`) come first.

The *parts* of a container, which a cursor can move to, are its items or, for named tuples,
dataclasses and Modules, the fields that the constructor takes. Arrays have no parts: an array is
replaced as a whole.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from linen_core._changes import AccessType, Node, changes_in_place, replaced
from linen_core._operators import ValueOperators
from linen_core.errors import (
    CursorAttributeError,
    CursorChangeError,
    CursorFindError,
    CursorKeyError,
    CursorMutationError,
)

__all__ = ["AccessType", "Cursor", "cursor"]

A = TypeVar("A")


def cursor(obj: A) -> "Cursor[A]":
    """Point a cursor at a value.

    Args:
        obj: a container, of whatever nesting. It is never changed.

    Returns:
        A cursor at `obj`.

    Example:
        >>> from linen_core.cursor import cursor
        >>> old = {"a": 1, "b": (2, 3), "c": [4, 5]}
        >>> cursor(old)["b"][0].set(10)
        {'a': 1, 'b': (10, 3), 'c': [4, 5]}
        >>> c = cursor(old)
        >>> c["c"][-1] += 1
        >>> c["a"] = "new"
        >>> c.build()
        {'a': 'new', 'b': (2, 3), 'c': [4, 6]}
        >>> old
        {'a': 1, 'b': (2, 3), 'c': [4, 5]}
    """
    return Cursor(Node(obj))


class Cursor(ValueOperators, Generic[A]):
    """A value in a nest of containers, together with the changes made to it.

    Cursors are made by `cursor` and by moving another one. Those that were made from one another
    share their changes.

    Args:
        node: the place of the value.

    Raises:
        CursorKeyError: (from `c[key]` and `c[key] = value`) there is no such item.
        CursorAttributeError: (from `c.name` and `c.name = value`) there is no such part.
        CursorChangeError: (from assignments) the value has no parts.
        CursorMutationError: (from `c.name` and `del c[key]`) this would change a list or dict in place.

    Example:
        >>> from linen_core.cursor import cursor
        >>> c = cursor({"layers": [{"bias": 1.0}, {"bias": 2.0}]})
        >>> for layer in c["layers"]:
        ...     layer["bias"] /= 2
        >>> c.build()
        {'layers': [{'bias': 0.5}, {'bias': 1.0}]}
    """

    __slots__ = ("_node",)

    _node: Node

    def __init__(self, node: Node) -> None:
        object.__setattr__(self, "_node", node)

    # Moving.

    def __getitem__(self, key: Any) -> Any:
        node = self._node
        if node.kind is None:
            return node.value()[key]
        child = node.child(_key(node, key))
        if child is None:
            raise _no_item(node, key)
        return Cursor(child)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in Cursor.__slots__:
            raise AttributeError(name)
        node = self._node
        has_attributes = node.kind is not None and node.kind.access is AccessType.ATTR
        child = node.child(name) if has_attributes else None
        if child is not None:
            return Cursor(child)
        value = node.value()
        if node.kind is not None and not hasattr(value, name):
            raise _no_attribute(node, name)
        if changes_in_place(value, name):
            raise CursorMutationError(node.path, name, value)
        return getattr(value, name)

    def __iter__(self) -> Iterator[Any]:
        """Iterate over a list or tuple by cursors, over all else as over the value."""
        if isinstance(self._node.value(), (list, tuple)):
            return (self[index] for index in range(len(self)))
        return iter(self._node.value())

    def __reversed__(self) -> Iterator[Any]:
        if isinstance(self._node.value(), (list, tuple)):
            return (self[index] for index in reversed(range(len(self))))
        return reversed(self._node.value())

    # Changing.

    def __setitem__(self, key: Any, value: Any) -> None:
        node = self._node
        if node.kind is None:
            raise CursorChangeError(node.path, f"[{key!r}]", node.value())
        if not node.put(_key(node, key), _plain(value)):
            raise _no_item(node, key)

    def __setattr__(self, name: str, value: Any) -> None:
        node = self._node
        if node.kind is None:
            raise CursorChangeError(node.path, f".{name}", node.value())
        if node.kind.access is AccessType.ITEM or not node.put(name, _plain(value)):
            raise _no_attribute(node, name)

    def __delitem__(self, key: Any) -> None:
        raise CursorMutationError(self._node.path, "__delitem__", self._node.value())

    def set(self, value: Any) -> Any:
        """Put another value here and build the outermost container.

        The change stays with the cursor: changes made before and after are in what is built next.

        Args:
            value: the new value.

        Returns:
            A new outermost container, with all changes made so far.

        Example:
            >>> from linen_core.cursor import cursor
            >>> cursor({"a": {"b": 1}, "c": 2})["a"]["b"].set(3)
            {'a': {'b': 3}, 'c': 2}
        """
        self._node.assign(_plain(value))
        return self._node.root.build()

    def build(self) -> A:
        """Build the value that the cursor is at, with the changes made below it.

        Containers are built from the inside out, each once: a dataclass whose `__post_init__`
        compares its fields sees all of the new ones.

        Returns:
            A new container of the same type, or the leaf. Parts without changes are shared with
            the old container.

        Example:
            >>> from linen_core.cursor import cursor
            >>> c = cursor({"a": {"b": 1}, "c": 2})
            >>> c["a"]["b"] = 3
            >>> c["a"].build(), c.build()
            ({'b': 3}, {'a': {'b': 3}, 'c': 2})
        """
        return self._node.build()

    def apply_update(self, update_fn: Callable[[str, Any], Any]) -> "Cursor[A]":
        """Change values below by a function of path and value, outer values first.

        Args:
            update_fn: takes the keys on the way from here, joined by "/", and the value; returns a
                new value, or the same object to leave it and go on with its parts. The value that
                the cursor is at is not passed to it. Values that it returned are not either.

        Returns:
            This cursor.

        Example:
            >>> from linen_core.cursor import cursor
            >>> def halve_biases(path, value):
            ...     return value / 2 if path.endswith("bias") else value
            >>> params = {"Dense_0": {"kernel": 3.0, "bias": 1.0}}
            >>> cursor(params).apply_update(halve_biases).build()
            {'Dense_0': {'kernel': 3.0, 'bias': 0.5}}
        """

        def update(path: str, node: Node) -> bool:
            old = node.value()
            new = _plain(update_fn(path, old))
            if new is not old:
                node.assign(new)
            return new is not old

        for _ in self._node.outermost(update):
            pass
        return self

    # Searching.

    def find(self, cond_fn: Callable[[str, Any], bool]) -> "Cursor[Any]":
        """Move to the only value below that fulfils a condition.

        Args:
            cond_fn: takes the keys on the way from here, joined by "/", and the value; says whether
                this is it. It is not asked about the value that the cursor is at, nor about the
                parts of one that fulfils it.

        Returns:
            A cursor at the value.

        Raises:
            CursorFindError: no value fulfils the condition, or more than one.

        Example:
            >>> from linen_core.cursor import cursor
            >>> c = cursor({"Dense_0": {"bias": 0.0}, "Dense_1": {"bias": 0.0}})
            >>> c.find(lambda path, value: path == "Dense_1/bias").set(1.0)
            {'Dense_0': {'bias': 0.0}, 'Dense_1': {'bias': 1.0}}
        """
        found = list(itertools.islice(self.find_all(cond_fn), 2))
        if len(found) != 1:
            raise CursorFindError(self._node.path, [match._node.path for match in found])
        return found[0]

    def find_all(self, cond_fn: Callable[[str, Any], bool]) -> "Iterator[Cursor[Any]]":
        """Move to every value below that fulfils a condition, one after another.

        Args:
            cond_fn: as in `find`.

        Returns:
            An iterator over cursors. Values may be changed through them on the way.

        Example:
            >>> from linen_core.cursor import cursor
            >>> c = cursor({"Dense_0": {"bias": 0.0}, "Dense_1": {"bias": 0.0}})
            >>> for bias in c.find_all(lambda path, value: path.endswith("bias")):
            ...     _ = bias.set(1.0)
            >>> c.build()
            {'Dense_0': {'bias': 1.0}, 'Dense_1': {'bias': 1.0}}
        """
        found = self._node.outermost(lambda path, node: cond_fn(path, node.value()))
        return (Cursor(node) for node in found)

    # Python's own.

    def _operand(self) -> Any:
        return self._node.value()

    def __str__(self) -> str:
        return str(self._node.value())

    def __repr__(self) -> str:
        return f"<{self._node.path} at {self._node.value()!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Cursor, (self._node,)


def _plain(value: Any) -> Any:
    """Take values out of cursors, so that these are never parts of what is built."""
    return replaced(lambda part: part.build() if isinstance(part, Cursor) else part, value)


def _key(node: Node, subscript: Any) -> Any:
    """Give the key of the part that a subscript means, None if it can mean none."""
    if node.kind is None or node.kind.key is None:
        raise _no_item(node, subscript)
    try:
        return node.kind.key(node.value(), subscript)
    except TypeError:
        raise _no_item(node, subscript) from None


def _no_item(node: Node, key: Any) -> CursorKeyError:
    if node.kind is not None and node.kind.access is AccessType.ATTR:
        advice = f"Its parts are attributes: write {node.path}.name."
    elif node.kind is not None and node.kind.grows:
        advice = f"To add it, write {node.path}[{key!r}] = value."
    else:
        advice = "Its items are moved to one by one, by their index."
    return CursorKeyError(node.path, key, node.keys, advice)


def _no_attribute(node: Node, name: str) -> CursorAttributeError:
    if node.kind is not None and node.kind.access is AccessType.ITEM:
        advice = f"Its parts are items: write {node.path}[{name!r}]."
    else:
        advice = "Its parts are the fields that its constructor takes."
    return CursorAttributeError(node.path, name, node.keys, advice)
