"""Operators that multiply in 8 bits, for the field `dot_general_cls` of a layer."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from linen_core import Module, compact, nowrap
from linen_modules.fp8.products import canonicalize_dimension_numbers
from linen_modules.fp8.quantization import Meta
from linen_modules.fp8.scaled_products import Metas, direct_dot_general, rounded_dot_general
from linen_modules.fp8.uses import latest, record
from linen_modules.typing import Array, DTypeLike, PrecisionLike

__all__ = [
    "OVERWRITE_WITH_GRADIENT",
    "Fp8DirectDotGeneralOp",
    "Fp8DotGeneral",
    "Fp8DotGeneralOp",
    "Fp8Operator",
    "NANOOFp8DotGeneralOp",
]

OVERWRITE_WITH_GRADIENT = "_overwrite_with_gradient"


class Fp8Operator(Module):
    """The variables of an operator, and how they go through its uses.

    Attributes:
        amax_history_length: how many steps the histories remember.
        e4m3_dtype: the 8-bit dtype of operands.
        e5m2_dtype: the 8-bit dtype of gradients of outputs.
    """

    amax_history_length: int = 1024
    e4m3_dtype: DTypeLike = jnp.float8_e4m3fn
    e5m2_dtype: DTypeLike = jnp.float8_e5m2

    @nowrap
    def multiply(
        self,
        function: Callable[..., tuple[Array, Metas]],
        lhs: Array,
        rhs: Array,
        dimension_numbers: Any,
        precision: PrecisionLike,
        preferred_element_type: DTypeLike | None,
        metas: Metas,
    ) -> Array:
        """Multiplies in the dtype of the right operand.

        Args:
            function: `direct_dot_general` or `rounded_dot_general`.
            lhs: an array.
            rhs: an array.
            dimension_numbers: those of the product.
            precision: the precision on the way forward.
            preferred_element_type: the dtype of the result; None is that of the right operand.
            metas: the variables of the operator.

        Returns:
            The product.
        """
        dtype = jnp.result_type(rhs)
        out, returned = function(
            jnp.asarray(lhs, dtype),
            rhs,
            latest(self, metas),
            dimension_numbers=canonicalize_dimension_numbers(dimension_numbers),
            value_dtype=self.e4m3_dtype,
            gradient_dtype=self.e5m2_dtype,
            compute_dtype=dtype,
            precision=precision,
            preferred_element_type=preferred_element_type or dtype,
        )
        record(self, metas, returned)
        return out

    @nowrap
    def metas(self) -> Metas:
        """Declares scales of 1 and histories of zeros."""
        return Metas(self._meta("input"), self._meta("kernel"), self._meta("output_grad"))

    @nowrap
    def _meta(self, name: str) -> Meta:
        length = self.amax_history_length
        return (
            self._meta_variable(f"{name}_scale", jnp.ones, 1),
            self._meta_variable(f"{name}_amax_history", jnp.zeros, length),
        )

    @nowrap
    def _meta_variable(self, name: str, init: Callable[..., Array], length: int) -> Array:
        return self.variable(OVERWRITE_WITH_GRADIENT, name, init, (length,), jnp.float32).value


class Fp8DirectDotGeneralOp(Fp8Operator):
    """Multiplies in 8 bits with delayed scaling, as `dot_general_cls` of a layer.

    The variables are in the collection `OVERWRITE_WITH_GRADIENT`; what `jax.grad` gives for one is
    its next value. The computation has the dtype of the kernel, the arrays in memory 8 bits.
    `Fp8DotGeneral` is another name for it.

    Attributes:
        amax_history_length: how many steps the histories remember.
        e4m3_dtype: the 8-bit dtype of operands.
        e5m2_dtype: the 8-bit dtype of gradients of outputs.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> layer = nn.Dense(4, dot_general_cls=nn.Fp8DotGeneral)
    >>> variables = layer.init(jax.random.key(0), jnp.ones((2, 3)))
    >>> metas = variables[nn.fp8.OVERWRITE_WITH_GRADIENT]["Fp8DirectDotGeneralOp_0"]
    >>> metas["kernel_scale"].shape, metas["kernel_amax_history"].shape
    ((1,), (1024,))
    >>> gradients = jax.grad(lambda v: layer.apply(v, jnp.full((2, 3), 5.0)).sum())(variables)
    >>> next_metas = gradients[nn.fp8.OVERWRITE_WITH_GRADIENT]["Fp8DirectDotGeneralOp_0"]
    >>> next_metas["input_amax_history"][:2].tolist()
    [5.0, 0.0]
    """

    @compact
    def __call__(
        self,
        lhs: Array,
        rhs: Array,
        dimension_numbers: Any,
        precision: PrecisionLike = None,
        preferred_element_type: DTypeLike | None = None,
    ) -> Array:
        """Multiplies.

        Args:
            lhs: the input.
            rhs: the kernel.
            dimension_numbers: as of `jax.lax.dot_general`.
            precision: the precision on the way forward, as `jax.lax.Precision`; None is the least.
            preferred_element_type: the dtype of the result; None is that of the kernel.

        Returns:
            An array, as of `jax.lax.dot_general`.
        """
        options = (dimension_numbers, precision, preferred_element_type, self.metas())
        return self.multiply(direct_dot_general, lhs, rhs, *options)


Fp8DotGeneral = Fp8DirectDotGeneralOp


class Fp8DotGeneralOp(Fp8Operator):
    """Rounds operands to 8 bits with delayed scaling, as `dot_general_cls` of a layer.

    The product itself has the dtype of the kernel; XLA makes it an 8-bit product where it knows how
    to. Other than that, see `Fp8DirectDotGeneralOp`.

    Attributes:
        amax_history_length: how many steps the histories remember.
        e4m3_dtype: the 8-bit dtype of operands.
        e5m2_dtype: the 8-bit dtype of gradients of outputs.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> layer = nn.Dense(4, dot_general_cls=nn.Fp8DotGeneralOp)
    >>> layer.init_with_output(jax.random.key(0), jnp.ones((2, 3)))[0].shape
    (2, 4)
    """

    @compact
    def __call__(
        self,
        lhs: Array,
        rhs: Array,
        dimension_numbers: Any,
        precision: PrecisionLike = None,
        preferred_element_type: DTypeLike | None = None,
    ) -> Array:
        """Multiplies; see `Fp8DirectDotGeneralOp`."""
        options = (dimension_numbers, precision, preferred_element_type, self.metas())
        return self.multiply(rounded_dot_general, lhs, rhs, *options)


class NANOOFp8DotGeneralOp(Fp8DotGeneralOp):
    """`Fp8DotGeneralOp` with the 8-bit dtypes of AMD, which have no infinity and no negative zero.

    Attributes:
        e4m3_dtype: the 8-bit dtype of operands.
        e5m2_dtype: the 8-bit dtype of gradients of outputs.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> layer = nn.Dense(4, dot_general_cls=nn.NANOOFp8DotGeneralOp)
    >>> layer.init_with_output(jax.random.key(0), jnp.ones((2, 3)))[0].shape
    (2, 4)
    """

    e4m3_dtype: DTypeLike = jnp.float8_e4m3fnuz
    e5m2_dtype: DTypeLike = jnp.float8_e5m2fnuz
