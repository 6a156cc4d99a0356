"""`value_and_grad`, `vjp` and `jvp` over functions of scopes.

A gradient is taken with respect to arguments (the *primals*) and, with `vjp` and `jvp`, to variables. What
the function changes in its collections is put back as without differentiation.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from linen_core import CollectionFilter, union_filters
from linen_transforms._by_place import ByPlace, leaves_by_path
from linen_transforms._pack import Cut, with_cut
from linen_transforms.errors import (
    AuxiliaryOutputError,
    ScalarOutputError,
    TangentError,
    UnsupportedArgumentError,
)

# Says in which form the variables of scopes that were cut out are given.
Form = Callable[[Cut], ByPlace]


def value_and_grad(
    fn: Callable[..., Any],
    scope: Any,
    *primals: Any,
    has_aux: bool = False,
    reduce_axes: Sequence[str] = (),
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
) -> tuple[Any, Any]:
    """Evaluate a function of scopes and its gradient with respect to its arguments.

    Variables are constants for this gradient; `vjp` gives one with respect to them.

    Args:
        fn: a function `(scope, *primals)` that returns a real scalar, or with `has_aux` a pair of
            that and of a pytree.
        scope: a scope, or a pytree of scopes.
        *primals: the arguments, pytrees of arrays.
        has_aux: whether `fn` returns a pair whose second part is not differentiated.
        reduce_axes: not supported by JAX any more: it must be empty.
        variables: a filter of the collections that are there.
        rngs: a filter of the random streams that are there.

    Returns:
        A pair `(y, gradients)`, or `((y, aux), gradients)` with `has_aux`. The gradients are a tuple
        with one for each of `primals`; those of integers have the dtype `float0`.

    Raises:
        ScalarOutputError: `y` is no scalar, or an integer.
        AuxiliaryOutputError: `has_aux` is True, but `fn` returns no pair.
        UnsupportedArgumentError: `reduce_axes` is not empty.
        NotAScopeError: `scope` has something else in it than scopes.

    Example:
        >>> from linen_core import apply
        >>> from linen_transforms import lift
        >>> def model(scope, x):
        ...     def energy(scope, x):
        ...         return scope.get_variable("params", "w") * x**2
        ...     return lift.value_and_grad(energy, scope, x)
        >>> y, (slope,) = apply(model)({"params": {"w": 3.0}}, 2.0)
        >>> y, slope.item()
        (12.0, 12.0)
    """
    refuse_reduce_axes(reduce_axes)
    y, backward, *aux = vjp(
        fn,
        scope,
        *primals,
        has_aux=has_aux,
        vjp_variables=False,
        variables=variables,
        rngs=rngs,
    )
    if jnp.shape(y) != () or not jnp.issubdtype(jnp.result_type(y), jnp.inexact):
        raise ScalarOutputError("value_and_grad", jnp.shape(y), jnp.result_type(y))
    gradients = backward(jnp.ones_like(y))[1:]
    return ((y, *aux) if has_aux else y), gradients
