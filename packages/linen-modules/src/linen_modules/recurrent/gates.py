"""Cells whose gates are affine maps of the inputs plus affine maps of the carry.

Each gate has two layers in the tree of parameters, one for the inputs and one for the carry, each
with a kernel of its own. A loop does the products with the inputs for all steps at once. The kernels
for the carry stand side by side, so that a step has one product.

Where somebody observes the calls of modules, a single step calls a `Dense` for each of these layers
instead, so that interceptors and captured intermediates see them.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from linen_core import Scope, compact, nowrap
from linen_core.extend import are_calls_observed
from linen_modules import initializers
from linen_modules.linear import Dense, dense
from linen_modules.recurrent.cell import (
    RNNCellBase,
    call_once,
    check_carry_shapes,
    check_input_rank,
)
from linen_modules.recurrent.recurrence import Recurrence
from linen_modules.typing import Array, DTypeLike, Initializer

__all__ = ["Gate", "GatedCell", "GatedRecurrence", "Gates", "default_recurrent_kernel_init"]

default_recurrent_kernel_init: Initializer = initializers.orthogonal()


@dataclass(frozen=True)
class Gate:
    """One of the layers of a cell.

    Attributes:
        name: its name in the tree of parameters.
        kernel_init: makes the kernel.
        bias_init: makes the bias; None for a layer without one.
    """

    name: str
    kernel_init: Initializer
    bias_init: Initializer | None = None


@dataclass(frozen=True)
class Gates:
    """The layers of a cell, all with the same number of features.

    Attributes:
        of_inputs: those that the inputs go through.
        of_carry: those that the carry goes through, in the same order.
        features: the size of the last axis of their outputs.
        dtype: the dtype of the computation; None infers it.
        param_dtype: the dtype of the parameters.
    """

    of_inputs: Sequence[Gate]
    of_carry: Sequence[Gate]
    features: int
    dtype: DTypeLike | None
    param_dtype: DTypeLike

    def parameters(self, scope: Scope, input_features: int) -> Any:
        """Declares the parameters: lists of (kernel, bias) for the inputs and for the carry."""
        return (
            [self._declare(scope, gate, input_features) for gate in self.of_inputs],
            [self._declare(scope, gate, self.features) for gate in self.of_carry],
        )

    def _declare(self, scope: Scope, gate: Gate, size: int) -> tuple[Array, Array | None]:
        layer, shape = scope.push(gate.name), (size, self.features)
        kernel = layer.param("kernel", gate.kernel_init, shape, self.param_dtype)
        if gate.bias_init is None:
            return kernel, None
        return kernel, layer.param("bias", gate.bias_init, shape[1:], self.param_dtype)

    def call(self, gates: Sequence[Gate], inputs: Array) -> list[Array]:
        """Calls one Dense layer for each gate, in a compact method."""
        return [
            Dense(
                self.features,
                use_bias=gate.bias_init is not None,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                kernel_init=gate.kernel_init,
                bias_init=gate.bias_init or initializers.zeros,
                name=gate.name,
            )(inputs)
            for gate in gates
        ]


class GatedRecurrence(Recurrence):
    """The arithmetic of a cell of gates. A subclass combines their values.

    Attributes:
        dtype: the dtype of the affine maps; None infers it.
    """

    dtype: DTypeLike | None

    @abstractmethod
    def combine(
        self, carry: Any, of_inputs: Sequence[Array], of_carry: Sequence[Array]
    ) -> tuple[Any, Array]:
        """Makes the new carry and the outputs of what the layers of the gates return."""

    def hidden(self, carry: Any) -> Array:
        """Gives the part of the carry that goes through the gates."""
        return carry

    def project(self, parameters: Any, inputs: Array) -> tuple[Any, Any]:
        """Applies the layers of the inputs."""
        of_inputs, of_carry = parameters
        kernels, biases = zip(*of_carry, strict=True)
        # One array for each gate: cutting one array in every step is slow where XLA fuses the cut.
        projected = [dense(inputs, kernel, bias, dtype=self.dtype) for kernel, bias in of_inputs]
        return projected, (jnp.concatenate(kernels, 1), biases)

    def step(self, recurrent: Any, carry: Any, projected: Any) -> tuple[Any, Any]:
        """Applies the layers of the carry, and combines."""
        kernel, biases = recurrent
        products = dense(self.hidden(carry), kernel, None, dtype=self.dtype)
        of_carry = [
            part if bias is None else part + _as_last_axis(bias, part)
            for part, bias in zip(jnp.split(products, len(biases), -1), biases, strict=True)
        ]
        return self.combine(carry, projected, of_carry)


def _as_last_axis(bias: Array, part: Array) -> Array:
    return jnp.expand_dims(jnp.asarray(bias, part.dtype), range(part.ndim - 1))


class GatedCell(RNNCellBase):
    """The base of cells whose gates are affine maps."""

    @nowrap
    @abstractmethod
    def gates(self) -> Gates:
        """Says which layers there are."""

    @nowrap
    @abstractmethod
    def arithmetic(self) -> GatedRecurrence:
        """Gives the arithmetic without the parameters."""

    @nowrap
    def carry_shapes(self, input_shape: tuple[int, ...]) -> Any:
        """Gives the shape of the carry, or a tuple of shapes."""
        return (*input_shape[:-1], self.gates().features)

    @compact
    def __call__(self, carry: Any, inputs: Array) -> tuple[Any, Any]:
        """Does one step.

        Args:
            carry: what the step before has left, of the form that `initialize_carry` makes.
            inputs: shape (batch dimensions..., input features).

        Returns:
            The new carry, and outputs of shape (batch dimensions..., features).

        Raises:
            InputRankError: if the inputs are a scalar.
            CarryShapeError: if the carry is not one of this cell.
            InexactDtypeError: if `dtype` is an integer or boolean one.
        """
        if not are_calls_observed():
            return call_once(self, carry, inputs)
        self.check_carry(carry, jnp.shape(inputs))
        gates, arithmetic = self.gates(), self.arithmetic()
        of_inputs = gates.call(gates.of_inputs, inputs)
        of_carry = gates.call(gates.of_carry, arithmetic.hidden(carry))
        return arithmetic.combine(carry, of_inputs, of_carry)

    @compact
    def recurrence(self, input_shape: tuple[int, ...]) -> tuple[Recurrence, Any]:
        """Gives the arithmetic and the parameters.

        Args:
            input_shape: the shape of the inputs of one step.

        Returns:
            The arithmetic and a pytree of parameters.
        """
        assert self.scope is not None  # it is compact
        return self.arithmetic(), self.gates().parameters(self.scope, input_shape[-1])

    @nowrap
    def check_carry(self, carry: Any, input_shape: tuple[int, ...]) -> None:
        """Checks inputs and carry.

        Args:
            carry: a carry.
            input_shape: the shape of the inputs of one step.

        Raises:
            InputRankError: if the inputs are a scalar.
            CarryShapeError: if the carry is not one of this cell.
        """
        check_input_rank(self, input_shape)
        check_carry_shapes(self, carry, self.carry_shapes(input_shape), input_shape)

    @property
    def num_feature_axes(self) -> int:
        """One: inputs end with an axis of features."""
        return 1
