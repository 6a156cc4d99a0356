"""Evaluating only what a result depends on: how `init` avoids the forward pass.

The function is traced once, abstractly, to a jaxpr. Arrays among its arguments become tracers;
everything else, such as a Python `train=True`, stays what it is. Of the jaxpr only the equations
that an output depends on are kept, and these are evaluated one by one, exactly as JAX would have
evaluated them without a trace: the same operations, compiled the same way, so that the results
are equal bit for bit. Results that are no arrays (Python scalars, numpy arrays) never enter the
jaxpr and keep their types.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.core
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal
from jax.interpreters import partial_eval

from linen_core._parameter import INITIALIZER_NAME
from linen_core._trace import is_tracer, is_tracing
from linen_core.errors import LazyInitError

# What JAX raises when Python code needs the value of something that is only traced.
_NEEDS_CONCRETE_VALUES = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerBoolConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
)


def evaluate_needed(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Give `fn(*args, **kwargs)` without computing what the result does not depend on.

    Inside another trace this is a plain call, unless an argument is a `ShapeDtypeStruct`: what is
    not needed is then left to the compiler.

    Raises:
        LazyInitError: the result depends on the value of a `ShapeDtypeStruct`.
    """
    leaves, structure = jax.tree.flatten((args, kwargs))
    has_specs = any(_is_spec(leaf) for leaf in leaves)
    if not has_specs and (any(map(is_tracer, leaves)) or is_tracing()):
        return fn(*args, **kwargs)
    staged = _Staged(fn, leaves, structure)
    if isinstance(staged.error, _NEEDS_CONCRETE_VALUES) and not has_specs:
        return fn(*args, **kwargs)
    if staged.error is not None:
        _raise_without_staging_frames(staged.error)
    return staged.evaluate()


def _is_spec(x: Any) -> bool:
    return isinstance(x, jax.ShapeDtypeStruct)


def _is_array(x: Any) -> bool:
    return isinstance(x, (jax.Array, np.ndarray)) or _is_spec(x)


def _raise_without_staging_frames(error: BaseException) -> None:
    frames = error.__traceback__
    # The innermost of our frames is the traced function itself; what lies below is the user's.
    raise error.with_traceback(frames.tb_next if frames else None)


class _Staged:
    """A function call as a jaxpr, with the results that are not arrays beside it."""

    def __init__(self, fn: Callable[..., Any], leaves: list[Any], structure: Any) -> None:
        """Trace the call; an exception of `fn` is kept in `error`."""
        self.error: BaseException | None = None
        self.arrays = [leaf for leaf in leaves if _is_array(leaf)]
        self._out: Any = None
        self._traced: list[tuple[Any, Any]] = []

        def traced(*arrays: jax.Array) -> list[jax.Array]:
            remaining = iter(arrays)
            filled = [next(remaining) if _is_array(leaf) else leaf for leaf in leaves]
            args, kwargs = jax.tree.unflatten(structure, filled)
            try:
                out = fn(*args, **kwargs)
            except Exception as error:
                self.error = error
                return []
            self._out = out
            self._traced = [
                (path, leaf)
                for path, leaf in jax.tree_util.tree_leaves_with_path(out)
                if is_tracer(leaf)
            ]
            return [leaf for _, leaf in self._traced]

        self.closed: ClosedJaxpr = jax.make_jaxpr(traced)(*self.arrays)

    def evaluate(self) -> Any:
        """Evaluate what the outputs depend on and put the result together."""
        jaxpr = self.closed.jaxpr
        equations = needed_equations(jaxpr, jaxpr.outvars)
        self._check_specs(equations)
        values = _evaluate(jaxpr, equations, self.closed.consts, self.arrays)
        by_tracer = {id(t): v for (_, t), v in zip(self._traced, values, strict=True)}
        return _replace_leaves(self._out, by_tracer)

    def _check_specs(self, equations: Sequence[JaxprEqn]) -> None:
        jaxpr = self.closed.jaxpr
        specs = {v: x for v, x in zip(jaxpr.invars, self.arrays, strict=True) if _is_spec(x)}
        if specs.keys().isdisjoint(_read_by(equations, jaxpr.outvars)):
            return
        for (path, _), outvar in zip(self._traced, jaxpr.outvars, strict=True):
            for var in _read_by(needed_equations(jaxpr, [outvar]), [outvar]):
                if var in specs:
                    where = jax.tree_util.keystr(path, simple=True, separator="/")
                    raise LazyInitError(where, specs[var])


def _replace_leaves(tree: Any, values: Mapping[int, Any]) -> Any:
    """Replace the leaves whose ids are given. Unlike `jax.tree.map` it keeps the order of keys."""
    if isinstance(tree, dict):
        return {key: _replace_leaves(value, values) for key, value in tree.items()}
    return jax.tree.map(lambda leaf: values.get(id(leaf), leaf), tree)


def needed_equations(jaxpr: Jaxpr, outvars: Sequence[Any]) -> list[JaxprEqn]:
    """Give the equations that some of a jaxpr's variables depend on, in order.

    An equation of which only some outputs are needed is reduced where JAX knows how (the body of
    a scan, for example). Effects do not keep an equation.
    """
    needed = set(_variables(outvars))
    kept: list[JaxprEqn] = []
    for eqn in reversed(jaxpr.eqns):
        used = [v in needed for v in eqn.outvars]
        if not any(used):
            continue
        rule = partial_eval.dce_rules.get(eqn.primitive)
        if rule is not None and not all(used):
            reduced = rule(used, eqn)[1]
            eqn = reduced if reduced is not None else eqn
        kept.append(eqn)
        needed.update(_variables(eqn.invars))
    return kept[::-1]


def _evaluate(
    jaxpr: Jaxpr, equations: Sequence[JaxprEqn], consts: Sequence[Any], args: Sequence[Any]
) -> list[Any]:
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    values.update(zip(jaxpr.invars, args, strict=True))

    def read(var: Any) -> Any:
        return var.val if isinstance(var, Literal) else values[var]

    for eqn in equations:
        if eqn.params.get("name") == INITIALIZER_NAME:
            inner = eqn.params["jaxpr"]
            inputs = [read(var) for var in eqn.invars]
            outputs = _evaluate(inner.jaxpr, inner.jaxpr.eqns, inner.consts, inputs)
        else:
            # How a primitive is called, eval_jaxpr alone knows: give it this one equation.
            inputs = _variables(eqn.invars)
            alone = jaxpr.replace(constvars=inputs, invars=[], outvars=eqn.outvars, eqns=[eqn])
            outputs = jax.core.eval_jaxpr(alone, [values[var] for var in inputs])
        values.update(zip(eqn.outvars, outputs, strict=True))
    return [read(var) for var in jaxpr.outvars]


def _variables(atoms: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(a for a in atoms if not isinstance(a, Literal)))


def _read_by(equations: Iterable[JaxprEqn], outvars: Iterable[Any]) -> list[Any]:
    return _variables([v for eqn in equations for v in eqn.invars] + list(outvars))
