"""Spectral normalisation: kernels are divided by their largest singular value."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from linen_core import Module, compact, nowrap
from linen_modules._cached_jit import cached_jit
from linen_modules.dtypes import canonicalize_dtype
from linen_modules.errors import (
    MissingArgumentError,
    ParameterRankError,
    UnsupportedFieldError,
    location,
)
from linen_modules.norm.reparametrization import call_with_changed_parameters, evaluated_by
from linen_modules.typing import Array, DTypeLike

__all__ = ["SpectralNorm", "spectral_norm"]


@cached_jit()
def spectral_norm(
    kernel: Array,
    u: Array,
    *,
    n_steps: int = 1,
    epsilon: float = 1e-12,
    dtype: DTypeLike | None = None,
) -> tuple[Array, Array, Array]:
    """Divides a kernel by an estimate of its largest singular value.

    The kernel is read as a matrix with its last axis as columns. The estimate is made by power
    iteration: each step multiplies a vector with the matrix and back.

    Args:
        kernel: shape (..., features).
        u: an estimate of the singular vector, of shape (1, features).
        n_steps: how many steps of the iteration are made.
        epsilon: added to the squares of norms.
        dtype: the dtype of the result; None infers it.

    Returns:
        The kernel divided by the singular value (by 1 if that is zero), the next estimate of the
        singular vector, and the singular value, a scalar.

    >>> import jax.numpy as jnp
    >>> kernel = jnp.diag(jnp.array([4.0, 1.0]))
    >>> normalized, _, sigma = spectral_norm(kernel, jnp.ones((1, 2)), n_steps=5)
    >>> sigma.round(3).item()
    4.0
    >>> normalized.round(3).tolist()
    [[1.0, 0.0], [0.0, 0.25]]
    """

    def unit(vector: Array) -> Array:
        return vector * lax.rsqrt(jnp.sum(vector * vector, keepdims=True) + epsilon)

    dtype = canonicalize_dtype(kernel, u, dtype=dtype)
    matrix = kernel.reshape(-1, kernel.shape[-1])
    v = u
    for _ in range(n_steps):
        v = unit(u @ matrix.T)
        u = unit(v @ matrix)
    # The gradient is that of the singular value, whose vectors count as constants.
    u, v = lax.stop_gradient(u), lax.stop_gradient(v)
    sigma = (v @ matrix @ u.T)[0, 0]
    normalized = matrix / jnp.where(sigma != 0, sigma, 1)
    return jnp.asarray(normalized.reshape(kernel.shape), dtype), u, sigma


class SpectralNorm(Module):
    """Calls a layer with parameters that are divided by their largest singular value.

    This bounds how much the layer can stretch a difference of inputs. Parameters with fewer than
    two dimensions, such as biases, stay as they are. The singular value is estimated by power
    iteration, whose vector `u` is kept from step to step, with the value `sigma`; both are
    variables named after the parameter, such as "layer_instance/kernel/u".

    `init` stores the divided parameters, and so does `apply` where the parameters are mutable.

    Attributes:
        layer_instance: the layer to call.
        n_steps: how many steps of the iteration each call makes; 0 passes the parameters on.
        epsilon: added to the squares of norms.
        dtype: the dtype of the divided parameters; None infers it.
        param_dtype: the dtype in which `u` and `sigma` are initialised.
        error_on_non_matrix: whether parameters with more than two dimensions are refused; if not,
            all but their last axis become one.
        collection_name: the collection of `u` and `sigma`.

    References:
        Miyato, Kataoka, Koyama, Yoshida, "Spectral normalization for generative adversarial
        networks", 2018.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> layer = nn.SpectralNorm(nn.Dense(4))
    >>> x = jnp.ones((2, 3))
    >>> variables = layer.init(jax.random.key(0), x, update_stats=False)
    >>> jax.tree.map(jnp.shape, variables["batch_stats"])
    {'layer_instance/kernel/sigma': (), 'layer_instance/kernel/u': (1, 4)}
    >>> y, updates = layer.apply(variables, x, update_stats=True, mutable=["batch_stats"])
    >>> layer.apply(variables | updates, x, update_stats=False).shape
    (2, 4)
    """

    layer_instance: Module
    n_steps: int = 1
    epsilon: float = 1e-12
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    error_on_non_matrix: bool = False
    collection_name: str = "batch_stats"

    @compact
    def __call__(self, *args: Any, update_stats: bool | None = None, **kwargs: Any) -> Any:
        """Calls the layer.

        Args:
            *args: what the layer is called with.
            update_stats: whether to store the new estimates, as in training; must be given.
            **kwargs: what the layer is called with.

        Returns:
            The output of the layer.

        Raises:
            MissingArgumentError: if `update_stats` is not given.
            UnsupportedFieldError: if `n_steps` is negative.
            NoParametersError: if the layer has no parameters.
            ParameterRankError: if a parameter has more than two dimensions though
                `error_on_non_matrix`.
            ModifyScopeVariableError: with `update_stats`, if the collection is not mutable.
        """
        if update_stats is None:
            raise MissingArgumentError(
                f"{location(self)}: found no update_stats; expected whether to store the new "
                "estimates of singular values. Write update_stats=True in training, with "
                f'mutable=["{self.collection_name}"] in apply, and update_stats=False otherwise.'
            )
        if self.n_steps < 0:
            raise UnsupportedFieldError(
                f"{location(self)}: found n_steps={self.n_steps}; expected a number of steps. Write "
                "n_steps=1, or n_steps=0 to pass the parameters on."
            )

        def change(name: str, value: Array) -> Array:
            return self._normalized(name, value, update_stats)

        return call_with_changed_parameters(self, self.layer_instance, change, args, kwargs)

    @nowrap
    def _normalized(self, name: str, value: Array, update_stats: bool) -> Array:
        ndim = jnp.ndim(value)
        if ndim <= 1 or self.n_steps == 0:
            return value
        if ndim > 2 and self.error_on_non_matrix:
            raise ParameterRankError(
                f"{location(self)}: found the parameter {name} of shape {jnp.shape(value)}; "
                "expected a matrix, as error_on_non_matrix=True says. Write "
                "error_on_non_matrix=False to make one of all but its last axis."
            )

        def initial_u(shape: tuple[int, ...]) -> Array:
            return jax.random.normal(self.make_rng("params"), shape, self.param_dtype)

        shape = (1, jnp.shape(value)[-1])
        u = self.variable(self.collection_name, f"{name}/u", initial_u, shape)
        sigma = self.variable(self.collection_name, f"{name}/sigma", jnp.ones, (), self.param_dtype)
        normalized, new_u, new_sigma = evaluated_by(self, spectral_norm)(
            value, u.value, n_steps=self.n_steps, epsilon=self.epsilon, dtype=self.dtype
        )
        if update_stats:
            u.value, sigma.value = new_u, new_sigma
        return normalized
