"""Errors of summaries."""

from typing import Any

from linen_core.errors._base import LinenError, describe


class SummaryDepthError(LinenError, ValueError):
    """The `depth` of a summary is no number of levels."""

    def __init__(self, depth: Any) -> None:
        """Show what was given."""
        super().__init__(
            "depth must be the number of levels of submodules that have rows of their own, 0 or "
            f"more, or None for all, but got {describe(depth)}. Write for example depth=1."
        )
