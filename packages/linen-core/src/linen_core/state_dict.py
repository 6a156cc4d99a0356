"""State dicts: pytrees as nested dicts with string keys, and back.

A *state dict* is what remains of an object when its Python types are taken away: nested plain dicts
whose keys are strings and whose leaves are arrays, numbers, strings or None. Any serialization
format can hold it. `to_state_dict` takes an object apart; `from_state_dict` puts the state back
into a *target*, an object of the wanted structure, whose own values are not used.

How one type is taken apart is kept in a registry, by exact type:

- a *container* is described by two functions: its *entries* (a dict from string keys to parts) and
  its *rebuild* (an object of the same type around new parts). dict, FrozenDict, list, tuple, named
  tuples, `jax.tree_util.Partial` and every struct are containers. The entries of a sequence are
  its items under "0", "1", ...; those of a dict are its values under `str(key)`.
- a type with a form of its own registers the two conversions with `register_serialization_state`.
- everything else is a *leaf*. It is its own state, and as a target it takes whatever the state holds
  in its place: arrays of any shape, typed random keys, and what will fill a None.

Structure is checked strictly: a restored object holds every entry of the state and no value of the
target. All entries that do not fit are collected, over the whole tree, into one error.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import jax

from linen_core._context import context
from linen_core._frozen_dict import FrozenDict
from linen_core.errors import (
    DuplicateSerializationError,
    StateDictKeyError,
    StateDictMismatch,
    StateDictMismatchError,
)

__all__ = [
    "current_path",
    "from_state_dict",
    "is_serializable",
    "register_container",
    "register_serialization_state",
    "to_state_dict",
]

_T = TypeVar("_T")


class _Conversions(NamedTuple):
    to_state_dict: Callable[[Any], Any]
    from_state_dict: Callable[[Any, Any], Any]


_registry: dict[type, _Conversions] = {}


def to_state_dict(target: Any) -> Any:
    """Return the state dict of an object.

    Args:
        target: any object. Containers and registered types are taken apart; a leaf is returned as
            it is. Arrays are not copied.

    Returns:
        Nested new dicts with string keys, or the leaf itself.

    Raises:
        StateDictKeyError: two keys of a dict have the same string form, or a registered conversion
            returned a dict with keys that are not strings.

    Example:
        >>> to_state_dict({"layers": [1.0, (2.0, None)]})
        {'layers': {'0': 1.0, '1': {'0': 2.0, '1': None}}}
    """
    conversions = _conversions_of(type(target))
    if conversions is None:
        return target
    state = conversions.to_state_dict(target)
    if isinstance(state, dict) and not all(isinstance(key, str) for key in state):
        raise StateDictKeyError(
            f"The state dict of {type(target).__qualname__} has the keys {list(state)}; all must be "
            "strings. Return {str(key): ...} from the function given to "
            "register_serialization_state."
        )
    return state


def from_state_dict(target: _T, state: Any, name: str = ".") -> _T:
    """Put a state dict back into the structure of a target.

    Args:
        target: an object of the wanted structure. Neither it nor its values are changed; where it
            has a leaf, the result has what the state holds there.
        state: a state dict, as `to_state_dict` returns it. Any mapping serves as a dict.
        name: what stands for the target in paths. Conversions that call this function for a part
            give the part's key.

    Returns:
        An object of the target's type that holds the values of the state.

    Raises:
        StateDictMismatchError: the state lacks entries of the target, has entries that the target
            does not have, or holds a leaf where the target has a container. Lists them all.
        StateDictKeyError: two keys of a dict in the target have the same string form.

    Example:
        >>> from_state_dict({"layers": [0, 0]}, {"layers": {"0": 1.5, "1": 2.5}})
        {'layers': [1.5, 2.5]}

        To take only those entries of a larger state that the target has:

        >>> from linen_core.traverse_util import flatten_dict, unflatten_dict
        >>> target, state = {"kernel": 0.0}, {"kernel": 1.0, "bias": 2.0}
        >>> wanted = flatten_dict(to_state_dict(target))
        >>> kept = {path: leaf for path, leaf in flatten_dict(state).items() if path in wanted}
        >>> from_state_dict(target, unflatten_dict(kept))
        {'kernel': 1.0}
    """
    conversions = _conversions_of(type(target))
    if conversions is None:
        return state
    context.state_dict_path.append(name)
    try:
        return conversions.from_state_dict(target, state)
    finally:
        context.state_dict_path.pop()


def register_serialization_state(
    ty: type[_T],
    ty_to_state_dict: Callable[[_T], Any],
    ty_from_state_dict: Callable[[_T, Any], _T],
    override: bool = False,
) -> None:
    """Register how objects of a type become state dicts and come back.

    The two functions call `to_state_dict` and `from_state_dict` (with the part's key as `name`) for
    parts that are objects themselves. `register_container` does this for you.

    Args:
        ty: the type; subclasses are registered on their own.
        ty_to_state_dict: takes an object, returns its state dict.
        ty_from_state_dict: takes a target and a state dict, returns a new object.
        override: whether to replace an earlier registration.

    Raises:
        DuplicateSerializationError: the type is registered and `override` is False.

    Example:
        >>> class Celsius:
        ...     def __init__(self, degrees):
        ...         self.degrees = degrees
        >>> register_serialization_state(
        ...     Celsius, lambda target: target.degrees, lambda target, state: Celsius(state)
        ... )
        >>> to_state_dict([Celsius(21.5)])
        {'0': 21.5}
    """
    if ty in _registry and not override:
        raise DuplicateSerializationError(
            f"{ty.__module__}.{ty.__qualname__} has a registered state dict already. To replace "
            "it, pass override=True."
        )
    _registry[ty] = _Conversions(ty_to_state_dict, ty_from_state_dict)


def register_container(
    ty: type[_T],
    entries: Callable[[_T], Mapping[str, Any]],
    rebuild: Callable[[_T, dict[str, Any]], _T],
    override: bool = False,
) -> None:
    """Register a type whose state dict is made of the state dicts of its parts.

    Args:
        ty: the type; subclasses are registered on their own.
        entries: takes an object, returns its parts by key.
        rebuild: takes a target and new parts under the same keys, returns a new object.
        override: whether to replace an earlier registration.

    Raises:
        DuplicateSerializationError: the type is registered and `override` is False.

    Example:
        >>> class Pair:
        ...     def __init__(self, left, right):
        ...         self.left, self.right = left, right
        >>> register_container(Pair, vars, lambda target, parts: Pair(**parts))
        >>> from_state_dict(Pair(0, [0]), {"left": 1, "right": {"0": 2}}).right
        [2]
    """
    register_serialization_state(ty, *_container(entries, rebuild), override)


def is_serializable(target: Any) -> bool:
    """Say whether objects of a type are taken apart by `to_state_dict`.

    Args:
        target: an object or a type.

    Returns:
        True for containers and registered types, False for leaves.

    Example:
        >>> is_serializable({"a": 1}), is_serializable(list), is_serializable(1.0)
        (True, True, False)
    """
    return _conversions_of(target if isinstance(target, type) else type(target)) is not None


def current_path() -> str:
    """Return where in the target the running `from_state_dict` is.

    Meant for the errors of conversions registered with `register_serialization_state`.

    Returns:
        The names on the way, joined by "/", such as "./params/Dense_0"; "" outside of
        `from_state_dict`.

    Example:
        >>> current_path()
        ''
    """
    return "/".join(context.state_dict_path)


def _conversions_of(ty: type) -> _Conversions | None:
    conversions = _registry.get(ty)
    if conversions is None and issubclass(ty, tuple) and hasattr(ty, "_fields"):
        return _named_tuple
    return conversions


def _container(
    entries: Callable[[Any], Mapping[str, Any]], rebuild: Callable[[Any, dict[str, Any]], Any]
) -> _Conversions:
    return _Conversions(
        lambda target: {key: to_state_dict(part) for key, part in entries(target).items()},
        lambda target, state: rebuild(target, _restore(entries(target), state)),
    )


def _restore(entries: Mapping[str, Any], state: Any) -> dict[str, Any]:
    """Restore every entry, or raise one error with all that does not fit here and below."""
    path = current_path()
    if not isinstance(state, Mapping):
        expected = f"a dict with the keys {_listed(entries)}" if entries else "an empty dict"
        raise StateDictMismatchError(
            [StateDictMismatch("mismatched", path, _described(state), expected)]
        )
    mismatches = [
        StateDictMismatch("missing", f"{path}/{key}", "nothing", _described(part))
        for key, part in entries.items()
        if key not in state
    ] + [
        StateDictMismatch("unexpected", f"{path}/{key}", _described(part), "nothing")
        for key, part in state.items()
        if key not in entries
    ]
    restored = {}
    for key, part in entries.items():
        if key in state:
            try:
                restored[key] = from_state_dict(part, state[key], name=key)
            except StateDictMismatchError as error:
                mismatches.extend(error.mismatches)
    if mismatches:
        raise StateDictMismatchError(mismatches)
    return restored


def _described(value: Any) -> str:
    """Say in a few words what a value is."""
    if isinstance(value, Mapping):
        return f"a dict with the keys {_listed(value)}" if value else "an empty dict"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    return "None" if value is None else type(value).__name__


def _listed(keys: Iterable[Any], limit: int = 8) -> str:
    names = [repr(key) for key in keys]
    return ", ".join(names[:limit] + ["..."] * (len(names) > limit))


def _mapping_entries(target: Mapping[Any, Any]) -> dict[str, Any]:
    entries = {str(key): part for key, part in target.items()}
    if len(entries) != len(target):
        raise StateDictKeyError(
            f"At {current_path() or '.'}: different keys of a dict have the same string form, found "
            f"{_listed(target)}. Keys must differ as strings: rename one of them."
        )
    return entries


def _sequence_entries(target: Sequence[Any]) -> dict[str, Any]:
    return {str(index): part for index, part in enumerate(target)}


_named_tuple = _container(
    lambda target: target._asdict(), lambda target, parts: target._replace(**parts)
)

register_container(
    dict, _mapping_entries, lambda target, parts: dict(zip(target, parts.values(), strict=True))
)
register_container(
    FrozenDict,
    _mapping_entries,
    lambda target, parts: FrozenDict(zip(target, parts.values(), strict=True)),
)
register_container(list, _sequence_entries, lambda target, parts: list(parts.values()))
register_container(tuple, _sequence_entries, lambda target, parts: tuple(parts.values()))
register_container(
    jax.tree_util.Partial,
    lambda target: {"args": target.args, "keywords": target.keywords},
    lambda target, parts: jax.tree_util.Partial(target.func, *parts["args"], **parts["keywords"]),
)
