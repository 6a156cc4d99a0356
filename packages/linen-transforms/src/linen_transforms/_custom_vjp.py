"""`custom_vjp` over functions of scopes.

A function comes with a *forward* function, which gives the same result and what its gradient needs, the
*residual*, and with a *backward* function, which makes gradients of it. JAX runs the forward function
in the place of the function when something is differentiated, sometimes long after the function ran.
Both therefore start from the same **books**: the names in use and the random draws at the time of the
call. They draw the same keys, and what is noted down counts once.
"""

import contextlib
import functools
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import jax

from linen_core import CollectionFilter
from linen_core.extend import bookkeeping, restore_bookkeeping
from linen_transforms._by_place import ByPlace, leaves_by_path
from linen_transforms._gradients import Form
from linen_transforms._pack import Cut, with_cut
from linen_transforms.errors import CotangentError, NondiffArgumentError


def custom_vjp(
    fn: Callable[..., Any],
    forward_fn: Callable[..., Any],
    backward_fn: Callable[..., Any],
    grad_vars: CollectionFilter = "params",
    nondiff_argnums: int | Sequence[int] = (),
) -> Callable[..., Any]:
    """Lift `jax.custom_vjp`: give a function of scopes a gradient of one's own.

    Args:
        fn: a function `(scope, *args)` that returns a pytree of arrays. There may be a pytree of
            scopes.
        forward_fn: a function of the same arguments that returns a pair of the same result and of
            the residual, a pytree; `vjp` gives such a pair. It changes the same variables.
        backward_fn: a function `(*static, residual, cotangent)` that returns a tuple
            `(variable gradients, *gradients of args)`, as the function from `vjp` does. `static`
            are the arguments of `nondiff_argnums`, whose gradients are left out. A gradient that is
            None is zero.
        grad_vars: a filter of the collections whose gradients are in the first of these. There is
            no gradient with respect to others, nor through what `fn` changes in collections.
        nondiff_argnums: which arguments are no arrays and have no gradient; the scope is number 0.

    Returns:
        A function `(scope, *args)`.

    Raises:
        NondiffArgumentError: (when called) `nondiff_argnums` names no argument.
        CotangentError: (when differentiated) `backward_fn` does not return such a tuple.
        KeywordArgumentsError: (when called) there are keyword arguments.
        NotAScopeError: (when called) the first argument has something else in it than scopes.

    Example:
        >>> import jax
        >>> from linen_core import apply
        >>> from linen_transforms import lift
        >>> def scale(scope, x):
        ...     return scope.get_variable("params", "w") * x
        >>> def backward(residual, cotangent):
        ...     gradients, slope = residual(cotangent)
        ...     return jax.tree.map(jax.numpy.sign, gradients), slope
        >>> sign_scale = lift.custom_vjp(scale, lambda *args: lift.vjp(scale, *args), backward)
        >>> jax.grad(apply(sign_scale))({"params": {"w": 3.0}}, 2.0)["params"]["w"].item()
        1.0
    """

    @functools.wraps(fn)
    def lifted(scopes: Any, /, *args: Any, **kwargs: Any) -> Any:
        form = functools.partial(ByPlace, places=scopes)
        functions = (fn, forward_fn, backward_fn)
        run = custom_vjp_by_place(*functions, form, grad_vars, nondiff_argnums)
        return run(scopes, *args, **kwargs)

    return lifted


def custom_vjp_by_place(
    fn: Callable[..., Any],
    forward_fn: Callable[..., Any],
    backward_fn: Callable[..., Any],
    form: Form,
    grad_vars: CollectionFilter,
    nondiff_argnums: int | Sequence[int],
    modules: Sequence[Any] = (),
) -> Callable[..., Any]:
    """Do what `custom_vjp` does, with the gradients of variables in another form.

    Args:
        fn: as for `custom_vjp`.
        forward_fn: as for `custom_vjp`.
        backward_fn: as for `custom_vjp`.
        form: says in which form gradients of variables are given.
        grad_vars: as for `custom_vjp`.
        nondiff_argnums: as for `custom_vjp`.
        modules: the modules whose names in use the functions may change.
    """

    def inner(cut: Cut, groups: Any, keys: Any, *args: Any) -> Any:
        by_place = form(cut)
        differentiated, others = by_place.join(groups[0]), groups[1]
        books = _Books([*cut.roots, *modules])
        static = _positions(nondiff_argnums, len(args))
        check = functools.partial(
            _check_gradients, list(leaves_by_path(differentiated)), len(args) - len(static)
        )

        def run(body: Callable[..., Any], own: Any, others: Any, keys: Any, *args: Any) -> Any:
            with books.reopened():
                scopes = cut.enter((by_place.split(own), others), keys)
                return body(scopes, *args), cut.leave(scopes)

        # After variables in two groups and keys, the arguments are those of `fn` without the scope.
        @functools.partial(jax.custom_vjp, nondiff_argnums=tuple(n + 3 for n in static))
        def pure(*args: Any) -> Any:
            return run(fn, *args)

        def forward(*args: Any) -> Any:
            (y, residual), changed = run(forward_fn, *args)
            return (y, changed), residual

        def backward(*args: Any) -> Any:
            *args_and_residual, (cotangent, _) = args
            gradients = check(backward_fn(*args_and_residual, cotangent))
            return gradients[0], None, None, *gradients[1:]

        pure.defvjp(forward, backward)
        return pure(differentiated, others, keys, *args)

    return with_cut(inner, (grad_vars, True), (True,), (True,), "custom_vjp")


class _Books:
    """The books of some places, as they are when this is made."""

    def __init__(self, places: Sequence[Any]) -> None:
        self._places = places
        self._at_first = self._read()
        self._is_written = False

    @contextlib.contextmanager
    def reopened(self) -> Iterator[None]:
        """Go back to that time in a `with` block. Only the first block leaves anything behind."""
        later = self._read()
        self._write(self._at_first)
        try:
            yield
        finally:
            if self._is_written:
                self._write(later)
            self._is_written = True

    def _read(self) -> list[Hashable]:
        return [bookkeeping(place) for place in self._places]

    def _write(self, notes: Sequence[Hashable]) -> None:
        for place, note in zip(self._places, notes, strict=True):
            restore_bookkeeping(place, note)


def _positions(numbers: int | Sequence[int], arguments: int) -> list[int]:
    """Give the positions, among the arguments after the scope, that numbers mean."""
    numbers = (numbers,) if isinstance(numbers, int) else numbers
    positions = [n + arguments if n < 0 else n - 1 for n in numbers]
    for number, position in zip(numbers, positions, strict=True):
        if not 0 <= position < arguments:
            raise NondiffArgumentError(number, arguments)
    return positions


def _check_gradients(paths: Sequence[str], arguments: int, gradients: Any) -> Any:
    if not isinstance(gradients, (tuple, list)) or len(gradients) != arguments + 1:
        raise CotangentError.of_length(arguments, gradients)
    if gradients[0] is not None:
        found = list(leaves_by_path(gradients[0]))
        if set(found) != set(paths):
            raise CotangentError.of_variables(paths, found)
    return gradients
