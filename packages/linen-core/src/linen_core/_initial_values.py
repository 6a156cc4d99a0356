"""The values of initializers without a compilation for each shape.

An initializer that is a flat program (see `_flat_programs`) runs for one of a few sizes, and the
parameter is cut out of the result. The sizes are far apart: on a CPU a million superfluous numbers
cost less than a hundredth of a compilation. Above the largest of them an array's own size is used.

The bits are those of separate calls as far as XLA rounds a number alike wherever it stands. Where it is
known not to, the initializer runs by itself.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr

from linen_core._flat_programs import FlatProgram, NotFlat, flatten, run_flat
from linen_core._trace import is_tracing

_SIZES = (2**16, 2**20, 2**22)

# Before, XLA rounded the last numbers of an array, and at times others, by the array's size.
_IS_ROUNDED_ALIKE = jax.__version_info__ >= (0, 8, 2)

# JAX 0.12 unrolls the loop over a last axis of three to five numbers, and then rounds otherwise.
_SHORT = 8


class InitialValues:
    """Evaluates the initializers of one `init`."""

    def __init__(self) -> None:
        settings: Any = jax.config
        self._is_possible = (
            _IS_ROUNDED_ALIKE
            and not is_tracing()
            and settings.jax_threefry_partitionable
            and jax.sharding.get_abstract_mesh().empty
        )
        # By the id of a computation, which stays alive with the jaxpr that it is in.
        self._programs: dict[int, tuple[FlatProgram, list[Any]] | None] = {}

    def evaluate(self, closed: ClosedJaxpr, args: Sequence[Any]) -> jax.Array | None:
        """Give the value of an initializer, or None where it is no flat program.

        Args:
            closed: what the initializer computes.
            args: its arguments: a key and a number to fold in, or nothing.
        """
        shape = closed.jaxpr.outvars[0].aval.shape
        is_short = len(shape) > 1 and shape[-1] < _SHORT
        if not self._is_possible or is_short or not args or _is_placed(args[0]):
            return None
        if id(closed) not in self._programs:
            try:
                self._programs[id(closed)] = flatten(closed)
            except NotFlat:
                self._programs[id(closed)] = None
        found = self._programs[id(closed)]
        if found is None:
            return None
        program, literals = found
        size = math.prod(shape)
        enough = next((most for most in _SIZES if most >= size), size)
        return _cut(run_flat(program, enough, *args, *literals), size, shape)


def _is_placed(key: Any) -> bool:
    """Say whether a key lies on devices that the user chose; the value belongs there too."""
    return not isinstance(key, jax.Array) or key.committed


def _cut(numbers: jax.Array, size: int, shape: tuple[int, ...]) -> jax.Array:
    (device,) = numbers.devices()
    if device.platform != "cpu":
        return _compiled_cut(numbers, size=size, shape=shape)
    # Nothing to move, and nothing to compile.
    return jax.device_put(np.asarray(numbers)[:size].reshape(shape), may_alias=False)


@partial(jax.jit, static_argnames=("size", "shape"))
def _compiled_cut(numbers: jax.Array, *, size: int, shape: tuple[int, ...]) -> jax.Array:
    return jax.lax.slice(numbers, (0,), (size,)).reshape(shape)
