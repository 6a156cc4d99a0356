"""Promotion of dtypes.

A layer has two dtypes. `param_dtype` is what its parameters are stored in. `dtype` is what it
computes in; left at None it is inferred from the inputs and the parameters by the promotion rules
of JAX, where Python scalars do not count:

    inputs      parameters    dtype=None    dtype=bfloat16
    float32     float32       float32       bfloat16
    bfloat16    float32       float32       bfloat16
    bfloat16    bfloat16      bfloat16      bfloat16
    float16     bfloat16      float32       bfloat16
    int32       float32       float32       bfloat16
    int32       (none)        float32       bfloat16
    float64     float32       float64       bfloat16    (with jax_enable_x64)
"""

from typing import Any

import jax.numpy as jnp

from linen_modules.errors import InexactDtypeError
from linen_modules.typing import DTypeLike

__all__ = ["canonicalize_dtype", "promote_dtype"]


def canonicalize_dtype(
    *args: Any, dtype: DTypeLike | None = None, inexact: bool = True
) -> DTypeLike:
    """Decides the dtype of a computation.

    Args:
        *args: arrays and scalars the computation is made of; None is skipped.
        dtype: the dtype asked for; None infers it from the arguments.
        inexact: whether the dtype must be floating point or complex. Then integers are promoted
            with float32.

    Returns:
        The dtype.

    Raises:
        InexactDtypeError: if the dtype asked for is an integer or boolean one though `inexact`.

    >>> import jax.numpy as jnp
    >>> canonicalize_dtype(jnp.ones(2, jnp.bfloat16), jnp.ones(2, jnp.float32))
    dtype('float32')
    >>> canonicalize_dtype(jnp.arange(3))
    dtype('float32')
    >>> canonicalize_dtype(jnp.arange(3), inexact=False)
    dtype('int32')
    """
    if dtype is None:
        given = [
            arg if hasattr(arg, "dtype") else jnp.asarray(arg) for arg in args if arg is not None
        ]
        dtype = jnp.result_type(*given)
        if inexact and not jnp.issubdtype(dtype, jnp.inexact):
            dtype = jnp.promote_types(jnp.float32, dtype)
    if inexact and not jnp.issubdtype(dtype, jnp.inexact):
        raise InexactDtypeError(
            f"dtype={jnp.dtype(dtype).name}: the computation needs floating point or complex "
            "numbers. Write dtype=jnp.float32 or dtype=None, and convert the result with "
            f".astype(jnp.{jnp.dtype(dtype).name})."
        )
    return dtype


def promote_dtype(*args: Any, dtype: DTypeLike | None = None, inexact: bool = True) -> list[Any]:
    """Brings arrays to the dtype that `canonicalize_dtype` decides.

    Args:
        *args: arrays and scalars; None is passed on.
        dtype: the dtype asked for; None infers it from the arguments.
        inexact: whether the dtype must be floating point or complex.

    Returns:
        The arguments as arrays of one dtype, None where None was given.

    Raises:
        InexactDtypeError: if the dtype asked for is an integer or boolean one though `inexact`.

    >>> import jax.numpy as jnp
    >>> x, bias, scale = promote_dtype(jnp.ones(2, jnp.bfloat16), jnp.ones(2), None)
    >>> x.dtype, bias.dtype, scale
    (dtype('float32'), dtype('float32'), None)
    """
    dtype = canonicalize_dtype(*args, dtype=dtype, inexact=inexact)
    return [None if arg is None else jnp.asarray(arg, dtype) for arg in args]
