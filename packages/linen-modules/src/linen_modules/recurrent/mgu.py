"""Minimal gated units."""

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

__all__ = ["MGUCell", "MGURecurrence"]


@dataclass(frozen=True)
class MGURecurrence(GatedRecurrence):
    """The arithmetic of `MGUCell`; the carry is the outputs of the step before.

    Attributes:
        gate_fn: the activation of the gate.
        activation_fn: the activation of the candidate.
        dtype: the dtype of the affine maps; None infers it.
        reset_gate: whether the gate acts on what the candidate takes from the carry.

    >>> import jax.numpy as jnp
    >>> zero = jnp.zeros(1)
    >>> MGURecurrence().combine(zero + 4, [zero] * 2, [zero] * 2)[0].tolist()
    [2.0]
    """

    gate_fn: Callable[[Array], Array] = sigmoid
    activation_fn: Callable[[Array], Array] = tanh
    dtype: DTypeLike | None = None
    reset_gate: bool = True

    def combine(
        self, carry: Array, of_inputs: Sequence[Array], of_carry: Sequence[Array]
    ) -> tuple[Array, Array]:
        """Makes the new carry and the outputs of the gate f and the candidate n."""
        f = self.gate_fn(of_inputs[0] + of_carry[0])
        remembered = of_carry[1] * f if self.reset_gate else of_carry[1]
        n = self.activation_fn(of_inputs[1] + remembered)
        outputs = (1.0 - f) * n + f * carry
        return outputs, outputs


class MGUCell(GatedCell):
    r"""A minimal gated unit: a gated recurrent unit with one gate.

    .. math::

        f &= \sigma(W_{if} x + b_{if} + W_{hf} h) \\
        n &= \tanh(W_{in} x + b_{in} + f * (W_{hn} h + b_{hn})) \\
        h' &= (1 - f) * n + f * h

    Without the reset gate :math:`n = \tanh(W_{in} x + b_{in} + W_{hn} h)`. The carry is h, and the
    outputs are h'. The kernels for h are put side by side for one product.

    Attributes:
        features: the size of the last axis of outputs and carry.
        gate_fn: the activation of the gate.
        activation_fn: the activation of the candidate. `RNN` projects the inputs of all steps at
            once if both activations are functions that a Python module defines by name.
        kernel_init: makes the kernels of the inputs, each of shape (input features, features).
        recurrent_kernel_init: makes the kernels of h, each of shape (features, features).
        forget_bias_init: makes the bias of the gate, of shape (features,).
        activation_bias_init: makes the biases of the candidate, each of shape (features,).
        dtype: the dtype of the products; None infers it. The carry keeps the dtype it begins with
            if that is a wider one.
        param_dtype: the dtype of the parameters and of the first carry.
        carry_init: makes the first carry.
        reset_gate: whether the gate acts on what the candidate takes from h.

    References:
        Zhou, Wu, Zhang, Zhou, "Minimal gated unit for recurrent neural networks", 2016.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> layer = nn.RNN(nn.MGUCell(features=4))
    >>> layer.init_with_output(jax.random.key(0), jnp.ones((2, 5, 3)))[0].shape
    (2, 5, 4)
    """

    features: int
    gate_fn: Callable[..., Any] = sigmoid
    activation_fn: Callable[..., Any] = tanh
    kernel_init: Initializer = default_kernel_init
    recurrent_kernel_init: Initializer = default_recurrent_kernel_init
    forget_bias_init: Initializer = initializers.ones
    activation_bias_init: Initializer = initializers.zeros
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    carry_init: Initializer = initializers.zeros
    reset_gate: bool = True

    @nowrap
    def gates(self) -> Gates:
        """Says which layers there are."""
        bias_init = self.activation_bias_init
        return Gates(
            of_inputs=[
                Gate("if", self.kernel_init, self.forget_bias_init),
                Gate("in", self.kernel_init, bias_init),
            ],
            of_carry=[
                Gate("hf", self.recurrent_kernel_init),
                Gate("hn", self.recurrent_kernel_init, bias_init if self.reset_gate else None),
            ],
            features=self.features,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )

    @nowrap
    def arithmetic(self) -> MGURecurrence:
        """Gives the arithmetic without the parameters."""
        return MGURecurrence(self.gate_fn, self.activation_fn, self.dtype, self.reset_gate)

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
