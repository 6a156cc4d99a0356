"""What can be wrong with the arguments of the small helpers."""

from linen_core.errors import LinenError

__all__ = [
    "EarlyStoppingMetricError",
    "EarlyStoppingModeError",
    "EarlyStoppingOptionError",
    "ScanAxisError",
]


class EarlyStoppingMetricError(LinenError, TypeError):
    """A metric given to `EarlyStopping.update` is no real number."""


class EarlyStoppingModeError(LinenError, ValueError):
    """The mode of `EarlyStopping` is neither "min" nor "max"."""


class EarlyStoppingOptionError(LinenError, ValueError):
    """The patience or the least gain of `EarlyStopping` is less than 0."""


class ScanAxisError(LinenError, ValueError):
    """Axes of `scan_in_dim` that are no axes of the inputs or outputs, or unrolls that do not fit."""
