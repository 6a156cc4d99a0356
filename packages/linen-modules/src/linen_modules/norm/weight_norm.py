"""Weight normalisation: the direction and the length of kernels are learned apart."""

from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
from jax import lax

from linen_core import Module, compact, nowrap
from linen_modules import initializers
from linen_modules._cached_jit import cached_jit
from linen_modules.dtypes import canonicalize_dtype
from linen_modules.errors import NoParametersError, location
from linen_modules.norm.normalization import canonicalize_axes
from linen_modules.norm.reparametrization import call_with_changed_parameters, evaluated_by
from linen_modules.norm.statistics import squared_magnitude
from linen_modules.typing import Array, Axes, DTypeLike, Initializer

__all__ = ["WeightNorm", "weight_norm"]


@cached_jit()
def weight_norm(
    kernel: Array,
    scale: Array | None,
    *,
    feature_axes: tuple[int, ...],
    epsilon: float = 1e-12,
    dtype: DTypeLike | None = None,
) -> Array:
    """Gives the slices of a kernel length 1, then scales them.

    Args:
        kernel: an array.
        scale: the lengths, of the shape of the feature axes, or None.
        feature_axes: the axes along which slices have a length of their own, ascending.
        epsilon: added to the squares of lengths.
        dtype: the dtype of the result; None infers it.

    Returns:
        An array of the shape of the kernel.

    >>> import jax.numpy as jnp
    >>> kernel, scale = jnp.array([[3.0, 0.0], [4.0, 2.0]]), jnp.array([5.0, 10.0])
    >>> weight_norm(kernel, scale, feature_axes=(1,)).round().tolist()
    [[3.0, 0.0], [4.0, 10.0]]
    """
    dtype = canonicalize_dtype(kernel, scale, dtype=dtype)
    others = tuple(axis for axis in range(kernel.ndim) if axis not in feature_axes)
    square = jnp.sum(squared_magnitude(kernel), others, keepdims=True)
    kernel = kernel * lax.rsqrt(square + epsilon)
    if scale is not None:
        kernel = kernel * jnp.expand_dims(scale, others)
    return jnp.asarray(kernel, dtype)


class WeightNorm(Module):
    """Calls a layer with parameters whose slices have length 1 times a learned scale.

    The scales are parameters named after the one they belong to, such as
    "layer_instance/kernel/scale". `init` stores the normalised parameters, and so does `apply`
    where the parameters are mutable.

    Attributes:
        layer_instance: the layer to call.
        epsilon: added to the squares of lengths.
        dtype: the dtype of the normalised parameters; None infers it.
        param_dtype: the dtype of the scales.
        use_scale: whether to scale; if not, all lengths are 1.
        scale_init: makes a scale, of the shape of the feature axes.
        feature_axes: the axes of a parameter along which slices have a length of their own; None
            is one length for the whole parameter.
        variable_filter: what the name of a parameter, such as "layer_instance/kernel", has in it
            if it is normalised: any of these texts. None or nothing is all parameters.

    References:
        Salimans, Kingma, "Weight normalization: a simple reparameterization to accelerate training
        of deep neural networks", 2016.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> layer = nn.WeightNorm(nn.Dense(4))
    >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((2, 3)))
    >>> jax.tree.map(jnp.shape, variables)
    {'params': {'layer_instance': {'bias': (4,), 'kernel': (3, 4)}, 'layer_instance/kernel/scale': (4,)}}
    """

    layer_instance: Module
    epsilon: float = 1e-12
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    use_scale: bool = True
    scale_init: Initializer = initializers.ones
    feature_axes: Axes | None = -1
    variable_filter: Iterable[str] | None = frozenset({"kernel"})

    @compact
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the layer.

        Args:
            *args: what the layer is called with.
            **kwargs: what the layer is called with.

        Returns:
            The output of the layer.

        Raises:
            NoParametersError: if the layer has no parameters, or none that `variable_filter` names.
            AxisError: if a parameter does not have one of the feature axes.
        """
        texts = self._texts()
        left_out, normalized = [], []

        def change(name: str, value: Array) -> Array:
            if texts and not any(text in name for text in texts):
                left_out.append(name)
                return value
            normalized.append(name)
            return self._normalized(name, value)

        outputs = call_with_changed_parameters(self, self.layer_instance, change, args, kwargs)
        if not normalized:
            raise NoParametersError(
                f"{location(self)}: found variable_filter={sorted(texts)}, which is in the name of "
                f"no parameter; expected a part of one of {sorted(set(left_out))}. Write "
                "variable_filter=None for all parameters."
            )
        return outputs

    @nowrap
    def _texts(self) -> set[str]:
        given = self.variable_filter
        return {given} if isinstance(given, str) else set(given or ())

    @nowrap
    def _normalized(self, name: str, value: Array) -> Array:
        shape = jnp.shape(value)
        axes = canonicalize_axes(self, "feature_axes", shape, what=f"the parameter {name}")
        scale = None
        if self.use_scale:
            features = tuple(shape[axis] for axis in axes)
            scale = self.param(f"{name}/scale", self.scale_init, features, self.param_dtype)
        return evaluated_by(self, weight_norm)(
            value, scale, feature_axes=axes, epsilon=self.epsilon, dtype=self.dtype
        )
