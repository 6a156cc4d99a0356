"""Collections that only go into a mapped body, or only come out of it.

As a rule the variables of a collection go in, sliced along an axis, and what the body makes of them
comes out, stacked along the same axis. `ScanIn` and `ScanOut` around the axis leave one of the two out.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import Any

from linen_core import CollectionFilter, in_filter, union_filters
from linen_transforms.errors import AxisSizeError


@dataclasses.dataclass(frozen=True)
class ScanIn:
    """An axis of variables that go into the body, and that it cannot change.

    Args:
        axis: the axis.

    Example:
        >>> import jax
        >>> import linen_transforms
        >>> from linen_core import Module, compact
        >>> from linen_transforms.partitioning import ScanIn
        >>> class Scale(Module):
        ...     @compact
        ...     def __call__(self, x):
        ...         return x * self.param("scale", jax.nn.initializers.ones, ())
        >>> Scales = linen_transforms.vmap(Scale, variable_axes={"params": ScanIn(0)}, in_axes=None)
        >>> Scales().apply({"params": {"scale": jax.numpy.arange(3)}}, 2).tolist()
        [0, 2, 4]
    """

    axis: int | None


@dataclasses.dataclass(frozen=True)
class ScanOut:
    """An axis of variables that come out of the body, which does not see those that there are.

    Args:
        axis: the axis.

    Example:
        >>> import jax.numpy as jnp
        >>> import linen_transforms
        >>> from linen_core import Module, compact
        >>> from linen_transforms.partitioning import ScanOut
        >>> class Double(Module):
        ...     @compact
        ...     def __call__(self, x):
        ...         self.sow("intermediates", "x", x)
        ...         return 2 * x
        >>> Doubles = linen_transforms.vmap(Double, variable_axes={"intermediates": ScanOut(1)})
        >>> _, sown = Doubles().apply({}, jnp.ones((5, 3)), mutable=["intermediates"])
        >>> sown["intermediates"]["x"][0].shape
        (3, 5)
    """

    axis: int | None


Axis = int | None | ScanIn | ScanOut


@dataclasses.dataclass(frozen=True)
class VariableAxes:
    """The axes of collections, for each way.

    Args:
        variable_axes: from filters of collections to axes.
    """

    variable_axes: Mapping[Any, Axis]

    @property
    def into(self) -> dict[CollectionFilter, Any]:
        """The axes of the collections that go in."""
        return self._without(ScanOut)

    @property
    def out(self) -> dict[CollectionFilter, Any]:
        """The axes of the collections that come out."""
        return self._without(ScanIn)

    @property
    def only_in(self) -> CollectionFilter:
        """A filter of the collections that only go in."""
        return union([f for f, axis in self.variable_axes.items() if isinstance(axis, ScanIn)])

    def checked(self, name: str, unmapped: Any) -> "VariableAxes":
        """Refuse what is no axis; give the axes back.

        Args:
            name: what the transformation is called.
            unmapped: what stands in the place of an axis for what is not mapped.

        Raises:
            AxisSizeError: there is something else in the place of an axis.
        """
        for filter_, axis in {**self.into, **self.out}.items():
            if not isinstance(axis, int) and axis is not unmapped:
                raise AxisSizeError.of_variables(name, filter_, axis)
        return self

    def _without(self, kind: type[ScanIn] | type[ScanOut]) -> dict[CollectionFilter, Any]:
        return {
            filter_: axis.axis if isinstance(axis, (ScanIn, ScanOut)) else axis
            for filter_, axis in self.variable_axes.items()
            if not isinstance(axis, kind)
        }


def has_axis_of_params(variable_axes: Mapping[Any, Axis]) -> bool:
    """Say whether parameters are mapped over an axis."""
    axes = [
        axis
        for filter_, axis in VariableAxes(variable_axes).into.items()
        if in_filter(filter_, "params")
    ]
    return any(axis is not None for axis in axes[:1])


def union(filters: Iterable[CollectionFilter]) -> CollectionFilter:
    """Give the filter of what any of some filters matches."""
    return functools.reduce(union_filters, filters, False)
