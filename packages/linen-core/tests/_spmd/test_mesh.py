"""Finding the mesh in use, and sharding arrays over it."""

import threading
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, PartitionSpec

from linen_core import get_global_mesh, global_mesh_defined
from linen_core._spmd.mesh import constrain
from linen_core.errors import MeshAxisNotFoundError, PartitionRankError

UseMesh = Callable[[Mesh], Any]
UNCONSTRAINED = PartitionSpec.UNCONSTRAINED
X = np.arange(32.0, dtype=np.float32).reshape(8, 4)


def spec_of(x: jax.Array) -> tuple[Any, ...]:
    """Returns the spec of a sharded array, filled up to its rank."""
    spec = tuple(x.sharding.spec)  # type: ignore[attr-defined]
    return (*spec, *[None] * (x.ndim - len(spec)))


def test_there_is_no_mesh() -> None:
    assert get_global_mesh() is None
    assert not global_mesh_defined()


def test_the_mesh_in_use(use_mesh: UseMesh, mesh: Mesh) -> None:
    for _ in range(2):  # found, and found again
        with use_mesh(mesh):
            found = get_global_mesh()
            assert found is not None
            assert (found.axis_names, dict(found.shape)) == (mesh.axis_names, dict(mesh.shape))
            assert global_mesh_defined()
        assert get_global_mesh() is None


def test_the_innermost_mesh_counts(use_mesh: UseMesh, mesh: Mesh) -> None:
    other = Mesh(np.array(jax.devices()[:2]), ("x",))
    with use_mesh(mesh):
        with use_mesh(other):
            assert getattr(get_global_mesh(), "axis_names", None) == ("x",)
        assert getattr(get_global_mesh(), "axis_names", None) == mesh.axis_names


def test_the_mesh_is_found_while_tracing(use_mesh: UseMesh, mesh: Mesh) -> None:
    found = []

    @jax.jit
    @jax.vmap
    def look(x: jax.Array) -> jax.Array:
        found.append(get_global_mesh())
        return x

    with use_mesh(mesh):
        look(jnp.ones(3))
    assert [getattr(x, "axis_names", None) for x in found] == [mesh.axis_names]


def test_looking_for_a_mesh_leaves_no_trace() -> None:
    def look(x: jax.Array) -> jax.Array:
        assert not global_mesh_defined()
        return x

    assert jax.make_jaxpr(look)(1.0).eqns == []


def test_the_mesh_is_that_of_the_thread(mesh: Mesh) -> None:
    found = []
    with jax.set_mesh(mesh):
        thread = threading.Thread(target=lambda: found.append(get_global_mesh()))
        thread.start()
        thread.join()
    assert found == [None]


def test_without_a_mesh_nothing_happens() -> None:
    value = {"a": X}
    assert constrain(value, PartitionSpec("nowhere")) is value


SPECS = {
    "both": PartitionSpec("data", "model"),
    "first": PartitionSpec("data"),
    "second": PartitionSpec(None, "model"),
    "joined": PartitionSpec(("data", "model")),
    "none": PartitionSpec(),
}
each_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
each_jit = pytest.mark.parametrize("jit", [lambda f: f, jax.jit], ids=["eager", "jit"])


@each_spec
@each_jit
def test_sharded_over_the_mesh_in_use(
    use_mesh: UseMesh, mesh: Mesh, spec: PartitionSpec, jit: Any
) -> None:
    with use_mesh(mesh):
        y = jit(lambda x: constrain(x, spec))(X)
    assert spec_of(y) == (*spec, *[None] * (2 - len(spec)))
    chex.assert_trees_all_equal(np.asarray(y), X)


@each_spec
@each_jit
@pytest.mark.parametrize("kind", ["mesh", "explicit_mesh", "mixed_mesh"])
def test_sharded_over_axes_of_every_type(
    request: pytest.FixtureRequest, kind: str, spec: PartitionSpec, jit: Any
) -> None:
    mesh = request.getfixturevalue(kind)
    with jax.set_mesh(mesh):
        y = jit(lambda x: constrain(x, spec))(jnp.asarray(X))
    assert spec_of(y) == (*spec, *[None] * (2 - len(spec)))
    chex.assert_trees_all_equal(np.asarray(y), X)


@each_spec
def test_sharded_over_the_given_mesh(mesh: Mesh, spec: PartitionSpec) -> None:
    for call in (constrain, jax.jit(constrain, static_argnums=(1, 2))):
        y = call(X, spec, mesh)
        assert spec_of(y) == (*spec, *[None] * (2 - len(spec)))


SOURCES: dict[str, Callable[[], Any]] = {
    "numpy": lambda: X,
    "anywhere": lambda: jnp.asarray(X),
    "committed": lambda: jax.device_put(X, jax.devices()[3]),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_arrays_come_from_any_device(use_mesh: UseMesh, mesh: Mesh, source: Any) -> None:
    x = source()
    with use_mesh(mesh):
        y = constrain(x, PartitionSpec("data", UNCONSTRAINED))
    assert spec_of(y) == ("data", None)


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_constants_of_a_compiled_function(use_mesh: UseMesh, mesh: Mesh, source: Any) -> None:
    x = source()
    with use_mesh(mesh):
        y = jax.jit(lambda: constrain(x, PartitionSpec("data", "model")) + 1)()
    assert spec_of(y) == ("data", "model")


@pytest.mark.parametrize("kind", ["mesh", "explicit_mesh"])
def test_an_unconstrained_axis_stays_as_it_is(request: pytest.FixtureRequest, kind: str) -> None:
    with jax.set_mesh(request.getfixturevalue(kind)):
        x = jax.device_put(X, PartitionSpec(None, "model"))
        y = constrain(x, PartitionSpec("data", UNCONSTRAINED))
    assert spec_of(y) == ("data", "model")


def test_manual_axes_are_left_out(mesh: Mesh) -> None:
    def body(x: jax.Array) -> jax.Array:
        return constrain(x, PartitionSpec("data", "model")) + 1

    data = PartitionSpec("data")
    for axes in ({"data"}, {"data", "model"}):
        with jax.set_mesh(mesh):
            split = jax.shard_map(body, in_specs=data, out_specs=data, axis_names=axes)
            y = jax.jit(split)(jnp.asarray(X))
        chex.assert_trees_all_equal(np.asarray(y), X + 1)


def test_every_leaf_is_sharded(mesh: Mesh) -> None:
    spec = jax.ShapeDtypeStruct((8,), jnp.float32)
    value = {"a": X, "b": (X[0], None), "c": spec, "d": 2.0}
    tree = constrain({"a": X, "b": (X[:, 0], None), "c": spec}, PartitionSpec("data"), mesh)
    assert spec_of(tree["a"]) == ("data", None)
    assert spec_of(tree["b"][0]) == ("data",)
    assert tree["c"] is spec
    assert constrain(value["d"], PartitionSpec(), mesh) == 2.0


def test_gradients_pass(mesh: Mesh) -> None:
    def loss(x: jax.Array) -> jax.Array:
        return jnp.sum(constrain(x, PartitionSpec("data")) ** 2)

    with jax.set_mesh(mesh):
        gradient = jax.jit(jax.grad(loss))(X)
    chex.assert_trees_all_close(np.asarray(gradient), 2 * X)


def test_an_axis_that_the_mesh_lacks(mesh: Mesh) -> None:
    with pytest.raises(MeshAxisNotFoundError) as error, jax.set_mesh(mesh):
        constrain(X, PartitionSpec(("data", "tensor"), "expert"))
    assert str(error.value) == (
        "The mesh has no axis 'expert', 'tensor': found the partition spec "
        '(("data", "tensor"), "expert"), expected names among ("data", "model"). If they are '
        "logical names, box the variable with with_logical_partitioning and map them to mesh axes, "
        'for example with logical_axis_rules([("embed", None), ("mlp", "model")]).'
    )


def test_more_names_than_axes(mesh: Mesh) -> None:
    with pytest.raises(PartitionRankError) as error:
        constrain({"a": X}, PartitionSpec("data", None, "model"), mesh)
    assert str(error.value) == (
        '("data", None, "model") names 3 axes, but the array has shape (8, 4), which is 2. '
        "Write one name, or None, for each axis of the array."
    )


def test_meshes_have_the_types_that_the_tests_say(
    mesh: Mesh, explicit_mesh: Mesh, mixed_mesh: Mesh
) -> None:
    assert set(mesh.axis_types) == {AxisType.Auto}
    assert set(explicit_mesh.axis_types) == {AxisType.Explicit}
    assert mixed_mesh.axis_types == (AxisType.Explicit, AxisType.Auto)
