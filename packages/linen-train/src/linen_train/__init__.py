"""Train state, checkpoints, data feeding and a training loop for Linen and plain JAX."""

from importlib.metadata import version as _version

from linen_train import data, distributed, errors, metrics, tensorboard, writers
from linen_train.checkpoint import Checkpointer
from linen_train.dynamic_scale import DynamicScale, DynamicScaleResult
from linen_train.learning_curve import plot_learning_curve
from linen_train.loop import Event, Every, FitResult, Hook, Profile, fit
from linen_train.train_state import OVERWRITE_WITH_GRADIENT, TrainState

__version__ = _version("linen-train")

__all__ = [
    "Checkpointer",
    "DynamicScale",
    "DynamicScaleResult",
    "Event",
    "Every",
    "FitResult",
    "Hook",
    "OVERWRITE_WITH_GRADIENT",
    "Profile",
    "TrainState",
    "__version__",
    "data",
    "distributed",
    "errors",
    "fit",
    "metrics",
    "plot_learning_curve",
    "tensorboard",
    "writers",
]
