"""Matrix products in 8-bit floating point, with scales that follow the data.

An array is *quantized* by dividing it by a *scale* and rounding to an 8-bit dtype. A scale is chosen
from the *amax history*, the largest magnitudes that the array had in the steps before (delayed
scaling). Values and kernels are quantized to e4m3, which has more digits, gradients of outputs to
e5m2, which has more range.

Scales and histories are variables in the collection `OVERWRITE_WITH_GRADIENT`. Some of them are
known only when gradients are, so that all of them leave a step as gradients: **what `jax.grad`
gives for a variable of this collection is its next value.** A training step puts it in the place of
the variable; an optimizer must not see it.

If an operator is used several times in one step, its next values are the largest of those of its
uses, in one `apply` and in each body of a lifted transformation. The functions here know nothing of
other uses; JAX adds up what it finds for each. There is no public way to give JAX a dtype whose
gradients are combined otherwise, therefore no `fm32`: variables are float32.

Two ways to compute: `Fp8DirectDotGeneralOp`, or `Fp8DotGeneral`, multiplies 8-bit operands, which needs hardware that can;
`Fp8DotGeneralOp` and `NANOOFp8DotGeneralOp` round operands to 8 bits, return to the wider dtype and
leave it to XLA to find the 8-bit product in that pattern. The operators plug in as
`dot_general_cls` of `Dense` and its relatives; `Fp8Einsum` is for attention.

References:
    Micikevicius et al., "FP8 formats for deep learning", 2022.
"""

from linen_modules.fp8.einsum import Fp8Einsum
from linen_modules.fp8.operators import (
    OVERWRITE_WITH_GRADIENT,
    Fp8DirectDotGeneralOp,
    Fp8DotGeneral,
    Fp8DotGeneralOp,
    NANOOFp8DotGeneralOp,
)
from linen_modules.fp8.products import dot_general_with_precision, quantized_dot
from linen_modules.fp8.quantization import in_q, in_qdq, out_dq, out_qdq
from linen_modules.fp8.scaled_products import fp8_scaled_dot_general
from linen_modules.fp8.scaling import (
    compute_amax_history,
    compute_scale,
    dequantize,
    get_fp8_max,
    qdq,
    quantize,
    quantize_dequantize_update,
)

__all__ = [
    "OVERWRITE_WITH_GRADIENT",
    "Fp8DirectDotGeneralOp",
    "Fp8DotGeneral",
    "Fp8DotGeneralOp",
    "Fp8Einsum",
    "NANOOFp8DotGeneralOp",
    "compute_amax_history",
    "compute_scale",
    "dequantize",
    "dot_general_with_precision",
    "fp8_scaled_dot_general",
    "get_fp8_max",
    "in_q",
    "in_qdq",
    "out_dq",
    "out_qdq",
    "qdq",
    "quantize",
    "quantize_dequantize_update",
    "quantized_dot",
]
