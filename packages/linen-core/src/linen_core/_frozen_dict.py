"""FrozenDict: an immutable nested dict that is a pytree.

Variables are plain nested dicts; a FrozenDict is accepted wherever they are, and returned on
request. It holds one private tree of plain dicts. To *freeze* is to copy that tree of dicts once, so
that later changes of the original do not show; to *unfreeze* is to copy it back. Leaves are never
copied. A nested dict is wrapped into a FrozenDict when it is looked up, which costs one small
object, so that nothing below a FrozenDict can be changed either. Dicts inside of lists and tuples
belong to a leaf and stay what they are.

Both directions keep the order of the keys. As a pytree a FrozenDict has its keys sorted, as a dict
has, and `jax.tree.map` returns them sorted.

`copy`, `pop` and `pretty_repr` do the same for dicts and FrozenDicts, so that code over variables
need not know which it was given. They never change their argument.
"""

from collections.abc import Hashable, Iterator, KeysView, Mapping
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar, final, overload

import jax

from linen_core.errors import FrozenDictMutationError, NotADictError

__all__ = ["FrozenDict", "copy", "freeze", "pop", "pretty_repr", "unfreeze"]

_K = TypeVar("_K")
_V = TypeVar("_V", covariant=True)
_T = TypeVar("_T")

_EMPTY: Mapping[Any, Any] = MappingProxyType({})


@final
class FrozenDict(Mapping[_K, _V]):
    """An immutable, hashable, nested dict.

    Equal to any mapping with equal entries. The hash needs hashable leaves.

    Args:
        *args: at most one mapping or iterable of pairs, as for `dict`.
        **kwargs: further entries, as for `dict`.

    Raises:
        FrozenDictMutationError: from setting or deleting an entry.

    Example:
        >>> variables = FrozenDict({"params": {"kernel": 1.0}})
        >>> variables["params"]["kernel"]
        1.0
        >>> variables.get("batch_stats", {}), list(variables.keys())
        ({}, ['params'])
        >>> [(name, dict(tree)) for name, tree in variables.items()]
        [('params', {'kernel': 1.0})]
        >>> [list(tree.values()) for tree in variables.values()]
        [[1.0]]
        >>> variables.copy({"batch_stats": {}}) == {"params": {"kernel": 1.0}, "batch_stats": {}}
        True
    """

    __slots__ = ("_entries", "_hash")

    _entries: dict[Any, Any]
    _hash: int | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # The entries of another FrozenDict never change, so they are shared.
        share = not kwargs and len(args) == 1 and isinstance(args[0], FrozenDict)
        self._entries = args[0]._entries if share else _plain(dict(*args, **kwargs))
        self._hash = None

    @staticmethod
    def _wrap(entries: dict[Any, Any]) -> "FrozenDict[Any, Any]":
        """Wrap a dict that nobody will change, without copying it."""
        wrapped = object.__new__(FrozenDict)
        wrapped._entries = entries
        wrapped._hash = None
        return wrapped

    def __getitem__(self, key: Any) -> Any:
        value = self._entries[key]
        return FrozenDict._wrap(value) if isinstance(value, dict) else value

    def __iter__(self) -> Iterator[Any]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def keys(self) -> KeysView[_K]:
        """Return a view of the keys."""
        return self._entries.keys()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, FrozenDict):
            return self._entries == other._entries
        if isinstance(other, Mapping):
            return self._entries == dict(other)
        return NotImplemented

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self.items()))
        return self._hash

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        raise FrozenDictMutationError(
            f"A FrozenDict cannot be changed: found an assignment to the key {key!r}. Write "
            f"updated = variables.copy({{{key!r}: ...}}), or unfreeze(variables) for a dict."
        )

    def __delitem__(self, key: Any) -> NoReturn:
        raise FrozenDictMutationError(
            f"A FrozenDict cannot be changed: found a deletion of the key {key!r}. Write "
            f"rest, value = variables.pop({key!r}), or unfreeze(variables) for a dict."
        )

    def __repr__(self) -> str:
        return self.pretty_repr()

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenDict, (self._entries,)

    def copy(self, add_or_replace: Mapping[Any, Any] = _EMPTY) -> "FrozenDict[_K, _V]":
        """Return a FrozenDict with some entries added or replaced.

        Args:
            add_or_replace: the new entries; a nested dict replaces the old one whole.

        Returns:
            A new FrozenDict.

        Example:
            >>> dict(FrozenDict(a=1).copy({"b": 2}))
            {'a': 1, 'b': 2}
        """
        return FrozenDict._wrap({**self._entries, **_plain(add_or_replace)})

    def pop(self, key: Any) -> tuple["FrozenDict[_K, _V]", Any]:
        """Split off one entry.

        Args:
            key: the key of the entry.

        Returns:
            A FrozenDict without the entry, and the entry's value.

        Raises:
            KeyError: there is no such key.

        Example:
            >>> rest, value = FrozenDict(a=1, b=2).pop("a")
            >>> dict(rest), value
            ({'b': 2}, 1)
        """
        value = self[key]
        return FrozenDict._wrap({k: v for k, v in self._entries.items() if k != key}), value

    def unfreeze(self) -> dict[_K, Any]:
        """Return the entries as new, nested, plain dicts.

        Example:
            >>> FrozenDict({"a": {"b": 1}}).unfreeze()
            {'a': {'b': 1}}
        """
        return _plain(self._entries)

    def pretty_repr(self, num_spaces: int = 4) -> str:
        """Return a text with one leaf a line.

        Args:
            num_spaces: by how many spaces each level is indented.

        Returns:
            The text.

        Example:
            >>> print(FrozenDict(a={"b": 1}).pretty_repr(2))
            FrozenDict({
              a: {
                b: 1,
              },
            })
        """
        return f"FrozenDict({_pretty(self._entries, num_spaces, num_spaces)})"


def freeze(xs: Mapping[_K, _T]) -> FrozenDict[_K, _T]:
    """Return a nested dict as a FrozenDict.

    Args:
        xs: any mapping. A FrozenDict is returned as it is.

    Returns:
        A FrozenDict that later changes of `xs` do not reach.

    Raises:
        NotADictError: `xs` is no mapping.

    Example:
        >>> freeze({"a": {"b": 1}})["a"]["b"]
        1
    """
    if isinstance(xs, FrozenDict):
        return xs
    if not isinstance(xs, Mapping):
        raise _not_a_dict("freeze", xs)
    return FrozenDict(xs)


@overload
def unfreeze(x: Mapping[_K, _T]) -> dict[_K, _T]: ...


@overload
def unfreeze(x: _T) -> _T: ...


def unfreeze(x: Any) -> Any:
    """Return a nested dict or FrozenDict as new, nested, plain dicts.

    Args:
        x: a dict or FrozenDict, in which both may be nested. Any other value is returned as it is.

    Returns:
        New plain dicts around the same leaves: the caller may change them.

    Example:
        >>> unfreeze({"a": FrozenDict(b=1)})
        {'a': {'b': 1}}
    """
    return _plain(x) if is_dict(x) else x


@overload
def copy(x: FrozenDict[_K, _T], add_or_replace: Mapping[Any, Any] = ...) -> FrozenDict[_K, _T]: ...


@overload
def copy(x: dict[_K, _T], add_or_replace: Mapping[Any, Any] = ...) -> dict[_K, _T]: ...


def copy(x: Any, add_or_replace: Mapping[Any, Any] = _EMPTY) -> Any:
    """Return a dict or FrozenDict with some entries added or replaced.

    Args:
        x: a dict or FrozenDict; it is not changed.
        add_or_replace: the new entries; a nested dict replaces the old one whole.

    Returns:
        A new one of the same kind. Its nested dicts are new too; its leaves are those of `x`.

    Raises:
        NotADictError: `x` is neither.

    Example:
        >>> copy({"a": 1}, {"b": 2})
        {'a': 1, 'b': 2}
    """
    if isinstance(x, FrozenDict):
        return x.copy(add_or_replace)
    if isinstance(x, dict):
        return _plain({**x, **add_or_replace})
    raise _not_a_dict("copy", x)


@overload
def pop(x: FrozenDict[_K, _T], key: Any) -> tuple[FrozenDict[_K, _T], _T]: ...


@overload
def pop(x: dict[_K, _T], key: Any) -> tuple[dict[_K, _T], _T]: ...


def pop(x: Any, key: Any) -> Any:
    """Split one entry off a dict or FrozenDict.

    Args:
        x: a dict or FrozenDict; it is not changed.
        key: the key of the entry.

    Returns:
        A new one of the same kind without the entry, and the entry's value.

    Raises:
        KeyError: there is no such key.
        NotADictError: `x` is neither.

    Example:
        >>> rest, params = pop({"params": {"kernel": 1.0}, "batch_stats": {}}, "params")
        >>> rest
        {'batch_stats': {}}
    """
    if isinstance(x, FrozenDict):
        return x.pop(key)
    if isinstance(x, dict):
        rest = _plain(x)
        value = rest.pop(key)
        return rest, value
    raise _not_a_dict("pop", x)


def pretty_repr(x: Any, num_spaces: int = 4) -> str:
    """Return a text for a nested dict or FrozenDict, with one leaf a line.

    Args:
        x: a dict or FrozenDict. Any other value gives its `repr`.
        num_spaces: by how many spaces each level is indented.

    Returns:
        The text.

    Example:
        >>> print(pretty_repr({"a": {"b": 1}}, 2))
        {
          a: {
            b: 1,
          },
        }
    """
    if isinstance(x, FrozenDict):
        return x.pretty_repr(num_spaces)
    return _pretty(x, num_spaces, num_spaces)


def is_dict(value: object) -> bool:
    """Say whether a value is an inner node of a nested dict: a dict or a FrozenDict."""
    # Not isinstance(value, FrozenDict): asking an abstract base class is slow, and most are leaves.
    return isinstance(value, dict) or type(value) is FrozenDict


def _plain(x: Any) -> dict[Any, Any]:
    """Copy a tree of dicts and FrozenDicts into plain dicts."""
    entries = x._entries if isinstance(x, FrozenDict) else x
    return {key: _plain(value) if is_dict(value) else value for key, value in entries.items()}


def _pretty(x: Any, num_spaces: int, indent: int) -> str:
    if isinstance(x, FrozenDict):
        x = x._entries
    if not isinstance(x, dict):
        return repr(x)
    if not x:
        return "{}"
    lines = [
        f"{' ' * indent}{key}: {_pretty(value, num_spaces, indent + num_spaces)},\n"
        for key, value in x.items()
    ]
    return "{\n" + "".join(lines) + " " * (indent - num_spaces) + "}"


def _not_a_dict(function: str, x: object) -> NotADictError:
    return NotADictError(f"{function}: found {type(x).__name__}, expected a dict or a FrozenDict.")


def _flatten(x: FrozenDict[Any, Any]) -> tuple[list[Any], tuple[Hashable, ...]]:
    keys = tuple(sorted(x._entries))
    return [x._entries[key] for key in keys], keys


def _flatten_with_keys(x: FrozenDict[Any, Any]) -> tuple[list[Any], tuple[Hashable, ...]]:
    keys = tuple(sorted(x._entries))
    return [(jax.tree_util.DictKey(key), x._entries[key]) for key in keys], keys


def _unflatten(keys: tuple[Any, ...], values: Any) -> FrozenDict[Any, Any]:
    return FrozenDict._wrap(dict(zip(keys, values, strict=True)))


jax.tree_util.register_pytree_with_keys(FrozenDict, _flatten_with_keys, _unflatten, _flatten)
