"""Layer normalisation: statistics of each example on its own."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from linen_core import Module, compact
from linen_modules import initializers
from linen_modules._cached_jit import cached_jit
from linen_modules.norm.normalization import (
    affine_parameters,
    canonicalize_axes,
    check_mask,
    hashable_groups,
    normalize,
)
from linen_modules.norm.statistics import Reduction, mean_and_variance, statistics_dtype
from linen_modules.typing import Array, Axes, DTypeLike, Initializer

__all__ = ["LayerNorm", "layer_norm"]


@cached_jit()
def layer_norm(
    x: Array,
    scale: Array | None,
    bias: Array | None,
    mask: Array | None,
    *,
    reduction: Reduction,
    feature_axes: tuple[int, ...],
    epsilon: float = 1e-6,
    dtype: DTypeLike | None = None,
    use_fast_variance: bool = True,
    force_float32_reductions: bool = True,
) -> Array:
    """Normalises an array with its own mean and variance.

    Args:
        x: an array.
        scale: of the shape of the feature axes, or None.
        bias: of the shape of the feature axes, or None.
        mask: which positions count, broadcast against x; None is all of them.
        reduction: what the statistics are taken over.
        feature_axes: the axes that have a scale and a bias of their own, ascending.
        epsilon: added to the variance.
        dtype: the dtype of the result; None infers it.
        use_fast_variance: as in `mean_and_variance`.
        force_float32_reductions: whether statistics are at least float32.

    Returns:
        An array of the shape of x.
    """
    values = jnp.asarray(x, statistics_dtype(x, dtype, force_float32_reductions))
    mean, variance = mean_and_variance(values, mask, reduction, use_fast_variance=use_fast_variance)
    mean, variance = reduction.expand(mean), reduction.expand(variance)
    return normalize(
        x, mean, variance, scale, bias, feature_axes=feature_axes, epsilon=epsilon, dtype=dtype
    )


class LayerNorm(Module):
    """Normalises each example to mean 0 and variance 1, then scales and shifts its features.

    Attributes:
        epsilon: added to the variance.
        dtype: the dtype of the result; None infers it from the input and the parameters.
        param_dtype: the dtype of the parameters.
        use_bias: whether to shift.
        use_scale: whether to scale; needless where the next layer is linear.
        bias_init: makes the bias, of the shape of the feature axes.
        scale_init: makes the scale, of the shape of the feature axes.
        reduction_axes: the axes that are averaged.
        feature_axes: the axes that have a scale and a bias of their own.
        axis_name: the mapped axis over which the reduced axes are split, in `shard_map`, `vmap` or
            `pmap`; arrays that are sharded under `jit` need none.
        axis_index_groups: groups of indices of that axis that are averaged on their own; JAX has
            them in `pmap` and in `shard_map` with ``check_vma=False``.
        use_fast_variance: whether to take the statistics about a constant close to the mean, which
            is right for large means too; if not, the variance is computed as it is defined, with
            the slower gradient of that.
        force_float32_reductions: whether statistics are at least float32; if not, they have the
            dtype of the input and scale and bias are cast to `param_dtype`.

    References:
        Ba, Kiros, Hinton, "Layer normalization", 2016.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> layer = nn.LayerNorm()
    >>> x = jnp.array([[1.0, 3.0], [-20.0, 20.0]])
    >>> y, variables = layer.init_with_output(jax.random.key(0), x)
    >>> y.round(3).tolist()
    [[-1.0, 1.0], [-1.0, 1.0]]
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
            mask: which positions count for the statistics, broadcast against x.

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
