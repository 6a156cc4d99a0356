"""The errors of linen-train.

Every error that this wheel raises on purpose is one of these classes, so that a program can catch
the condition it can deal with:

```
LinenError
├─ TrainStateError (ValueError)               collections or random keys that do not fit the state
├─ CheckpointError
│  ├─ CheckpointDirectoryError (OSError)      the directory cannot be made
│  ├─ CheckpointNotFoundError (FileNotFoundError)  no such step, or no step at all
│  ├─ CheckpointStepError (ValueError)        a step that is not newer than the newest
│  ├─ CheckpointLeafError (TypeError)         a leaf that is no array, number or random key
│  ├─ CheckpointMetadataError (TypeError)     metadata that is not JSON
│  ├─ CheckpointMismatchError (ValueError)    the step does not fit the target
│  ├─ CheckpointFormatError                   another library wrote the step, or a newer release
│  ├─ CheckpointReadError (OSError)           files of a step are missing or damaged
│  ├─ CheckpointSaveError (OSError)           a step could not be written
│  └─ CheckpointClosedError (RuntimeError)    the checkpointer is closed
├─ DataError
│  ├─ DataShapeError (ValueError)             arrays and batch size do not go together
│  ├─ DataPositionError (ValueError)          a position that does not belong to the data
│  └─ PrefetchClosedError (RuntimeError)      the prefetcher is closed
└─ ProgressError (RuntimeError)               a progress display used before or after its epochs
```
"""

from linen_core.errors import LinenError

__all__ = [
    "CheckpointClosedError",
    "CheckpointDirectoryError",
    "CheckpointError",
    "CheckpointFormatError",
    "CheckpointLeafError",
    "CheckpointMetadataError",
    "CheckpointMismatchError",
    "CheckpointNotFoundError",
    "CheckpointReadError",
    "CheckpointSaveError",
    "CheckpointStepError",
    "DataError",
    "DataPositionError",
    "DataShapeError",
    "PrefetchClosedError",
    "ProgressError",
    "TrainStateError",
]


class TrainStateError(LinenError, ValueError):
    """A train state was given collections or random keys that do not fit it."""


class CheckpointError(LinenError):
    """Base of what can go wrong with a checkpoint."""


class CheckpointDirectoryError(CheckpointError, OSError):
    """The directory of the checkpoints cannot be created, or is not a directory."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """There is no committed checkpoint, or none of the step that was asked for."""


class CheckpointStepError(CheckpointError, ValueError):
    """A step cannot be saved: it is negative, or not newer than the newest one there is."""


class CheckpointLeafError(CheckpointError, TypeError):
    """A leaf of the state is neither an array nor a number, or two leaves share one path."""


class CheckpointMetadataError(CheckpointError, TypeError):
    """The metadata given to `save` cannot be written as JSON."""


class CheckpointMismatchError(CheckpointError, ValueError):
    """The checkpoint and the target differ in paths, shapes or dtypes."""


class CheckpointFormatError(CheckpointError):
    """The files of a step were written by another library, or in a format that is not known."""


class CheckpointReadError(CheckpointError, OSError):
    """Files of a committed step are missing or damaged."""


class CheckpointSaveError(CheckpointError, OSError):
    """A step could not be written; it does not count as committed."""


class CheckpointClosedError(CheckpointError, RuntimeError):
    """The checkpointer was closed before it was used."""


class DataError(LinenError):
    """Base of what can go wrong while feeding data."""


class DataShapeError(DataError, ValueError):
    """The arrays of a loader differ in length, or do not fill one batch."""


class DataPositionError(DataError, ValueError):
    """A position does not belong to this data, or the data cannot tell its position."""


class PrefetchClosedError(DataError, RuntimeError):
    """A batch was asked of a prefetcher that is closed."""


class ProgressError(LinenError, RuntimeError):
    """A progress display was used outside its `with` block, or beyond its last epoch."""
