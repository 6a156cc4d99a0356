"""Calls: which methods of which modules a call of a model runs, found without computing anything.

The model is traced, with a *recorder* around every method. The recorder keeps of each call
the module, the method, and the specs of what went in and came out, in the order in which the calls
began. Calls inside of inner traces (`jax.lax.scan`, a lifted transformation) are seen like
all others. Only modules of the scopes that the recorder was made for count: if the model runs an
`apply` of its own, that is another model's business.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr

from linen_core._dicts import map_in_order
from linen_core._module.copies import detached_copy
from linen_core._module.intercept import MethodContext
from linen_core._summary.regions import mark_begin, mark_end
from linen_core._summary.specs import specs_of, tracers_in
from linen_core._trace import NEEDS_VALUES
from linen_core.errors import SummaryValueError

# The flag by which scopes say which recorder they belong to.
FLAG = "summary_recorder"


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of a method of a bound module.

    Attributes:
        path: the path of the module.
        module: a copy of the module that stands alone and has no name.
        method: the name of the method.
        inputs: the spec of the arguments.
        outputs: the spec of the result.
    """

    path: tuple[str, ...]
    module: Any
    method: str
    inputs: Any
    outputs: Any


class Recorder:
    """An interceptor that writes down the calls of one `init` or `apply`.

    Args:
        marks: whether to mark, in the jaxpr, which equations belong to which call.
    """

    def __init__(self, marks: bool = False) -> None:
        self._calls: list[Call | None] = []
        self._marks = marks

    @property
    def calls(self) -> dict[int, Call]:
        """The calls that came to an end, by their number, in the order in which they began.

        The call of the whole is there unless the top-level module has one that says more.
        """
        ended = {index: call for index, call in enumerate(self._calls) if call is not None}
        if any(call.path == () for index, call in ended.items() if index != 0):
            del ended[0]
        return ended

    def whole(self, module: Any, method: str, run: Callable[..., Any]) -> Callable[..., Any]:
        """Give a function of a scope that first writes down the call of itself.

        Args:
            module: the top-level module.
            method: what the row of the whole says was called.
            run: a function of a scope that calls the module.

        Returns:
            The function, to be run once.
        """

        def run_recorded(scope: Any, /, *args: Any, **kwargs: Any) -> Any:
            return self._record((), module, method, functools.partial(run, scope), args, kwargs)

        return run_recorded

    def __call__(
        self,
        next_fun: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        called: MethodContext,
    ) -> Any:
        """Go on with the call and write it down."""
        module, method = called.module, called.method_name
        is_ours = module.scope is not None and module.scope.get_flag(FLAG, None) is self
        if not is_ours or method == "setup":
            return next_fun(*args, **kwargs)
        return self._record(module.path, module, method, next_fun, args, kwargs)

    def _record(
        self,
        path: tuple[str, ...],
        module: Any,
        method: str,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        index = len(self._calls)
        self._calls.append(None)
        if self._marks:
            mark_begin(index)
        result = fn(*args, **kwargs)
        if self._marks:
            mark_end(index, result)
        inputs, outputs = specs_of(_joined(args, kwargs)), specs_of(result)
        self._calls[index] = Call(path, _standing_alone(module), method, inputs, outputs)
        return result


def _joined(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Give one argument as it is, and several as a tuple that ends with the dict of keywords."""
    if kwargs:
        return (*args, kwargs) if args else kwargs
    return args[0] if len(args) == 1 else args


def _standing_alone(module: Any) -> Any:
    """Copy a module for when the trace is over: without a name, and without traced arrays."""
    fields = {name: vars(module).get(name) for name in type(module)._init_fields}
    traced = {name: specs_of(value) for name, value in fields.items() if tracers_in(value)}
    return detached_copy(module).clone(**{"name": None} | traced)


def trace(fn: Callable[..., Any], *args: Any) -> ClosedJaxpr:
    """Trace a function of pytrees. The arrays and the specs in them are the jaxpr's inputs.

    If the function needs the values of some, it gets those of the arrays and only the specs are
    traced.

    Raises:
        SummaryValueError: it needs the values of specs, or of what it computes.
    """
    try:
        return _trace(fn, args, (jax.Array, jax.ShapeDtypeStruct))
    except NEEDS_VALUES:
        pass
    try:
        return _trace(fn, args, (jax.ShapeDtypeStruct,))
    except NEEDS_VALUES as error:
        raise SummaryValueError(error).with_traceback(error.__traceback__) from None


def _trace(fn: Callable[..., Any], args: tuple[Any, ...], kinds: tuple[type, ...]) -> ClosedJaxpr:
    inputs: list[Any] = []
    map_in_order(lambda leaf: inputs.append(leaf) if isinstance(leaf, kinds) else None, args)

    def run(*tracers: jax.Array) -> list[jax.Array]:
        remaining = iter(tracers)
        traced = map_in_order(
            lambda leaf: next(remaining) if isinstance(leaf, kinds) else leaf, args
        )
        return tracers_in(fn(*traced))

    return jax.make_jaxpr(run)(*inputs)
