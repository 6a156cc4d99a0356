"""What can be wrong with the arguments of the small helpers."""

from linen_core.errors import LinenError

__all__ = ["EarlyStoppingModeError", "ScanAxisError"]


class EarlyStoppingModeError(LinenError, ValueError):
    """The mode of `EarlyStopping` is neither "min" nor "max"."""


class ScanAxisError(LinenError, ValueError):
    """Axes of `scan_in_dim` that are no axes of the inputs or outputs, or unrolls that do not fit."""
