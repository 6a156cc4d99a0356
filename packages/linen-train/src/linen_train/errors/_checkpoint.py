"""What can be wrong with a checkpoint."""

from linen_core.errors import LinenError

__all__ = [
    "CheckpointBusyError",
    "CheckpointClosedError",
    "CheckpointDataStateError",
    "CheckpointDirectoryError",
    "CheckpointError",
    "CheckpointFormatError",
    "CheckpointLeafError",
    "CheckpointMetadataError",
    "CheckpointMetricError",
    "CheckpointMismatchError",
    "CheckpointNotFoundError",
    "CheckpointOptionError",
    "CheckpointPathError",
    "CheckpointReadError",
    "CheckpointSaveError",
    "CheckpointStepError",
    "CheckpointWarning",
]


class CheckpointError(LinenError):
    """Base of what can go wrong with a checkpoint."""


class CheckpointOptionError(CheckpointError, ValueError):
    """An option of a checkpointer makes no sense, by itself or beside another."""


class CheckpointDirectoryError(CheckpointError, OSError):
    """The directory of the checkpoints cannot be created or written, or is not a directory."""


class CheckpointBusyError(CheckpointError, OSError):
    """Another checkpointer is saving into the same directory."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """There is no committed checkpoint, or none of the step that was asked for."""


class CheckpointStepError(CheckpointError, ValueError):
    """A step cannot be saved: it is no number, negative, not newer than the newest, or taken."""


class CheckpointLeafError(CheckpointError, TypeError):
    """A leaf of the state is neither array nor number, has no values, or shares its path."""


class CheckpointMetadataError(CheckpointError, TypeError):
    """The metadata given to `save` cannot be written as JSON."""


class CheckpointMetricError(CheckpointError, ValueError):
    """Metrics that are no numbers, that lack the one that tells the best step, or no such metric."""


class CheckpointDataStateError(CheckpointError, TypeError):
    """The state of a data iterator cannot be saved, or is not that of these processes."""


class CheckpointMismatchError(CheckpointError, ValueError):
    """The checkpoint and the target differ in paths, shapes or dtypes."""


class CheckpointPathError(CheckpointError, ValueError):
    """A path given to `restore` is the beginning of none, or two leaves are renamed to one path."""


class CheckpointFormatError(CheckpointError):
    """The files of a step were written by another library, or in a format that is not known."""


class CheckpointReadError(CheckpointError, OSError):
    """Files of a committed step are missing or damaged."""


class CheckpointSaveError(CheckpointError, OSError):
    """A step could not be written; it does not count as committed."""


class CheckpointClosedError(CheckpointError, RuntimeError):
    """The checkpointer was closed before it was used."""


class CheckpointWarning(UserWarning):
    """A damaged step was passed over, or a save failed after the last call that could raise."""
