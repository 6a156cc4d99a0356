"""`add_metadata_axis`: boxes gain and lose the name of an axis."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest

from linen_core import PARTITION_NAME, Module, compact, unbox, with_partitioning
from linen_core.errors import PartitioningUnspecifiedError
from linen_transforms import add_metadata_axis
from linen_transforms.errors import TransformTargetError

KEY = jax.random.key(0)
X = jnp.ones(3)
LAYERS = {PARTITION_NAME: "layers"}


class Dense(Module):
    """A layer that asserts the names that it sees."""

    @compact
    def __call__(self, x: Any) -> Any:
        init = with_partitioning(jax.nn.initializers.normal(), ("in", "out"))
        kernel: Any = self.param("kernel", init, (3, 2), unbox=False)
        assert kernel.names == ("in", "out")
        mean = self.variable("state", "mean", with_partitioning(jnp.zeros, ("out",)), (2,))
        return x @ kernel.unbox() + mean.value

    def other(self, x: Any) -> Any:
        return 2 * self(x)


AXES: dict[str, tuple[Any, Any, Any]] = {
    "none": ({}, ("in", "out"), ("out",)),
    "first": ({"params": 0}, ("layers", "in", "out"), ("out",)),
    "last": ({"params": 2, "state": 1}, ("in", "out", "layers"), ("out", "layers")),
    "filter": ({True: 0}, ("layers", "in", "out"), ("layers", "out")),
    "None": ({"params": None, "state": 0}, ("in", "out"), ("layers", "out")),
}


@pytest.mark.parametrize(("axes", "kernel", "mean"), AXES.values(), ids=AXES)
def test_names(axes: Any, kernel: Any, mean: Any) -> None:
    lifted = add_metadata_axis(Dense, axes, LAYERS)
    variables = lifted().init(KEY, X)
    assert variables["params"]["kernel"].names == kernel
    assert variables["state"]["mean"].names == mean
    y, updates = lifted().apply(variables, X, mutable=True)
    chex.assert_trees_all_equal(updates, variables)
    chex.assert_trees_all_equal(y, X @ variables["params"]["kernel"].unbox())
    chex.assert_trees_all_equal(unbox(variables), unbox(Dense().init(KEY, X)))


def test_functions_and_methods() -> None:
    class Outer(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            one = add_metadata_axis(lambda mdl, x: mdl(x), {"params": 1}, LAYERS)(Dense(), x)
            lifted = add_metadata_axis(Dense, {"params": 0}, LAYERS, methods="other")
            return one + lifted().other(x)

    params = Outer().init(KEY, X)["params"]
    names = {name: layer["kernel"].names for name, layer in params.items()}
    assert names == {
        "Dense_0": ("in", "layers", "out"),
        "Map_variablesDense_0": ("layers", "in", "out"),
    }


def test_an_axis_without_a_name() -> None:
    with pytest.raises(PartitioningUnspecifiedError):
        add_metadata_axis(Dense, {"params": 0})().init(KEY, X)


def test_what_cannot_be_lifted() -> None:
    with pytest.raises(TransformTargetError):
        add_metadata_axis(Dense(), {"params": 0})  # pyright: ignore[reportArgumentType]
