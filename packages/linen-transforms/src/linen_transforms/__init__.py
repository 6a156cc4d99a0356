"""Lifted JAX transformations for Linen modules and scopes."""

from importlib.metadata import version as _version

__version__ = _version("linen-transforms")

__all__ = ["__version__"]
