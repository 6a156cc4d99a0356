"""Summarizing: from a model and its arguments to the calls and the rows.

The model is traced as `init` would run it: that gives the rows and the variables. If FLOPs are
asked for, it is traced once more, as `apply` would run it with these variables and parameters that
do not change, since `init` also makes the variables and may skip what a model does later. The two
traces are matched by module, method, and how often the method was called before.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jax.extend.core import ClosedJaxpr

from linen_core import _functional
from linen_core._context import intercepting
from linen_core._filters import CollectionFilter, subtract_filters
from linen_core._rngs import Rngs
from linen_core._summary.calls import FLAG, Call, Recorder, trace
from linen_core._summary.costs import Cost
from linen_core._summary.flops import call_costs
from linen_core._summary.rows import SummaryRow, make_rows
from linen_core._summary.specs import array_specs_of
from linen_core.errors import SummaryDepthError

_UNCALLED = Cost(0, frozenset({"not in the trace of apply"}))


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is summarized: a model and a call of it.

    Attributes:
        module: the model.
        run: the function of a scope that calls a method of it.
        method: the name of that method.
        rngs: a key, or keys by stream.
        args: positional arguments.
        kwargs: keyword arguments.
        mutable: a filter of the collections to create.
    """

    module: Any
    run: Callable[..., Any]
    method: str
    rngs: Rngs
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    mutable: CollectionFilter


def summarize(
    subject: Subject, depth: int | None, show_repeated: bool, flops: bool, vjp_flops: bool
) -> list[SummaryRow]:
    """Give the rows of a model, in the order in which its calls begin.

    Args:
        subject: the model and the call.
        depth: how many levels of submodules have rows of their own; None for all.
        show_repeated: whether every call of a module has a row, or only the first.
        flops: whether to count the operations of the calls.
        vjp_flops: whether to count those of their derivatives.

    Raises:
        SummaryDepthError: `depth` is no number of levels.
    """
    if depth is not None and (not isinstance(depth, int) or depth < 0):
        raise SummaryDepthError(depth)
    calls, variables = _trace_init(subject)
    shown = {
        index: call
        for index, call in shown_calls(calls, show_repeated).items()
        if depth is None or len(call.path) <= depth
    }
    rows = make_rows(shown.values(), {call.path for call in calls.values()}, variables)
    wanted = [name for name, is_wanted in (("flops", flops), ("vjp_flops", vjp_flops)) if is_wanted]
    if not wanted:
        return list(rows)
    costs = _costs(subject, calls, variables, wanted)
    return [_with_costs(row, costs[index]) for index, row in zip(shown, rows, strict=True)]


def calls_of(subject: Subject, show_repeated: bool) -> list[Call]:
    """Give the calls of a model, in the order in which they begin."""
    return list(shown_calls(_trace_init(subject)[0], show_repeated).values())


def shown_calls(calls: Mapping[int, Call], show_repeated: bool) -> dict[int, Call]:
    """Give the first call of each module, or all calls if repeated ones are asked for."""
    if show_repeated:
        return dict(calls)
    first: dict[tuple[str, ...], int] = {}
    for index, call in calls.items():
        first.setdefault(call.path, index)
    return {index: calls[index] for index in first.values()}


def _trace_init(subject: Subject) -> tuple[dict[int, Call], dict[str, Any]]:
    """Trace `init`; give its calls by their number, and the specs of the variables."""
    found: list[Any] = []

    def init(args: Any, kwargs: Any) -> None:
        recorder = Recorder()
        run = recorder.whole(subject.module, subject.method, subject.run)
        with intercepting(recorder, outermost=True):
            creating = _functional.init(run, subject.mutable, {FLAG: recorder})
            _, variables = creating(subject.rngs, *args, **kwargs)
        found[:] = recorder.calls, array_specs_of(variables)

    trace(init, subject.args, subject.kwargs)
    return found[0], found[1]


def _trace_apply(
    subject: Subject, variables: Mapping[str, Any]
) -> tuple[dict[int, Call], ClosedJaxpr]:
    """Trace `apply`; give its calls by their number, and the jaxpr, in which they are marked."""
    found: list[Any] = []
    mutable = subtract_filters(subject.mutable, "params")

    def apply(variables: Any, args: Any, kwargs: Any) -> Any:
        recorder = Recorder(marks=True)
        run = recorder.whole(subject.module, subject.method, subject.run)
        with intercepting(recorder, outermost=True):
            applying = _functional.apply(run, mutable, {FLAG: recorder})
            result = applying(variables, *args, rngs=subject.rngs, **kwargs)
        found[:] = [recorder.calls]
        return result if mutable is False else result[0]

    closed = trace(apply, variables, subject.args, subject.kwargs)
    return found[0], closed


def _costs(
    subject: Subject, calls: Mapping[int, Call], variables: Mapping[str, Any], wanted: list[str]
) -> dict[int, dict[str, Cost]]:
    """Give the costs that are wanted, by name, of each call of `init`, by its number."""
    applied, closed = _trace_apply(subject, variables)
    numbers = {key: index for index, key in _keys(applied)}
    costs = {name: call_costs(closed, vjp=name == "vjp_flops") for name in wanted}
    return {
        index: {name: costs[name].get(numbers.get(key, -1), _UNCALLED) for name in wanted}
        for index, key in _keys(calls)
    }


def _keys(calls: Mapping[int, Call]) -> Iterator[tuple[int, Any]]:
    """Yield the number of each call with what finds it in another trace."""
    seen: Counter[Any] = Counter()
    for index, call in calls.items():
        key = call.path, call.method
        yield index, (*key, seen[key])
        seen[key] += 1


def _with_costs(row: SummaryRow, costs: Mapping[str, Cost]) -> SummaryRow:
    known = {name: None if cost.uncounted else cost.flops for name, cost in costs.items()}
    uncounted = frozenset().union(*(cost.uncounted for cost in costs.values()))
    return dataclasses.replace(row, **known, uncounted=tuple(sorted(uncounted)))
