"""Gradients over Modules.

All but `custom_vjp` are called where the gradient is wanted: `grad(fn, self, x)`. The module may hold
others, be in a container with others, and `fn` may have captured some: all of them are there for it.
Their variables are given by *place*: one dict from collections to variables if all modules are at, or
below, the place of one of them, and else a list with one dict for each outermost place. In that list
modules that are fields of another one come before it.
"""

import functools
import types
from collections.abc import Callable, Sequence
from typing import Any

import jax

from linen_core import CollectionFilter, Scope
from linen_core.extend import map_modules
from linen_transforms._bind import is_module, map_captured, modules_in, rebound_fields
from linen_transforms._by_place import ByPlace, is_same_place
from linen_transforms._custom_vjp import custom_vjp_by_place
from linen_transforms._gradients import jvp_by_place, value_and_grad_of, vjp_by_place
from linen_transforms._over_modules import Transformation, over_modules
from linen_transforms._pack import Cut
from linen_transforms.errors import NotAModuleError, SeveralPlacesError, TransformTargetError


def grad(
    fn: Callable[..., Any],
    mdl: Any,
    *primals: Any,
    has_aux: bool = False,
    reduce_axes: Sequence[str] = (),
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
) -> Any:
    """Compute the gradient of a function of a module with respect to its arguments.

    Variables are constants for this gradient; `vjp` gives one with respect to them.

    Args:
        fn: a method, or a function `(mdl, *primals)`, that returns a real scalar, or with `has_aux`
            a pair of that and of a pytree.
        mdl: a bound module, or a pytree with some.
        *primals: the arguments, pytrees of arrays.
        has_aux: whether `fn` returns a pair whose second part is not differentiated.
        reduce_axes: not supported by JAX any more: it must be empty.
        variables: a filter of the collections that are there.
        rngs: a filter of the random streams that are there.

    Returns:
        The gradients, a tuple with one for each of `primals`, or with `has_aux` a pair of these and
        of the second part. Those of integers have the dtype `float0`, those of modules are None.

    Raises:
        ScalarOutputError: the result is no scalar, or an integer.
        AuxiliaryOutputError: `has_aux` is True, but `fn` returns no pair.
        NotAModuleError: `mdl` holds no bound module.
        TransformTargetError: `fn` is no function or method.
        UnsupportedArgumentError: `reduce_axes` is not empty.

    Example:
        >>> import linen_transforms
        >>> from linen_core import Module
        >>> class Force(Module):
        ...     def __call__(self, x):
        ...         def energy(mdl, x):
        ...             return mdl.get_variable("params", "w") * x**2
        ...         (slope,) = linen_transforms.grad(energy, self, x)
        ...         return -slope
        >>> Force().apply({"params": {"w": 3.0}}, 2.0).item()
        -12.0
    """
    y, gradients = _value_and_grad(
        "grad", fn, mdl, primals, has_aux, reduce_axes, (variables, rngs)
    )
    return (gradients, y[1]) if has_aux else gradients


def value_and_grad(
    fn: Callable[..., Any],
    mdl: Any,
    *primals: Any,
    has_aux: bool = False,
    reduce_axes: Sequence[str] = (),
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
) -> tuple[Any, Any]:
    """Evaluate a function of a module and its gradient with respect to its arguments.

    Variables are constants for this gradient; `vjp` gives one with respect to them.

    Args:
        fn: a method, or a function `(mdl, *primals)`, that returns a real scalar, or with `has_aux`
            a pair of that and of a pytree.
        mdl: a bound module, or a pytree with some.
        *primals: the arguments, pytrees of arrays.
        has_aux: whether `fn` returns a pair whose second part is not differentiated.
        reduce_axes: not supported by JAX any more: it must be empty.
        variables: a filter of the collections that are there.
        rngs: a filter of the random streams that are there.

    Returns:
        A pair `(y, gradients)`, or `((y, aux), gradients)` with `has_aux`. The gradients are a tuple
        with one for each of `primals`; those of integers have the dtype `float0`, those of modules
        are None.

    Raises:
        ScalarOutputError: `y` is no scalar, or an integer.
        AuxiliaryOutputError: `has_aux` is True, but `fn` returns no pair.
        NotAModuleError: `mdl` holds no bound module.
        TransformTargetError: `fn` is no function or method.
        UnsupportedArgumentError: `reduce_axes` is not empty.

    Example:
        >>> import linen_transforms
        >>> from linen_core import Module
        >>> class Energy(Module):
        ...     def __call__(self, x):
        ...         return self.get_variable("params", "w") * x**2
        ...     def with_slope(self, x):
        ...         return linen_transforms.value_and_grad(Energy.__call__, self, x)
        >>> y, (slope,) = Energy().apply({"params": {"w": 3.0}}, 2.0, method="with_slope")
        >>> y.item(), slope.item()
        (12.0, 12.0)
    """
    return _value_and_grad(
        "value_and_grad", fn, mdl, primals, has_aux, reduce_axes, (variables, rngs)
    )


def vjp(
    fn: Callable[..., Any],
    mdl: Any,
    *primals: Any,
    has_aux: bool = False,
    reduce_axes: Sequence[str] = (),
    vjp_variables: CollectionFilter = "params",
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
    multi_scope: bool = False,
) -> tuple[Any, ...]:
    """Lift `jax.vjp`: evaluate a function of a module, and get the function of its gradients.

    Args:
        fn: a method, or a function `(mdl, *primals)`, that returns a pytree, or with `has_aux` a
            pair of pytrees.
        mdl: a bound module, or a pytree with some.
        *primals: the arguments, pytrees of arrays.
        has_aux: whether `fn` returns a pair whose second part is not differentiated.
        reduce_axes: not supported by JAX any more: it must be empty.
        vjp_variables: a filter of the collections whose gradients are wanted. They are there for
            `fn`, but can be changed only where `variables` matches them too.
        variables: a filter of the collections that are there.
        rngs: a filter of the random streams that are there.
        multi_scope: whether gradients of variables are given as a list with one dict for each
            outermost place of the modules, those in fields of another one before it. Needed if
            there are several places.

    Returns:
        A pair `(y, backward)`, or `(y, backward, aux)` with `has_aux`. `backward` takes a cotangent,
        a pytree like `y`, and returns a tuple `(variable gradients, *gradients of primals)`. The
        first is a dict of collections, or with `multi_scope` a list of these. Variables that `fn`
        creates are not in it. Gradients of modules among the primals are None.

    Raises:
        SeveralPlacesError: the modules are at several places, and `multi_scope` is False.
        AuxiliaryOutputError: `has_aux` is True, but `fn` returns no pair.
        NotAModuleError: `mdl` holds no bound module.
        TransformTargetError: `fn` is no function or method.
        UnsupportedArgumentError: `reduce_axes` is not empty.

    Example:
        >>> import linen_transforms
        >>> from linen_core import Module
        >>> class Scale(Module):
        ...     def __call__(self, x):
        ...         return self.get_variable("params", "w") * x
        ...     def gradients(self, x):
        ...         y, backward = linen_transforms.vjp(Scale.__call__, self, x)
        ...         return backward(1.0)
        >>> gradients, slope = Scale().apply({"params": {"w": 3.0}}, 2.0, method="gradients")
        >>> gradients["params"]["w"].item(), slope.item()
        (2.0, 3.0)
    """
    form = functools.partial(
        _form,
        name="vjp",
        order=_fields_first(mdl, fn, primals),
        is_list=multi_scope,
        instead="Write vjp(..., multi_scope=True) for a list of dicts.",
    )
    filters = (vjp_variables, variables, rngs)

    def transformation(body: Callable[..., Any]) -> Callable[..., Any]:
        def run(scopes: Any, *primals: Any) -> Any:
            return vjp_by_place("vjp", body, form, scopes, primals, has_aux, reduce_axes, filters)

        return run

    return _apply("vjp", fn, mdl, primals, transformation)


def jvp(
    fn: Callable[..., Any],
    mdl: Any,
    primals: Sequence[Any],
    tangents: Sequence[Any],
    variable_tangents: Any,
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
) -> tuple[Any, Any]:
    """Lift `jax.jvp`: evaluate a function of a module and its derivative in one direction.

    Args:
        fn: a method, or a function `(mdl, *primals)`, that returns a pytree.
        mdl: a bound module, or a pytree with some.
        primals: a tuple or list of the arguments, pytrees of arrays.
        tangents: their part of the direction, of the same structure, shapes and dtypes; None for a
            module.
        variable_tangents: the part of variables: a dict from collections to what has the structure
            and the shapes of their variables. If the modules are at several places, a list with one
            such dict for each outermost one, those in fields of another module before it. Variables
            of other collections are constants. An empty dict stands for none at all.
        variables: a filter of the collections that are there.
        rngs: a filter of the random streams that are there.

    Returns:
        A pair of the result of `fn` and of its tangent.

    Raises:
        TangentError: `variable_tangents` does not fit the variables, or `primals` and `tangents` are
            not two sequences of one length.
        SeveralPlacesError: the modules are at several places, and `variable_tangents` is one dict.
        NotAModuleError: `mdl` holds no bound module.
        TransformTargetError: `fn` is no function or method.

    Example:
        >>> import linen_transforms
        >>> from linen_core import Module
        >>> class Scale(Module):
        ...     def __call__(self, x):
        ...         return self.get_variable("params", "w") * x
        ...     def derivative(self, x):
        ...         direction = {"params": {"w": 10.0}}
        ...         return linen_transforms.jvp(Scale.__call__, self, (x,), (1.0,), direction)
        >>> _, y_tangent = Scale().apply({"params": {"w": 3.0}}, 2.0, method="derivative")
        >>> y_tangent.item()
        23.0
    """
    is_list = isinstance(variable_tangents, (list, tuple))
    form = functools.partial(
        _form,
        name="jvp",
        order=_fields_first(mdl, fn, primals),
        is_list=is_list,
        instead="Write a list of dicts as variable_tangents, one for each.",
    )
    by_place = list(variable_tangents) if is_list else variable_tangents
    tangents = map_modules(lambda _, module: None, tangents)

    def transformation(body: Callable[..., Any]) -> Callable[..., Any]:
        def run(scopes: Any, *arrays: Any) -> Any:
            given = arrays if isinstance(primals, (list, tuple)) else primals
            return jvp_by_place(body, form, scopes, given, tangents, by_place, (variables, rngs))

        return run

    arguments = primals if isinstance(primals, (list, tuple)) else ()
    return _apply("jvp", fn, mdl, arguments, transformation)


def custom_vjp(
    fn: Callable[..., Any],
    forward_fn: Callable[..., Any],
    backward_fn: Callable[..., Any],
    grad_vars: CollectionFilter = "params",
    nondiff_argnums: int | Sequence[int] = (),
) -> Callable[..., Any]:
    """Lift `jax.custom_vjp`: give a function of a module a gradient of one's own.

    Args:
        fn: a method, or a function `(mdl, *args)`, that returns a pytree of arrays.
        forward_fn: a function of the same arguments that returns a pair of the same result and of
            the residual, a pytree; `vjp` gives such a pair. It changes the same variables.
        backward_fn: a function `(*static, residual, cotangent)` that returns a tuple
            `(variable gradients, *gradients of args)`, as the function from `vjp` does: with a list
            of dicts if the modules are at several places. `static` are the arguments of
            `nondiff_argnums`, whose gradients are left out. A gradient that is None is zero.
        grad_vars: a filter of the collections whose gradients are in the first of these. There is
            no gradient with respect to others, nor through what `fn` changes in collections.
        nondiff_argnums: which arguments are no arrays and have no gradient; the module is number 0.

    Returns:
        A function `(mdl, *args)`.

    Raises:
        TransformTargetError: `fn` or `forward_fn` is no function or method.
        NotAModuleError: (when called) the first argument holds no bound module.
        NondiffArgumentError: (when called) `nondiff_argnums` names no argument.
        CotangentError: (when differentiated) `backward_fn` does not return such a tuple.
        KeywordArgumentsError: (when called) there are keyword arguments.

    Example:
        >>> import jax
        >>> import linen_transforms
        >>> from linen_core import Module
        >>> class SignScale(Module):
        ...     def __call__(self, x):
        ...         def scale(mdl, x):
        ...             return mdl.get_variable("params", "w") * x
        ...         def forward(mdl, x):
        ...             return linen_transforms.vjp(scale, mdl, x)
        ...         def backward(residual, cotangent):
        ...             gradients, slope = residual(cotangent)
        ...             return jax.tree.map(jax.numpy.sign, gradients), slope
        ...         return linen_transforms.custom_vjp(scale, forward, backward)(self, x)
        >>> jax.grad(SignScale().apply)({"params": {"w": 3.0}}, 2.0)["params"]["w"].item()
        1.0
    """
    plain, forward = (_function("custom_vjp", each) for each in (fn, forward_fn))

    def either(mdl: Any, *args: Any, is_forward: bool = False, **kwargs: Any) -> Any:
        return (forward if is_forward else plain)(mdl, *args, **kwargs)

    @functools.wraps(plain)
    def lifted(mdl: Any, /, *args: Any, **kwargs: Any) -> Any:
        form = functools.partial(_form, name="custom_vjp", order=_fields_first(mdl, either, args))

        def transformation(body: Any) -> Callable[..., Any]:
            bodies = (body, functools.partial(body, is_forward=True))
            return custom_vjp_by_place(
                *bodies, backward_fn, form, grad_vars, nondiff_argnums, body.modules
            )

        body, arrays = _without_modules(either, args)
        return over_modules("custom_vjp", body, lambda: transformation)(mdl, *arrays, **kwargs)

    return lifted


def _value_and_grad(
    name: str,
    fn: Callable[..., Any],
    mdl: Any,
    primals: Sequence[Any],
    has_aux: bool,
    reduce_axes: Sequence[str],
    filters: tuple[CollectionFilter, CollectionFilter],
) -> tuple[Any, Any]:
    def transformation(body: Callable[..., Any]) -> Callable[..., Any]:
        def run(scopes: Any, *primals: Any) -> Any:
            return value_and_grad_of(name, body, scopes, primals, has_aux, reduce_axes, filters)

        return run

    return _apply(name, fn, mdl, primals, transformation)


def _apply(
    name: str,
    fn: Callable[..., Any],
    mdl: Any,
    primals: Sequence[Any],
    transformation: Transformation,
) -> Any:
    """Lift a function and call it with a module and arguments."""
    fn = _function(name, fn)
    if all(module.scope is None for module in modules_in(mdl)):
        raise NotAModuleError.of_argument(name, mdl)
    fn, arrays = _without_modules(fn, primals)
    return over_modules(name, fn, lambda: transformation)(mdl, *arrays)


def _function(name: str, fn: Any) -> Callable[..., Any]:
    """Give the function of a method, to which the module is passed."""
    if isinstance(fn, types.MethodType) and is_module(fn.__self__):
        return fn.__func__
    if is_module(fn) or isinstance(fn, type) or not callable(fn):
        raise TransformTargetError.of_function(name, fn)
    return fn


def _without_modules(
    fn: Callable[..., Any], args: Sequence[Any]
) -> tuple[Callable[..., Any], Sequence[Any]]:
    """Take modules out of arguments, so that None is their gradient; a new function puts them back."""
    arrays = map_modules(lambda _, module: None, args)
    if arrays is args:
        return fn, args

    @functools.wraps(fn)
    def with_modules(mdl: Any, *arrays: Any, **kwargs: Any) -> Any:
        def choose(own: Any, other: Any) -> Any:
            return own if is_module(own) else other

        return fn(mdl, *jax.tree.map(choose, tuple(args), arrays, is_leaf=is_module), **kwargs)

    return with_modules, arrays


def _fields_first(*values: Any) -> list[Scope]:
    """Give the scopes of the modules that values can reach, those in fields of one before it."""
    order: list[Scope] = []
    seen: list[Any] = []

    def collect(module: Any) -> Any:
        if module.scope is not None and not any(module is other for other in seen):
            seen.append(module)
            rebound_fields(module, collect)
            order.append(module.scope)
        return module

    for value in values:
        map_captured(collect, value)
    return order


def _form(
    cut: Cut,
    name: str,
    order: Sequence[Scope],
    is_list: bool | None = None,
    instead: str = "",
) -> ByPlace:
    """Say how variables are given by place.

    Args:
        cut: the scopes of all modules.
        name: what the transformation is called.
        order: these scopes in the order of the list.
        is_list: whether there is a list; None if that depends on the number of places.
        instead: what to write for a list.
    """
    if len(cut.roots) == 1 and not is_list:
        return ByPlace(cut, cut.roots[0])
    places: list[Scope] = []
    for scope in order:
        is_known = any(is_same_place(scope, place) for place in places)
        if not is_known and any(is_same_place(scope, root) for root in cut.roots):
            places.append(scope)
    if is_list is False:
        raise SeveralPlacesError(name, [place.debug_path for place in places], instead)
    return ByPlace(cut, places)
