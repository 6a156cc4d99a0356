"""The errors of linen-train.

Every error that this wheel raises on purpose is one of these classes, so that a program can catch
the condition it can deal with:

```
LinenError
├─ TrainStateError (ValueError)               collections or random keys that do not fit the state
├─ DynamicScaleError (ValueError)             a loss scale, factors or an interval that make no sense
├─ CheckpointError
│  ├─ CheckpointOptionError (ValueError)      options of a checkpointer that make no sense
│  ├─ CheckpointDirectoryError (OSError)      the directory cannot be made or written
│  ├─ CheckpointBusyError (OSError)           another checkpointer saves into the directory
│  ├─ CheckpointNotFoundError (FileNotFoundError)  no such step, or no step at all
│  ├─ CheckpointStepError (ValueError)        a step that is not newer than the newest
│  ├─ CheckpointLeafError (TypeError)         a leaf that is no array, number or random key
│  ├─ CheckpointMetadataError (TypeError)     metadata that is not JSON
│  ├─ CheckpointMetricError (ValueError)      metrics that are no numbers, or lack the best one
│  ├─ CheckpointDataStateError (TypeError)    a state of the data that cannot be saved or used
│  ├─ CheckpointPathError (ValueError)        a path given to `restore` that no leaf has
│  ├─ CheckpointMismatchError (ValueError)    the step does not fit the target
│  ├─ CheckpointFormatError                   a newer release wrote the step, or Orbax
│  ├─ CheckpointReadError (OSError)           files of a step are missing or damaged
│  ├─ CheckpointSaveError (OSError)           a step could not be written
│  └─ CheckpointClosedError (RuntimeError)    the checkpointer is closed
├─ DataError
│  ├─ DataLeafError (TypeError)               a batch with something in it that is no array
│  ├─ DataOptionError (ValueError)            options of a loader that make no sense together
│  ├─ DataShapeError (ValueError)             arrays and batch size do not go together
│  ├─ DataPositionError (ValueError)          a position that does not belong to the data
│  └─ PrefetchClosedError (RuntimeError)      the prefetcher is closed
├─ MetricError
│  ├─ MetricShapeError (ValueError)           a batch whose arrays do not fit together
│  ├─ MetricValueError (TypeError)            values that are no real numbers, labels that are no integers
│  └─ MetricMergeError (TypeError)            metrics of different kinds
├─ SerializationError
│  ├─ UnserializableValueError (TypeError)    a value that has no form as bytes
│  └─ SerializedBytesError (ValueError)       bytes that are damaged or of another format
├─ DistributedError
│  ├─ DistributedArgumentError (TypeError)    an argument that is no mesh, device, model or axis
│  ├─ DistributedSettingsError (ValueError)   settings of processes missing, malformed, or unequal
│  ├─ DistributedTimeoutError (TimeoutError)  other processes did not come in time
│  ├─ DistributedConnectionError (ConnectionError)  the coordinator's port belongs to another program
│  ├─ DistributedStateError (RuntimeError)    set up twice, or after JAX began to use its devices
│  ├─ MeshShapeError (ValueError)             sizes of a mesh that do not fit the devices
│  ├─ MeshAxisError (ValueError)              an axis that the mesh does not have
│  ├─ BatchShardingError (ValueError)         a batch that cannot be split over the devices
│  └─ InitShardingError (ValueError)          variables that cannot be made in parts
├─ EarlyStoppingMetricError (TypeError)       a metric that is no number
├─ EarlyStoppingModeError (ValueError)        a mode other than "min" and "max"
├─ EarlyStoppingOptionError (ValueError)      a patience or a min_delta less than 0
├─ ScanAxisError (ValueError)                 axes that scan_in_dim cannot loop over
├─ WriterError
│  ├─ WriterClosedError (RuntimeError)        the writer is closed
│  ├─ WriterFileError (OSError)               a row that the system did not take
│  ├─ WriterFileExistsError (FileExistsError)  a new file where there are rows already
│  ├─ WriterFileFormatError (ValueError)      a file to go on with that holds something else
│  ├─ WriterValueError (TypeError)            a step, name or value that cannot be written
│  └─ MultiWriterError (ExceptionGroup)       several writers failed at once
├─ PlotError (ValueError)                     a history that cannot be drawn
├─ MissingExtraError (ImportError)            an extra of linen-train is not installed
└─ LoopError
   ├─ LoopArgumentError (ValueError)          arguments of the loop that do not go together
   ├─ LoopDataError (ValueError)              data that cannot take up a position
   ├─ LoopMetricsError (ValueError)           metrics that are no scalars, are missing, or clash
   ├─ LoopResumeError (ValueError)            checkpoints that a run would not go on from
   ├─ NonFiniteError (FloatingPointError)     a metric or a parameter is NaN or infinite
   └─ StepFunctionError (TypeError)           a step function that returns no pair
```

`CheckpointWarning` is a warning: a damaged step was passed over.
"""

from linen_train.errors._checkpoint import (
    CheckpointBusyError,
    CheckpointClosedError,
    CheckpointDataStateError,
    CheckpointDirectoryError,
    CheckpointError,
    CheckpointFormatError,
    CheckpointLeafError,
    CheckpointMetadataError,
    CheckpointMetricError,
    CheckpointMismatchError,
    CheckpointNotFoundError,
    CheckpointOptionError,
    CheckpointPathError,
    CheckpointReadError,
    CheckpointSaveError,
    CheckpointStepError,
    CheckpointWarning,
)
from linen_train.errors._data import (
    DataError,
    DataLeafError,
    DataOptionError,
    DataPositionError,
    DataShapeError,
    PrefetchClosedError,
)
from linen_train.errors._distributed import (
    BatchShardingError,
    DistributedArgumentError,
    DistributedConnectionError,
    DistributedError,
    DistributedSettingsError,
    DistributedStateError,
    DistributedTimeoutError,
    InitShardingError,
    MeshAxisError,
    MeshShapeError,
)
from linen_train.errors._helpers import (
    EarlyStoppingMetricError,
    EarlyStoppingModeError,
    EarlyStoppingOptionError,
    ScanAxisError,
)
from linen_train.errors._loop import (
    LoopArgumentError,
    LoopDataError,
    LoopError,
    LoopMetricsError,
    LoopResumeError,
    NonFiniteError,
    StepFunctionError,
)
from linen_train.errors._metrics import (
    MetricError,
    MetricMergeError,
    MetricShapeError,
    MetricValueError,
)
from linen_train.errors._serialization import (
    SerializationError,
    SerializedBytesError,
    UnserializableValueError,
)
from linen_train.errors._state import (
    DynamicScaleError,
    TrainStateError,
)
from linen_train.errors._writers import (
    MissingExtraError,
    MultiWriterError,
    PlotError,
    WriterClosedError,
    WriterError,
    WriterFileError,
    WriterFileExistsError,
    WriterFileFormatError,
    WriterValueError,
)

__all__ = [
    "BatchShardingError",
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
    "DataError",
    "DataLeafError",
    "DataOptionError",
    "DataPositionError",
    "DataShapeError",
    "DistributedArgumentError",
    "DistributedConnectionError",
    "DistributedError",
    "DistributedSettingsError",
    "DistributedStateError",
    "DistributedTimeoutError",
    "DynamicScaleError",
    "EarlyStoppingMetricError",
    "EarlyStoppingModeError",
    "EarlyStoppingOptionError",
    "InitShardingError",
    "LoopArgumentError",
    "LoopDataError",
    "LoopError",
    "LoopMetricsError",
    "LoopResumeError",
    "MeshAxisError",
    "MeshShapeError",
    "MetricError",
    "MetricMergeError",
    "MetricShapeError",
    "MetricValueError",
    "MissingExtraError",
    "MultiWriterError",
    "NonFiniteError",
    "PlotError",
    "PrefetchClosedError",
    "ScanAxisError",
    "SerializationError",
    "SerializedBytesError",
    "StepFunctionError",
    "TrainStateError",
    "UnserializableValueError",
    "WriterClosedError",
    "WriterError",
    "WriterFileError",
    "WriterFileExistsError",
    "WriterFileFormatError",
    "WriterValueError",
]
