"""The errors of linen-modules.

Every error of this wheel is a `linen_core.errors.LinenError`:

    LinenError
    └── LayerError                 a layer was built or called in a way that has no meaning
        ├── InputRankError         the input has too few dimensions
        ├── InputDtypeError        the input has a dtype the layer cannot take (also a TypeError)
        ├── FeatureSizeError       a number of features does not fit
        ├── GroupsError            groups of features that are given twice, or not at all
        ├── NoParametersError      a wrapped layer has no parameters to work on
        ├── ParameterRankError     a parameter that is no matrix
        ├── MissingArgumentError   an argument that must be given (also a TypeError)
        ├── AxisError              an axis the array does not have, or an axis named twice
        ├── MaskShapeError         a mask does not have the shape it must have
        ├── PaddingError           a padding that is unknown or does not fit the window
        ├── WindowError            strides, dilations or windows of the wrong length
        ├── EquationError          an equation without meaning, or that does not fit the shapes
        ├── BatchShapeError        leading dimensions that differ, or are lost
        ├── LayerSequenceError     layers that cannot be called one after another
        ├── UnsupportedFieldError  a field of a layer has a value it cannot have, with the reason
        ├── AttentionShapeError    queries, keys, values and bias that do not fit each other
        ├── AttentionInputError    a choice of inputs of an attention layer that has no meaning
        ├── AttentionFunctionError an attention function does not take an argument it must honour
        ├── HeadCountError         heads of keys that do not divide the heads of queries
        ├── FusedAttentionError    the fused kernel was asked for and cannot run
        ├── CacheShapeError        tokens that do not fit the cache of decoding
        ├── CacheOverflowError     more tokens than the cache of decoding has room for
        ├── CarryShapeError        a carry that does not fit its cell, or changes (also a TypeError)
        ├── SequenceLengthsError   lengths of sequences that do not have the batch's shape
        ├── CellMethodError        a cell lacks what a loop needs (also a NotImplementedError)
        ├── DirectionError         a direction for a layer that runs in both
        ├── OperatorError          operators that exclude each other, or one without the other
        ├── DropoutKeyError        dropout without a random key
        ├── AlgorithmError         an algorithm that does not exist
        ├── DropoutRateError       a dropout rate outside [0, 1]
        └── InexactDtypeError      a computation was asked for in an integer or boolean dtype

All of them but `CellMethodError` are also ValueErrors. A missing `use_running_average` or
`deterministic` is reported by `linen_core.merge_param`, a parameter of the wrong shape by the scope
it is read from.

The texts say, in this order: the layer and its module path, what was found, what was expected, and
the line to write instead.
"""

from linen_core import Module
from linen_core.errors import LinenError

__all__ = [
    "AlgorithmError",
    "AttentionFunctionError",
    "AttentionInputError",
    "AttentionShapeError",
    "AxisError",
    "BatchShapeError",
    "CacheOverflowError",
    "CacheShapeError",
    "CarryShapeError",
    "CellMethodError",
    "DirectionError",
    "DropoutKeyError",
    "DropoutRateError",
    "EquationError",
    "FeatureSizeError",
    "FusedAttentionError",
    "GroupsError",
    "HeadCountError",
    "InexactDtypeError",
    "InputDtypeError",
    "InputRankError",
    "LayerError",
    "LayerSequenceError",
    "MaskShapeError",
    "MissingArgumentError",
    "NoParametersError",
    "OperatorError",
    "PaddingError",
    "ParameterRankError",
    "SequenceLengthsError",
    "UnsupportedFieldError",
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


class GroupsError(LayerError, ValueError):
    """Groups of features are given by number and by size, or by neither."""


class NoParametersError(LayerError, ValueError):
    """A layer is wrapped to change its parameters, and has none that could be changed."""


class ParameterRankError(LayerError, ValueError):
    """A parameter has more dimensions than a matrix."""


class MissingArgumentError(LayerError, TypeError, ValueError):
    """An argument without a default that could be meant is missing."""


class AxisError(LayerError, ValueError):
    """An axis is outside the dimensions of the array."""


class MaskShapeError(LayerError, ValueError):
    """A mask does not have the shape of what it masks."""


class PaddingError(LayerError, ValueError):
    """A padding is unknown, or does not have one entry for each dimension of the window."""


class WindowError(LayerError, ValueError):
    """A window, its strides or its dilations do not have one entry for each dimension."""


class EquationError(LayerError, ValueError):
    """An equation has no meaning, or does not fit the shapes of its operands."""


class BatchShapeError(LayerError, ValueError):
    """Arrays do not agree in their leading dimensions, or a function does not keep them."""


class LayerSequenceError(LayerError, TypeError, ValueError):
    """Layers are no sequence, or cannot be called one after another."""


class UnsupportedFieldError(LayerError, ValueError):
    """A field of a layer has a value that other layers can have and this one cannot."""


class AttentionShapeError(LayerError, ValueError):
    """Queries, keys, values or a bias do not fit each other."""


class AttentionInputError(LayerError, ValueError):
    """An attention layer was given inputs of which one is missing, or two say the same."""


class AttentionFunctionError(LayerError, ValueError):
    """An attention function does not take an argument that a layer was asked to honour."""


class HeadCountError(LayerError, ValueError):
    """The heads of the keys do not divide the heads of the queries."""


class FusedAttentionError(LayerError, ValueError):
    """The fused attention kernel was asked for, and cannot run."""


class CacheShapeError(LayerError, ValueError):
    """Tokens do not have the shape that the cache of decoding was made for."""


class CacheOverflowError(LayerError, ValueError):
    """The cache of decoding has no room for more tokens."""


class CarryShapeError(LayerError, TypeError, ValueError):
    """A carry does not have the form that a cell needs, or comes out of a step in another one."""


class SequenceLengthsError(LayerError, ValueError):
    """The lengths of sequences do not have the shape of the batch."""


class CellMethodError(LayerError, NotImplementedError):
    """A cell does not define a method or property that a loop over sequences needs."""


class DirectionError(LayerError, ValueError):
    """A layer that runs in both directions is asked for one."""


class OperatorError(LayerError, ValueError):
    """Two operators exclude each other, or need each other."""


class DropoutKeyError(LayerError, ValueError):
    """There is dropout, and no random key to draw from."""


class AlgorithmError(LayerError, ValueError):
    """An algorithm was chosen that does not exist."""


class DropoutRateError(LayerError, ValueError):
    """A dropout rate is not a probability."""


class InexactDtypeError(LayerError, ValueError):
    """A dtype of floating point or complex numbers is needed, and another one was given."""


def location(layer: Module | str) -> str:
    """Says which layer an error is about: its class and its module path.

    Args:
        layer: a module, or the name of a function.

    Returns:
        For example ``Dense at /encoder/Dense_0``; the path of a model's root is ``/``. A module
        that is not bound has no path yet, and the name of a function is returned as it is.

    >>> import jax, linen_modules as nn
    >>> class Shout(nn.Module):
    ...     def __call__(self):
    ...         return location(self)
    >>> Shout().apply({})
    'Shout at /'
    """
    if isinstance(layer, str):
        return layer
    if layer.scope is None:
        return type(layer).__name__
    return f"{type(layer).__name__} at /{'/'.join(layer.path)}"
