"""Explaining parameters that do not fit: all of them at once, with the shapes of the inputs.

The first mismatch ends an `apply`. What the other parameters should have been is then found by an
abstract `init` with the same arguments; if the model cannot be initialized with them, the first
mismatch is all there is to say.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from linen_core._parameter import describe_shapes, shapes_of
from linen_core.errors import ParameterMismatch, ScopeParamShapeError


def explain(
    error: ScopeParamShapeError, params: Mapping[str, Any], init: Callable[[], Any], inputs: Any
) -> ScopeParamShapeError:
    """Give the error that lists every mismatch.

    Args:
        error: the error of the first mismatch.
        params: the parameters that were given.
        init: makes the parameters that were expected; called abstractly.
        inputs: the arguments of the model.

    Returns:
        A new error.
    """
    try:
        mismatches = list(_compare(params, jax.eval_shape(init), (), error.mismatches[0]))
    except Exception:
        mismatches = []
    return ScopeParamShapeError(mismatches or error.mismatches, _describe_inputs(inputs), True)


def _compare(
    params: Mapping[str, Any],
    expected: Mapping[str, Any],
    path: tuple[str, ...],
    first: ParameterMismatch,
) -> Iterator[ParameterMismatch]:
    for name in expected:
        if name not in params:
            continue
        found, wanted = params[name], expected[name]
        # A dict is a submodule, or a parameter that is a pytree, as the first may be.
        is_submodule = isinstance(found, Mapping) and isinstance(wanted, Mapping)
        if is_submodule and (path, name) != (first.path, first.name):
            yield from _compare(found, wanted, (*path, name), first)
        elif shapes_of(found) != shapes_of(wanted):
            texts = describe_shapes(shapes_of(wanted)), describe_shapes(shapes_of(found))
            yield ParameterMismatch(path, name, *texts)


def _describe_inputs(inputs: Any) -> str:
    arrays = [x for x in jax.tree.leaves(inputs) if hasattr(x, "shape") and hasattr(x, "dtype")]
    return ", ".join(f"{x.dtype}{list(x.shape)}" for x in arrays)
