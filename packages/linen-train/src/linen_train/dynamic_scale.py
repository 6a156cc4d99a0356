"""Dynamic loss scaling, for gradients in 16-bit floating point.

Gradients in float16 underflow to zero where they are small. A *loss scale* multiplies the loss before
it is differentiated and divides the gradients afterwards, which moves them into the range that
float16 can hold. The largest scale that does not overflow is best, and it changes while training
goes on. So it is searched for all the time: it grows after a number of steps in a row whose
gradients were finite, and shrinks at once when they are not. A step whose gradients are not finite
must not change the parameters.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from linen_core import struct
from linen_train.errors import DynamicScaleError

__all__ = ["DynamicScale", "DynamicScaleResult"]

_LARGEST_SCALE = jnp.finfo(jnp.float32).max
_SMALLEST_SCALE = jnp.finfo(jnp.float32).tiny
_NUMBERS = (int, float, np.generic)

# What each static field has to be, and how that is said.
_STATIC: dict[str, tuple[Callable[[Any], bool], str]] = {
    "growth_factor": (
        lambda x: 1 < x < math.inf,
        "a finite number, more than 1. Write growth_factor=2.0, or growth_interval=2**30 for a scale "
        "that does not grow",
    ),
    "backoff_factor": (
        lambda x: 0 < x < 1,
        "a number between 0 and 1. Write backoff_factor=0.5",
    ),
    "growth_interval": (
        lambda x: 0 <= x < math.inf and x % 1 == 0,
        "a whole number of steps, at least 0. Write growth_interval=2000",
    ),
    "minimum_scale": (
        lambda x: 0 <= x < math.inf,
        "a finite number, at least 0, or None. Write minimum_scale=1.0, or None for no limit",
    ),
}


class DynamicScaleResult(NamedTuple):
    """What the function returned by `DynamicScale.value_and_grad` returns.

    Attributes:
        dynamic_scale: the scale for the next step.
        finite: bool scalar, whether every gradient is finite.
        aux: the loss, or the pair of loss and auxiliary output with `has_aux`, not scaled.
        grad: the gradients in float32, not scaled.

    Example:
        >>> import jax.numpy as jnp
        >>> from linen_train import DynamicScale, DynamicScaleResult
        >>> result = DynamicScale().value_and_grad(lambda x: x * x)(jnp.array(2.0))
        >>> isinstance(result, DynamicScaleResult), bool(result.finite), float(result.grad)
        (True, True, 4.0)
    """

    dynamic_scale: "DynamicScale"
    finite: jax.Array
    aux: Any
    grad: Any


class DynamicScale(struct.PyTreeNode):
    """A loss scale that looks for the largest value at which gradients do not overflow.

    It is a pytree: carry it from step to step, in the field `dynamic_scale` of a `TrainState` for one.

    Args:
        growth_factor: what the scale is multiplied by after `growth_interval` finite steps in a
            row, more than 1. Static.
        backoff_factor: what it is multiplied by after a step that is not finite, between 0 and 1.
            Static.
        growth_interval: number of finite steps in a row, besides the one that grows; with 0, every
            finite step grows. Static.
        fin_steps: how many finite steps there were in a row; an integer scalar.
        scale: the scale. As a Python number it leaves a loss in float16 in float16, which overflows
            early; as a float32 array, which it is from the second step on, it does not.
            `TrainState.create` makes it an array.
        minimum_scale: the scale does not shrink below it; None is no limit. Static.

    Raises:
        DynamicScaleError: a static field is out of range. The scale itself may be anything that JAX
            rebuilds the struct with; `value_and_grad` and `replace` look at it, while it is a number.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from linen_train import DynamicScale, TrainState
        >>> state = TrainState.create(
        ...     apply_fn=lambda variables, x: x * variables["params"],
        ...     params=jnp.array(2.0),
        ...     tx=optax.sgd(0.1),
        ...     dynamic_scale=DynamicScale(),
        ... )
        >>> @jax.jit
        ... def train_step(state, x):
        ...     def loss_of(params):
        ...         return state.apply_fn({"params": params.astype(jnp.float16)}, x)
        ...     dynamic_scale, finite, loss, grads = state.dynamic_scale.value_and_grad(loss_of)(
        ...         state.params
        ...     )
        ...     return state.apply_gradients(
        ...         grads=grads, finite=finite, dynamic_scale=dynamic_scale
        ...     )
        >>> state = train_step(state, jnp.float16(3.0))  # 3 * 65536 is too large for float16
        >>> float(state.params), float(state.dynamic_scale.scale)
        (2.0, 32768.0)
    """

    growth_factor: float = struct.field(pytree_node=False, default=2.0)
    backoff_factor: float = struct.field(pytree_node=False, default=0.5)
    growth_interval: int = struct.field(pytree_node=False, default=2000)
    fin_steps: int | jax.Array = 0
    scale: float | jax.Array = 65536.0
    minimum_scale: float | None = struct.field(pytree_node=False, default=_SMALLEST_SCALE)

    def __post_init__(self) -> None:
        # Also wherever JAX rebuilds it. The children are left alone: they are tracers, shapes, or the
        # zeros that a person maps a state to.
        for name, (is_right, expected) in _STATIC.items():
            value = getattr(self, name)
            is_left_out = value is None and name == "minimum_scale"
            if not is_left_out and not (isinstance(value, _NUMBERS) and is_right(value)):
                raise DynamicScaleError(
                    f"DynamicScale: found {name}={value!r:.80}, expected {expected}."
                )

    def replace(self, **updates: Any) -> Self:
        """Return a copy with other values in the named fields.

        Args:
            **updates: the new values by field name.

        Returns:
            A scale for the loss.

        Raises:
            DynamicScaleError: the scale that there is makes no sense, or a static field is out of
                range.
            UnknownStructFieldError: a name is no field.

        Example:
            >>> from linen_train import DynamicScale
            >>> DynamicScale().replace(growth_interval=100).growth_interval
            100
        """
        # `TrainState.create` makes an array of the scale in this way. Nobody can look at it then.
        _check_scale(self)
        return super().replace(**updates)

    def value_and_grad(
        self,
        fun: Callable[..., Any],
        argnums: int | Sequence[int] = 0,
        has_aux: bool = False,
        axis_name: str | None = None,
    ) -> Callable[..., DynamicScaleResult]:
        """Return a function that computes a loss and its gradients, scaled on the way.

        Args:
            fun: returns the loss, a scalar, or with `has_aux` the loss and an auxiliary output.
            argnums: which positional arguments to differentiate.
            has_aux: whether `fun` returns a pair.
            axis_name: named axis of `jax.pmap` or `jax.shard_map` over which gradients are averaged,
                before it is decided whether they are finite. Under `jax.jit` leave it out.

        Returns:
            A function of the arguments of `fun` that returns a `DynamicScaleResult`.

        Raises:
            DynamicScaleError: the scale is a number that is not positive, or less than
                `minimum_scale`.

        Example:
            >>> import jax.numpy as jnp
            >>> from linen_train import DynamicScale
            >>> gradient_of = DynamicScale(scale=1024.0).value_and_grad(lambda x: x**2)
            >>> _, finite, loss, grad = gradient_of(jnp.array(3.0))
            >>> bool(finite), float(loss), float(grad)
            (True, 9.0, 6.0)
        """
        _check_scale(self)

        def scaled(*args: Any) -> Any:
            if has_aux:
                loss, aux = fun(*args)
                return self.scale * loss, aux
            return self.scale * fun(*args)

        differentiated = jax.value_and_grad(scaled, argnums, has_aux)

        def value_and_grad(*args: Any) -> DynamicScaleResult:
            value, scaled_grad = differentiated(*args)
            loss = value[0] if has_aux else value
            loss = loss / self.scale
            grad = jax.tree.map(
                lambda leaf: jnp.asarray(leaf, jnp.float32) / self.scale, scaled_grad
            )
            if axis_name is not None:
                grad = jax.tree.map(partial(jax.lax.pmean, axis_name=axis_name), grad)
            finite = _all_finite(grad)
            return DynamicScaleResult(
                self._after(finite), finite, (loss, value[1]) if has_aux else loss, grad
            )

        return value_and_grad

    def _after(self, finite: jax.Array) -> "DynamicScale":
        # As an array: a Python number warns where it leaves the range of float32.
        scale = jnp.asarray(self.scale)
        grows = self.fin_steps == self.growth_interval
        grown = jnp.where(grows, jnp.minimum(scale * self.growth_factor, _LARGEST_SCALE), scale)
        shrunk = scale * self.backoff_factor
        if self.minimum_scale is not None:
            shrunk = jnp.maximum(shrunk, self.minimum_scale)
        return self.replace(
            fin_steps=jnp.where(finite & ~jnp.asarray(grows), self.fin_steps + 1, 0),
            scale=jnp.where(finite, grown, shrunk),
        )


def _check_scale(found: DynamicScale) -> None:
    """Raise if the scale is a number that makes no sense; arrays are not looked at."""
    scale, minimum = found.scale, found.minimum_scale
    if not isinstance(scale, _NUMBERS):
        return
    if not 0 < scale < math.inf:
        raise DynamicScaleError(
            f"DynamicScale: found scale={scale}, expected a finite number, more than 0. Write "
            "scale=65536.0."
        )
    if minimum is not None and scale < minimum:
        raise DynamicScaleError(
            f"DynamicScale: found minimum_scale={minimum}, expected at most the scale, which is "
            f"{scale}. Write scale={minimum}, or a smaller minimum."
        )


def _all_finite(tree: Any) -> jax.Array:
    leaves = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]
    return jnp.stack(leaves).all() if leaves else jnp.array(True)
