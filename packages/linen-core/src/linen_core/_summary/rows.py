"""Rows: the calls of a model together with the variables that belong to them, as data.

Not every call need be *shown*. A variable belongs to the deepest module above it that is called at
all, and is counted in the row of the deepest one that is shown: whatever is shown, the rows
add up to all variables, each counted once.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from linen_core._dicts import map_in_order
from linen_core._summary.specs import array_spec, size_of, specs_of
from linen_core._summary.text import text_of

if TYPE_CHECKING:
    from linen_core._summary.calls import Call

Path = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class SummaryRow:
    """One call of a module's method, with the variables of the module.

    Arrays are given as `jax.ShapeDtypeStruct`, also inside of pytrees and boxes.

    Attributes:
        path: the path of the module, as in "encoder/Dense_0"; "" is the top-level module.
        class_name: the name of the module's class.
        method: the name of the method.
        inputs: the argument; a tuple if there are several, at whose end the keyword arguments are a
            dict.
        outputs: what the method returned.
        variables: the module's own variables, by collection. Empty if the module had a row before.
        counts: how many numbers the variables of each collection hold, with those of submodules
            that have no row.
        bytes: how many bytes these are.
        flops: the floating-point operations of the call, with those of the calls in it; None if
            they were not asked for or are not known.
        vjp_flops: the same with the gradient of its outputs with respect to all that it reads.
        uncounted: why `flops` or `vjp_flops` is not known: the JAX primitives whose costs are not,
            "no derivative", or "not in the trace of apply".

    Example:
        >>> import jax
        >>> from linen_core import Module, compact
        >>> class Scale(Module):
        ...     @compact
        ...     def __call__(self, x):
        ...         return x * self.param("scale", jax.nn.initializers.ones, x.shape[-1:])
        >>> (row,) = Scale().summary_rows(jax.random.key(0), jax.numpy.ones((3,)))
        >>> row.class_name, row.outputs.shape, row.counts, row.bytes
        ('Scale', (3,), {'params': 3}, {'params': 12})
    """

    path: str
    class_name: str
    method: str
    inputs: Any
    outputs: Any
    variables: dict[str, Any]
    counts: dict[str, int]
    bytes: dict[str, int]
    flops: int | None = None
    vjp_flops: int | None = None
    uncounted: tuple[str, ...] = ()

    def flat(self) -> dict[str, str | int | None]:
        """Give the row as a dict without nesting, for a table of any kind.

        `pandas.DataFrame(row.flat() for row in rows)` has one column for each of its keys.

        Returns:
            "path", "module", "method", "inputs", "outputs", "flops", "vjp_flops", and for each
            collection its name (how many numbers) and its name with "_bytes".

        Example:
            >>> import jax
            >>> from linen_core import Module
            >>> class Double(Module):
            ...     def __call__(self, x):
            ...         return 2 * x
            >>> (row,) = Double().summary_rows(jax.random.key(0), jax.numpy.ones(3))
            >>> row.flat()["inputs"]
            'float32[3]'
        """
        row: dict[str, str | int | None] = {
            "path": self.path,
            "module": self.class_name,
            "method": self.method,
            "inputs": text_of(self.inputs),
            "outputs": text_of(self.outputs),
            "flops": self.flops,
            "vjp_flops": self.vjp_flops,
        }
        for col, count in self.counts.items():
            row |= {col: count, f"{col}_bytes": self.bytes[col]}
        return row


def make_rows(
    calls: "Iterable[Call]", called: set[Path], variables: Mapping[str, Any]
) -> Iterator[SummaryRow]:
    """Yield the rows of calls, without FLOPs.

    Args:
        calls: the calls that are shown.
        called: the paths of all modules that are called, shown or not.
        variables: the specs of all variables.
    """
    calls = list(calls)
    leaves = {col: list(_flatten(tree)) for col, tree in variables.items()}
    owned, counted = _grouped(leaves, called), _grouped(leaves, {call.path for call in calls})
    for call in calls:
        # What is taken out is not there when the same module is called again.
        own, all_counted = owned.pop(call.path, {}), counted.pop(call.path, {})
        sizes = {col: size_of([leaf for _, leaf in all_counted.get(col, ())]) for col in leaves}
        yield SummaryRow(
            path="/".join(call.path),
            class_name=type(call.module).__name__,
            method=call.method,
            inputs=call.inputs,
            outputs=call.outputs,
            variables={col: _nested(own[col], len(call.path)) for col in leaves if col in own},
            counts={col: size for col, (size, _) in sizes.items()},
            bytes={col: width for col, (_, width) in sizes.items()},
        )


_Leaves = list[tuple[Path, Any]]


def _flatten(tree: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            yield from _flatten(value, (*path, name))
    else:
        yield path, map_in_order(array_spec, specs_of(tree))


def _grouped(leaves: dict[str, _Leaves], places: set[Path]) -> dict[Path, dict[str, _Leaves]]:
    """Sort the leaves by the deepest of the places above each of them, and by collection."""
    groups: dict[Path, dict[str, _Leaves]] = {}
    for col, found in leaves.items():
        for path, leaf in found:
            above = (path[:length] for length in reversed(range(len(path))))
            place = next(outer for outer in above if outer in places)
            groups.setdefault(place, {}).setdefault(col, []).append((path, leaf))
    return groups


def _nested(leaves: _Leaves, depth: int) -> dict[str, Any]:
    """Give the leaves as a nested dict from below the first `depth` parts of their paths."""
    nested: dict[str, Any] = {}
    for path, leaf in leaves:
        *outer, name = path[depth:]
        place = nested
        for part in outer:
            place = place.setdefault(part, {})
        place[name] = leaf
    return nested
