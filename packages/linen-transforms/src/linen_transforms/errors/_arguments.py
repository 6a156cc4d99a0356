"""Errors of arguments that are static, donated, or not supported."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from linen_core.errors import LinenError


class KeywordArgumentsError(LinenError, TypeError):
    """Keyword arguments where JAX takes none."""

    def __init__(self, name: str, kwargs: Mapping[str, Any]) -> None:
        names = ", ".join(kwargs)
        super().__init__(
            f"{name} does not take keyword arguments, but got {names}. Pass them by position, or "
            "bind those that are no arrays with functools.partial."
        )


class StaticArgumentError(LinenError, ValueError):
    """An argument that should be static cannot be, or one that is not must be."""

    def __init__(self, name: str, index: int, hit: str, meant: str | None) -> None:
        hint = f" Did you mean {meant}?" if meant else ""
        super().__init__(
            f"{name}: static_argnums has {index}, which is {hit}. Arguments are counted as in the "
            f"call, from 0, without self or the module.{hint}"
        )

    @classmethod
    def of_name(cls, name: str, found: str, known: Iterable[str]) -> "StaticArgumentError":
        """Say that no argument has a name."""
        near = difflib.get_close_matches(found, [*known], n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return cls._of_text(
            f"{name}: static_argnames has {found!r}, but the arguments are called "
            f"{', '.join(map(repr, known))}.{hint}"
        )

    @classmethod
    def of_named_value(cls, name: str, argument: str, reason: str) -> "StaticArgumentError":
        """Say that what is passed by a static name cannot be static."""
        return cls._of_text(f"{name}: the static argument {argument!r} is {reason}.")

    @classmethod
    def of_no_array(cls, name: str, argument: str, instead: str) -> "StaticArgumentError":
        """Say that an argument that is not static is no array."""
        return cls._of_text(
            f"{name}: {argument} has something in it that is no array, so it must be static. "
            f"Write {instead}."
        )

    @classmethod
    def _of_text(cls, text: str) -> "StaticArgumentError":
        error = cls.__new__(cls)
        LinenError.__init__(error, text)
        return error


class DonatedArgumentError(LinenError, ValueError):
    """`donate_argnums` names an argument that cannot be donated."""

    def __init__(self, name: str, index: int, hit: str, arguments: str) -> None:
        super().__init__(
            f"{name}: donate_argnums has {index}, which is {hit}. Arguments are counted as in the "
            f"call, from 0, without self or the module; this call has {arguments}."
        )


class NondiffArgumentError(LinenError, ValueError):
    """`nondiff_argnums` names no argument."""

    def __init__(self, number: int, arguments: int) -> None:
        what = "the module or scope itself" if number == 0 else "no argument"
        super().__init__(
            f"custom_vjp: nondiff_argnums has {number}, which is {what}. Arguments are counted as in "
            f"the call, from 0 for the module or scope; this call has {arguments} after it."
        )


class UnsupportedArgumentError(LinenError, ValueError):
    """An argument that cannot be supported."""

    def __init__(self, argument: str, reason: str) -> None:
        super().__init__(f"The argument {argument!r} is not supported: {reason}.")
