"""What a recurrent cell is."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from linen_core import Module, compact, nowrap
from linen_modules.errors import CarryShapeError, CellMethodError, InputRankError, location
from linen_modules.recurrent.recurrence import Recurrence, run_step
from linen_modules.typing import Array

__all__ = ["RNNCellBase", "call_once", "check_carry_shapes", "check_input_rank"]


class RNNCellBase(Module):
    """The base of recurrent cells: one step of a layer over a sequence.

    A cell is called with a *carry*, any pytree of arrays, and the inputs of one step, and returns
    the new carry and the outputs of the step. `RNN` loops it over sequences. A subclass defines
    `__call__`, `initialize_carry` and `num_feature_axes`.

    A subclass may also define `recurrence`, which gives its arithmetic as pure functions, with all
    that does not depend on the carry in one of them. `RNN` then does that part for the whole
    sequence at once. Such a cell needs no `__call__`: the one it inherits runs these functions for
    a single step.

    >>> import jax, jax.numpy as jnp
    >>> import linen_modules as nn
    >>> class Average(nn.RNNCellBase):
    ...     decay: float = 0.5
    ...     def __call__(self, carry, inputs):
    ...         carry = self.decay * carry + (1 - self.decay) * inputs
    ...         return carry, carry
    ...     def initialize_carry(self, rng, input_shape):
    ...         return jnp.zeros(input_shape)
    ...     @property
    ...     def num_feature_axes(self):
    ...         return 1
    >>> sequence = jnp.array([[4.0], [0.0], [8.0]])
    >>> nn.RNN(Average()).apply({}, sequence)[:, 0].tolist()
    [2.0, 1.0, 4.5]
    """

    @compact
    def __call__(self, carry: Any, inputs: Array) -> tuple[Any, Any]:
        """Does one step.

        Args:
            carry: what the step before has left.
            inputs: shape (batch dimensions..., features...).

        Returns:
            The new carry and the outputs.

        Raises:
            CellMethodError: if the class defines neither this method nor `recurrence`.
            CarryShapeError: if the carry is not one of this cell.
        """
        return call_once(self, carry, inputs)

    @nowrap
    def initialize_carry(self, rng: jax.Array, input_shape: tuple[int, ...]) -> Any:
        """Makes the carry before the first step.

        Args:
            rng: a random key.
            input_shape: the shape of the inputs of one step, (batch dimensions..., features...).

        Returns:
            A carry.

        Raises:
            CellMethodError: if the class does not define it.
        """
        del rng, input_shape
        raise CellMethodError(
            f"{_place(self)}: found no method `initialize_carry`; expected one that makes the first "
            "carry. Write def initialize_carry(self, rng, input_shape): ..., or give the layer an "
            "initial_carry."
        )

    @property
    def num_feature_axes(self) -> int:
        """The number of axes of the inputs of one step that are not batch dimensions.

        Raises:
            CellMethodError: if the class does not define it.
        """
        raise CellMethodError(
            f"{_place(self)}: found no property `num_feature_axes`; expected the number of trailing "
            "axes of an input that are not batch dimensions. Write\n"
            "    @property\n"
            "    def num_feature_axes(self):\n"
            "        return 1"
        )

    def recurrence(self, input_shape: tuple[int, ...]) -> tuple[Recurrence, Any] | None:
        """Gives the cell as pure functions of arrays, and the arrays that are its parameters.

        It may declare and read parameters, and nothing else: a cell that draws random numbers, sows
        or has other variables has no such form. The class that defines it must be one that also
        defines or inherits `__call__`, with the same result.

        Args:
            input_shape: the shape of the inputs of one step.

        Returns:
            The functions and a pytree of parameters, or None for a cell without such a form.
        """
        del input_shape
        return None

    @nowrap
    def check_carry(self, carry: Any, input_shape: tuple[int, ...]) -> None:
        """Checks a carry before it is used; the base class accepts any.

        Args:
            carry: a carry.
            input_shape: the shape of the inputs of one step.

        Raises:
            CarryShapeError: if the carry is not one of this cell.
        """


def call_once(cell: RNNCellBase, carry: Any, inputs: Array) -> tuple[Any, Any]:
    """Does one step with the pure functions of a cell.

    Args:
        cell: the cell, bound, in a compact method.
        carry: what the step before has left.
        inputs: shape (batch dimensions..., features...).

    Returns:
        The new carry and the outputs.

    Raises:
        CellMethodError: if the cell has no such functions.
        CarryShapeError: if the carry is not one of this cell.
    """
    shape = jnp.shape(inputs)
    cell.check_carry(carry, shape)
    found = cell.recurrence(shape)
    if found is None:
        raise CellMethodError(
            f"{location(cell)}: found no method `__call__`; expected one step of the cell. Write "
            "def __call__(self, carry, inputs): ... return carry, outputs."
        )
    return run_step(found[1], carry, inputs, recurrence=found[0])


def check_input_rank(cell: RNNCellBase, input_shape: Sequence[int]) -> None:
    """Checks that the inputs of one step have all axes of features.

    Args:
        cell: the cell, bound.
        input_shape: the shape of the inputs of one step.

    Raises:
        InputRankError: if they do not.
    """
    if len(input_shape) < cell.num_feature_axes:
        raise InputRankError(
            f"{location(cell)}: found inputs of shape {tuple(input_shape)} for one step; expected "
            f"{cell.num_feature_axes} axes of features. Write inputs[..., None] if the axis of "
            "features is missing."
        )


def check_carry_shapes(
    cell: RNNCellBase, carry: Any, expected: Any, input_shape: Sequence[int]
) -> None:
    """Compares a carry with the shapes it must have.

    Args:
        cell: the cell, bound.
        carry: a pytree of arrays.
        expected: one array's shape, or a tuple of shapes. Batch dimensions of a carry may broadcast
            to those of the inputs.
        input_shape: the shape of the inputs of one step.

    Raises:
        CarryShapeError: if the structure or a shape differs.
    """
    is_single = bool(expected) and isinstance(expected[0], int)
    shapes = [expected] if is_single else list(expected)
    structure = jax.tree.structure(0 if is_single else (0,) * len(shapes))
    found = jax.tree.map(jnp.shape, carry)
    features = cell.num_feature_axes
    if jax.tree.structure(carry) == structure and all(
        _broadcasts(jnp.shape(leaf), shape, features)
        for leaf, shape in zip(jax.tree.leaves(carry), shapes, strict=True)
    ):
        return
    raise CarryShapeError(
        f"{location(cell)}: found a carry of shape {found} for inputs of shape "
        f"{tuple(input_shape)}; expected {expected}. Write "
        f"cell.initialize_carry(rng, {tuple(input_shape)}), or leave initial_carry out of the call "
        "of RNN."
    )


def _broadcasts(found: tuple[int, ...], expected: tuple[int, ...], features: int) -> bool:
    """Whether features are equal and batch dimensions are as expected, or 1, or missing."""
    batch, own = expected[:-features], found[: max(0, len(found) - features)]
    return (
        len(found) >= features
        and found[-features:] == expected[-features:]
        and len(own) <= len(batch)
        and all(a in (1, b) for a, b in zip(reversed(own), reversed(batch), strict=False))
    )


def _place(cell: Module) -> str:
    return location(cell) if cell.scope is not None else type(cell).__name__
