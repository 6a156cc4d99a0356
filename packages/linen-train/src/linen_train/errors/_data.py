"""What can be wrong with the data."""

from linen_core.errors import LinenError

__all__ = [
    "DataError",
    "DataLeafError",
    "DataOptionError",
    "DataPositionError",
    "DataShapeError",
    "PrefetchClosedError",
]


class DataError(LinenError):
    """Base of what can go wrong while feeding data."""


class DataLeafError(DataError, TypeError):
    """A batch holds something that no device takes: text, or an object."""


class DataOptionError(DataError, ValueError):
    """Options of a loader make no sense, alone or together."""


class DataShapeError(DataError, ValueError):
    """The arrays of a loader differ in length, or do not fill one batch."""


class DataPositionError(DataError, ValueError):
    """A position does not belong to this data, or the data cannot tell its position."""


class PrefetchClosedError(DataError, RuntimeError):
    """A batch was asked of a prefetcher that is closed."""
