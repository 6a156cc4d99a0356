"""Lifted JAX transformations for Linen modules and scopes."""

from importlib.metadata import version as _version

from linen_transforms import axes_scan, errors, lift
from linen_transforms._modules import checkpoint, jit, remat, remat_scan, scan, vmap

__version__ = _version("linen-transforms")

__all__ = [
    "__version__",
    "axes_scan",
    "checkpoint",
    "errors",
    "jit",
    "lift",
    "remat",
    "remat_scan",
    "scan",
    "vmap",
]
