"""`while_loop`, `cond` and `switch` over Modules."""

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from linen_core import CollectionFilter
from linen_transforms import lift
from linen_transforms._bind import is_module
from linen_transforms._over_modules import over_functions


def while_loop(
    cond_fn: Callable[..., Any],
    body_fn: Callable[..., Any],
    mdl: Any,
    init: Any,
    carry_variables: CollectionFilter = False,
    broadcast_variables: CollectionFilter = True,
    split_rngs: Mapping[Any, bool] = {},
) -> Any:
    """Lift `jax.lax.while_loop`: loop a function of a module as long as another one says so.

    Args:
        cond_fn: a function `(mdl, carry)`, or a method, that returns a bool. It cannot change
            variables.
        body_fn: a function `(mdl, carry)`, or a method, that returns the next carry.
        mdl: a bound module, or what holds some. Those that the functions have captured are there
            too.
        init: the first carry.
        carry_variables: a filter of the collections that iterations hand on to the next. Their
            variables must exist before the loop.
        broadcast_variables: a filter of the collections that all iterations share, and cannot
            change.
        split_rngs: from filters of random streams to whether every iteration gets another key.
            Other streams are not there.

    Returns:
        The last carry.

    Raises:
        CarryMismatchError: the carry, or a carried variable, comes out of the body as something
            else.
        PredicateError: `cond_fn` returns something else than one bool.
        SplitRngsError: a draw from a stream that `split_rngs` does not match.
        NotAModuleError: `mdl` holds no bound module.

    Example:
        >>> import linen_transforms
        >>> from linen_core import Module, compact
        >>> class Doubled(Module):
        ...     @compact
        ...     def __call__(self, x):
        ...         steps = self.variable("state", "steps", lambda: 0)
        ...         return linen_transforms.while_loop(
        ...             lambda self, x: x < 100,
        ...             lambda self, x: self.step(x),
        ...             self,
        ...             x,
        ...             carry_variables="state",
        ...         )
        ...     def step(self, x):
        ...         self.put_variable("state", "steps", self.get_variable("state", "steps") + 1)
        ...         return 2 * x
        >>> y, state = Doubled().apply({}, 1, mutable="state")
        >>> y.item(), state["state"]["steps"].item()
        (128, 7)
    """

    def transformation(cond_fn: Callable[..., Any], body_fn: Callable[..., Any]) -> Any:
        def loop(scopes: Any, init: Any) -> Any:
            return lift.while_loop(
                cond_fn, body_fn, scopes, init, carry_variables, broadcast_variables, split_rngs
            )

        return loop

    return _over_functions("while_loop", (cond_fn, body_fn), transformation)(mdl, init)


def cond(
    pred: Any,
    true_fun: Callable[..., Any],
    false_fun: Callable[..., Any],
    mdl: Any,
    *operands: Any,
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
) -> Any:
    """Lift `jax.lax.cond`: call one of two functions of a module.

    Args:
        pred: a scalar: which function is called.
        true_fun: a function `(mdl, *operands)`, or a method, for when `pred` is true.
        false_fun: the same, for when it is false.
        mdl: a bound module, or what holds some. Those that the functions have captured are there
            too.
        *operands: arguments of the functions.
        variables: a filter of the collections that are there.
        rngs: a filter of the random streams that are there.

    Returns:
        What the function returns.

    Raises:
        BranchMismatchError: results or variables of the functions have different forms.
        PredicateError: `pred` is no scalar.
        NotAModuleError: `mdl` holds no bound module.

    Example:
        >>> import linen_transforms
        >>> from linen_core import Module, compact
        >>> class Scale(Module):
        ...     @compact
        ...     def __call__(self, x, is_scaled):
        ...         scale = self.param("scale", lambda key: 2.0)
        ...         return linen_transforms.cond(
        ...             is_scaled, lambda self, x: x * scale, lambda self, x: x, self, x
        ...         )
        >>> Scale().apply({"params": {"scale": 2.0}}, 3.0, True).item()
        6.0
    """

    def transformation(*branches: Callable[..., Any]) -> Any:
        def choice(scopes: Any, *operands: Any) -> Any:
            return lift.cond(pred, *branches, scopes, *operands, variables=variables, rngs=rngs)

        return choice

    return _over_functions("cond", (true_fun, false_fun), transformation)(mdl, *operands)


def switch(
    index: Any,
    branches: Sequence[Callable[..., Any]],
    mdl: Any,
    *operands: Any,
    variables: CollectionFilter = True,
    rngs: CollectionFilter = True,
) -> Any:
    """Lift `jax.lax.switch`: call one of several functions of a module.

    Args:
        index: an integer scalar: the number of the function that is called; one that is out of
            bounds stands for the nearest.
        branches: functions `(mdl, *operands)`, or methods.
        mdl: a bound module, or what holds some. Those that the functions have captured are there
            too.
        *operands: arguments of the functions.
        variables: a filter of the collections that are there.
        rngs: a filter of the random streams that are there.

    Returns:
        What the function returns.

    Raises:
        BranchMismatchError: results or variables of the functions have different forms, or there
            are no functions.
        PredicateError: `index` is no integer scalar.
        NotAModuleError: `mdl` holds no bound module.

    Example:
        A model with one head for each task; `init` calls all of them.

        >>> import jax
        >>> import linen_transforms
        >>> from linen_core import Module, compact
        >>> class Head(Module):
        ...     features: int
        ...     @compact
        ...     def __call__(self, x):
        ...         init = jax.nn.initializers.lecun_normal()
        ...         return (x @ self.param("kernel", init, (x.shape[-1], self.features))).sum()
        >>> class Heads(Module):
        ...     def setup(self):
        ...         self.heads = [Head(2), Head(3)]
        ...     def __call__(self, x, task):
        ...         if self.is_initializing():
        ...             for head in self.heads:
        ...                 head(x)
        ...         branches = [lambda self, x, i=i: self.heads[i](x) for i in range(2)]
        ...         return linen_transforms.switch(task, branches, self, x)
        >>> variables = Heads().init(jax.random.key(0), jax.numpy.ones(4), 1)
        >>> jax.tree.map(jax.numpy.shape, variables["params"])
        {'heads_0': {'kernel': (4, 2)}, 'heads_1': {'kernel': (4, 3)}}
    """
    branches = tuple(branches)

    def transformation(*branches: Callable[..., Any]) -> Any:
        def choice(scopes: Any, *operands: Any) -> Any:
            return lift.switch(index, branches, scopes, *operands, variables=variables, rngs=rngs)

        return choice

    return _over_functions("switch", branches, transformation)(mdl, *operands)


def _over_functions(
    name: str, fns: Sequence[Callable[..., Any]], transformation: Callable[..., Any]
) -> Callable[..., Any]:
    """Lift functions or methods; the module of a bound method is the first argument."""
    return over_functions(name, tuple(map(_unbound, fns)), transformation)


def _unbound(fn: Callable[..., Any]) -> Callable[..., Any]:
    if isinstance(fn, types.MethodType) and is_module(fn.__self__):
        return fn.__func__
    return fn
