"""Lifted JAX transformations for Linen modules and scopes."""

from importlib.metadata import version as _version

from linen_transforms import axes_scan, errors, lift
from linen_transforms._modules import scan, vmap

__version__ = _version("linen-transforms")

__all__ = ["__version__", "axes_scan", "errors", "lift", "scan", "vmap"]
