"""Boxes that name mesh axes: in trees, in models, under transformations and over meshes."""

import pickle
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.nn import initializers
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from linen_core import (
    PARTITION_NAME,
    AxisMetadata,
    Module,
    Partitioned,
    add_axis,
    compact,
    get_partition_spec,
    get_sharding,
    remove_axis,
    replace_boxed,
    state_dict,
    struct,
    unbox,
    with_partitioning,
)
from linen_core.errors import (
    DuplicateMeshAxisError,
    LogicalNamesError,
    MeshAxisNotFoundError,
    PartitioningUnspecifiedError,
    PartitionNameMismatchError,
    PartitionRankError,
    ScopeParamShapeError,
)

UseMesh = Callable[[Mesh], Any]
KEY = jax.random.key(0)
ABSTRACT = AbstractMesh((4, 2), ("data", "model"))
LAYERS = {PARTITION_NAME: "layers"}
each_jit = pytest.mark.parametrize("jit", [lambda f: f, jax.jit], ids=["eager", "jit"])


def box(*names: Any, shape: tuple[int, ...] = (8, 4), mesh: Mesh | None = None) -> Partitioned:
    """Returns a box of ones."""
    return Partitioned(jnp.ones(shape), names, mesh)


class Linear(Module):
    features: int = 4
    kernel_init: Callable[..., Any] = with_partitioning(initializers.normal(), ("data", "model"))

    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        return x @ kernel + self.param("bias", initializers.zeros, (1, self.features))


X = np.ones((2, 8), np.float32)


def spec_of(x: jax.Array) -> tuple[Any, ...]:
    """Returns the spec of an array on a mesh, filled up to its rank."""
    spec = tuple(x.sharding.spec)  # type: ignore[attr-defined]
    return (*spec, *[None] * (x.ndim - len(spec)))


# The box as a pytree.


def test_a_box_is_a_pytree_with_static_names() -> None:
    value, names = jnp.ones(2), ("data",)
    (path, leaf), *rest = jax.tree_util.tree_leaves_with_path({"w": Partitioned(value, names)})
    assert jax.tree_util.keystr(path) == "['w'].value"
    assert leaf is value
    assert rest == []
    doubled = jax.tree.map(lambda x: 2 * x, Partitioned(value, names))
    assert doubled.names == names


def test_boxes_pass_through_transformations() -> None:
    def double(tree: Any) -> Any:
        return jax.tree.map(lambda x: 2 * x, tree)

    tree = {"w": box("data", None)}
    for call in (jax.jit(double), jax.vmap(double), lambda t: jax.eval_shape(double, t)):
        assert call(tree)["w"].names == ("data", None)
    assert jax.eval_shape(double, tree)["w"].value.shape == (8, 4)
    gradient = jax.grad(lambda t: jnp.sum(unbox(t)["w"] ** 2))(tree)
    assert gradient["w"].names == ("data", None)


def test_equality() -> None:
    value = jnp.ones(2)
    assert Partitioned(value, ("data",)) == Partitioned(value, ("data",))
    assert Partitioned(1, ("data",)) != Partitioned(1, ("model",))
    assert Partitioned(1, ("data",)) != Partitioned(2, ("data",))
    assert Partitioned(1, ()) != 1
    assert hash(Partitioned(1, ("data",))) == hash(Partitioned(1, ("data",)))


def test_a_state_dict_holds_the_value() -> None:
    tree = {"w": Partitioned(1, ("data",))}
    assert state_dict.to_state_dict(tree) == {"w": {"value": 1}}
    assert state_dict.from_state_dict(tree, {"w": {"value": 2}}) == {
        "w": tree["w"].replace(value=2)
    }


def test_replace_boxed_keeps_names_and_mesh(mesh: Mesh) -> None:
    old = {"w": Partitioned(1, ("data",), mesh)}
    assert replace_boxed(old, {"w": 2}) == {"w": Partitioned(2, ("data",), mesh)}


# Axes.


@pytest.mark.parametrize(
    ("index", "names"),
    [
        (0, ("layers", "data", None)),
        (1, ("data", "layers", None)),
        (2, ("data", None, "layers")),
        (4, ("data", None, None, None, "layers")),
        (-1, ("data", None, "layers")),
        (-2, ("data", "layers", None)),
    ],
)
def test_add_axis(index: int, names: tuple[Any, ...]) -> None:
    assert add_axis({"w": box("data", None)}, index, LAYERS)["w"].names == names


@given(
    names=st.lists(st.sampled_from(["data", "model", None]), max_size=4),
    name=st.sampled_from(["layers", None]),
    data=st.data(),
)
def test_remove_axis_undoes_add_axis(names: list[Any], name: Any, data: st.DataObject) -> None:
    index = data.draw(st.integers(-len(names) - 1, len(names)))
    before, params = Partitioned(1, tuple(names)), {PARTITION_NAME: name}
    assert remove_axis(add_axis(before, index, params), index, params) == before


@pytest.mark.parametrize("change", [add_axis, remove_axis])
def test_an_axis_without_a_name(change: Any) -> None:
    with pytest.raises(PartitioningUnspecifiedError) as error:
        change({"w": box("data", None)}, 0, {"other": 1})
    assert str(error.value) == (
        "A transformation adds or removes an axis of a variable that is partitioned over the axes "
        "(\"data\", None), but metadata_params does not name that axis: found {'other': 1}. Write "
        'metadata_params={PARTITION_NAME: "layers"} in the call of the transformation, with the '
        'name of your axis in place of "layers", or None for an axis that is not partitioned.'
    )


@pytest.mark.parametrize(
    ("index", "found"), [(0, "'data'"), (1, "None"), (2, "no axis"), (-3, "no axis")]
)
def test_an_axis_of_another_name(index: int, found: str) -> None:
    with pytest.raises(PartitionNameMismatchError) as error:
        remove_axis({"w": box("data", None)}, index, LAYERS)
    assert str(error.value) == (
        f"A transformation removes axis {index} of a partitioned variable: expected the name "
        f"'layers' there, found {found} in (\"data\", None). Give the transformation the "
        "metadata_params and the variable axes with which the variable was made."
    )


# Specs and shardings.


@struct.dataclass
class Own(AxisMetadata):
    """A box that knows nothing of meshes."""

    inside: Any

    def unbox(self) -> Any:
        return self.inside

    def replace_boxed(self, val: Any) -> "Own":
        return Own(val)

    def add_axis(self, index: int, params: Any) -> "Own":
        return self

    def remove_axis(self, index: int, params: Any) -> "Own":
        return self


TREE = {
    "w": box("data", ("model",)),
    "tree": Partitioned({"a": jnp.ones(8), "b": jnp.ones((8, 2))}, ("data",)),
    "bias": np.ones(2),
    "spec": jax.ShapeDtypeStruct((2,), jnp.float32),
    "key": KEY,
    "scalar": 3,
    "none": None,
    "own": Own(1),
}
SPECS = {
    "w": PartitionSpec("data", ("model",)),
    "tree": PartitionSpec("data"),
    "bias": PartitionSpec(),
    "spec": PartitionSpec(),
    "key": PartitionSpec(),
    "scalar": None,
    "none": None,
    "own": None,
}


def test_get_partition_spec() -> None:
    assert get_partition_spec(TREE) == SPECS


def test_get_sharding(mesh: Mesh) -> None:
    shardings = get_sharding(TREE, mesh)
    assert shardings == {k: s if s is None else NamedSharding(mesh, s) for k, s in SPECS.items()}


def test_get_sharding_over_an_abstract_mesh() -> None:
    assert get_sharding(box("data"), ABSTRACT).shard_shape((8, 4)) == (2, 4)


def test_get_sharding_over_a_mesh_without_the_axis() -> None:
    with pytest.raises(MeshAxisNotFoundError, match="The mesh has no axis 'embed'"):
        get_sharding({"w": box("embed")}, ABSTRACT)


def test_a_mesh_axis_splits_only_one_axis() -> None:
    with pytest.raises(DuplicateMeshAxisError, match=r"\['data'\] split more than one axis"):
        get_sharding({"w": box("data", ("model", "data"))}, ABSTRACT)


# Initializers.


def test_an_initializer_makes_a_box(mesh: Mesh) -> None:
    init = with_partitioning(initializers.ones, ["data", None], mesh)
    made = init(KEY, (8, 2))
    assert isinstance(made, Partitioned)
    assert (made.names, made.mesh) == (("data", None), mesh)


def test_any_function_can_be_wrapped() -> None:
    assert with_partitioning(lambda: 3, ())() == Partitioned(3, ())
    assert with_partitioning(lambda *, a: a, PartitionSpec())(a=4) == Partitioned(4, ())


def test_wrapped_initializers_are_values() -> None:
    one, same, other = (with_partitioning(initializers.ones, (n,)) for n in ("a", "a", "b"))
    assert one == same != other
    assert hash(one) == hash(same)
    assert pickle.loads(pickle.dumps(one)) == one
    assert Linear(kernel_init=one) == Linear(kernel_init=same)


@pytest.mark.parametrize("names", ["data", None, 3])
def test_names_that_are_none(names: Any) -> None:
    with pytest.raises(LogicalNamesError) as error:
        with_partitioning(initializers.ones, names)
    assert str(error.value) == (
        "Axis names are a tuple with a string or None for each axis of an array, but got "
        f'{names!r}. Write, for example, ("embed", None).'
    )


# In models.


@each_jit
def test_a_model_without_a_mesh(jit: Any) -> None:
    variables = jit(Linear().init)(KEY, X)
    assert variables["params"]["kernel"].names == ("data", "model")
    plain = Linear(kernel_init=initializers.normal())
    unboxed = unbox(variables)
    chex.assert_trees_all_equal(unboxed, jit(plain.init)(KEY, X))
    chex.assert_trees_all_equal(jit(Linear().apply)(variables, X), jit(plain.apply)(unboxed, X))


@each_jit
def test_variables_are_sharded_when_they_are_made(use_mesh: UseMesh, mesh: Mesh, jit: Any) -> None:
    with use_mesh(mesh):
        kernel = jit(Linear().init)(KEY, X)["params"]["kernel"]
    assert spec_of(kernel.value) == ("data", "model")
    expected = jit(Linear().init)(KEY, X)["params"]["kernel"].value
    chex.assert_trees_all_equal(np.asarray(kernel.value), np.asarray(expected))


@each_jit
def test_variables_are_sharded_over_their_own_mesh(mesh: Mesh, jit: Any) -> None:
    init = with_partitioning(initializers.normal(), ("model",), mesh)
    kernel = jit(Linear(kernel_init=init).init)(KEY, X)["params"]["kernel"]
    assert spec_of(kernel.value) == ("model", None)


@each_jit
def test_variables_are_sharded_when_they_are_read(use_mesh: UseMesh, mesh: Mesh, jit: Any) -> None:
    variables = Linear().init(KEY, X)

    class Kernel(Linear):
        @compact
        def __call__(self, x: jax.Array, unbox: bool = True) -> Any:
            return self.param("kernel", self.kernel_init, (8, 4), unbox=unbox)

    with use_mesh(mesh):
        assert spec_of(jit(Kernel().apply)(variables, X)) == ("data", "model")
        inside = Kernel().apply(variables, X, unbox=False)
    assert inside.value is variables["params"]["kernel"].value


@each_jit
def test_explicit_axes(explicit_mesh: Mesh, jit: Any) -> None:
    init = with_partitioning(initializers.normal(), (None, "model"))
    with jax.set_mesh(explicit_mesh):
        variables = jit(Linear(kernel_init=init).init)(KEY, jnp.asarray(X))
        y = jit(Linear(kernel_init=init).apply)(variables, jnp.asarray(X))
    assert spec_of(variables["params"]["kernel"].value) == (None, "model")
    assert spec_of(y) == (None, "model")


def test_a_mesh_is_not_remembered(mesh: Mesh) -> None:
    init = jax.jit(Linear().init)
    apply = jax.jit(Linear().apply)
    with jax.set_mesh(mesh):
        variables = init(KEY, X)
        apply(variables, X)
    assert len(apply(init(KEY, X), X).sharding.device_set) == 1


def test_out_shardings_from_shapes(mesh: Mesh) -> None:
    shapes = jax.eval_shape(Linear().init, KEY, X)
    init = jax.jit(Linear().init, out_shardings=get_sharding(shapes, mesh))
    assert spec_of(init(KEY, X)["params"]["kernel"].value) == ("data", "model")


def test_reading_constrains_once(mesh: Mesh) -> None:
    variables = Linear().init(KEY, X)
    with jax.set_mesh(mesh):
        jaxpr = jax.make_jaxpr(Linear().apply)(variables, X)
    assert str(jaxpr).count("sharding_constraint[") == 1


def test_a_mesh_that_lacks_an_axis(mesh: Mesh) -> None:
    init = with_partitioning(initializers.normal(), ("data", "tensor"))
    with pytest.raises(MeshAxisNotFoundError, match="'tensor'"), jax.set_mesh(mesh):
        Linear(kernel_init=init).init(KEY, X)


def test_more_names_than_axes(mesh: Mesh) -> None:
    init = with_partitioning(initializers.normal(), ("data", "model", None))
    with pytest.raises(PartitionRankError), jax.set_mesh(mesh):
        Linear(kernel_init=init).init(KEY, X)


def test_the_shape_of_a_boxed_parameter_is_checked(mesh: Mesh) -> None:
    variables = {"params": {"kernel": box("data", shape=(3,))}}
    with pytest.raises(ScopeParamShapeError, match="kernel"), jax.set_mesh(mesh):
        Linear().apply(variables, X)


def test_a_variable_is_sharded_when_it_is_read(mesh: Mesh) -> None:
    class State(Module):
        @compact
        def __call__(self) -> Any:
            state = self.variable("state", "x", with_partitioning(jnp.ones, ("data",)), (8,))
            state.value = state.value + 1
            return state.value

    with jax.set_mesh(mesh):
        y, variables = State().init_with_output({})
    assert spec_of(y) == ("data",)
    assert variables["state"]["x"].names == ("data",)
    chex.assert_trees_all_equal(np.asarray(y), np.full(8, 2, np.float32))
