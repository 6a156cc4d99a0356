"""Train state, checkpoints, data feeding and progress for Linen and plain JAX."""

from importlib.metadata import version as _version

__version__ = _version("linen-train")

__all__ = ["__version__"]
