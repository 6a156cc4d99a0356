"""Evaluating only what a result depends on: how `init` avoids the forward pass.

The function is traced once, abstractly, to a jaxpr. JAX arrays among its arguments become tracers;
everything else, such as a Python `train=True` or a numpy array, stays what it is. Of the jaxpr only
the equations that an output depends on are kept, and these are evaluated one by one, exactly as
JAX would have evaluated them without a trace: the same operations, compiled the same way, so that
the results are equal bit for bit. Results that are no JAX arrays (Python scalars, numpy arrays)
never enter the jaxpr and keep their types.

A function that cannot be traced, for whatever reason, is simply called: it then does, or raises,
what it does without a trace.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal
from jax.interpreters import partial_eval

from linen_core._dicts import map_in_order
from linen_core._initial_values import InitialValues
from linen_core._parameter import INITIALIZER_NAME
from linen_core._trace import NEEDS_VALUES, is_tracer, is_tracing
from linen_core.errors import LazyInitError


def evaluate_needed(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Give `fn(*args, **kwargs)` without computing what the result does not depend on.

    Inside another trace this is a plain call, unless an argument is a `ShapeDtypeStruct`: what is
    not needed is then left to the compiler.

    Raises:
        LazyInitError: the result depends on the value of a `ShapeDtypeStruct`.
    """
    leaves = _leaves_in_order((args, kwargs))
    specs = [leaf for leaf in leaves if _is_spec(leaf)]
    if not specs and (any(map(is_tracer, leaves)) or is_tracing()):
        return fn(*args, **kwargs)
    try:
        staged = _stage(fn, args, kwargs, [leaf for leaf in leaves if _is_traced(leaf)])
    except Exception as error:
        if specs:
            _raise_for_specs(error, specs)
        # Free what its frames hold; the same error may also be raised again.
        error.__traceback__ = staged = None
    # Not in the handler: what an eager call raises has no other error as its context.
    return fn(*args, **kwargs) if staged is None else _evaluate_staged(staged)


def _leaves_in_order(tree: Any) -> list[Any]:
    leaves: list[Any] = []

    def collect(leaf: Any) -> Any:
        leaves.append(leaf)
        return leaf

    try:
        map_in_order(collect, tree)
    except Exception:  # a pytree that JAX cannot take apart; then there is nothing to trace
        return []
    return leaves


def _is_spec(x: Any) -> bool:
    return isinstance(x, jax.ShapeDtypeStruct)


def _is_traced(x: Any) -> bool:
    return isinstance(x, jax.Array) or _is_spec(x)


def _raise_for_specs(error: Exception, specs: Sequence[Any]) -> NoReturn:
    # Some of JAX's functions refuse tracers with a TypeError of their own.
    if isinstance(error, NEEDS_VALUES) or (isinstance(error, TypeError) and "Tracer" in str(error)):
        raise LazyInitError.of_value("the variables", specs[0]) from None
    if isinstance(error, _NeedsRun):
        raise LazyInitError.of_call(str(error), specs[0]) from None
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_name != "traced":
        frames = frames.tb_next
    raise error.with_traceback(frames and frames.tb_next)


class _NeedsRun(Exception):  # noqa: N818 - not an error, a branch
    """What was traced cannot stand for the call; the text says why."""


# What results may hold beside traced arrays.
_PLAIN = (jax.Array, np.ndarray, np.generic, int, float, complex, str, bytes, jax.ShapeDtypeStruct)


_DOUBLE = frozenset(map(np.dtype, (np.int64, np.uint64, np.float64, np.complex128)))


@dataclasses.dataclass(frozen=True)
class _Output:
    """Stands, in the result of a staged call, for an output of the jaxpr."""

    index: int


@dataclasses.dataclass(frozen=True)
class _Staged:
    """A function call as a jaxpr.

    Attributes:
        closed: the jaxpr, from the arrays among the arguments to those in the result.
        arrays: the arrays and specs among the arguments.
        result: what the function returned, with an `_Output` for each traced array.
    """

    closed: ClosedJaxpr
    arrays: Sequence[Any]
    result: Any


def _stage(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], arrays: list[Any]
) -> _Staged:
    results: list[Any] = []
    errors: list[Exception] = []

    def traced(*tracers: jax.Array) -> list[jax.Array]:
        remaining = iter(tracers)
        traced_args, traced_kwargs = map_in_order(
            lambda leaf: next(remaining) if _is_traced(leaf) else leaf, (args, kwargs)
        )
        outputs: list[jax.Array] = []

        def replace(leaf: Any) -> Any:
            if not is_tracer(leaf):
                if not isinstance(leaf, _PLAIN):
                    raise _NeedsRun(f"a variable holds a {type(leaf).__name__}")
                return leaf
            outputs.append(leaf)
            return _Output(len(outputs) - 1)

        try:
            results.append(map_in_order(replace, fn(*traced_args, **traced_kwargs)))
        except Exception as error:
            # Not through JAX, whose frames would stay in the traceback and keep the arrays alive.
            errors.append(error)
            return []
        return outputs

    closed = jax.make_jaxpr(traced)(*arrays)
    if errors:
        raise errors.pop()
    _check_precision(closed.jaxpr)
    return _Staged(closed, arrays, results.pop())


def _check_precision(jaxpr: Jaxpr) -> None:
    """Refuse what JAX cannot compile outside of the block of the model that turned on `enable_x64`."""
    settings: Any = jax.config
    if not settings.jax_enable_x64 and any(
        getattr(var.aval, "dtype", None) in _DOUBLE for eqn in jaxpr.eqns for var in eqn.outvars
    ):
        raise _NeedsRun("the model turns on double precision for a part of it")


def _evaluate_staged(staged: _Staged) -> Any:
    jaxpr = staged.closed.jaxpr
    equations = needed_equations(jaxpr, jaxpr.outvars)
    _check_specs(staged, equations)
    values = _evaluate(jaxpr, equations, staged.closed.consts, staged.arrays)
    values = _separate(values, jaxpr)
    arrays = [_as_array(value, var) for value, var in zip(values, jaxpr.outvars, strict=True)]
    return map_in_order(
        lambda leaf: arrays[leaf.index] if isinstance(leaf, _Output) else leaf, staged.result
    )


def _as_array(value: Any, var: Any) -> Any:
    """Make an array of a constant, which a jaxpr may hold in a form of its own."""
    if isinstance(value, jax.Array):
        return value
    array = np.asarray(value, var.aval.dtype)
    # Only Python scalars make arrays of weak type.
    return jnp.asarray(array.item() if var.aval.weak_type and array.ndim == 0 else array)


def _check_specs(staged: _Staged, equations: Sequence[JaxprEqn]) -> None:
    jaxpr = staged.closed.jaxpr
    inputs = zip(jaxpr.invars, staged.arrays, strict=True)
    specs = {var: x for var, x in inputs if _is_spec(x)}
    if specs.keys().isdisjoint(read_by(equations, jaxpr.outvars)):
        return
    for path, leaf in jax.tree_util.tree_leaves_with_path(staged.result):
        if isinstance(leaf, _Output):
            outvar = jaxpr.outvars[leaf.index]
            for var in read_by(needed_equations(jaxpr, [outvar]), [outvar]):
                if var in specs:
                    where = jax.tree_util.keystr(path, simple=True, separator="/")
                    raise LazyInitError.of_value(where, specs[var])


def needed_equations(jaxpr: Jaxpr, outvars: Sequence[Any]) -> list[JaxprEqn]:
    """Give the equations that some of a jaxpr's variables depend on, in order.

    An equation of which only some outputs are needed is reduced where JAX knows how (the body of
    a scan, for example). Effects do not keep an equation.

    Args:
        jaxpr: the jaxpr.
        outvars: the variables; literals among them need nothing.
    """
    needed = set(variables_among(outvars))
    kept: list[JaxprEqn] = []
    for eqn in reversed(jaxpr.eqns):
        used = [v in needed for v in eqn.outvars]
        if not any(used):
            continue
        if not all(used):
            # What a primitive can do without, dce_jaxpr alone knows: give it this one equation.
            alone = jaxpr.replace(
                constvars=[], invars=variables_among(eqn.invars), outvars=eqn.outvars, eqns=[eqn]
            )
            (eqn,) = partial_eval.dce_jaxpr(alone, used)[0].eqns
        kept.append(eqn)
        needed.update(variables_among(eqn.invars))
    return kept[::-1]


def _evaluate(
    jaxpr: Jaxpr, equations: Sequence[JaxprEqn], consts: Sequence[Any], args: Sequence[Any]
) -> list[Any]:
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    values.update(zip(jaxpr.invars, args, strict=True))

    def read(var: Any) -> Any:
        return var.val if isinstance(var, Literal) else values[var]

    initial_values = InitialValues()
    last_read = {v: i for i, eqn in enumerate(equations) for v in variables_among(eqn.invars)}
    outputs_needed = set(variables_among(jaxpr.outvars))
    for index, eqn in enumerate(equations):
        if is_initializer(eqn):
            inner = eqn.params["jaxpr"]
            inputs = [read(var) for var in eqn.invars]
            value = initial_values.evaluate(inner, inputs)
            outputs = [value]
            if value is None:
                outputs = _evaluate(inner.jaxpr, inner.jaxpr.eqns, inner.consts, inputs)
            outputs = [_as_array(x, v) for x, v in zip(outputs, eqn.outvars, strict=True)]
        else:
            # How a primitive is called, eval_jaxpr alone knows: give it this one equation.
            inputs = variables_among(eqn.invars)
            alone = jaxpr.replace(constvars=inputs, invars=[], outvars=eqn.outvars, eqns=[eqn])
            outputs = jax.core.eval_jaxpr(alone, [values[var] for var in inputs])
        values.update(zip(eqn.outvars, outputs, strict=True))
        for var in variables_among(eqn.invars):
            if last_read[var] == index and var not in outputs_needed:
                del values[var]
    return [read(var) for var in jaxpr.outvars]


def _separate(values: Sequence[Any], jaxpr: Jaxpr) -> list[Any]:
    """Give each result an array of its own where the trace made one for several parameters."""
    given = {*jaxpr.invars, *jaxpr.constvars}
    seen: set[Any] = set()
    separate = list(values)
    for i, var in enumerate(jaxpr.outvars):
        if isinstance(var, Literal) or var in given or is_tracer(values[i]):
            continue
        if var in seen:
            separate[i] = jax.device_put(values[i], may_alias=False)
        seen.add(var)
    return separate


def is_initializer(eqn: JaxprEqn) -> bool:
    """Whether an equation is a call of an initializer, whose equations are evaluated one by one.

    Args:
        eqn: an equation of a traced `init`; its parameter "jaxpr" holds those of the initializer.
    """
    return eqn.params.get("name") == INITIALIZER_NAME


def variables_among(atoms: Iterable[Any]) -> list[Any]:
    """Give the variables among operands, each once, without the literals.

    Args:
        atoms: variables and literals of a jaxpr.
    """
    return list(dict.fromkeys(a for a in atoms if not isinstance(a, Literal)))


def read_by(equations: Iterable[JaxprEqn], outvars: Iterable[Any]) -> list[Any]:
    """Give the variables that equations read, or that are results.

    Args:
        equations: equations of a jaxpr.
        outvars: the results.
    """
    return variables_among([v for eqn in equations for v in eqn.invars] + list(outvars))
