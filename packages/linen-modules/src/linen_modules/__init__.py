"""The layers of Linen; `import linen_modules as nn` is all a model needs."""

from importlib.metadata import version as _version

__version__ = _version("linen-modules")

__all__ = ["__version__"]
