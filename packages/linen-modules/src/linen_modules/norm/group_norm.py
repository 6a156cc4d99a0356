"""Group normalisation: statistics of groups of neighbouring features, of each example on its own."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from linen_core import Module, compact, nowrap
from linen_modules import initializers
from linen_modules._cached_jit import cached_jit
from linen_modules.errors import AxisError, FeatureSizeError, GroupsError, location
from linen_modules.norm.normalization import (
    affine_parameters,
    canonicalize_axes,
    check_mask,
    hashable_groups,
    normalize,
)
from linen_modules.norm.statistics import Reduction, mean_and_variance, statistics_dtype
from linen_modules.typing import Array, Axes, DTypeLike, Initializer

__all__ = ["GroupNorm", "group_norm"]


@cached_jit()
def group_norm(
    x: Array,
    scale: Array | None,
    bias: Array | None,
    mask: Array | None,
    *,
    num_groups: int,
    reduction: Reduction,
    epsilon: float = 1e-6,
    dtype: DTypeLike | None = None,
    use_fast_variance: bool = True,
    force_float32_reductions: bool = True,
) -> Array:
    """Normalises an array with the means and variances of its groups of features.

    Args:
        x: shape (..., features).
        scale: shape (features,), or None.
        bias: shape (features,), or None.
        mask: which positions count, broadcast against x; None is all of them.
        num_groups: how many groups the features are split into.
        reduction: what the statistics are taken over; its axes are those of an array of shape
            (..., groups, features of a group).
        epsilon: added to the variance.
        dtype: the dtype of the result; None infers it.
        use_fast_variance: as in `mean_and_variance`.
        force_float32_reductions: whether statistics are at least float32.

    Returns:
        An array of the shape of x.
    """
    grouped = (*x.shape[:-1], num_groups, x.shape[-1] // num_groups)
    values = jnp.asarray(x, statistics_dtype(x, dtype, force_float32_reductions))
    if mask is not None:
        mask = jnp.broadcast_to(mask, x.shape).reshape(grouped)

    def of_features(statistic: Array) -> Array:
        # What is repeated is small; x keeps its layout where it is normalised.
        statistic = reduction.expand(statistic)
        repeated = jnp.broadcast_to(statistic, (*statistic.shape[:-1], grouped[-1]))
        return repeated.reshape(*statistic.shape[:-2], x.shape[-1])

    mean, variance = mean_and_variance(
        values.reshape(grouped), mask, reduction, use_fast_variance=use_fast_variance
    )
    mean, variance = of_features(mean), of_features(variance)
    last = (x.ndim - 1,)
    return normalize(
        x, mean, variance, scale, bias, feature_axes=last, epsilon=epsilon, dtype=dtype
    )


class GroupNorm(Module):
    """Normalises groups of features of each example to mean 0 and variance 1.

    Then each feature has a scale and a bias of its own. The features are the last axis, the
    examples the first one.

    Attributes:
        num_groups: how many groups the features are split into; None if `group_size` is given.
        group_size: how many features a group has.
        epsilon: added to the variance.
        dtype: the dtype of the result; None infers it from the input and the parameters.
        param_dtype: the dtype of the parameters.
        use_bias: whether to shift.
        use_scale: whether to scale; needless where the next layer is linear.
        bias_init: makes the bias, of shape (features,).
        scale_init: makes the scale, of shape (features,).
        reduction_axes: the axes that are averaged, the last among them; None is all but the first.
        axis_name: the mapped axis over which the reduced axes are split, as in `LayerNorm`. If it
            is the features that are split, a group is on one device.
        axis_index_groups: groups of indices of that axis that are averaged on their own.
        use_fast_variance: whether to take the statistics about a constant close to the mean, as in
            `LayerNorm`.
        force_float32_reductions: whether statistics are at least float32; if not, they have the
            dtype of the input and scale and bias are cast to `param_dtype`.

    References:
        Wu, He, "Group normalization", 2018.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> layer = nn.GroupNorm(num_groups=2)
    >>> x = jnp.array([[1.0, 3.0, -20.0, 20.0]])
    >>> y, variables = layer.init_with_output(jax.random.key(0), x)
    >>> y.round(3).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    >>> jax.tree.map(jnp.shape, variables)
    {'params': {'bias': (4,), 'scale': (4,)}}
    """

    num_groups: int | None = 32
    group_size: int | None = None
    epsilon: float = 1e-6
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    use_bias: bool = True
    use_scale: bool = True
    bias_init: Initializer = initializers.zeros
    scale_init: Initializer = initializers.ones
    reduction_axes: Axes | None = None
    axis_name: Any = None
    axis_index_groups: Sequence[Sequence[int]] | None = None
    use_fast_variance: bool = True
    force_float32_reductions: bool = True

    @compact
    def __call__(self, x: Array, *, mask: Array | None = None) -> Array:
        """Normalises.

        Args:
            x: shape (examples, ..., features); without examples, shape (features,).
            mask: which positions count for the statistics, broadcast against x.

        Returns:
            An array of the shape of x.

        Raises:
            GroupsError: if `num_groups` and `group_size` are both given, or both None.
            FeatureSizeError: if the features cannot be split into such groups.
            AxisError: if the input does not have one of the axes, or the last one is missing.
            MaskShapeError: if the mask does not broadcast to the shape of the input.
            InexactDtypeError: if `dtype` is an integer or boolean one.
        """
        shape = jnp.shape(x)
        axes = self._reduced_axes(shape)
        num_groups = self.groups_of(shape[-1])
        check_mask(mask, shape, self)
        return group_norm(
            x,
            *affine_parameters(self, shape[-1:]),
            mask,
            num_groups=num_groups,
            reduction=Reduction(axes, self.axis_name, hashable_groups(self.axis_index_groups)),
            epsilon=self.epsilon,
            dtype=self.dtype,
            use_fast_variance=self.use_fast_variance,
            force_float32_reductions=self.force_float32_reductions,
        )

    @nowrap
    def _reduced_axes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The axes that are averaged once the last one is split into groups and their features."""
        ndim = len(shape)
        axes = canonicalize_axes(self, "reduction_axes", shape, (*range(1, ndim - 1), -1))
        if ndim - 1 not in axes:
            raise AxisError(
                f"{location(self)}: found reduction_axes={self.reduction_axes} and an input of "
                f"shape {shape}; expected its last axis among them, which has the features of the "
                f"groups. Write reduction_axes={(*axes, ndim - 1)}."
            )
        return (*axes[:-1], ndim)

    @nowrap
    def groups_of(self, features: int) -> int:
        """Says how many groups there are.

        Args:
            features: the number of features.

        Returns:
            The number of groups.

        Raises:
            GroupsError: if `num_groups` and `group_size` are both given, or both None.
            FeatureSizeError: if the features cannot be split into such groups.
        """
        given = f"num_groups={self.num_groups} and group_size={self.group_size}"
        if self.num_groups is None and self.group_size is not None:
            field, number = "group_size", self.group_size
        elif self.num_groups is not None and self.group_size is None:
            field, number = "num_groups", self.num_groups
        else:
            raise GroupsError(
                f"{location(self)}: found {given}; expected one of them. Write "
                "GroupNorm(num_groups=8), or GroupNorm(num_groups=None, group_size=16)."
            )
        if number < 1 or features % number:
            raise FeatureSizeError(
                f"{location(self)}: found {features} features; expected a multiple of "
                f"{field}={number}. Write {field} as a divisor of {features}."
            )
        return features // number if field == "group_size" else number
