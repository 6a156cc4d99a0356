"""`value_and_grad`, `vjp` and `jvp` over functions of scopes.

A gradient is taken with respect to arguments (the *primals*) and, with `vjp` and `jvp`, to variables. What
the function changes in its collections is put back as without differentiation.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from linen_core import CollectionFilter, in_filter
from linen_transforms._by_place import ByPlace, Group, leaves_by_path
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
        >>> y.item(), slope.item()
        (12.0, 12.0)
    """
    filters = (variables, rngs)
    name = "value_and_grad"
    return value_and_grad_of(name, fn, scope, primals, has_aux, reduce_axes, filters)


def value_and_grad_of(
    name: str,
    fn: Callable[..., Any],
    scopes: Any,
    primals: Sequence[Any],
    has_aux: bool,
    reduce_axes: Sequence[str],
    filters: tuple[CollectionFilter, CollectionFilter],
) -> tuple[Any, Any]:
    """Do what `value_and_grad` does, by another name.

    Args:
        name: what the transformation is called.
        fn: as for `value_and_grad`.
        scopes: a pytree of scopes.
        primals: as for `value_and_grad`.
        has_aux: as for `value_and_grad`.
        reduce_axes: as for `value_and_grad`.
        filters: `variables` and `rngs`.
    """
    form = functools.partial(ByPlace, places=scopes)
    y, backward, *aux = vjp_by_place(
        name, fn, form, scopes, primals, has_aux, reduce_axes, (False, *filters)
    )
    is_leaf = jax.tree.structure(y) == jax.tree.structure(0)
    if not is_leaf or jnp.shape(y) or not jnp.issubdtype(jnp.result_type(y), jnp.inexact):
        raise ScalarOutputError(name, description(y))
    gradients = backward(jnp.ones_like(y))[1:]
    return ((y, *aux) if has_aux else y), gradients


def vjp(
    fn: Callable[..., Any],
    scope: Any,
    *primals: Any,
    has_aux: bool = False,
    reduce_axes: Sequence[str] = (),
    vjp_variables: CollectionFilter = "params",
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
) -> tuple[Any, ...]:
    """Lift `jax.vjp`: evaluate a function of scopes, and get the function of its gradients.

    Args:
        fn: a function `(scope, *primals)` that returns a pytree, or with `has_aux` a pair of pytrees.
        scope: a scope, or a pytree of scopes.
        *primals: the arguments, pytrees of arrays.
        has_aux: whether `fn` returns a pair whose second part is not differentiated.
        reduce_axes: not supported by JAX any more: it must be empty.
        vjp_variables: a filter of the collections whose gradients are wanted. They are there for
            `fn`, but can be changed only where `variables` matches them too.
        variables: a filter of the collections that are there.
        rngs: a filter of the random streams that are there.

    Returns:
        A pair `(y, backward)`, or `(y, backward, aux)` with `has_aux`. `backward` takes a cotangent,
        a pytree like `y`, and returns a tuple `(variable gradients, *gradients of primals)`. The
        first is a dict of collections; with a pytree of scopes it is such a pytree of dicts, where
        the variables of a scope below another one come with that one. Variables that `fn` creates
        are not in it.

    Raises:
        AuxiliaryOutputError: `has_aux` is True, but `fn` returns no pair.
        UnsupportedArgumentError: `reduce_axes` is not empty.
        NotAScopeError: `scope` has something else in it than scopes.

    Example:
        >>> from linen_core import apply
        >>> from linen_transforms import lift
        >>> def model(scope, x):
        ...     def scale(scope, x):
        ...         return scope.get_variable("params", "w") * x
        ...     y, backward = lift.vjp(scale, scope, x)
        ...     return backward(1.0)
        >>> gradients, slope = apply(model)({"params": {"w": 3.0}}, 2.0)
        >>> gradients["params"]["w"].item(), slope.item()
        (2.0, 3.0)
    """
    form = functools.partial(ByPlace, places=scope)
    filters = (vjp_variables, variables, rngs)
    return vjp_by_place("vjp", fn, form, scope, primals, has_aux, reduce_axes, filters)


def vjp_by_place(
    name: str,
    fn: Callable[..., Any],
    form: Form,
    scopes: Any,
    primals: Sequence[Any],
    has_aux: bool,
    reduce_axes: Sequence[str],
    filters: tuple[CollectionFilter, CollectionFilter, CollectionFilter],
) -> tuple[Any, ...]:
    """Do what `vjp` does, with the variables in another form.

    Args:
        name: what the transformation is called.
        fn: as for `vjp`.
        form: says in which form gradients of variables are given.
        scopes: a pytree of scopes.
        primals: as for `vjp`.
        has_aux: as for `vjp`.
        reduce_axes: as for `vjp`.
        filters: `vjp_variables`, `variables` and `rngs`.
    """
    if reduce_axes:
        raise UnsupportedArgumentError(
            "reduce_axes", "JAX removed it; use jax.lax.psum on the gradients instead"
        )
    vjp_variables, variables, rngs = filters

    def inner(cut: Cut, groups: Any, keys: Any) -> Any:
        differentiated, others = groups
        by_place = form(cut)

        def pure(differentiated: Any, *primals: Any) -> Any:
            inner_scopes = cut.enter((by_place.split(differentiated), others), keys)
            y, aux = _with_aux(name, fn(inner_scopes, *primals), has_aux)
            return y, (aux, cut.leave(inner_scopes))

        y, backward, (aux, changed) = jax.vjp(
            pure, by_place.join(differentiated), *primals, has_aux=True
        )
        return (y, backward, *aux), changed

    return with_cut(inner, (vjp_variables, variables), (variables,), (rngs,), name)(scopes)


def jvp(
    fn: Callable[..., Any],
    scope: Any,
    primals: Sequence[Any],
    tangents: Sequence[Any],
    variable_tangents: Any,
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
) -> tuple[Any, Any]:
    """Lift `jax.jvp`: evaluate a function of scopes and its derivative in one direction.

    Args:
        fn: a function `(scope, *primals)` that returns a pytree.
        scope: a scope, or a pytree of scopes.
        primals: a tuple or list of the arguments, pytrees of arrays.
        tangents: their part of the direction, of the same structure, shapes and dtypes.
        variable_tangents: the part of variables: a dict from collections to what has the structure
            and the shapes of their variables; with a pytree of scopes, such a pytree of dicts.
            Variables of other collections are constants. An empty dict stands for none at all.
        variables: a filter of the collections that are there.
        rngs: a filter of the random streams that are there.

    Returns:
        A pair of the result of `fn` and of its tangent.

    Raises:
        TangentError: `variable_tangents` does not fit the variables, or `primals` and `tangents` are
            not two sequences of one length.
        NotAScopeError: `scope` has something else in it than scopes.

    Example:
        >>> from linen_core import apply
        >>> from linen_transforms import lift
        >>> def model(scope, x):
        ...     def scale(scope, x):
        ...         return scope.get_variable("params", "w") * x
        ...     return lift.jvp(scale, scope, (x,), (1.0,), {"params": {"w": 10.0}})
        >>> y, y_tangent = apply(model)({"params": {"w": 3.0}}, 2.0)
        >>> y.item(), y_tangent.item()
        (6.0, 23.0)
    """
    form = functools.partial(ByPlace, places=scope)
    filters = (variables, rngs)
    return jvp_by_place(fn, form, scope, primals, tangents, variable_tangents, filters)


def jvp_by_place(
    fn: Callable[..., Any],
    form: Form,
    scopes: Any,
    primals: Sequence[Any],
    tangents: Sequence[Any],
    variable_tangents: Any,
    filters: tuple[CollectionFilter, CollectionFilter],
) -> tuple[Any, Any]:
    """Do what `jvp` does, with the tangents of variables in another form.

    Args:
        fn: as for `jvp`.
        form: says in which form tangents of variables are given.
        scopes: a pytree of scopes.
        primals: as for `jvp`.
        tangents: as for `jvp`.
        variable_tangents: as for `jvp`.
        filters: `variables` and `rngs`.
    """
    _check_sequences(primals, tangents)
    variables, rngs = filters

    def inner(cut: Cut, groups: Any, keys: Any) -> Any:
        found = groups[0]
        given = _tangents_by_place(form, cut, variable_tangents)
        pairs = list(zip(found, given, strict=True))
        own = tuple({col: place[col] for col in place if col in part} for place, part in pairs)
        others = tuple(
            {c: place[c] for c in place if c not in part and in_filter(variables, c)}
            for place, part in pairs
        )

        def pure(own: Any, *primals: Any) -> Any:
            inner_scopes = cut.enter((own, others), keys)
            y = fn(inner_scopes, *primals)
            return y, cut.leave(inner_scopes)

        y, y_tangent, changed = jax.jvp(
            pure, (own, *primals), (_fitting(given, own, cut), *tangents), has_aux=True
        )
        return (y, y_tangent), changed

    return with_cut(inner, (True,), (variables,), (rngs,), "jvp")(scopes)


def _with_aux(name: str, output: Any, has_aux: bool) -> tuple[Any, tuple[Any, ...]]:
    if not has_aux:
        return output, ()
    if not isinstance(output, tuple) or len(output) != 2:
        raise AuxiliaryOutputError(name, description(output))
    return output[0], (output[1],)


def description(output: Any) -> str:
    """Say what a function returns, without the values, which may be traced."""
    forms = {path: _type_text(leaf) for path, leaf in leaves_by_path(output).items()}
    if set(forms) == {""}:
        return forms[""]
    rows = ", ".join(f"{path}: {form}" for path, form in forms.items())
    return f"a {type(output).__name__} with {rows or 'nothing'}"


def _type_text(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}" if hasattr(leaf, "dtype") else repr(leaf)


def _check_sequences(primals: Any, tangents: Any) -> None:
    for argument, value in {"primals": primals, "tangents": tangents}.items():
        if not isinstance(value, (tuple, list)):
            raise TangentError.of_sequence(argument, value)
    if len(primals) != len(tangents):
        raise TangentError.of_lengths(len(primals), len(tangents))


def _tangents_by_place(form: Form, cut: Cut, given: Any) -> Group:
    """Give the collections with tangents, for each outermost scope."""
    if isinstance(given, Mapping) and not given:
        return tuple({} for _ in cut.roots)
    by_place = form(cut)
    try:
        found = by_place.split(given)
        return tuple({col: tree for col, tree in part.items() if tree} for part in found)
    except (ValueError, AttributeError):
        raise TangentError.of_form(by_place.join(tuple({} for _ in cut.roots)), given) from None


def _fitting(given: Group, own: Group, cut: Cut) -> Group:
    """Give tangents of variables in the structure of the variables."""
    fitting: list[Any] = []
    for tangents, variables, root in zip(given, own, cut.roots, strict=True):
        found, expected = leaves_by_path(tangents), leaves_by_path(variables)
        rows = {
            path: (_shape_text(found.get(path)), _shape_text(expected.get(path)))
            for path in {**expected, **found}
        }
        if differing := {path: row for path, row in rows.items() if row[0] != row[1]}:
            raise TangentError.of_variables(root.debug_path, differing)
        structure = jax.tree.structure(variables)
        fitting.append(structure.unflatten([found[path] for path in expected]))
    return tuple(fitting)


def _shape_text(leaf: Any) -> str:
    return "nothing" if leaf is None else f"shape {jnp.shape(leaf)}"
