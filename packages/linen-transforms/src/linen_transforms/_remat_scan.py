"""`remat_scan` over functions of scopes: nested scans that keep little memory."""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from linen_core import CollectionFilter
from linen_transforms._remat import checkpoint
from linen_transforms._scan import scan
from linen_transforms.errors import AxisSizeError


def remat_scan(
    body_fn: Callable[..., Any],
    lengths: Sequence[int],
    policy: Callable[..., bool] | None = None,
    variable_broadcast: CollectionFilter = False,
    variable_carry: CollectionFilter = False,
    variable_axes: Mapping[Any, int] = {True: 0},
    split_rngs: Mapping[Any, bool] = {True: True},
) -> Callable[..., Any]:
    """Loop a function of scopes, computing it again for its gradient, in nested loops.

    With `lengths=(a, b)` the function runs a times b times and its gradient keeps the results of
    about a plus b of these runs.

    Args:
        body_fn: a function of a scope, or a pytree of scopes, and of a value; it returns a value of
            the same form.
        lengths: the numbers of iterations of the loops, the outermost first.
        policy: which intermediate results are kept, as for `jax.checkpoint`.
        variable_broadcast: a filter of the collections that all iterations share.
        variable_carry: a filter of the collections that iterations hand on to the next.
        variable_axes: from filters of collections to the axis of their variables that is looped
            over. Each loop adds one.
        split_rngs: from filters of random streams to whether every iteration gets another key.

    Returns:
        A function of scopes and a value.

    Raises:
        AxisSizeError: `lengths` is no sequence of integers, or empty.
        CarryMismatchError: (when called) the value comes out of the body as something else.
        NotAScopeError: (when called) the first argument has something else in it than scopes.

    Example:
        >>> import jax
        >>> from linen_core import init
        >>> from linen_transforms import lift
        >>> def layer(scope, x):
        ...     shape = (x.shape[-1], x.shape[-1])
        ...     return x @ scope.param("kernel", jax.nn.initializers.ones, shape)
        >>> layers = lift.remat_scan(layer, lengths=(4, 5))
        >>> _, variables = init(layers)(jax.random.key(0), jax.numpy.ones(3))
        >>> variables["params"]["kernel"].shape
        (4, 5, 3, 3)
    """
    if not _are_lengths(lengths):
        raise AxisSizeError(
            "remat_scan: lengths must be a sequence of at least one integer, the number of iterations "
            f"of each loop, the outermost first, but is {lengths!r}. Write lengths=(a, b) for a * b."
        )
    length, *rest = lengths
    options: dict[str, Any] = {
        "variable_broadcast": variable_broadcast,
        "variable_carry": variable_carry,
        "variable_axes": variable_axes,
        "split_rngs": split_rngs,
    }
    inner = remat_scan(body_fn, rest, policy, **options) if rest else body_fn

    def iterate(scopes: Any, carry: Any) -> Any:
        return inner(scopes, carry), None

    body = checkpoint(iterate, policy=policy, prevent_cse=False)
    looped = scan(body, **options, length=length)

    def loops(scopes: Any, x: Any) -> Any:
        return looped(scopes, x)[0]

    return loops


def _are_lengths(lengths: Any) -> bool:
    """Say whether something is a sequence of at least one integer."""
    try:
        return all(operator.index(length) >= 0 for length in lengths) and len(lengths) > 0
    except TypeError:
        return False
