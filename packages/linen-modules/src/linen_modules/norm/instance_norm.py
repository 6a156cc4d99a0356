"""Instance normalisation: statistics of each feature of each example on its own."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from linen_core import Module, compact
from linen_modules import initializers
from linen_modules.errors import AxisError, location
from linen_modules.norm.layer_norm import layer_norm
from linen_modules.norm.normalization import (
    affine_parameters,
    canonicalize_axes,
    check_mask,
    hashable_groups,
)
from linen_modules.norm.statistics import Reduction
from linen_modules.typing import Array, Axes, DTypeLike, Initializer

__all__ = ["InstanceNorm"]


class InstanceNorm(Module):
    """Normalises each feature of each example to mean 0 and variance 1, then scales and shifts it.

    The first axis is that of the examples; all but that and the features are averaged.

    Attributes:
        epsilon: added to the variance.
        dtype: the dtype of the result; None infers it from the input and the parameters.
        param_dtype: the dtype of the parameters.
        use_bias: whether to shift.
        use_scale: whether to scale; needless where the next layer is linear.
        bias_init: makes the bias, of the shape of the feature axes.
        scale_init: makes the scale, of the shape of the feature axes.
        feature_axes: the axes of features, which are not averaged.
        axis_name: the mapped axis over which the averaged axes are split, as in `LayerNorm`.
        axis_index_groups: groups of indices of that axis that are averaged on their own.
        use_fast_variance: whether to take the statistics about a constant close to the mean, as in
            `LayerNorm`.
        force_float32_reductions: whether statistics are at least float32; if not, they have the
            dtype of the input and scale and bias are cast to `param_dtype`.

    References:
        Ulyanov, Vedaldi, Lempitsky, "Instance normalization: the missing ingredient for fast
        stylization", 2016.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> layer = nn.InstanceNorm()
    >>> x = jnp.array([[[1.0, -20.0], [3.0, 20.0]]])
    >>> y, variables = layer.init_with_output(jax.random.key(0), x)
    >>> y.round(3).tolist()
    [[[-1.0, -1.0], [1.0, 1.0]]]
    >>> jax.tree.map(jnp.shape, variables)
    {'params': {'bias': (2,), 'scale': (2,)}}
    """

    epsilon: float = 1e-6
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    use_bias: bool = True
    use_scale: bool = True
    bias_init: Initializer = initializers.zeros
    scale_init: Initializer = initializers.ones
    feature_axes: Axes = -1
    axis_name: Any = None
    axis_index_groups: Sequence[Sequence[int]] | None = None
    use_fast_variance: bool = True
    force_float32_reductions: bool = True

    @compact
    def __call__(self, x: Array, *, mask: Array | None = None) -> Array:
        """Normalises.

        Args:
            x: shape (examples, ...) with the feature axes.
            mask: which positions count for the statistics, broadcast against x.

        Returns:
            An array of the shape of x.

        Raises:
            AxisError: if the input does not have one of the axes, or the first is among them.
            MaskShapeError: if the mask does not broadcast to the shape of the input.
            InexactDtypeError: if `dtype` is an integer or boolean one.
        """
        shape = jnp.shape(x)
        feature_axes = canonicalize_axes(self, "feature_axes", shape)
        if 0 in feature_axes:
            raise AxisError(
                f"{location(self)}: found feature_axes={self.feature_axes} and an input of shape "
                f"{shape}; expected the first axis not among them, which is that of the examples. "
                "Write x[None] for a single example."
            )
        check_mask(mask, shape, self)
        axes = tuple(axis for axis in range(1, len(shape)) if axis not in feature_axes)
        return layer_norm(
            x,
            *affine_parameters(self, tuple(shape[axis] for axis in feature_axes)),
            mask,
            reduction=Reduction(axes, self.axis_name, hashable_groups(self.axis_index_groups)),
            feature_axes=feature_axes,
            epsilon=self.epsilon,
            dtype=self.dtype,
            use_fast_variance=self.use_fast_variance,
            force_float32_reductions=self.force_float32_reductions,
        )
