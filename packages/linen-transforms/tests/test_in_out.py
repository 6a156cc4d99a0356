"""Axes of collections that only go in, or only come out."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from linen_core import Module, compact, in_filter
from linen_core.errors import ScopeCollectionNotFound
from linen_transforms import scan, vmap
from linen_transforms._in_out import VariableAxes, union
from linen_transforms.partitioning import ScanIn, ScanOut

X = jnp.ones((4, 3))


class Sums(Module):
    """Reads a scale and writes a sum; fit for a loop."""

    @compact
    def __call__(self, x: Any, _: Any = None) -> Any:
        y = x * self.get_variable("params", "scale", 1.0)
        seen = self.has_variable("sums", "y")
        self.put_variable("sums", "y", (y.sum(), jnp.asarray(seen)))
        return y, None


AXES: Any = {"params": ScanIn(0), "sums": ScanOut(0), "state": 1}
BEFORE = {"params": {"scale": jnp.arange(4.0)}, "sums": {"y": (jnp.ones(4), jnp.ones(4))}}


def test_axes_for_each_way() -> None:
    both = VariableAxes(AXES)
    assert both.into == {"params": 0, "state": 1}
    assert both.out == {"sums": 0, "state": 1}
    assert [in_filter(both.only_in, name) for name in ("params", "sums")] == [True, False]
    assert union([]) is False


@pytest.mark.parametrize("lifted", [vmap(Sums, AXES), scan(Sums, AXES)])
def test_what_comes_out_was_not_there_before(lifted: Any) -> None:
    args = (X,) if lifted.__name__.startswith("Vmap") else (X[0], X)
    _, changed = lifted().apply(BEFORE, *args, mutable=True)
    assert set(changed) == {"params", "sums"}
    sums, seen = changed["sums"]["y"]
    assert sums.shape == (4,)
    assert not seen.any()


def test_what_only_goes_in_is_immutable() -> None:
    class Creates(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            return x * self.param("scale", lambda _: 1.0)

    with pytest.raises(ScopeCollectionNotFound):
        vmap(Creates, {"params": ScanIn(0)}, {"params": True})().init(jax.random.key(0), X)
