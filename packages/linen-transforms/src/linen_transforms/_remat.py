"""`checkpoint`, also called `remat`, over functions of scopes."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from linen_core import CollectionFilter
from linen_transforms._pack import Cut, with_cut
from linen_transforms._static import Names, Numbers, StaticArguments
from linen_transforms.errors import UnsupportedArgumentError


def checkpoint(
    fn: Callable[..., Any],
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
    concrete: bool = False,
    prevent_cse: bool = True,
    static_argnums: Numbers = (),
    policy: Callable[..., bool] | None = None,
    static_argnames: Names = (),
) -> Callable[..., Any]:
    """Lift `jax.checkpoint`: compute a function of scopes again where its gradient needs it.

    Args:
        fn: a function of a scope, or a pytree of scopes, and arguments.
        variables: a filter of the collections that are there.
        rngs: a filter of the random streams that are there.
        concrete: not supported by JAX any more: it must be False.
        prevent_cse: whether the compiler must not merge the two computations. Inside of a scan it
            can be False, which is faster.
        static_argnums: which arguments after the scopes, counted from 0, are no arrays.
        policy: which intermediate results are kept, as for `jax.checkpoint`.
        static_argnames: names of arguments that are no arrays.

    Returns:
        A function of scopes and arguments.

    Raises:
        UnsupportedArgumentError: `concrete` is True.
        StaticArgumentError: (when called) a static argument is an array, does not hash or does not
            exist, or an argument that is not static is no array.
        NotAScopeError: (when called) the first argument has something else in it than scopes.

    Example:
        >>> import jax
        >>> from linen_core import apply
        >>> from linen_transforms import lift
        >>> def scale(scope, x):
        ...     return jax.numpy.sin(x * scope.get_variable("params", "w"))
        >>> apply(lift.checkpoint(scale))({"params": {"w": 2.0}}, 0.0).item()
        0.0
    """
    refuse_concrete(concrete)

    def inner(cut: Cut, variables: Any, keys: Any, /, *args: Any, **kwargs: Any) -> Any:
        name = f"{cut.roots[0].path_text}: remat"
        static = StaticArguments(name, fn, static_argnums, static_argnames)
        rest, others, taken = static.split(args, kwargs)

        @functools.partial(jax.checkpoint, prevent_cse=prevent_cse, policy=policy)
        def rematerialised(variables: Any, keys: Any, args: Any, kwargs: Any) -> Any:
            scopes = cut.enter(variables, keys)
            args, kwargs = taken.joined(args, kwargs)
            return fn(scopes, *args, **kwargs), cut.leave(scopes)

        with static.explaining(args, kwargs):
            return rematerialised(variables, keys, rest, others)

    return with_cut(
        inner, (variables,), (variables,), (rngs,), "remat", enable_kwargs=True, sown=True
    )


def refuse_concrete(concrete: bool) -> None:
    """Refuse an argument that JAX had once."""
    if concrete:
        raise UnsupportedArgumentError("concrete", "JAX removed it; use static_argnums instead")
