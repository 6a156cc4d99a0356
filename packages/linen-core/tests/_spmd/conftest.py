"""Meshes of eight devices, and the two ways to say that one is in use."""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh


def make_mesh(*types: AxisType) -> Mesh:
    """Returns a mesh data=4, model=2 with axes of the given types."""
    return Mesh(np.array(jax.devices()[:8]).reshape(4, 2), ("data", "model"), types)


@pytest.fixture
def mesh() -> Mesh:
    return make_mesh(AxisType.Auto, AxisType.Auto)


@pytest.fixture
def explicit_mesh() -> Mesh:
    return make_mesh(AxisType.Explicit, AxisType.Explicit)


@pytest.fixture
def mixed_mesh() -> Mesh:
    return make_mesh(AxisType.Explicit, AxisType.Auto)


@contextlib.contextmanager
def entered(mesh: Mesh) -> Iterator[None]:
    """Does `with mesh:`, of which newer versions of JAX say that it will go away."""
    with contextlib.ExitStack() as stack:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            stack.enter_context(mesh)
        yield


@pytest.fixture(params=[jax.set_mesh, entered], ids=["set_mesh", "with_mesh"])
def use_mesh(request: pytest.FixtureRequest) -> Callable[[Mesh], Any]:
    """Returns a function from a mesh to a context manager that puts it to use."""
    return request.param
