"""Linear maps that are written as equations."""

from collections.abc import Sequence

import jax.numpy as jnp

from linen_core import Module, compact, merge_param
from linen_modules import initializers
from linen_modules._cached_jit import cached_jit
from linen_modules._equations import Equation
from linen_modules.dtypes import promote_dtype
from linen_modules.linear import default_kernel_init
from linen_modules.typing import Array, DTypeLike, Initializer, PrecisionLike, PromoteDtype

__all__ = ["Einsum", "einsum"]


@cached_jit()
def einsum(
    inputs: Array,
    kernel: Array,
    bias: Array | None,
    *,
    einsum_str: str,
    dtype: DTypeLike | None = None,
    precision: PrecisionLike = None,
    promote_dtype: PromoteDtype = promote_dtype,
    preferred_element_type: DTypeLike | None = None,
) -> Array:
    """Evaluates an equation of an array and a kernel, and adds a bias.

    Args:
        inputs: the first operand.
        kernel: the second operand.
        bias: an array with those axes of the kernel that are left in the output, in the order of
            the output, or None.
        einsum_str: the equation, ``"inputs,kernel->outputs"``.
        dtype: the dtype of the operands and the bias; None infers it.
        precision: as `jax.lax.Precision`.
        promote_dtype: the operator that brings the three arrays to one dtype.
        preferred_element_type: the dtype in which products are added up.

    Returns:
        An array with the axes of the output.

    Raises:
        EquationError: if the equation has no meaning or does not fit the shapes.

    >>> import jax.numpy as jnp
    >>> einsum(jnp.ones((2, 3)), jnp.ones((3, 1)), jnp.ones(1), einsum_str="ab,bc->ac").tolist()
    [[4.0], [4.0]]
    """
    equation = Equation.parse(einsum_str, inputs.shape, kernel.shape, "einsum")
    inputs, kernel, bias = promote_dtype(inputs, kernel, bias, dtype=dtype)
    outputs = jnp.einsum(
        einsum_str,
        inputs,
        kernel,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )
    if bias is None:
        return outputs
    return outputs + jnp.expand_dims(bias, equation.axes_without_bias)


class Einsum(Module):
    """A linear map that is written as an equation of the input and a kernel.

    Attributes:
        shape: the shape of the kernel.
        einsum_str: the equation, ``"inputs,kernel->outputs"`` as in `jax.numpy.einsum`; given here
            or in the call.
        use_bias: whether to add a bias. It has those axes of the kernel that are left in the
            output, in the order of the output.
        dtype: the dtype of the computation; None infers it from the inputs and the parameters.
        param_dtype: the dtype of the parameters.
        precision: as `jax.lax.Precision`.
        kernel_init: makes the kernel, of shape `shape`.
        bias_init: makes the bias.
        promote_dtype: replaces the promotion of (inputs, kernel, bias) to one dtype.
        preferred_element_type: the dtype in which products are added up, and of the result if it is
            the wider one.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> layer = nn.Einsum(shape=(3, 2, 4), einsum_str="...c,chd->...hd")
    >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((5, 7, 3)))
    >>> jax.tree.map(jnp.shape, variables)
    {'params': {'bias': (2, 4), 'kernel': (3, 2, 4)}}
    >>> y.shape
    (5, 7, 2, 4)
    """

    shape: Sequence[int]
    einsum_str: str | None = None
    use_bias: bool = True
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    precision: PrecisionLike = None
    kernel_init: Initializer = default_kernel_init
    bias_init: Initializer = initializers.zeros
    promote_dtype: PromoteDtype = promote_dtype
    preferred_element_type: DTypeLike | None = None

    @compact
    def __call__(self, inputs: Array, einsum_str: str | None = None) -> Array:
        """Evaluates the equation.

        Args:
            inputs: the first operand of the equation.
            einsum_str: the equation; given here or in the constructor.

        Returns:
            An array with the axes of the output.

        Raises:
            MergeParamError: if `einsum_str` is given in both places or in none.
            EquationError: if the equation has no meaning or does not fit the shapes.
            InexactDtypeError: if `dtype` is an integer or boolean one.
        """
        einsum_str = merge_param("einsum_str", self.einsum_str, einsum_str)
        shape = tuple(self.shape)
        equation = Equation.parse(einsum_str, jnp.shape(inputs), shape, self)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, equation.bias_shape, self.param_dtype)
        return einsum(
            inputs,
            kernel,
            bias,
            einsum_str=einsum_str,
            dtype=self.dtype,
            precision=self.precision,
            promote_dtype=self.promote_dtype,
            preferred_element_type=self.preferred_element_type,
        )
