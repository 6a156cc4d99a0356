"""The loop behind `axes_scan.scan` and `lift.scan`.

The body runs once, for a trace of its own. The trace says all that the loop must know before it can
be written down: the form of the carry that comes out, and which results do not depend on the
iteration. Those are evaluated once, outside; the loop replays what is left of the trace.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr
from jax.interpreters import partial_eval
from jax.tree_util import SequenceKey

from linen_core import broadcast
from linen_transforms._axes import check_axis, common_size, leaves_with_axes
from linen_transforms._carry import check_carry
from linen_transforms.errors import LoopInvariantError

# What becomes of a leaf that a body returns, if it is not stacked along an axis.
_CARRIED = object()


def loop(
    fn: Callable[..., Any],
    in_axes: Any,
    out_axes: Any,
    length: int | None,
    check_invariants: bool,
    options: Mapping[str, Any],
    name: str = "scan",
    path: Sequence[str] = (),
    describe: Callable[[Sequence[Any]], str] | None = None,
) -> Callable[..., Any]:
    """Make a loop of a function `(broadcast_in, carry, *args)`; see `axes_scan.scan`.

    Args:
        fn: the function.
        in_axes: the axes of `args`.
        out_axes: the axes of what is stacked.
        length: the number of iterations, if nothing else says it.
        check_invariants: whether a broadcast result must not depend on the iteration.
        options: arguments of `jax.lax.scan`.
        name: what the loop is called in error texts.
        path: the module path.
        describe: says what is at a key path of the result of `fn`.
    """

    def run(broadcast_in: Any, carry: Any, *args: Any) -> Any:
        size = common_size(name, "length", length, {"argument": (in_axes, args)}, broadcast)
        slices = _Slices(name, in_axes, args)

        def body(carry: Any, sliced: Sequence[Any]) -> Any:
            return fn(broadcast_in, carry, *slices.joined(sliced))

        traced = _Traced(body, carry, slices.forms(), out_axes, name, path, describe or _describe)
        invariants = traced.take_invariants(check_invariants)
        carry, stacked = jax.lax.scan(
            traced.iterate, traced.carry, slices.stacked, length=size, **options
        )
        last = 0 if options.get("reverse") else -1
        return traced.results(invariants, carry, stacked, last)

    return run


class _Slices:
    """Arguments of a loop: those that are sliced, and those that are the same in all iterations."""

    def __init__(self, name: str, axes: Any, args: Any) -> None:
        leaves = leaves_with_axes(name, axes, args, "argument")
        for axis, where, leaf in leaves:
            if axis is not broadcast:
                check_axis(name, where, axis, jnp.shape(leaf))
        self._structure = jax.tree.structure(args)
        self._is_sliced = [axis is not broadcast for axis, _, _ in leaves]
        self._constants = [leaf if axis is broadcast else None for axis, _, leaf in leaves]
        self.stacked = [
            leaf if axis == 0 else jnp.moveaxis(leaf, axis, 0)
            for axis, _, leaf in leaves
            if axis is not broadcast
        ]

    def forms(self) -> list[jax.ShapeDtypeStruct]:
        """Give the forms of one slice of each."""
        avals = [jax.typeof(leaf) for leaf in self.stacked]
        return [
            jax.ShapeDtypeStruct(aval.shape[1:], aval.dtype, weak_type=aval.weak_type)
            for aval in avals
        ]

    def joined(self, sliced: Sequence[Any]) -> Any:
        """Give the arguments of one iteration."""
        rest = iter(sliced)
        leaves = [
            next(rest) if is_sliced else constant
            for is_sliced, constant in zip(self._is_sliced, self._constants, strict=True)
        ]
        return self._structure.unflatten(leaves)


class _Traced:
    """A body, traced.

    Args:
        body: a function of a carry and of a list of slices that returns broadcast results, the
            carry, and what is stacked.
        carry: the carry that goes in.
        forms: the forms of the slices.
        out_axes: the axes of what is stacked.
        name: what the loop is called.
        path: the module path.
        describe: says what is at a key path of the result.

    Attributes:
        carry: the leaves of the carry that goes in.
    """

    def __init__(
        self,
        body: Callable[..., Any],
        carry: Any,
        forms: Sequence[Any],
        out_axes: Any,
        name: str,
        path: Sequence[str],
        describe: Callable[[Sequence[Any]], str],
    ) -> None:
        self._name, self._path, self._describe = name, path, describe
        returned: Any = None

        def noted(*args: Any) -> Any:
            nonlocal returned
            returned = body(*args)
            return returned

        carry = jax.tree.map(jnp.asarray, carry)
        closed, out = jax.make_jaxpr(noted, return_shape=True)(carry, forms)
        promoted = _promoted(carry, out[1])
        if promoted is not carry:
            closed, out = jax.make_jaxpr(noted, return_shape=True)(promoted, forms)
        check_carry(name, path, promoted, out[1], lambda keys: describe((SequenceKey(1), *keys)))
        self.carry = jax.tree.leaves(promoted)
        self._closed: ClosedJaxpr = closed
        self._returned = jax.tree.leaves(returned)
        self._structure = jax.tree.structure(out)
        # For each leaf of the result: `broadcast`, `_CARRIED` or the axis that it is stacked along.
        self._kinds: list[Any] = [broadcast] * len(jax.tree.leaves(out[0]))
        self._kinds += [_CARRIED] * len(self.carry)
        for axis, where, form in leaves_with_axes(name, out_axes, out[2], "result"):
            if axis is not broadcast:
                check_axis(name, where, axis, ("length", *form.shape))
            self._kinds.append(axis)
        self._is_invariant = [False] * len(self._kinds)

    def take_invariants(self, check: bool) -> list[Any]:
        """Evaluate the broadcast results that are the same in all iterations, outside of the loop."""
        wanted = [kind is broadcast for kind in self._kinds]
        if not any(wanted):
            return []
        jaxpr = _without_effects(self._closed.jaxpr)
        self._is_invariant = _invariant(jaxpr, wanted)
        if check and self._is_invariant != wanted:
            first = next(
                i for i, is_wanted in enumerate(wanted) if is_wanted != self._is_invariant[i]
            )
            raise LoopInvariantError(self._name, self._path, self._where(first))
        needed, _ = partial_eval.dce_jaxpr(jaxpr, self._is_invariant)
        values = jax.core.eval_jaxpr(needed, self._closed.consts)
        rest, _ = partial_eval.dce_jaxpr(
            self._closed.jaxpr, [not i for i in self._is_invariant], True
        )
        self._closed = ClosedJaxpr(rest, self._closed.consts)
        # What the body did not compute, such as Python scalars, stays what it is.
        returned = [leaf for leaf, i in zip(self._returned, self._is_invariant, strict=True) if i]
        pairs = zip(returned, values, strict=True)
        return [value if isinstance(leaf, jax.core.Tracer) else leaf for leaf, value in pairs]

    def _where(self, index: int) -> str:
        paths, _ = jax.tree_util.tree_flatten_with_path(self._structure.unflatten(self._kinds))
        return self._describe(paths[index][0])

    def iterate(self, carry: Sequence[Any], sliced: Sequence[Any]) -> Any:
        """Do one iteration: the body of `jax.lax.scan`."""
        outs = jax.core.eval_jaxpr(self._closed.jaxpr, self._closed.consts, *carry, *sliced)
        kinds = [k for k, i in zip(self._kinds, self._is_invariant, strict=True) if not i]
        pairs = list(zip(kinds, outs, strict=True))
        return [x for k, x in pairs if k is _CARRIED], [x for k, x in pairs if k is not _CARRIED]

    def results(
        self, invariants: Sequence[Any], carry: Sequence[Any], stacked: Sequence[Any], last: int
    ) -> Any:
        """Put the results of the loop together."""
        rest_invariants, rest_carry, rest_stacked = map(iter, (invariants, carry, stacked))
        leaves: list[Any] = []
        for kind, is_invariant in zip(self._kinds, self._is_invariant, strict=True):
            if is_invariant:
                leaves.append(next(rest_invariants))
            elif kind is _CARRIED:
                leaves.append(next(rest_carry))
            elif kind is broadcast:
                leaves.append(next(rest_stacked)[last])
            else:
                leaf = next(rest_stacked)
                leaves.append(leaf if kind == 0 else jnp.moveaxis(leaf, 0, kind))
        return self._structure.unflatten(leaves)


def _describe(path: Sequence[Any]) -> str:
    part, *rest = path
    return ("broadcast value", "carry", "result")[part.idx] + jax.tree_util.keystr(tuple(rest))


def _promoted(carry: Any, after: Any) -> Any:
    """Give Python scalars in a carry the dtype that comes out of the body, as `jax.lax.scan` does."""
    if jax.tree.structure(carry) != jax.tree.structure(after):
        return carry

    def needs(leaf: Any, form: Any) -> bool:
        return jax.typeof(leaf).weak_type and leaf.dtype != form.dtype

    if not any(jax.tree.leaves(jax.tree.map(needs, carry, after))):
        return carry
    return jax.tree.map(lambda x, f: x.astype(f.dtype) if needs(x, f) else x, carry, after)


def _invariant(jaxpr: Jaxpr, wanted: Sequence[bool]) -> list[bool]:
    """Say which of the results that are marked depend on no argument of a jaxpr."""

    def depends(results: Sequence[bool]) -> bool:
        return any(partial_eval.dce_jaxpr(jaxpr, results)[1])

    if not depends(wanted):
        return list(wanted)
    alone = [[i == j for j in range(len(wanted))] for i in range(len(wanted))]
    return [is_wanted and not depends(one) for is_wanted, one in zip(wanted, alone, strict=True)]


def _without_effects(jaxpr: Jaxpr) -> Jaxpr:
    """Give a jaxpr of which all can be left out that results do not need, also prints and callbacks."""
    kept, _ = partial_eval.dce_jaxpr(jaxpr, [False] * len(jaxpr.outvars))
    return _stripped(jaxpr) if kept.eqns else jaxpr


def _stripped(part: Any) -> Any:
    if isinstance(part, ClosedJaxpr):
        return ClosedJaxpr(_stripped(part.jaxpr), part.consts)
    if isinstance(part, tuple) and any(isinstance(each, (ClosedJaxpr, Jaxpr)) for each in part):
        return tuple(map(_stripped, part))
    if not isinstance(part, Jaxpr):
        return part
    eqns = [
        eqn.replace(
            params={name: _stripped(value) for name, value in eqn.params.items()},
            effects=frozenset(),
        )
        for eqn in part.eqns
    ]
    return part.replace(eqns=eqns, effects=frozenset())
