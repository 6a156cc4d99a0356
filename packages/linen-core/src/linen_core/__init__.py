"""The functional core and Module system of Linen, a neural network API for JAX."""

from importlib.metadata import version as _version

__version__ = _version("linen-core")

__all__ = ["__version__"]
