"""Errors of gradients and tangents."""

from collections.abc import Iterable, Mapping
from typing import Any

from linen_core.errors import LinenError


class ScalarOutputError(LinenError, TypeError, ValueError):
    """A gradient of something that is no real scalar."""

    def __init__(self, name: str, found: str) -> None:
        super().__init__(
            f"{name} needs a function that returns a floating-point scalar, but this one returns "
            f"{found}. Use vjp for other outputs, and has_aux=True to return more than the scalar."
        )


class AuxiliaryOutputError(LinenError, TypeError):
    """`has_aux` is True, but there is no pair."""

    def __init__(self, name: str, found: str) -> None:
        super().__init__(
            f"{name}: with has_aux=True the function must return a tuple (y, aux), but it returned "
            f"{found}."
        )


class SeveralPlacesError(LinenError, ValueError):
    """Gradients of variables at several places, but a form for one."""

    def __init__(self, name: str, paths: Iterable[Iterable[str]], instead: str) -> None:
        places = ", ".join(f"/{'/'.join(path)}" for path in paths)
        super().__init__(
            f"{name}: the function works with modules at several places, {places}, but one dict "
            f"holds the variables of one. {instead}"
        )


class TangentError(LinenError, TypeError):
    """Tangents that do not fit what they belong to."""

    def __init__(self, text: str) -> None:
        super().__init__(f"jvp: {text}")

    @classmethod
    def of_sequence(cls, argument: str, found: Any) -> "TangentError":
        """Say that primals or tangents are no sequence."""
        return cls(f"`{argument}` must be a tuple or list, one entry for each, but is {found!r}.")

    @classmethod
    def of_lengths(cls, primals: int, tangents: int) -> "TangentError":
        """Say that there are more of one than of the other."""
        return cls(f"there are {primals} primals, but {tangents} tangents.")

    @classmethod
    def of_form(cls, expected: Any, found: Any) -> "TangentError":
        """Say that tangents of variables are not dicts at the right places."""
        return cls(
            "`variable_tangents` must have a dict from collections to tangents in the place of each "
            f"dict in {expected!r}, but is {found!r}."
        )

    @classmethod
    def of_variables(
        cls, path: Iterable[str], rows: Mapping[str, tuple[str, str]]
    ) -> "TangentError":
        """Say which tangents differ from their variables."""
        table = "\n".join(f"  {where}: {a} instead of {b}" for where, (a, b) in rows.items())
        return cls(
            f"`variable_tangents` must fit the variables of each of their collections at "
            f"/{'/'.join(path)}, but these differ:\n{table}"
        )


class CotangentError(LinenError, TypeError):
    """A backward function returns something else than gradients."""

    def __init__(self, text: str) -> None:
        super().__init__(f"custom_vjp: {text}")

    @classmethod
    def of_length(cls, arguments: int, found: Any) -> "CotangentError":
        """Say how many gradients there must be."""
        return cls(
            "the backward function must return a tuple of the gradients of the variables and of "
            f"{arguments} argument{'' if arguments == 1 else 's'}, as vjp gives them, but returned "
            f"{found!r}."
        )

    @classmethod
    def of_variables(cls, expected: Iterable[str], found: Iterable[str]) -> "CotangentError":
        """Say that the gradients of variables have another structure."""
        return cls(
            "the first result of the backward function must have the structure of the variables, "
            f"{', '.join(expected)}, or be None for no gradient, but has {', '.join(found)}."
        )
