"""`jit` over functions of scopes.

Calls that would be traced alike share one trace: blocks of one class and the same fields, wherever they
are, and modules that were built anew from equal parts. What a trace depends on besides arrays is the
**key** of a call: the body and what it has captured, by value; static arguments; what is mutable;
names in use and draws so far. Where something in it cannot be compared by value, such as a captured
array, the call is traced for itself.

While the body runs, names are taken and draws are counted. A call that finds its trace does not
run the body, so a trace comes with the **notes** of what was noted down when it had ended.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax

from linen_core import CollectionFilter, DenyList, get_logical_axis_rules
from linen_core.config import config
from linen_core.extend import (
    are_calls_observed,
    bookkeeping,
    fingerprint,
    is_rehearsing,
    restore_bookkeeping,
    sowable,
    withheld_streams,
)
from linen_transforms._fold_rngs import drawn
from linen_transforms._pack import Cut, Groups, with_cut
from linen_transforms._static import Names, Numbers, StaticArguments
from linen_transforms._traces import Donated, traces_of
from linen_transforms.errors import UnsupportedArgumentError


def jit(
    fn: Callable[..., Any],
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
    static_argnums: Numbers = (),
    static_argnames: Names = (),
    donate_argnums: Numbers = (),
    device: Any = None,
    backend: str | None = None,
) -> Callable[..., Any]:
    """Lift `jax.jit`: compile a function of scopes, once for all calls that are traced alike.

    Args:
        fn: a function of a scope, or a pytree of scopes, and arguments.
        variables: a filter of the collections that are there.
        rngs: a filter of the random streams that are there. Each gives one key at every call.
        static_argnums: which arguments after the scopes, counted from 0, are no arrays but values
            that hash.
        static_argnames: the same by name.
        donate_argnums: which arguments, counted in the same way, may be overwritten.
        device: not supported: it must be None.
        backend: not supported: it must be None.

    Returns:
        A function of scopes and arguments.

    Raises:
        UnsupportedArgumentError: `device` or `backend` is given.
        StaticArgumentError: (when called) a static argument is an array, does not hash or does not
            exist, or an argument that is not static is no array.
        DonatedArgumentError: (when called) an argument to donate is static or does not exist.
        NotAScopeError: (when called) the first argument has something else in it than scopes.

    Example:
        >>> import jax
        >>> from linen_core import apply
        >>> from linen_transforms import lift
        >>> def scale(scope, x):
        ...     return x * scope.get_variable("params", "w")
        >>> apply(lift.jit(scale))({"params": {"w": 2.0}}, 3.0).item()
        6.0
    """
    for argument, value in {"device": device, "backend": backend}.items():
        if value is not None:
            raise UnsupportedArgumentError(
                argument,
                "JAX deprecated it; put the arrays where they should be with jax.device_put",
            )
    in_filter, rng_filter = variables, rngs

    def inner(cut: Cut, variables: Any, keys: Any, /, *args: Any, **kwargs: Any) -> Any:
        name = f"{cut.roots[0].path_text}: jit"
        static = StaticArguments(name, fn, static_argnums, static_argnames)
        donated = static.donated(donate_argnums, args, kwargs)
        rest, others, taken = static.split(args, kwargs)
        keys = drawn(cut, keys)
        places = [*cut.roots, *getattr(fn, "modules", ())]

        def run(variables: Any, keys: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
            scopes = cut.enter(variables, keys, is_anonymous=getattr(fn, "is_anonymous", False))
            args, kwargs = taken.joined(args, kwargs)
            y = fn(scopes, *args, **kwargs)
            notes = _Notes(tuple(map(bookkeeping, places)))
            return y, cut.leave(scopes), notes

        filters = tuple(map(_hashable, (in_filter, rng_filter)))
        key = _key(fn, cut, keys, places, (taken.key, filters))
        if key is None:
            compiled = _unshared(run, donated)
        else:
            compiled = traces_of(getattr(fn, "owner", None)).find(key, run, donated)
        with static.explaining(args, kwargs):
            y, changed, notes = compiled(variables, keys, *rest, **others)
        for place, note in zip(places, notes.value, strict=True):
            restore_bookkeeping(place, note)
        return y, changed

    return with_cut(
        inner, (variables,), (variables,), (rngs,), "jit", enable_kwargs=True, sown=True
    )


@jax.tree_util.register_static
class _Notes:
    """What was noted down at the end of a body: a part of its result that is no array."""

    def __init__(self, value: tuple[Hashable, ...]) -> None:
        self.value = value

    def __hash__(self) -> int:
        return hash(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Notes) and self.value == other.value


def _unshared(run: Callable[..., Any], donated: Donated) -> Callable[..., Any]:
    """Give a function that is compiled and then forgotten."""

    def body(variables: Any, keys: Any, /, *args: Any, **kwargs: Any) -> Any:
        return run(variables, keys, args, kwargs)

    numbers, names = donated
    return jax.jit(body, donate_argnums=tuple(n + 2 for n in numbers), donate_argnames=names)


class _NotShared(Exception):  # noqa: N818 - not an error, a branch
    """Something cannot be compared by value."""


def _atom(value: Any) -> Hashable:
    if isinstance(value, jax.Array):
        raise _NotShared
    try:
        hash(value)
    except TypeError:
        raise _NotShared from None
    return type(value), value


def _key(fn: Any, cut: Cut, keys: Groups, places: Sequence[Any], static: Hashable) -> Hashable:
    """Give what a trace depends on besides arrays, or None where that cannot be compared."""
    # Interceptors see each call, and what is drawn in a rehearsal is known at its end.
    draws = any(streams for group in keys for streams in group)
    if are_calls_observed() or (draws and any(map(is_rehearsing, cut.roots))):
        return None
    paths = () if getattr(fn, "is_anonymous", False) else tuple(root.path for root in cut.roots)
    try:
        return (
            paths,
            fingerprint(getattr(fn, "identity", fn), _atom),
            fingerprint(static, _atom),
            fingerprint(cut.places, _atom),
            tuple(_hashable(root.mutable) for root in cut.roots),
            tuple(_hashable(sowable(root)) for root in cut.roots),
            tuple(map(withheld_streams, cut.roots)),
            tuple(fingerprint(dict(root.flags), _atom) for root in cut.roots),
            tuple(map(bookkeeping, places)),
            tuple(sorted(vars(config).items())),
            fingerprint(get_logical_axis_rules(), _atom),
        )
    except _NotShared:
        return None


def _hashable(filter_: CollectionFilter) -> Hashable:
    if isinstance(filter_, DenyList):
        return DenyList, _hashable(filter_.deny)
    return filter_ if isinstance(filter_, (bool, str)) else frozenset(filter_)
