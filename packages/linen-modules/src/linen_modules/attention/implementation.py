"""The choice between the arithmetic of this package and a fused kernel.

- "xla" is the arithmetic of this package, compiled by XLA.
- "cudnn" is the fused kernel of `jax.nn.dot_product_attention` for NVIDIA GPUs, which does not
  store the weights: memory grows with the length, not with its square. Where it cannot run, it is
  an error that says why.
- "auto" is "cudnn" where the default device is a GPU and the kernel can run, forward and backward,
  and "xla" otherwise: always on CPU and TPU, and for float32. Why it is "xla" is logged at debug
  level, once for each reason.

The kernel rounds differently from the arithmetic, in the limits of half precision. It has first
derivatives in reverse mode only: take "xla" for `jax.jvp`, `jax.jacfwd` and `jax.hessian`.
"""

import logging
import math
from functools import cache, lru_cache
from typing import Any, Literal

import jax
import jax.numpy as jnp

from linen_core import Module
from linen_modules._cached_jit import cached_jit
from linen_modules.dtypes import canonicalize_dtype, promote_dtype
from linen_modules.errors import AlgorithmError, FusedAttentionError, location
from linen_modules.typing import Array, DTypeLike

__all__ = ["Implementation", "choose_implementation", "fused_attention"]

Implementation = Literal["auto", "xla", "cudnn"]

_logger = logging.getLogger("linen_modules.attention")


def choose_implementation(
    where: Module | str,
    implementation: str,
    obstacle: str | None,
    arrays: tuple[Any, Any, Any, Any, Any],
    **configuration: Any,
) -> Literal["xla", "cudnn"]:
    """Decides how attention is computed.

    Args:
        where: the layer or the function that was called.
        implementation: what was asked for.
        obstacle: what the fused kernel does not have and is needed, or None.
        arrays: query, key, value, bias and mask.
        **configuration: the other arguments of `fused_attention`.

    Returns:
        What to compute with.

    Raises:
        AlgorithmError: if there is no such implementation.
        FusedAttentionError: if "cudnn" is asked for and cannot run.
    """
    if implementation == "xla":
        return "xla"
    if implementation not in ("auto", "cudnn"):
        raise AlgorithmError(
            f"{location(where)}: found implementation={implementation!r}; expected 'auto', 'xla' "
            "or 'cudnn'. Write implementation='auto' to use the fused kernel where it can run."
        )
    if obstacle is None:
        obstacle = _refusal(arrays, configuration)
    if obstacle is None:
        return "cudnn"
    if implementation == "cudnn":
        raise FusedAttentionError(
            f"{location(where)}: found implementation='cudnn', which cannot run here: {obstacle}. "
            "Write implementation='auto' to use it only where it can."
        )
    _log_once(obstacle)
    return "xla"


@cache
def _log_once(reason: str) -> None:
    _logger.debug("attention is not fused: %s", reason)


def _refusal(arrays: tuple[Any, ...], configuration: dict[str, Any]) -> str | None:
    """Says why the kernel cannot run on these arrays; None if it can."""
    platform = default_platform()
    if platform not in ("gpu", "cuda"):
        return f"the default device is a {platform}, and the kernel is one of NVIDIA GPUs"
    abstract = [
        None if array is None else jax.ShapeDtypeStruct(jnp.shape(array), jnp.result_type(array))
        for array in arrays
    ]
    return _refusal_by_jax(tuple(abstract), tuple(sorted(configuration.items())))


def default_platform() -> str:
    """Names the platform that computations run on unless they are told otherwise."""
    device = getattr(jax.config, "jax_default_device", None)
    return jax.default_backend() if device is None else getattr(device, "platform", str(device))


@lru_cache(maxsize=1024)
def _refusal_by_jax(
    arrays: tuple[jax.ShapeDtypeStruct | None, ...], configuration: tuple[tuple[str, Any], ...]
) -> str | None:
    query, key, value, bias, mask = arrays
    options = dict(configuration)
    dtype = canonicalize_dtype(query, key, value, dtype=options["dtype"])

    def loss(differentiable: Any, mask: Any) -> Array:
        query, key, value, bias = differentiable
        outputs = fused_attention(query, key, value, bias, mask, **options)
        return jnp.sum(outputs.astype(jnp.float32))

    def as_computed(array: jax.ShapeDtypeStruct | None) -> jax.ShapeDtypeStruct | None:
        return None if array is None else jax.ShapeDtypeStruct(array.shape, dtype)

    differentiable = [as_computed(array) for array in (query, key, value, bias)]
    try:
        jax.eval_shape(jax.grad(loss), differentiable, mask)
    except Exception as error:  # JAX says in many classes what its kernel cannot do
        return str(error).strip().rstrip(".") or type(error).__name__
    return None


@cached_jit()
def fused_attention(
    query: Array,
    key: Array,
    value: Array,
    bias: Array | None,
    mask: Array | None,
    *,
    dtype: DTypeLike | None = None,
    is_causal: bool = False,
    local_window_size: tuple[int, int] | None = None,
    kernel: Literal["xla", "cudnn"] = "cudnn",
) -> Array:
    """Averages values with the weights of queries and keys, through `jax.nn.dot_product_attention`.

    Args:
        query: shape (batch..., queries, heads, depth).
        key: shape (batch..., keys, heads or a divisor of them, depth).
        value: of the shape of the keys.
        bias: added before the softmax, broadcast against (batch..., heads, queries, keys).
        mask: nonzero where a query may attend to a key, broadcast likewise.
        dtype: the dtype of the computation; None infers it.
        is_causal: whether a query sees no key after it.
        local_window_size: how many keys before and after it a query sees.
        kernel: the `implementation` of `jax.nn.dot_product_attention`.

    Returns:
        Shape (batch..., queries, heads, depth).
    """
    query, key, value = promote_dtype(query, key, value, dtype=dtype)
    batch = query.shape[:-3]
    outputs = jax.nn.dot_product_attention(
        *(_with_one_batch_axis(array, batch) for array in (query, key, value)),
        bias=_with_one_batch_axis(bias, batch),
        mask=None if mask is None else _with_one_batch_axis(mask.astype(bool), batch),
        # The kernel has no window that ends at the query without the flag.
        is_causal=is_causal or (local_window_size is not None and local_window_size[1] == 0),
        local_window_size=local_window_size,
        implementation=kernel,
    )
    return outputs.reshape(*batch, *outputs.shape[1:])


def _with_one_batch_axis(array: Any, batch: tuple[int, ...]) -> Any:
    """Joins the batch axes, which a bias or a mask may lack; axes of size one stay if alone."""
    if array is None:
        return None
    array = jnp.expand_dims(array, range(len(batch) + 3 - array.ndim))
    if len(batch) == 1:
        return array
    others = array.shape[len(batch) :]
    return jnp.broadcast_to(array, (*batch, *others)).reshape(math.prod(batch), *others)
