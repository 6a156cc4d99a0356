"""Train state, checkpoints, data feeding and progress for Linen and plain JAX."""

from importlib.metadata import version as _version

from linen_train import data, errors
from linen_train.checkpoint import Checkpointer
from linen_train.progress import TrainingProgress
from linen_train.train_state import TrainState

__version__ = _version("linen-train")

__all__ = ["Checkpointer", "TrainState", "TrainingProgress", "__version__", "data", "errors"]
