"""Batch normalisation: statistics of a batch, and running averages of them for later."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from linen_core import Module, compact, merge_param
from linen_modules import initializers
from linen_modules._cached_jit import cached_jit
from linen_modules.norm.normalization import (
    affine_parameters,
    canonicalize_axes,
    cast_statistics,
    check_mask,
    hashable_groups,
    normalize,
)
from linen_modules.norm.statistics import Reduction, mean_and_variance, statistics_dtype
from linen_modules.typing import Array, Axes, DTypeLike, Initializer

__all__ = ["BatchNorm", "batch_norm", "batch_norm_inference"]


@cached_jit()
def batch_norm(
    x: Array,
    scale: Array | None,
    bias: Array | None,
    mask: Array | None,
    running_mean: Array,
    running_variance: Array,
    *,
    reduction: Reduction,
    momentum: float = 0.99,
    epsilon: float = 1e-5,
    dtype: DTypeLike | None = None,
    use_fast_variance: bool = True,
    force_float32_reductions: bool = True,
) -> tuple[Array, Array, Array]:
    """Normalises a batch with its own statistics and adds them to the running averages.

    Args:
        x: an array.
        scale: of the shape of the axes that are not reduced, or None.
        bias: of the shape of the axes that are not reduced, or None.
        mask: which positions count, broadcast against x; None is all of them.
        running_mean: of the shape of the axes that are not reduced.
        running_variance: of the shape of the axes that are not reduced.
        reduction: what the statistics are taken over.
        momentum: the part of a running average that stays.
        epsilon: added to the variance.
        dtype: the dtype of the result; None infers it.
        use_fast_variance: as in `mean_and_variance`, with the running mean as the guess.
        force_float32_reductions: whether statistics are at least float32.

    Returns:
        An array of the shape of x and the two new running averages.
    """
    values = jnp.asarray(x, statistics_dtype(x, dtype, force_float32_reductions))
    guess = jnp.asarray(running_mean, values.dtype)
    mean, variance = mean_and_variance(
        values, mask, reduction, guess=guess, use_fast_variance=use_fast_variance
    )
    y = _apply_statistics(x, scale, bias, mean, variance, reduction.axes, epsilon, dtype)
    new = 1 - momentum
    return y, momentum * running_mean + new * mean, momentum * running_variance + new * variance


@cached_jit()
def batch_norm_inference(
    x: Array,
    scale: Array | None,
    bias: Array | None,
    mean: Array,
    variance: Array,
    *,
    reduced_axes: tuple[int, ...],
    epsilon: float = 1e-5,
    dtype: DTypeLike | None = None,
) -> Array:
    """Normalises a batch with given statistics.

    Args:
        x: an array.
        scale: of the shape of the axes that are not reduced, or None.
        bias: of the shape of the axes that are not reduced, or None.
        mean: of the shape of the axes that are not reduced.
        variance: of the shape of the axes that are not reduced.
        reduced_axes: the axes the statistics were taken over, ascending.
        epsilon: added to the variance.
        dtype: the dtype of the result; None infers it.

    Returns:
        An array of the shape of x.
    """
    return _apply_statistics(x, scale, bias, mean, variance, reduced_axes, epsilon, dtype)


def _apply_statistics(
    x: Array,
    scale: Array | None,
    bias: Array | None,
    mean: Array,
    variance: Array,
    reduced_axes: tuple[int, ...],
    epsilon: float,
    dtype: DTypeLike | None,
) -> Array:
    feature_axes = [axis for axis in range(x.ndim) if axis not in reduced_axes]
    mean, variance = (jnp.expand_dims(value, reduced_axes) for value in (mean, variance))
    return normalize(
        x, mean, variance, scale, bias, feature_axes=feature_axes, epsilon=epsilon, dtype=dtype
    )


class BatchNorm(Module):
    """Normalises each feature over a batch to mean 0 and variance 1, then scales and shifts it.

    In training the statistics are those of the batch, and their running averages are kept in the
    collection `collection_name`, which `apply` must make mutable. In inference the running averages
    are used. `init` leaves the averages at mean 0 and variance 1, and needs no named axis.

    Attributes:
        use_running_average: whether to use the running averages; given here or in the call.
        axis: the axes of features, which are not averaged.
        momentum: the part of a running average that stays at each step.
        epsilon: added to the variance.
        dtype: the dtype of the result; None infers it from the input and the parameters.
        param_dtype: the dtype of the parameters.
        use_bias: whether to shift.
        use_scale: whether to scale; needless where the next layer is linear.
        bias_init: makes the bias, of the shape of the features.
        scale_init: makes the scale, of the shape of the features.
        axis_name: the mapped axis over which the batch is split, in `shard_map`, `vmap` or `pmap`;
            batches that are sharded under `jit` need none.
        axis_index_groups: groups of indices of that axis that are averaged on their own; JAX has
            them in `pmap` and in `shard_map` with ``check_vma=False``.
        use_fast_variance: whether to take the statistics about the running mean, in one pass over
            the batch and one collective over the named axis. The variance is right as soon as the
            running mean is within some hundred standard deviations of the mean. If not, it is
            computed as it is defined, in two passes, which is right from the first step.
        force_float32_reductions: whether statistics are at least float32; if not, they have the
            dtype of the input, and the running averages and parameters that of `param_dtype`.
        collection_name: the collection of the running averages.

    References:
        Ioffe, Szegedy, "Batch normalization: accelerating deep network training by reducing
        internal covariate shift", 2015.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> layer = nn.BatchNorm(momentum=0.5)
    >>> x = jnp.array([[1.0], [3.0]])
    >>> variables = layer.init(jax.random.key(0), x, use_running_average=False)
    >>> y, updates = layer.apply(variables, x, use_running_average=False, mutable=["batch_stats"])
    >>> y.round(3).tolist()
    [[-1.0], [1.0]]
    >>> updates["batch_stats"]["mean"].round(3).tolist()
    [1.0]
    >>> layer.apply(variables | updates, x, use_running_average=True).round(3).tolist()
    [[0.0], [2.0]]
    """

    use_running_average: bool | None = None
    axis: Axes = -1
    momentum: float = 0.99
    epsilon: float = 1e-5
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    use_bias: bool = True
    use_scale: bool = True
    bias_init: Initializer = initializers.zeros
    scale_init: Initializer = initializers.ones
    axis_name: Any = None
    axis_index_groups: Sequence[Sequence[int]] | None = None
    use_fast_variance: bool = True
    force_float32_reductions: bool = True
    collection_name: str = "batch_stats"

    @compact
    def __call__(
        self, x: Array, use_running_average: bool | None = None, *, mask: Array | None = None
    ) -> Array:
        """Normalises.

        Args:
            x: an array with the axes of features.
            use_running_average: whether to use the running averages; given here or in the
                constructor.
            mask: which positions count for the statistics, broadcast against x.

        Returns:
            An array of the shape of x.

        Raises:
            MergeParamError: if `use_running_average` is given in both places or in none.
            AxisError: if the input does not have one of the axes.
            MaskShapeError: if the mask does not broadcast to the shape of the input.
            ModifyScopeVariableError: in training, if the running averages are not mutable.
            InexactDtypeError: if `dtype` is an integer or boolean one.
        """
        use_running_average = merge_param(
            "use_running_average", self.use_running_average, use_running_average
        )
        shape = jnp.shape(x)
        feature_axes = canonicalize_axes(self, "axis", shape)
        check_mask(mask, shape, self)
        reduced_axes = tuple(axis for axis in range(len(shape)) if axis not in feature_axes)
        features = tuple(shape[axis] for axis in feature_axes)
        statistics = jnp.float32 if self.force_float32_reductions else self.param_dtype
        averages = self.collection_name
        mean = self.variable(averages, "mean", jnp.zeros, features, statistics)
        variance = self.variable(averages, "var", jnp.ones, features, statistics)
        scale, bias = affine_parameters(self, features)
        options = {"epsilon": self.epsilon, "dtype": self.dtype}

        if use_running_average:
            given = mean.value, variance.value
            if not self.force_float32_reductions:
                given = cast_statistics(self, mean.value), cast_statistics(self, variance.value)
            return batch_norm_inference(
                x, scale, bias, *given, reduced_axes=reduced_axes, **options
            )

        initializing = self.is_initializing()
        axis_name = None if initializing else self.axis_name
        y, new_mean, new_variance = batch_norm(
            x,
            scale,
            bias,
            mask,
            mean.value,
            variance.value,
            reduction=Reduction(reduced_axes, axis_name, hashable_groups(self.axis_index_groups)),
            momentum=self.momentum,
            **options,
            use_fast_variance=self.use_fast_variance,
            force_float32_reductions=self.force_float32_reductions,
        )
        if not initializing:
            mean.value, variance.value = new_mean, new_variance
        return y
