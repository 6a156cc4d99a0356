"""What can be wrong with a train state."""

from linen_core.errors import LinenError

__all__ = [
    "TrainStateError",
]


class TrainStateError(LinenError, ValueError):
    """A train state was given collections or random keys that do not fit it."""
