"""Rounding to 8 bits, and the scales that keep arrays in range."""

from typing import Any

import jax.numpy as jnp

from linen_modules.errors import InputDtypeError
from linen_modules.typing import Array, ArrayLike, DTypeLike

__all__ = [
    "FP8_DTYPES",
    "compute_amax_history",
    "compute_scale",
    "dequantize",
    "get_fp8_max",
    "qdq",
    "quantize",
    "quantize_dequantize_update",
    "update",
]

FP8_DTYPES = (jnp.float8_e4m3fn, jnp.float8_e5m2, jnp.float8_e4m3fnuz, jnp.float8_e5m2fnuz)


def get_fp8_max(fp8_dtype: DTypeLike, out_dtype: DTypeLike) -> Any:
    """Says what the largest finite number of an 8-bit dtype is.

    Args:
        fp8_dtype: one of float8_e4m3fn, float8_e5m2, float8_e4m3fnuz, float8_e5m2fnuz.
        out_dtype: the dtype of the result.

    Returns:
        A scalar.

    Raises:
        InputDtypeError: if it is another dtype.

    >>> import jax.numpy as jnp
    >>> float(get_fp8_max(jnp.float8_e4m3fn, jnp.float32))
    448.0
    """
    if fp8_dtype not in FP8_DTYPES:
        raise InputDtypeError(
            f"get_fp8_max: found the dtype {jnp.dtype(fp8_dtype).name}; expected one of "
            f"{', '.join(jnp.dtype(dtype).name for dtype in FP8_DTYPES)}. Write "
            "jnp.float8_e4m3fn for values or jnp.float8_e5m2 for gradients."
        )
    return jnp.finfo(fp8_dtype).max.astype(out_dtype)


def quantize(x: Array, q_dtype: DTypeLike, scale: Array, compute_dtype: DTypeLike) -> Array:
    """Divides by a scale and rounds to 8 bits; what is too large becomes the largest number.

    Args:
        x: an array.
        q_dtype: the 8-bit dtype.
        scale: shape (1,).
        compute_dtype: the dtype of the scale in the division.

    Returns:
        An array of the shape of x, of dtype `q_dtype`.

    >>> import jax.numpy as jnp
    >>> q = quantize(jnp.array([3.0, 5000.0]), jnp.float8_e4m3fn, jnp.array([2.0]), jnp.float32)
    >>> q.astype(jnp.float32).tolist()
    [1.5, 448.0]
    """
    largest = get_fp8_max(q_dtype, compute_dtype)
    scaled = x / _broadcast(scale.astype(compute_dtype), x)
    return jnp.clip(scaled, -largest, largest).astype(q_dtype)


def dequantize(x: Array, dq_dtype: DTypeLike, scale: Array) -> Array:
    """Multiplies rounded numbers by their scale.

    Args:
        x: an array of an 8-bit dtype.
        dq_dtype: the dtype of the result.
        scale: shape (1,).

    Returns:
        An array of the shape of x.

    >>> import jax.numpy as jnp
    >>> x = jnp.array([1.5], jnp.float8_e4m3fn)
    >>> dequantize(x, jnp.float32, jnp.array([2.0])).tolist()
    [3.0]
    """
    return x.astype(dq_dtype) * _broadcast(scale.astype(dq_dtype), x)


def qdq(x: Array, q_dtype: DTypeLike, scale: Array, compute_dtype: DTypeLike) -> Array:
    """Quantizes and dequantizes: rounds to what 8 bits can say with this scale.

    Args:
        x: an array.
        q_dtype: the 8-bit dtype.
        scale: shape (1,).
        compute_dtype: the dtype of the scale in the division.

    Returns:
        An array of the shape and dtype of x.

    >>> import jax.numpy as jnp
    >>> qdq(jnp.array([3.1]), jnp.float8_e4m3fn, jnp.array([1.0]), jnp.float32).tolist()
    [3.0]
    """
    return dequantize(quantize(x, q_dtype, scale, compute_dtype), x.dtype, scale)


def compute_scale(amax: Array, scale: Array, fp8_max: ArrayLike, margin: int = 0) -> Array:
    """Chooses the scale that brings the largest magnitude to the largest 8-bit number.

    Args:
        amax: the largest magnitude, a scalar.
        scale: what the scale was, of shape (1,); it stays if `amax` is zero or not finite.
        fp8_max: the largest 8-bit number.
        margin: how many powers of two are left free above the largest magnitude.

    Returns:
        The scale, of shape (1,).

    >>> import jax.numpy as jnp
    >>> compute_scale(jnp.float32(896.0), jnp.ones(1), 448.0).tolist()
    [2.0]
    """
    inverse = 1.0 / scale
    wanted = jnp.broadcast_to(fp8_max / amax / 2**margin, inverse.shape)
    return 1.0 / jnp.where(jnp.isfinite(amax) & (amax > 0.0), wanted, inverse)


def compute_amax_history(x: Array, amax_history: Array) -> Array:
    """Puts the largest magnitude of an array in the place of the oldest one.

    Args:
        x: an array.
        amax_history: largest magnitudes of the steps before: the latest, then those before it from
            the oldest on.

    Returns:
        An array of the shape of the history.

    >>> import jax.numpy as jnp
    >>> compute_amax_history(jnp.array([-5.0, 3.0]), jnp.array([2.0, 1.0])).tolist()
    [5.0, 2.0]
    """
    largest = jnp.max(jnp.abs(x)).astype(amax_history.dtype)
    return jnp.roll(amax_history, -1, 0).at[0].set(largest)


def quantize_dequantize_update(
    x: Array, q_dtype: DTypeLike, scale: Array, amax_history: Array, compute_dtype: DTypeLike
) -> tuple[Array, Array, Array]:
    """Rounds to 8 bits with the scale of the history, which then learns of the array.

    Args:
        x: an array.
        q_dtype: the 8-bit dtype.
        scale: what the scale was, of shape (1,).
        amax_history: largest magnitudes of the steps before.
        compute_dtype: the dtype of the scale in the division.

    Returns:
        The rounded array in its own dtype, the new scale, the new history.

    >>> import jax.numpy as jnp
    >>> x, scale, history = jnp.array([900.0]), jnp.ones(1), jnp.zeros(2)
    >>> y, scale, history = quantize_dequantize_update(
    ...     x, jnp.float8_e4m3fn, scale, history, jnp.float32
    ... )
    >>> y.tolist(), history.tolist()
    ([448.0], [900.0, 0.0])
    """
    new_scale, new_history = update(x, q_dtype, scale, amax_history)
    return qdq(x, q_dtype, new_scale, compute_dtype), new_scale, new_history


def update(x: Array, q_dtype: DTypeLike, scale: Array, amax_history: Array) -> tuple[Array, Array]:
    """Chooses the scale from the history, and tells the history of an array."""
    largest = get_fp8_max(q_dtype, jnp.float32)
    new_scale = compute_scale(jnp.max(amax_history), scale, largest)
    return new_scale, compute_amax_history(x, amax_history)


def _broadcast(scale: Array, x: Array) -> Array:
    return jnp.broadcast_to(scale if x.ndim else scale.reshape(()), x.shape)
