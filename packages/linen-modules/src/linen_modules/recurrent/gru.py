"""Gated recurrent units."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from linen_core import nowrap
from linen_modules import initializers
from linen_modules.activations import sigmoid, tanh
from linen_modules.linear import default_kernel_init
from linen_modules.recurrent.carry import initial_carry
from linen_modules.recurrent.gates import (
    Gate,
    GatedCell,
    GatedRecurrence,
    Gates,
    default_recurrent_kernel_init,
)
from linen_modules.typing import Array, DTypeLike, Initializer

__all__ = ["GRUCell", "GRURecurrence"]


@dataclass(frozen=True)
class GRURecurrence(GatedRecurrence):
    """The arithmetic of `GRUCell`; the carry is the outputs of the step before.

    Attributes:
        gate_fn: the activation of the gates.
        activation_fn: the activation of the candidate.
        dtype: the dtype of the affine maps; None infers it.

    >>> import jax.numpy as jnp
    >>> zero = jnp.zeros(1)
    >>> GRURecurrence().combine(zero + 4, [zero] * 3, [zero] * 3)[0].tolist()
    [2.0]
    """

    gate_fn: Callable[[Array], Array] = sigmoid
    activation_fn: Callable[[Array], Array] = tanh
    dtype: DTypeLike | None = None

    def combine(
        self, carry: Array, of_inputs: Sequence[Array], of_carry: Sequence[Array]
    ) -> tuple[Array, Array]:
        """Makes the new carry and the outputs of the gates r and z and the candidate n."""
        r, z = (self.gate_fn(x + h) for x, h in zip(of_inputs[:2], of_carry[:2], strict=True))
        n = self.activation_fn(of_inputs[2] + r * of_carry[2])
        outputs = (1.0 - z) * n + z * carry
        return outputs, outputs


class GRUCell(GatedCell):
    r"""A gated recurrent unit.

    .. math::

        r &= \sigma(W_{ir} x + b_{ir} + W_{hr} h) \\
        z &= \sigma(W_{iz} x + b_{iz} + W_{hz} h) \\
        n &= \tanh(W_{in} x + b_{in} + r * (W_{hn} h + b_{hn})) \\
        h' &= (1 - z) * n + z * h

    The carry is h, and the outputs are h'. Each gate has its own kernels in the tree of parameters;
    those for h are put side by side for one product.

    Attributes:
        features: the size of the last axis of outputs and carry.
        gate_fn: the activation of the gates.
        activation_fn: the activation of the candidate. `RNN` projects the inputs of all steps at
            once if both activations are functions that a Python module defines by name.
        kernel_init: makes the kernels of the inputs, each of shape (input features, features).
        recurrent_kernel_init: makes the kernels of h, each of shape (features, features).
        bias_init: makes the biases, each of shape (features,).
        dtype: the dtype of the products; None infers it. The carry keeps the dtype it begins with
            if that is a wider one.
        param_dtype: the dtype of the parameters and of the first carry.
        carry_init: makes the first carry.

    References:
        Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical
        machine translation", 2014. Here the reset gate acts after the product with h.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> layer = nn.RNN(nn.GRUCell(features=4))
    >>> outputs, variables = layer.init_with_output(jax.random.key(0), jnp.ones((2, 5, 3)))
    >>> outputs.shape
    (2, 5, 4)
    >>> sorted(variables["params"]["cell"])
    ['hn', 'hr', 'hz', 'in', 'ir', 'iz']
    """

    features: int
    gate_fn: Callable[..., Any] = sigmoid
    activation_fn: Callable[..., Any] = tanh
    kernel_init: Initializer = default_kernel_init
    recurrent_kernel_init: Initializer = default_recurrent_kernel_init
    bias_init: Initializer = initializers.zeros
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    carry_init: Initializer = initializers.zeros

    @nowrap
    def gates(self) -> Gates:
        """Says which layers there are."""
        kernel_init, bias_init = self.recurrent_kernel_init, self.bias_init
        return Gates(
            of_inputs=[Gate(f"i{gate}", self.kernel_init, bias_init) for gate in "rzn"],
            of_carry=[
                Gate("hr", kernel_init),
                Gate("hz", kernel_init),
                Gate("hn", kernel_init, bias_init),
            ],
            features=self.features,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )

    @nowrap
    def arithmetic(self) -> GRURecurrence:
        """Gives the arithmetic without the parameters."""
        return GRURecurrence(self.gate_fn, self.activation_fn, self.dtype)

    @nowrap
    def initialize_carry(self, rng: jax.Array, input_shape: tuple[int, ...]) -> Array:
        """Makes the carry before the first step.

        Args:
            rng: a random key.
            input_shape: the shape of the inputs of one step, (batch dimensions..., input features).

        Returns:
            An array of shape (batch dimensions..., features) and dtype `param_dtype`.
        """
        shape = self.carry_shapes(input_shape)
        return initial_carry(self.carry_init, rng, shape, self.param_dtype)
