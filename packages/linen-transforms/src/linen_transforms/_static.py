"""Static arguments: those that a transformation must leave alone.

They are counted as the user writes the call: from 0, without the module. Instead of handing them to
JAX they are taken out of the call and put back inside.
"""

import inspect
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import numpy as np

from linen_transforms.errors import StaticArgumentError

Numbers = int | Sequence[int]
Names = str | Sequence[str]


class StaticArguments:
    """Which arguments of a function are static.

    Args:
        name: what the transformation is called.
        fn: a function whose first argument is a module or a scope.
        numbers: positions of arguments after that one.
        names: names of arguments.
    """

    def __init__(
        self, name: str, fn: Callable[..., Any], numbers: Numbers = (), names: Names = ()
    ) -> None:
        self._name = name
        self._numbers = (numbers,) if isinstance(numbers, int) else tuple(numbers)
        self._names = (names,) if isinstance(names, str) else tuple(names)
        self._parameters = _parameters(fn) if self._numbers or self._names else ()

    def split(
        self, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> tuple[list[Any], dict[str, Any], "Taken"]:
        """Take the static arguments out of a call.

        Returns:
            The other arguments, and what was taken.

        Raises:
            StaticArgumentError: one of them is an array or does not exist.
        """
        positions = {self._position(number, args) for number in self._numbers}
        positions |= {self._parameters.index(n) for n in self._names if n in self._parameters}
        named = {n for n in kwargs if n in self._names}
        named |= {self._parameters[i] for i in positions if i < len(self._parameters)} & {*kwargs}
        taken = {i: args[i] for i in sorted(positions) if i < len(args)}
        for index, value in taken.items():
            if not _can_be_static(value):
                raise self._error(index, args)
        rest = [arg for i, arg in enumerate(args) if i not in taken]
        others = {name: value for name, value in kwargs.items() if name not in named}
        return rest, others, Taken(taken, {name: kwargs[name] for name in sorted(named)})

    def positions(self, numbers: Numbers, args: Sequence[Any]) -> tuple[int, ...]:
        """Give the positions of arguments among those that are left when static ones are gone."""
        static = {self._position(number, args) for number in self._numbers}
        wanted = (numbers,) if isinstance(numbers, int) else tuple(numbers)
        wanted = tuple(n % len(args) if n < 0 else n for n in wanted)
        return tuple(n - sum(s < n for s in static) for n in wanted if n not in static)

    def _position(self, number: int, args: Sequence[Any]) -> int:
        position = number + len(args) if number < 0 else number
        if position < 0 or position >= max(len(args), len(self._parameters)):
            raise self._error(number, args)
        return position

    def _error(self, number: int, args: Sequence[Any]) -> StaticArgumentError:
        hit = self._describe(number, args) if 0 <= number < len(args) else "no argument of the call"
        # Whoever counts self, or the module, means the one before.
        for near in (number - 1, number + 1):
            if 0 <= near < len(args) and _can_be_static(args[near]):
                return StaticArgumentError(
                    self._name, number, hit, f"{near}, {self._describe(near, args)}"
                )
        return StaticArgumentError(self._name, number, hit, None)

    def _describe(self, number: int, args: Sequence[Any]) -> str:
        value = args[number]
        kind = f"an array of shape {value.shape}" if hasattr(value, "shape") else repr(value)
        if number < len(self._parameters):
            return f"the argument {self._parameters[number]!r} ({kind})"
        return f"the argument at position {number} ({kind})"


class Taken:
    """Static arguments that were taken out of a call."""

    def __init__(self, positional: dict[int, Any], named: dict[str, Any]) -> None:
        self._positional = positional
        self._named = named

    @property
    def key(self) -> Hashable:
        """The values, to compare calls by."""
        return tuple(self._positional.items()), tuple(self._named.items())

    def joined(
        self, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        """Put them back between the other arguments."""
        rest = list(args)
        for index, value in self._positional.items():
            rest.insert(index, value)
        return rest, {**kwargs, **self._named}


def _parameters(fn: Callable[..., Any]) -> tuple[str, ...]:
    """Name the positional parameters after the first."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return ()
    return tuple(p.name for p in parameters if p.kind in kinds)[1:]


def _can_be_static(value: Any) -> bool:
    if isinstance(value, (jax.Array, np.ndarray)):
        return False
    try:
        hash(value)
    except TypeError:
        return False
    return True
