"""Static arguments: those that a transformation must leave alone.

They are counted as the user writes the call: from 0, without the module. Instead of handing them to
JAX they are taken out of the call and put back inside.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from linen_transforms.errors import DonatedArgumentError, StaticArgumentError

# What JAX raises when Python code needs the value of something that is only traced.
NEEDS_VALUES = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)

Numbers = int | Sequence[int]
Names = str | Sequence[str]


class StaticArguments:
    """Which arguments of a function are static.

    Args:
        name: what the transformation is called in error texts.
        fn: a function whose first argument is a module or a scope.
        numbers: positions of arguments after that one.
        names: names of arguments.

    Raises:
        StaticArgumentError: there is no argument of such a name.
    """

    def __init__(
        self, name: str, fn: Callable[..., Any], numbers: Numbers = (), names: Names = ()
    ) -> None:
        self._name = name
        self._fn = fn
        self._numbers = _as_tuple(numbers)
        self._names = (names,) if isinstance(names, str) else tuple(names)
        if known := _named_parameters(fn) if self._names else None:
            for unknown in set(self._names) - set(known):
                raise StaticArgumentError.of_name(name, unknown, known)

    @functools.cached_property
    def _parameters(self) -> tuple[str, ...]:
        return positional_parameters(self._fn)

    def split(
        self, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> tuple[list[Any], dict[str, Any], "Taken"]:
        """Take the static arguments out of a call.

        Returns:
            The other arguments, and what was taken.

        Raises:
            StaticArgumentError: one of them is an array, does not hash or does not exist; or one of
                the others is no array.
        """
        if not self._numbers and not self._names:
            rest, others, taken = list(args), kwargs, Taken({}, {})
        else:
            rest, others, taken = self._split(args, kwargs)
        self._check_arrays(args, others, taken)
        return rest, others, taken

    def _split(
        self, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> tuple[list[Any], dict[str, Any], "Taken"]:
        numbers = {self._position(number, args): number for number in self._numbers}
        named = {n for n in kwargs if n in self._names}
        named |= {self._parameters[i] for i in numbers if i < len(self._parameters)} & {*kwargs}
        by_name = [self._parameters.index(n) for n in self._names if n in self._parameters]
        taken = {i: args[i] for i in sorted({*numbers, *by_name}) if i < len(args)}
        for index, value in taken.items():
            if not _can_be_static(value):
                raise self._error(numbers.get(index, index), index, args)
        for name in named:
            if not _can_be_static(kwargs[name]):
                raise StaticArgumentError.of_named_value(self._name, name, _refusal(kwargs[name]))
        rest = [arg for i, arg in enumerate(args) if i not in taken]
        others = {name: value for name, value in kwargs.items() if name not in named}
        return rest, others, Taken(taken, {name: kwargs[name] for name in sorted(named)})

    def _check_arrays(self, args: Sequence[Any], others: Mapping[str, Any], taken: "Taken") -> None:
        for index, value in enumerate(args):
            if index not in taken.positions and not _is_of_arrays(value):
                instead = f"static_argnums={index}{self._or_name(index)}"
                argument = self._describe(index, args)
                raise StaticArgumentError.of_no_array(self._name, argument, instead)
        for name, value in others.items():
            if not _is_of_arrays(value):
                argument = f"the argument {name!r} ({value!r})"
                instead = f'static_argnames="{name}"'
                raise StaticArgumentError.of_no_array(self._name, argument, instead)

    @contextlib.contextmanager
    def explaining(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[None]:
        """Say of an error in a `with` block which arguments may have been meant to be static."""
        try:
            yield
        except NEEDS_VALUES as error:
            static = self.split(args, dict(kwargs))[2]
            traced = {
                self._describe(i, args): f"static_argnums={i}{self._or_name(i)}"
                for i, value in enumerate(args)
                if i not in static.positions and isinstance(value, _SCALARS)
            }
            traced |= {
                f"the argument {name!r} ({value!r})": f'static_argnames="{name}"'
                for name, value in kwargs.items()
                if name not in static.names and isinstance(value, _SCALARS)
            }
            for argument, instead in traced.items():
                error.add_note(
                    f"{self._name}: {argument} is traced in the body, like every argument that is "
                    f"not static. If it decides what the body does, write {instead}."
                )
            raise

    def donated(
        self, numbers: Numbers, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """Find the arguments to donate among those that are left when static ones are gone.

        Returns:
            The positions of those that were passed by position, and the names of the others.

        Raises:
            DonatedArgumentError: one of them is static or does not exist.
        """
        if not (wanted := _as_tuple(numbers)):
            return (), ()
        taken = self.split(args, dict(kwargs))[2]
        positions, names = [], []
        for number in wanted:
            position = number + len(args) if number < 0 else number
            name = [*self._parameters[position : position + 1]] if position >= 0 else []
            if position in taken.positions or taken.names & {*name}:
                raise self._donated_error(number, "static", args)
            if position < 0 or (position >= len(args) and not name):
                raise self._donated_error(number, "no argument of the call", args)
            if position < len(args):
                positions.append(position - sum(s < position for s in taken.positions))
            elif name[0] in kwargs:
                names.append(name[0])
        return tuple(positions), tuple(names)

    def _donated_error(self, number: int, hit: str, args: Sequence[Any]) -> Exception:
        return DonatedArgumentError(self._name, number, hit, self._describe_all(args))

    def _position(self, number: int, args: Sequence[Any]) -> int:
        position = number + len(args) if number < 0 else number
        if position < 0 or position >= max(len(args), len(self._parameters)):
            raise self._error(number, position, args)
        return position

    def _error(self, number: int, position: int, args: Sequence[Any]) -> StaticArgumentError:
        if not 0 <= position < len(args):
            hit = f"no argument of the call, which has {self._describe_all(args)}"
        else:
            hit = self._describe(position, args)
            if not _is_array(args[position]):
                hit = f"{hit}, {_refusal(args[position])}"
                return StaticArgumentError(self._name, number, hit, None)
        # Whoever counts self, or the module, means the one before.
        near = sorted(range(len(args)), key=lambda i: (abs(i - position), i))
        for meant in near:
            if meant != position and _can_be_static(args[meant]):
                text = f"{meant}, {self._describe(meant, args)}"
                return StaticArgumentError(self._name, number, hit, text)
        return StaticArgumentError(self._name, number, hit, None)

    def _describe_all(self, args: Sequence[Any]) -> str:
        names = (
            repr(self._parameters[i]) if i < len(self._parameters) else "one more"
            for i in range(len(args))
        )
        return ", ".join(f"{i}: {name}" for i, name in enumerate(names)) or "no arguments"

    def _describe(self, number: int, args: Sequence[Any]) -> str:
        value = args[number]
        kind = f"an array of shape {value.shape}" if hasattr(value, "shape") else repr(value)
        if number < len(self._parameters):
            return f"the argument {self._parameters[number]!r} ({kind})"
        return f"the argument at position {number} ({kind})"

    def _or_name(self, number: int) -> str:
        if number < len(self._parameters):
            return f' or static_argnames="{self._parameters[number]}"'
        return ""


class Taken:
    """Static arguments that were taken out of a call."""

    def __init__(self, positional: dict[int, Any], named: dict[str, Any]) -> None:
        self._positional = positional
        self._named = named

    @property
    def positions(self) -> set[int]:
        """The positions of those that were passed by position."""
        return {*self._positional}

    @property
    def names(self) -> set[str]:
        """The names of the others."""
        return {*self._named}

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


def _as_tuple(numbers: Numbers) -> tuple[int, ...]:
    return (numbers,) if isinstance(numbers, int) else tuple(numbers)


def _parameters(fn: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return [*inspect.signature(fn).parameters.values()]
    except (TypeError, ValueError):
        return []


def positional_parameters(fn: Callable[..., Any]) -> tuple[str, ...]:
    """Name the positional parameters after the first."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(p.name for p in _parameters(fn) if p.kind in kinds)[1:]


def _named_parameters(fn: Callable[..., Any]) -> tuple[str, ...] | None:
    """Name the parameters after the first that have a name, or None if there may be any."""
    parameters = _parameters(fn)
    if not parameters or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        return None
    return tuple(p.name for p in parameters if p.kind is not inspect.Parameter.VAR_POSITIONAL)[1:]


_SCALARS = (bool, int, float, complex)


def _is_array(value: Any) -> bool:
    return isinstance(value, (jax.Array, np.ndarray))


def _is_of_arrays(value: Any) -> bool:
    """Say whether JAX may take a value for a pytree of arrays; it knows of more kinds of them."""
    leaves = jax.tree.leaves(value)
    return not any(isinstance(leaf, (str, bytes)) or callable(leaf) for leaf in leaves)


def _can_be_static(value: Any) -> bool:
    if _is_array(value):
        return False
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _refusal(value: Any) -> str:
    if _is_array(value):
        return "an array, and arrays cannot be static"
    instead = {list: "; pass a tuple", dict: "; pass a FrozenDict"}.get(type(value), "")
    return f"a {type(value).__name__} that does not hash, so it cannot be static{instead}"
