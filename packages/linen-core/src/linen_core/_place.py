"""The variables at one path: reading and writing the nested dicts.

The dicts of immutable collections are the caller's own; they are read where they lie and never
changed. Those of mutable collections are copies that belong to the tree of scopes. What is found
for an immutable collection is kept, so that the path is walked once.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from linen_core._dicts import copy_dicts, map_in_order
from linen_core._tree import Tree
from linen_core.errors import InvalidNameError, ModifyScopeVariableError, NameInUseError


class Place:
    """A path in a tree of variables. A `Scope` is a place with names and random streams.

    Example:
        >>> from linen_core import bind
        >>> root = bind({"params": {"dense": {"w": 1.0}}, "state": {}}, mutable=["state"])
        >>> dense = root.push("dense")
        >>> dense.has_variable("params", "w"), dense.get_variable("params", "w")
        (True, 1.0)
        >>> dense.is_mutable_collection("state"), dense.is_collection_empty("state")
        (True, True)
        >>> dense.put_variable("state", "calls", 1)
        >>> dense.variables()
        {'params': {'w': 1.0}, 'state': {'calls': 1}}
        >>> root.mutable_variables()
        {'state': {'dense': {'calls': 1}}}
    """

    __slots__ = ("_collections", "_tree", "debug_path", "name", "parent", "path")

    _collections: dict[str, Any]
    _tree: Tree
    name: str | None
    parent: Any  # the place around this one, None for the outermost
    path: tuple[str, ...]
    debug_path: tuple[str, ...]

    def _check_valid(self) -> None:
        self._tree.check_valid(self.debug_path)

    def _read(self, col: str) -> Mapping[str, Any] | None:
        """Give what a collection holds at this place, None if nothing."""
        found = self._collections.get(col)
        if found is not None or self.parent is None:
            return found
        outer = self.parent._read(col)
        found = outer.get(self.path[-1]) if outer is not None else None
        if not isinstance(found, Mapping):
            return None
        if not self.is_mutable_collection(col):
            self._collections[col] = found
        return found

    def _write(self, col: str) -> dict[str, Any]:
        """Give the dict of a mutable collection at this place; it is made if it is missing."""
        if self.parent is None:
            return self._collections.setdefault(col, {})
        outer, name = self.parent._write(col), self.path[-1]
        inner = outer.setdefault(name, {})
        if not isinstance(inner, dict):
            raise NameInUseError("submodule", name, self.parent.debug_path, f'in "{col}"')
        return inner

    def is_mutable_collection(self, col: str) -> bool:
        """Say whether variables of a collection can be changed.

        Args:
            col: the name of the collection.

        Returns:
            True if the `mutable` filter matches it.

        Raises:
            InvalidFilterError: `mutable` is no filter.
        """
        return self._tree.is_mutable_collection(col)

    def is_collection_empty(self, col: str) -> bool:
        """Say whether a collection holds nothing at this place.

        Args:
            col: the name of the collection.

        Returns:
            True if there are no variables of the collection here or below.
        """
        return not self._read(col)

    def variables(self) -> dict[str, Any]:
        """Give all variables at this place and below.

        Returns:
            A dict from collections to nested dicts. The dicts are copies, the values are not.
        """
        self._check_valid()
        found = {col: self._read(col) for col in self._root_collections()}
        return {col: copy_dicts(tree) for col, tree in found.items() if tree is not None}

    def mutable_variables(self) -> dict[str, Any]:
        """Give the variables of the mutable collections at this place and below.

        Returns:
            A dict from collections to nested dicts.
        """
        self._check_valid()
        found = {
            c: self._read(c) for c in self._root_collections() if self.is_mutable_collection(c)
        }
        return {col: tree for col, tree in found.items() if tree is not None}

    def has_variable(self, col: str, name: str) -> bool:
        """Say whether a variable exists.

        Args:
            col: its collection.
            name: its name.

        Returns:
            True if it exists at this place.
        """
        self._check_valid()
        found = self._read(col)
        return found is not None and name in found

    def get_variable(self, col: str, name: str, default: Any = None) -> Any:
        """Read a variable.

        Args:
            col: its collection.
            name: its name.
            default: what to return if it does not exist.

        Returns:
            Its value, in its box if it has one. A dict is given as a copy.

        Raises:
            InvalidScopeError: the scope's `init` or `apply` has ended.
        """
        self._check_valid()
        found = self._read(col)
        if found is None or name not in found:
            return default
        value = found[name]
        return copy_dicts(value) if isinstance(value, Mapping) else value

    def put_variable(self, col: str, name: str, value: Any) -> None:
        """Create or change a variable.

        Args:
            col: its collection.
            name: its name.
            value: the new value, an array or a pytree.

        Raises:
            ModifyScopeVariableError: the collection is immutable.
            InvalidNameError: the name is no string.
            JaxTransformError: a raw JAX transformation runs that began after the scope was bound.
            InvalidScopeError: the scope's `init` or `apply` has ended.
        """
        self._check_valid()
        if not isinstance(name, str):
            raise InvalidNameError(self.debug_path, name)
        if not self.is_mutable_collection(col):
            raise ModifyScopeVariableError(self.debug_path, col, name)
        self._tree.check_trace(
            self.debug_path, f'changes the variable "{name}" of collection "{col}"'
        )
        self._write(col)[name] = (
            map_in_order(lambda leaf: leaf, value) if type(value) is dict else value
        )

    def _nearest(self, col: str) -> tuple[Sequence[str], Iterable[str]] | None:
        """Give the path of the nearest place up that has the collection, and the names there."""
        place = self.parent
        while place is not None:
            if found := place._read(col):
                return place.debug_path, found
            place = place.parent
        return None

    def _root_collections(self) -> dict[str, Any]:
        place = self
        while place.parent is not None:
            place = place.parent
        return place._collections
