"""What can be wrong with a train state, and with the loss scale in it."""

from linen_core.errors import LinenError

__all__ = [
    "DynamicScaleError",
    "TrainStateError",
]


class DynamicScaleError(LinenError, ValueError):
    """A loss scale that is no positive number, or factors and intervals that it cannot follow."""


class TrainStateError(LinenError, ValueError):
    """A train state was given collections or random keys that do not fit it."""
