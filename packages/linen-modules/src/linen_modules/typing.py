"""Types in the signatures of the layers.

An *operator* is a function that a layer calls for a step of its arithmetic and that a user may
replace: the promotion of dtypes, the matrix product, the convolution. The protocols below say what
a replacement is given and what it must return.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from jax import Array
from jax.lax import ConvDimensionNumbers, PrecisionLike
from jax.nn.initializers import Initializer
from jax.typing import ArrayLike, DTypeLike

__all__ = [
    "Array",
    "ArrayLike",
    "Axes",
    "ConvGeneralDilated",
    "DTypeLike",
    "DotGeneral",
    "EinsumOperator",
    "Initializer",
    "PaddingLike",
    "PrecisionLike",
    "PromoteDtype",
]

Axes = int | Sequence[int]
"""One axis or several; negative axes count from the last."""

PaddingLike = str | int | Sequence[int | tuple[int, int]]
"""The name of a padding, one number for all sides, or an entry (low, high) per dimension."""


class PromoteDtype(Protocol):
    """Brings the operands of a layer to one dtype."""

    def __call__(
        self, *args: Any, dtype: DTypeLike | None = None, inexact: bool = True
    ) -> Sequence[Any]:
        """Promotes arrays.

        Args:
            *args: arrays; None stands for a parameter that the layer does not have.
            dtype: the dtype of the computation; None infers it from the arrays.
            inexact: whether the result must be floating point or complex.

        Returns:
            The arrays in one dtype, None where None was given.
        """
        ...


class DotGeneral(Protocol):
    """A general matrix product; see `jax.lax.dot_general`."""

    def __call__(
        self,
        lhs: Array,
        rhs: Array,
        dimension_numbers: tuple[
            tuple[Sequence[int], Sequence[int]], tuple[Sequence[int], Sequence[int]]
        ],
        *,
        precision: PrecisionLike = None,
    ) -> Array:
        """Multiplies and sums.

        Args:
            lhs: the inputs of the layer.
            rhs: the kernel.
            dimension_numbers: ((contracted axes of lhs, of rhs), (batch axes of lhs, of rhs)).
            precision: as `jax.lax.Precision`.

        Returns:
            An array of the batch axes, the remaining axes of lhs, the remaining axes of rhs.
        """
        ...


class EinsumOperator(Protocol):
    """A sum of products of two arrays; see `jax.numpy.einsum`."""

    def __call__(self, subscripts: str, lhs: Array, rhs: Array, /) -> Array:
        """Multiplies and sums.

        Args:
            subscripts: the axes of both arrays and of the result, such as "...qhd,...khd->...hqk",
                which multiplies queries and keys, or "...hqk,...khd->...qhd", which averages
                values. Where heads of queries share keys there is one axis more: "...qhgd" for
                queries and "...hgqk" for weights.
            lhs: queries or weights.
            rhs: keys or values.

        Returns:
            An array of the axes that the subscripts say.
        """
        ...


class ConvGeneralDilated(Protocol):
    """A general convolution; see `jax.lax.conv_general_dilated`."""

    def __call__(
        self,
        lhs: Array,
        rhs: Array,
        window_strides: Sequence[int],
        padding: str | Sequence[tuple[int, int]],
        *,
        lhs_dilation: Sequence[int],
        rhs_dilation: Sequence[int],
        dimension_numbers: ConvDimensionNumbers,
        feature_group_count: int,
        precision: PrecisionLike,
    ) -> Array:
        """Convolves.

        Args:
            lhs: the inputs, of shape (batch, spatial dimensions..., features).
            rhs: the kernel, of shape (window..., features of a group, output features).
            window_strides: one stride for each spatial dimension.
            padding: "SAME", "SAME_LOWER", "VALID", or (low, high) for each spatial dimension.
            lhs_dilation: one dilation of the inputs for each spatial dimension.
            rhs_dilation: one dilation of the kernel for each spatial dimension.
            dimension_numbers: which axis of each array is which.
            feature_group_count: how many groups the features are split into.
            precision: as `jax.lax.Precision`.

        Returns:
            The outputs, of shape (batch, spatial dimensions..., output features).
        """
        ...
