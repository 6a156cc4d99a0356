"""Errors of abstract modules."""

from collections.abc import Sequence
from typing import Self

from linen_core.errors._base import LinenError, place


class AbstractValueError(LinenError, TypeError):
    """A model that is made abstract needs the values of arrays."""

    def __init__(self, owner: str, error: Exception) -> None:
        """Say what needs them, as JAX found out, and what to do."""
        found = str(error).splitlines()[0]
        super().__init__(
            f"{owner} needs the values of arrays, but an abstract module has only their shapes and "
            f"dtypes. JAX says: {found} Pass what Python code decides on as a Python value, or work "
            "with arrays: model.bind(model.init(key, ...))."
        )


class NoOutputSpecsError(LinenError, RuntimeError):
    """A module is asked for what it returned, and is not abstract or was not called."""

    @classmethod
    def of_concrete(cls, owner: str) -> Self:
        """Make the error for a module that is not abstract."""
        return cls(
            f"{owner} is not abstract, so it has no output_specs. Write "
            "model.abstract(x).output_specs."
        )

    @classmethod
    def of_uncalled(cls, owner: str, path: Sequence[str]) -> Self:
        """Make the error for a submodule that the model does not call."""
        return cls(
            f"{place(path)} ({owner}) was not called by the method that model.abstract traced, so it "
            "has no output_specs. Call it, which gives the specs of what it returns, or write "
            "model.abstract(..., method=...) with a method that calls it."
        )
