"""Normalisation by the root mean square: what layer normalisation does, without the mean."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from linen_core import Module, compact
from linen_modules import initializers
from linen_modules._cached_jit import cached_jit
from linen_modules.norm.normalization import (
    canonicalize_axes,
    check_mask,
    hashable_groups,
    normalize,
    optional_parameter,
)
from linen_modules.norm.statistics import Reduction, mean_square, statistics_dtype
from linen_modules.typing import Array, Axes, DTypeLike, Initializer

__all__ = ["RMSNorm", "rms_norm"]


@cached_jit()
def rms_norm(
    x: Array,
    scale: Array | None,
    mask: Array | None,
    *,
    reduction: Reduction,
    feature_axes: tuple[int, ...],
    epsilon: float = 1e-6,
    dtype: DTypeLike | None = None,
    force_float32_reductions: bool = True,
) -> Array:
    """Divides an array by the root of its own mean square.

    Args:
        x: an array.
        scale: of the shape of the feature axes, or None.
        mask: which positions count, broadcast against x; None is all of them.
        reduction: what the mean is taken over.
        feature_axes: the axes that have a scale of their own, ascending.
        epsilon: added to the mean square.
        dtype: the dtype of the result; None infers it.
        force_float32_reductions: whether the mean is at least float32.

    Returns:
        An array of the shape of x.
    """
    values = jnp.asarray(x, statistics_dtype(x, dtype, force_float32_reductions))
    square = reduction.expand(mean_square(values, mask, reduction))
    return normalize(
        x, None, square, scale, None, feature_axes=feature_axes, epsilon=epsilon, dtype=dtype
    )


class RMSNorm(Module):
    """Normalises each example to mean square 1, then scales its features.

    Attributes:
        epsilon: added to the mean square.
        dtype: the dtype of the result; None infers it from the input and the parameters.
        param_dtype: the dtype of the parameters.
        use_scale: whether to scale; needless where the next layer is linear.
        scale_init: makes the scale, of the shape of the feature axes.
        reduction_axes: the axes that are averaged.
        feature_axes: the axes that have a scale of their own.
        axis_name: the mapped axis over which the reduced axes are split, as in `LayerNorm`.
        axis_index_groups: groups of indices of that axis that are averaged on their own.
        use_fast_variance: is there so that layers can be exchanged. A mean square is taken in one
            pass and never cancels, so that both values mean the same.
        force_float32_reductions: whether the mean is at least float32; if not, it has the dtype of
            the input and the scale is cast to `param_dtype`.

    References:
        Zhang, Sennrich, "Root mean square layer normalization", 2019.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> layer = nn.RMSNorm()
    >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.array([[5.0, -5.0]]))
    >>> y.round(3).tolist()
    [[1.0, -1.0]]
    >>> jax.tree.map(jnp.shape, variables)
    {'params': {'scale': (2,)}}
    """

    epsilon: float = 1e-6
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    use_scale: bool = True
    scale_init: Initializer = initializers.ones
    reduction_axes: Axes = -1
    feature_axes: Axes = -1
    axis_name: Any = None
    axis_index_groups: Sequence[Sequence[int]] | None = None
    use_fast_variance: bool = True
    force_float32_reductions: bool = True

    @compact
    def __call__(self, x: Array, *, mask: Array | None = None) -> Array:
        """Normalises.

        Args:
            x: an array with the reduced and the feature axes.
            mask: which positions count for the mean, broadcast against x.

        Returns:
            An array of the shape of x.

        Raises:
            AxisError: if the input does not have one of the axes.
            MaskShapeError: if the mask does not broadcast to the shape of the input.
            InexactDtypeError: if `dtype` is an integer or boolean one.
        """
        shape = jnp.shape(x)
        axes = canonicalize_axes(self, "reduction_axes", shape)
        feature_axes = canonicalize_axes(self, "feature_axes", shape)
        check_mask(mask, shape, self)
        return rms_norm(
            x,
            optional_parameter(self, "scale", tuple(shape[axis] for axis in feature_axes)),
            mask,
            reduction=Reduction(axes, self.axis_name, hashable_groups(self.axis_index_groups)),
            feature_axes=feature_axes,
            epsilon=self.epsilon,
            dtype=self.dtype,
            force_float32_reductions=self.force_float32_reductions,
        )
