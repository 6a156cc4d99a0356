"""Sums of products in 8 bits."""

from string import ascii_letters
from typing import Any

import jax.numpy as jnp

from linen_core import compact, nowrap
from linen_modules._contraction import contract
from linen_modules.errors import EquationError, location
from linen_modules.fp8.operators import Fp8Operator
from linen_modules.fp8.scaled_products import direct_dot_general
from linen_modules.typing import Array, DTypeLike, PrecisionLike

__all__ = [
    "Fp8Einsum",
]


class Fp8Einsum(Fp8Operator):
    """Sums products of two arrays in 8 bits with delayed scaling, as `jnp.einsum` does in full.

    It plugs in as `qk_attn_weights_einsum_cls` and `attn_weights_value_einsum_cls` of attention. Its
    variables are those of `Fp8DirectDotGeneralOp`. The "input" is the left operand of the product that the
    equation stands for: the second array where the result would have to be reordered otherwise.

    Attributes:
        amax_history_length: how many steps the histories remember.
        e4m3_dtype: the 8-bit dtype of operands.
        e5m2_dtype: the 8-bit dtype of gradients of outputs.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> einsum = nn.Fp8Einsum()
    >>> arrays = jnp.ones((2, 3)), jnp.ones((3, 4))
    >>> y, variables = einsum.init_with_output(jax.random.key(0), "ab,bc->ac", *arrays)
    >>> y.shape
    (2, 4)
    """

    @compact
    def __call__(
        self,
        eqn: str,
        lhs: Array,
        rhs: Array,
        precision: PrecisionLike = None,
        preferred_element_type: DTypeLike | None = None,
    ) -> Array:
        """Multiplies and sums.

        Args:
            eqn: the equation, such as "...qhd,...khd->...hqk": a letter for each axis, at most once
                in an array, and "..." for axes that are broadcast.
            lhs: an array.
            rhs: an array.
            precision: the precision on the way forward, as `jax.lax.Precision`; None is the least.
            preferred_element_type: the dtype of the result; None is that of rhs.

        Returns:
            An array of the axes that the equation says.

        Raises:
            EquationError: if the equation has no meaning here or does not fit the shapes.
        """
        metas = self.metas()

        def dot_general(
            lhs: Array, rhs: Array, dimension_numbers: Any, *, precision: PrecisionLike = None
        ) -> Array:
            options = (dimension_numbers, precision, preferred_element_type, metas)
            return self.multiply(direct_dot_general, lhs, rhs, *options)

        rhs = jnp.asarray(rhs)
        eqn, *arrays = self._simplified(eqn, jnp.asarray(lhs, rhs.dtype), rhs)
        return contract(eqn, *arrays, precision=precision, dot_general=dot_general)

    @nowrap
    def _simplified(self, eqn: str, *arrays: Array) -> tuple[str, Array, Array]:
        """Writes letters for an ellipsis, and leaves out axes that only one array has."""
        operands, arrow, output = "".join(eqn.split()).partition("->")
        terms = operands.split(",")
        if not arrow or len(terms) != 2 or not all(map(_is_term, (*terms, output))):
            raise EquationError(
                f"{location(self)}: found the equation {eqn!r}; expected two arrays and a result, "
                'with letters that are different in each. Write for example "...qd,...kd->...qk".'
            )
        unused = [letter for letter in ascii_letters if letter not in eqn]
        counts = [self._unnamed(eqn, *pair) for pair in zip(terms, arrays, strict=True)]
        names = [_with_letters(*pair, unused) for pair in zip(terms, counts, strict=True)]
        output = _with_letters(output, max(counts), unused)
        first = _without(names[0], arrays[0], names[1], arrays[1], output)
        second = _without(names[1], arrays[1], names[0], arrays[0], output)
        return f"{first[0]},{second[0]}->{output}", first[1], second[1]

    @nowrap
    def _unnamed(self, eqn: str, term: str, array: Array) -> int:
        """How many axes an ellipsis stands for."""
        named = len(term.replace("...", ""))
        if array.ndim < named or (array.ndim > named and "..." not in term):
            raise EquationError(
                f"{location(self)}: found an array of shape {array.shape} for {term!r} in the "
                f"equation {eqn!r}; expected {named} axes. Write one letter for each axis, or "
                '"..." for those that have none.'
            )
        return array.ndim - named


def _is_term(term: str) -> bool:
    letters = term.replace("...", "", 1)
    return (not letters or letters.isalpha()) and len(set(letters)) == len(letters)


def _with_letters(term: str, count: int, unused: list[str]) -> str:
    return term.replace("...", "".join(unused[:count][::-1]))


def _without(
    names: str, array: Array, other_names: str, other: Array, output: str
) -> tuple[str, Array]:
    """Sums over axes that the others do not have, and drops those that are only broadcast."""

    def is_needed(name: str) -> bool:
        if name in other_names:
            return array.shape[names.index(name)] != 1 or other.shape[other_names.index(name)] == 1
        return name in output

    axes = tuple(axis for axis, name in enumerate(names) if not is_needed(name))
    kept = "".join(name for axis, name in enumerate(names) if axis not in axes)
    return kept, jnp.sum(array, axes) if axes else array
