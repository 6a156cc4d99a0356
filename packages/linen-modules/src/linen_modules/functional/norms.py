"""Normalisation, as functions of a scope."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from linen_core import Scope
from linen_modules import initializers
from linen_modules.norm import BatchNorm, LayerNorm
from linen_modules.norm.group_norm import GroupNorm
from linen_modules.norm.group_norm import group_norm as group_norm_of_arrays
from linen_modules.norm.statistics import Reduction
from linen_modules.typing import Array, Axes, DTypeLike, Initializer

__all__ = ["batch_norm", "group_norm", "layer_norm"]


def layer_norm(
    scope: Scope,
    x: Array,
    epsilon: float = 1e-6,
    dtype: DTypeLike | None = jnp.float32,
    bias: bool = True,
    scale: bool = True,
    bias_init: Initializer = initializers.zeros,
    scale_init: Initializer = initializers.ones,
) -> Array:
    """Normalises the last axis: `linen_modules.LayerNorm` in a scope.

    Args:
        scope: where the parameters "scale" and "bias" are.
        x: shape (..., features).
        epsilon: added to the variance.
        dtype: the dtype of the result; None infers it.
        bias: whether to shift.
        scale: whether to scale.
        bias_init: makes the bias, of shape (features,).
        scale_init: makes the scale, of shape (features,).

    Returns:
        An array of the shape of x.

    Raises:
        AxisError: if the input is a scalar.
        InexactDtypeError: if `dtype` is an integer or boolean one.

    >>> import jax, jax.numpy as jnp
    >>> from linen_core import init
    >>> y, _ = init(layer_norm)(jax.random.key(0), jnp.array([[1.0, 3.0], [-20.0, 20.0]]))
    >>> y.round(3).tolist()
    [[-1.0, 1.0], [-1.0, 1.0]]
    """
    return LayerNorm(
        epsilon=epsilon,
        dtype=dtype,
        use_bias=bias,
        use_scale=scale,
        bias_init=bias_init,
        scale_init=scale_init,
        parent=scope,
    )(x)


def group_norm(
    scope: Scope,
    x: Array,
    num_groups: int | None = 32,
    group_size: int | None = None,
    epsilon: float = 1e-6,
    dtype: DTypeLike | None = jnp.float32,
    bias: bool = True,
    scale: bool = True,
    bias_init: Initializer = initializers.zeros,
    scale_init: Initializer = initializers.ones,
) -> Array:
    """Normalises groups of features, as `linen_modules.GroupNorm` does.

    The parameters have the rank of the input: their shape is (1, ..., 1, features).

    Args:
        scope: where the parameters "scale" and "bias" are.
        x: shape (examples, ..., features).
        num_groups: how many groups the features are split into; None if `group_size` is given.
        group_size: how many features a group has.
        epsilon: added to the variance.
        dtype: the dtype of the result; None infers it.
        bias: whether to shift.
        scale: whether to scale.
        bias_init: makes the bias.
        scale_init: makes the scale.

    Returns:
        An array of the shape of x.

    Raises:
        GroupsError: if `num_groups` and `group_size` are both given, or both None.
        FeatureSizeError: if the features cannot be split into such groups.
        InexactDtypeError: if `dtype` is an integer or boolean one.

    >>> import jax, jax.numpy as jnp
    >>> from linen_core import init
    >>> y, variables = init(group_norm)(jax.random.key(0), jnp.array([[1.0, 3.0, -20.0, 20.0]]), 2)
    >>> y.round(3).tolist(), variables["params"]["scale"].shape
    ([[-1.0, 1.0, -1.0, 1.0]], (1, 4))
    """
    ndim, features = jnp.ndim(x), jnp.shape(x)[-1]
    layer = GroupNorm(num_groups=num_groups, group_size=group_size, parent=scope)
    shape = (*(1,) * (ndim - 1), features)
    return group_norm_of_arrays(
        x,
        scope.param("scale", scale_init, shape).reshape(features) if scale else None,
        scope.param("bias", bias_init, shape).reshape(features) if bias else None,
        None,
        num_groups=layer.groups_of(features),
        reduction=Reduction((*range(1, ndim - 1), ndim)),
        epsilon=epsilon,
        dtype=dtype,
    )


def batch_norm(
    scope: Scope,
    x: Array,
    use_running_average: bool = False,
    axis: Axes = -1,
    momentum: float = 0.99,
    epsilon: float = 1e-5,
    dtype: DTypeLike | None = jnp.float32,
    bias: bool = True,
    scale: bool = True,
    bias_init: Initializer = initializers.zeros,
    scale_init: Initializer = initializers.ones,
    axis_name: Any = None,
    axis_index_groups: Sequence[Sequence[int]] | None = None,
    kind: str = "batch_stats",
) -> Array:
    """Normalises each feature over a batch: `linen_modules.BatchNorm` in a scope.

    Args:
        scope: where the parameters "scale" and "bias" and the averages "mean" and "var" are.
        x: an array with the axes of features.
        use_running_average: whether to use the running averages, not the statistics of the batch.
        axis: the axes of features, which are not averaged.
        momentum: the part of a running average that stays at each step.
        epsilon: added to the variance.
        dtype: the dtype of the result; None infers it.
        bias: whether to shift.
        scale: whether to scale.
        bias_init: makes the bias, of the shape of the features.
        scale_init: makes the scale, of the shape of the features.
        axis_name: the mapped axis over which the batch is split.
        axis_index_groups: groups of indices of that axis that are averaged on their own.
        kind: the collection of the running averages.

    Returns:
        An array of the shape of x.

    Raises:
        AxisError: if the input does not have one of the axes.
        ModifyScopeVariableError: in training, if the running averages are not mutable.
        InexactDtypeError: if `dtype` is an integer or boolean one.

    >>> import jax, jax.numpy as jnp
    >>> from linen_core import init
    >>> y, variables = init(batch_norm)(jax.random.key(0), jnp.array([[1.0], [3.0]]))
    >>> y.round(3).tolist(), sorted(variables["batch_stats"])
    ([[-1.0], [1.0]], ['mean', 'var'])
    """
    return BatchNorm(
        axis=axis,
        momentum=momentum,
        epsilon=epsilon,
        dtype=dtype,
        use_bias=bias,
        use_scale=scale,
        bias_init=bias_init,
        scale_init=scale_init,
        axis_name=axis_name,
        axis_index_groups=axis_index_groups,
        collection_name=kind,
        parent=scope,
    )(x, use_running_average)
