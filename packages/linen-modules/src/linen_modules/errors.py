"""The errors of linen-modules.

Every error of this wheel is a `linen_core.errors.LinenError`:

    LinenError
    └── LayerError                 a layer was built or called in a way that has no meaning
        ├── InputRankError         the input has too few dimensions
        ├── InputDtypeError        the input has a dtype the layer cannot take (also a TypeError)
        ├── FeatureSizeError       a number of features does not fit
        ├── AxisError              an axis the array does not have, or an axis named twice
        ├── MaskShapeError         a mask does not have the shape it must have
        ├── PaddingError           a padding that is unknown or does not fit the window
        ├── WindowError            strides, dilations or windows of the wrong length
        ├── AlgorithmError         an algorithm that does not exist
        ├── DropoutRateError       a dropout rate outside [0, 1]
        └── InexactDtypeError      a computation was asked for in an integer or boolean dtype

All of them are also ValueErrors. A missing `use_running_average` or `deterministic` is
reported by `linen_core.merge_param`, a parameter of the wrong shape by the scope it is read from.

The texts say, in this order: the layer and its module path, what was found, what was expected, and
the line to write instead.
"""

from linen_core import Module
from linen_core.errors import LinenError

__all__ = [
    "AlgorithmError",
    "AxisError",
    "DropoutRateError",
    "FeatureSizeError",
    "InexactDtypeError",
    "InputDtypeError",
    "InputRankError",
    "LayerError",
    "MaskShapeError",
    "PaddingError",
    "WindowError",
    "location",
]


class LayerError(LinenError):
    """A layer was built or called in a way that has no meaning."""


class InputRankError(LayerError, ValueError):
    """The input has fewer dimensions than the layer needs."""


class InputDtypeError(LayerError, TypeError, ValueError):
    """The input has a dtype that the layer cannot take."""


class FeatureSizeError(LayerError, ValueError):
    """A number of features does not fit the array or the groups it is used with."""


class AxisError(LayerError, ValueError):
    """An axis is outside the dimensions of the array."""


class MaskShapeError(LayerError, ValueError):
    """A mask does not have the shape of what it masks."""


class PaddingError(LayerError, ValueError):
    """A padding is unknown, or does not have one entry for each dimension of the window."""


class WindowError(LayerError, ValueError):
    """A window, its strides or its dilations do not have one entry for each dimension."""


class AlgorithmError(LayerError, ValueError):
    """An algorithm was chosen that does not exist."""


class DropoutRateError(LayerError, ValueError):
    """A dropout rate is not a probability."""


class InexactDtypeError(LayerError, ValueError):
    """A dtype of floating point or complex numbers is needed, and another one was given."""


def location(layer: Module | str) -> str:
    """Says which layer an error is about: its class and its module path.

    Args:
        layer: a bound module, or the name of a function.

    Returns:
        For example ``Dense at /encoder/Dense_0``; the path of a model's root is ``/``. The name of
        a function is returned as it is.

    >>> import jax, linen_modules as nn
    >>> class Shout(nn.Module):
    ...     def __call__(self):
    ...         return location(self)
    >>> Shout().apply({})
    'Shout at /'
    """
    if isinstance(layer, str):
        return layer
    return f"{type(layer).__name__} at /{'/'.join(layer.path)}"
