"""Flat dicts: nested dicts as one dict from paths to leaves, and back.

A *path* is the tuple of keys that leads from the root of a nested dict to one of its values;
with a separator it is those keys joined to one string. A *leaf* is every value that is neither a
dict nor a FrozenDict: lists and other pytrees are leaves here. A *flat dict* has one entry for each
leaf, from its path to it. That makes it easy to select, rename or merge parameters by name with
ordinary dict code.

A dict without entries has no leaves and would be lost. On request it is kept as `empty_node`, a
marker that is a pytree without leaves, so that `jax.tree.map` passes it by.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import jax

from linen_core._frozen_dict import FrozenDict, is_dict
from linen_core.errors import NotADictError, TraverseTreeError

__all__ = [
    "ModelParamTraversal",
    "empty_node",
    "flatten_dict",
    "path_aware_map",
    "unflatten_dict",
]

_Dict = TypeVar("_Dict", bound=Mapping[Any, Any])


class _EmptyNode:
    """The type of `empty_node`, its only instance.

    Example:
        >>> flatten_dict({"params": {}}, keep_empty_nodes=True)[("params",)] is empty_node
        True
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "empty_node"

    def __reduce__(self) -> str:
        return "empty_node"


empty_node: _EmptyNode = _EmptyNode()
"""Stands in a flat dict for a dict without entries."""

jax.tree_util.register_pytree_node(_EmptyNode, lambda _: ((), None), lambda *_: empty_node)


def flatten_dict(
    xs: Mapping[Any, Any],
    keep_empty_nodes: bool = False,
    is_leaf: Callable[[tuple[Any, ...], Any], bool] | None = None,
    sep: str | None = None,
) -> dict[Any, Any]:
    """Flatten a nested dict.

    Args:
        xs: a nested dict or FrozenDict.
        keep_empty_nodes: whether a nested dict without entries is kept, as `empty_node`. If not, it
            is left out. The root itself is never kept.
        is_leaf: takes the path (always a tuple) and the value of each nested dict, from the root
            on; where it returns True, that dict is kept whole.
        sep: joins the keys of each path to one string. All keys must be strings then.

    Returns:
        A dict from paths to leaves, in the order in which a walk of `xs` meets them.

    Raises:
        NotADictError: `xs` is neither a dict nor a FrozenDict.
        TraverseTreeError: with `sep`, a key is no string, or two leaves get the same joined path.

    Example:
        >>> variables = {"params": {"kernel": 1, "bias": 2}, "batch_stats": {}}
        >>> flatten_dict(variables)
        {('params', 'kernel'): 1, ('params', 'bias'): 2}
        >>> flatten_dict(variables, keep_empty_nodes=True, sep="/")
        {'params/kernel': 1, 'params/bias': 2, 'batch_stats': empty_node}
    """
    _check_dict("flatten_dict", xs)
    flat: dict[Any, Any] = {}
    for path, value in _walk((), xs, is_leaf):
        if value is empty_node and not (keep_empty_nodes and path):
            continue
        name = path if sep is None else _joined(path, sep)
        if name in flat:
            raise TraverseTreeError(
                f"flatten_dict: found two leaves at {name!r}, because a key contains the "
                f"separator {sep!r}. Pass another sep, or none to get tuples as paths."
            )
        flat[name] = value
    return flat


def unflatten_dict(xs: Mapping[Any, Any], sep: str | None = None) -> dict[Any, Any]:
    """Build the nested dict that a flat dict describes.

    Args:
        xs: a dict from paths to leaves. `empty_node` as a value gives a dict without entries,
            unless other paths lead through it.
        sep: the separator of the paths. Without it they are tuples.

    Returns:
        A new nested dict; the keys are in the order in which they first occur.

    Raises:
        NotADictError: `xs` is neither a dict nor a FrozenDict.
        TraverseTreeError: a path is no tuple (without `sep`) or no string (with it), is empty, or
            leads through a leaf.

    Example:
        >>> unflatten_dict({("params", "kernel"): 1, ("params", "bias"): 2})
        {'params': {'kernel': 1, 'bias': 2}}
        >>> unflatten_dict({"params/kernel": 1, "batch_stats": empty_node}, sep="/")
        {'params': {'kernel': 1}, 'batch_stats': {}}
    """
    _check_dict("unflatten_dict", xs)
    flat = {_split(path, sep): value for path, value in xs.items()}
    nodes: dict[tuple[Any, ...], dict[Any, Any]] = {(): {}}

    def node_at(path: tuple[Any, ...], leaf: tuple[Any, ...]) -> dict[Any, Any]:
        if path not in nodes:
            if flat.get(path, empty_node) is not empty_node:
                raise TraverseTreeError(
                    f"unflatten_dict: found a leaf at {_shown(path, sep)} and another at "
                    f"{_shown(leaf, sep)}, which lies inside of it. Remove one of the two."
                )
            nodes[path] = node_at(path[:-1], leaf)[path[-1]] = {}
        return nodes[path]

    for path, value in flat.items():
        if value is empty_node:
            node_at(path, path)
        else:
            node_at(path[:-1], path)[path[-1]] = value
    return nodes[()]


def path_aware_map(
    f: Callable[[tuple[Any, ...], Any], Any], nested_dict: Mapping[Any, Any]
) -> dict[Any, Any]:
    """Apply a function of path and value to every leaf of a nested dict.

    Args:
        f: takes the path (a tuple of keys) and the leaf, returns the new leaf.
        nested_dict: a nested dict or FrozenDict.

    Returns:
        A new nested dict with the same keys. Dicts without entries are kept.

    Raises:
        NotADictError: `nested_dict` is neither a dict nor a FrozenDict.

    Example:
        >>> path_aware_map(lambda path, value: path[-1] == "kernel", {"a": {"kernel": 1, "bias": 2}})
        {'a': {'kernel': True, 'bias': False}}
    """
    _check_dict("path_aware_map", nested_dict)
    return unflatten_dict(
        {
            path: value if value is empty_node else f(path, value)
            for path, value in flatten_dict(nested_dict, keep_empty_nodes=True).items()
        }
    )


class ModelParamTraversal:
    """Selects the leaves of a nested dict of parameters by name and value.

    Args:
        filter_fn: takes the path as a string that begins with and is joined by "/", such as
            "/Dense_0/kernel", and the leaf; returns whether the leaf is selected.

    Example:
        >>> params = {"Dense_0": {"kernel": 2.0, "bias": 1.0}}
        >>> kernels = ModelParamTraversal(lambda path, value: path.endswith("/kernel"))
        >>> list(kernels.iterate(params))
        [2.0]
        >>> kernels.update(lambda value: 10 * value, params)
        {'Dense_0': {'kernel': 20.0, 'bias': 1.0}}
    """

    def __init__(self, filter_fn: Callable[[str, Any], bool]) -> None:
        self._filter_fn = filter_fn

    def iterate(self, inputs: Mapping[Any, Any]) -> Iterator[Any]:
        """Iterate over the selected leaves.

        Args:
            inputs: a nested dict or FrozenDict.

        Returns:
            The selected leaves, in the order of `jax.tree.leaves`: sorted by key at each level.

        Raises:
            NotADictError: `inputs` is neither a dict nor a FrozenDict.

        Example:
            >>> list(ModelParamTraversal(lambda path, value: value > 1).iterate({"b": 2, "a": 3}))
            [3, 2]
        """
        _check_dict("ModelParamTraversal.iterate", inputs)
        flat = flatten_dict(inputs)
        return (flat[path] for path in sorted(flat) if self._selects(path, flat[path]))

    def update(self, fn: Callable[[Any], Any], inputs: _Dict) -> _Dict:
        """Apply a function to the selected leaves.

        Args:
            fn: takes a selected leaf, returns the new one.
            inputs: a nested dict or FrozenDict; it is not changed.

        Returns:
            A new one of the same kind, with the other leaves as they were.

        Raises:
            NotADictError: `inputs` is neither a dict nor a FrozenDict.

        Example:
            >>> everything = ModelParamTraversal(lambda path, value: True)
            >>> everything.update(lambda value: -value, {"a": {"b": 1}})
            {'a': {'b': -1}}
        """
        _check_dict("ModelParamTraversal.update", inputs)
        kind: Any = FrozenDict if isinstance(inputs, FrozenDict) else dict
        return kind(
            path_aware_map(
                lambda path, value: fn(value) if self._selects(path, value) else value, inputs
            )
        )

    def _selects(self, path: tuple[Any, ...], value: Any) -> bool:
        return self._filter_fn("".join(f"/{key}" for key in path), value)


def _walk(
    path: tuple[Any, ...], value: Any, is_leaf: Callable[[tuple[Any, ...], Any], bool] | None
) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if not is_dict(value) or (is_leaf is not None and is_leaf(path, value)):
        yield path, value
    elif not value:
        yield path, empty_node
    else:
        for key, part in value.items():
            yield from _walk((*path, key), part, is_leaf)


def _joined(path: tuple[Any, ...], sep: str) -> str:
    if not all(isinstance(key, str) for key in path):
        raise TraverseTreeError(
            f"flatten_dict: found the path {path!r}, but sep={sep!r} joins keys that are strings. "
            "Leave sep out to get tuples as paths."
        )
    return sep.join(path)


def _split(path: Any, sep: str | None) -> tuple[Any, ...]:
    if sep is not None and isinstance(path, str):
        return tuple(path.split(sep))
    if sep is None and isinstance(path, tuple) and path:
        return path
    if sep is None:
        expected = "a tuple of at least one key"
        advice = "Pass sep='/' if the paths are strings such as 'params/kernel'."
    else:
        expected = f"a string, because sep={sep!r} was given"
        advice = "Leave sep out if the paths are tuples."
    raise TraverseTreeError(
        f"unflatten_dict: found the path {path!r}, expected {expected}. {advice}"
    )


def _shown(path: tuple[Any, ...], sep: str | None) -> str:
    return repr(path if sep is None else sep.join(path))


def _check_dict(function: str, value: Any) -> None:
    if not is_dict(value):
        raise NotADictError(
            f"{function}: found {type(value).__name__}, expected a dict or a FrozenDict."
        )
