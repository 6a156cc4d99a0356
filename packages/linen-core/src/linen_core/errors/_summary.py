"""Errors of summaries."""

from typing import Any

from linen_core.errors._base import LinenError, describe


class SummaryValueError(LinenError, TypeError):
    """A model that is summarized needs the values of arrays."""

    def __init__(self, error: Exception) -> None:
        """Say what needs them, as JAX found out, and what to do."""
        found = str(error).splitlines()[0]
        super().__init__(
            "The model needs the values of arrays, but a summary traces it and computes nothing. JAX "
            f"says: {found} Pass what Python code decides on as a Python value, or decide with "
            "jax.lax.cond or jax.numpy.where."
        )


class SummaryDepthError(LinenError, ValueError):
    """The `depth` of a summary is no number of levels."""

    def __init__(self, depth: Any) -> None:
        """Show what was given."""
        super().__init__(
            "depth must be the number of levels of submodules that have rows of their own, 0 or "
            f"more, or None for all, but got {describe(depth)}. Write for example depth=1."
        )
