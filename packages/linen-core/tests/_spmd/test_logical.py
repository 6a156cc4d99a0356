"""Boxes and constraints with logical names, under rules and meshes."""

import pickle
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import initializers
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from linen_core import (
    PARTITION_NAME,
    LogicallyPartitioned,
    Module,
    Partitioned,
    RulesFallback,
    add_axis,
    compact,
    get_partition_spec,
    get_sharding,
    logical_axis_rules,
    logical_to_mesh,
    logical_to_mesh_sharding,
    remove_axis,
    unbox,
    with_logical_constraint,
    with_logical_partitioning,
)
from linen_core.errors import (
    DuplicateLogicalNameError,
    LogicalAxisRulesError,
    LogicalConstraintError,
    LogicalNamesError,
    MeshAxisNotFoundError,
    UnknownLogicalAxisError,
)

UseMesh = Callable[[Mesh], Any]
UNCONSTRAINED = PartitionSpec.UNCONSTRAINED
KEY = jax.random.key(0)
X = np.arange(32.0, dtype=np.float32).reshape(8, 4)
RULES = (("batch", "data"), ("embed", None), ("mlp", "model"), ("heads", "model"))
ABSTRACT = AbstractMesh((4, 2), ("data", "model"))
each_jit = pytest.mark.parametrize("jit", [lambda f: f, jax.jit], ids=["eager", "jit"])


def spec_of(x: Any) -> tuple[Any, ...]:
    """Returns the spec of an array on a mesh, filled up to its rank."""
    spec = tuple(x.sharding.spec)
    return (*spec, *[None] * (x.ndim - len(spec)))


# Boxes.


def test_a_box_is_partitioned_by_logical_names() -> None:
    box = LogicallyPartitioned(jnp.ones((8, 4)), ("batch", "mlp"))
    assert isinstance(box, Partitioned)
    assert get_partition_spec({"w": box}) == {"w": PartitionSpec("batch", "mlp")}
    params = {PARTITION_NAME: "layers"}
    longer = add_axis(box, 1, params)
    assert longer.names == ("batch", "layers", "mlp")
    assert isinstance(longer, LogicallyPartitioned)
    assert remove_axis(longer, 1, params) == box


def test_equality_counts_names_and_rules() -> None:
    one = LogicallyPartitioned(1, ("a",), rules=(("a", "x"),))
    assert one == LogicallyPartitioned(1, ("a",), rules=(("a", "x"),))
    assert one != LogicallyPartitioned(1, ("b",), rules=(("a", "x"),))
    assert one != LogicallyPartitioned(1, ("a",))
    assert LogicallyPartitioned(1, ("a",)) != Partitioned(1, ("a",))


@each_jit
def test_unboxed_by_rules_over_the_mesh_in_use(use_mesh: UseMesh, mesh: Mesh, jit: Any) -> None:
    tree = {"w": LogicallyPartitioned(X, ("batch", "mlp"))}
    with use_mesh(mesh), logical_axis_rules(RULES):
        assert spec_of(jit(unbox)(tree)["w"]) == ("data", "model")
        assert tree["w"].unbox(apply_constraint=False) is X


@each_jit
def test_unboxed_by_its_own_rules_and_mesh(mesh: Mesh, jit: Any) -> None:
    box = LogicallyPartitioned(X, ("batch", "mlp"), mesh, rules=(("batch", "model"),))
    with logical_axis_rules(RULES):
        assert spec_of(jit(unbox)(box)) == ("model", None)


def test_unboxed_without_rules_or_without_a_mesh(mesh: Mesh) -> None:
    box = LogicallyPartitioned(X, ("batch", "mlp"))
    with jax.set_mesh(mesh):
        assert box.unbox() is X
        assert box.replace(rules=()).unbox() is X
    with logical_axis_rules(RULES):
        assert box.unbox() is X


def test_sharding_by_rules() -> None:
    tree = {"w": LogicallyPartitioned(X, ("batch", "mlp")), "b": X}
    with logical_axis_rules(RULES):
        shardings = get_sharding(tree, ABSTRACT)
    assert shardings["w"].spec == PartitionSpec("data", "model")
    assert shardings["b"].spec == PartitionSpec()
    own = LogicallyPartitioned(X, ("batch", "mlp"), rules=(("mlp", "data"),))
    assert own.get_sharding(ABSTRACT).spec == PartitionSpec(None, "data")


def test_sharding_without_rules() -> None:
    box = LogicallyPartitioned(X, ("data", None))
    assert box.get_sharding(ABSTRACT).spec == PartitionSpec("data", None)
    with pytest.raises(MeshAxisNotFoundError, match="If they are logical names"):
        LogicallyPartitioned(X, ("batch", None)).get_sharding(ABSTRACT)


# Initializers and models.


class Linear(Module):
    kernel_init: Callable[..., Any] = with_logical_partitioning(
        initializers.normal(), ("embed", "mlp")
    )

    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return x @ self.param("kernel", self.kernel_init, (x.shape[-1], 4))


def test_an_initializer_makes_a_box(mesh: Mesh) -> None:
    init = with_logical_partitioning(initializers.ones, ["embed"], mesh, [("embed", ["data"])])
    box = init(KEY, (8,))
    assert isinstance(box, LogicallyPartitioned)
    assert (box.names, box.mesh, box.rules) == (("embed",), mesh, (("embed", ("data",)),))
    assert spec_of(box.value) == ("data",)
    assert jax.tree.structure(box) == jax.tree.structure(init(KEY, (8,)))


def test_wrapped_initializers_are_values() -> None:
    one = with_logical_partitioning(initializers.ones, ("a",), rules=[("a", "x")])
    assert one == with_logical_partitioning(initializers.ones, ["a"], rules=(("a", "x"),))
    assert one != with_logical_partitioning(initializers.ones, ("a",))
    assert pickle.loads(pickle.dumps(one)) == one


def test_what_an_initializer_refuses() -> None:
    with pytest.raises(LogicalNamesError):
        with_logical_partitioning(initializers.ones, "embed")  # type: ignore[arg-type]
    with pytest.raises(LogicalAxisRulesError):
        with_logical_partitioning(initializers.ones, ("a",), rules={"a": "x"})  # type: ignore[arg-type]


@each_jit
def test_one_model_under_several_rules(mesh: Mesh, jit: Any) -> None:
    for rules, spec in ((RULES, (None, "model")), ([("embed", "data")], ("data", None))):
        with jax.set_mesh(mesh), logical_axis_rules(rules):
            # A function of its own for each: JAX does not know of the rules.
            kernel = jit(lambda key, x: Linear().init(key, x))(KEY, X)["params"]["kernel"]
        assert kernel.names == ("embed", "mlp")
        assert spec_of(kernel.value) == spec


# Trees of specs.

SPECS = {
    "w": PartitionSpec("batch", "mlp"),
    "list": [PartitionSpec("other"), PartitionSpec()],
    "none": None,
}


def test_logical_to_mesh() -> None:
    expected = {
        "w": PartitionSpec("data", "model"),
        "list": [PartitionSpec(None), PartitionSpec()],
        "none": None,
    }
    assert logical_to_mesh(SPECS, RULES) == expected
    with logical_axis_rules(RULES):
        assert logical_to_mesh(SPECS) == expected


def test_logical_to_mesh_sharding(mesh: Mesh) -> None:
    expected = {
        "w": NamedSharding(mesh, PartitionSpec("data", "model")),
        "list": [NamedSharding(mesh, PartitionSpec(None)), NamedSharding(mesh, PartitionSpec())],
        "none": None,
    }
    assert logical_to_mesh_sharding(SPECS, mesh, RULES) == expected


def test_trees_of_something_else() -> None:
    with pytest.raises(LogicalNamesError, match="but got 'batch'"):
        logical_to_mesh({"w": ("batch", "mlp")}, RULES)
    with pytest.raises(MeshAxisNotFoundError, match="no axis 'tensor'"):
        logical_to_mesh_sharding({"w": PartitionSpec("a")}, ABSTRACT, [("a", "tensor")])


# Constraints.

FALLBACK = RulesFallback


@each_jit
@pytest.mark.parametrize(
    ("names", "fallback", "spec"),
    [
        (("batch", "mlp"), FALLBACK.RAISE_ERROR, ("data", "model")),
        (("batch",), FALLBACK.RAISE_ERROR, ("data", None)),
        (("embed", None), FALLBACK.RAISE_ERROR, (None, None)),
        ((), FALLBACK.RAISE_ERROR, (None, None)),
        (PartitionSpec("mlp", "batch"), FALLBACK.RAISE_ERROR, ("model", "data")),
        (("mlp", "other"), FALLBACK.AXIS_IS_UNSHARDED, ("model", None)),
        (("mlp", "heads"), FALLBACK.AXIS_IS_UNSHARDED, ("model", None)),
        (("mlp", "other"), FALLBACK.NO_CONSTRAINT, (None, "model")),
        (("mlp", "heads"), FALLBACK.NO_CONSTRAINT, (None, "model")),
        (("batch", UNCONSTRAINED), FALLBACK.AXIS_IS_UNSHARDED, ("data", "model")),
        (None, FALLBACK.RAISE_ERROR, (None, "model")),
    ],
)
def test_constraints(
    mesh: Mesh, names: Any, fallback: RulesFallback, spec: tuple[Any, ...], jit: Any
) -> None:
    def constrain(x: jax.Array) -> jax.Array:
        return with_logical_constraint(x, names, RULES, fallback=fallback)

    x = jax.device_put(X, NamedSharding(mesh, PartitionSpec(None, "model")))
    with jax.set_mesh(mesh):
        y = jit(constrain)(x)
    assert spec_of(y) == spec
    chex.assert_trees_all_equal(np.asarray(y), X)


def test_constraints_by_the_rules_of_the_thread(use_mesh: UseMesh, mesh: Mesh) -> None:
    with use_mesh(mesh), logical_axis_rules(RULES):
        y = jax.jit(lambda x: with_logical_constraint(x, ("batch", "mlp")))(X)
    assert spec_of(y) == ("data", "model")


def test_constraints_over_a_given_mesh(mesh: Mesh) -> None:
    y = with_logical_constraint({"a": X, "b": X}, {"a": ("mlp",), "b": None}, RULES, mesh)
    assert spec_of(y["a"]) == ("model", None)
    assert spec_of(y["b"]) == (None, None)


def test_no_rules_or_no_mesh_is_no_constraint(mesh: Mesh) -> None:
    assert with_logical_constraint(X, ("batch", "mlp"), RULES) is X
    with jax.set_mesh(mesh):
        assert with_logical_constraint(X, ("batch", "mlp")) is X
        assert with_logical_constraint(X, None, RULES) is X


@pytest.mark.parametrize(
    ("names", "specs"),
    [
        (("batch", "mlp"), {"q": ("data", "model"), "kv": [("data", "model")] * 2}),
        ({"q": ("batch",), "kv": ("mlp",)}, {"q": ("data", None), "kv": [("model", None)] * 2}),
        (
            {"q": None, "kv": [("batch",), (None, "batch")]},
            {"q": (None, None), "kv": [("data", None), (None, "data")]},
        ),
    ],
)
def test_constraints_of_trees(mesh: Mesh, names: Any, specs: Any) -> None:
    wide = np.ones((8, 8), np.float32)
    tree = with_logical_constraint({"q": wide, "kv": [wide, wide]}, names, RULES, mesh)
    assert jax.tree.map(spec_of, tree) == specs


def test_names_that_do_not_fit_the_arrays() -> None:
    with pytest.raises(LogicalConstraintError) as error:
        with_logical_constraint(X, ["batch", "mlp"], RULES)
    text = str(error.value)
    assert text.startswith(
        "The axis names ['batch', 'mlp'] do not fit the arrays: found PyTreeDef(*)."
    )
    assert "Write a tuple of names for each array, as in with_logical_constraint(" in text


def test_entries_that_are_mesh_axes_stand_for_themselves(mesh: Mesh) -> None:
    names = (("data", "model"), None)
    kernel = LogicallyPartitioned(X, names, mesh, RULES)
    assert spec_of(kernel.unbox()) == tuple(kernel.get_sharding(mesh).spec) == names
    assert spec_of(with_logical_constraint(X, PartitionSpec(*names), RULES, mesh)) == names


@pytest.mark.parametrize(
    ("names", "error"),
    [
        ("batch", LogicalNamesError),
        (("batch", "batch"), DuplicateLogicalNameError),
    ],
)
def test_what_is_refused(names: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        with_logical_constraint(X, names, RULES)


def test_a_name_without_a_rule() -> None:
    with pytest.raises(UnknownLogicalAxisError) as error:
        with_logical_constraint(X, ("bach", "mlp"), RULES, fallback=RulesFallback.RAISE_ERROR)
    assert str(error.value) == (
        "Logical axis names that no rule maps to the mesh:\n"
        "  ('bach', 'mlp'): 'bach', no rule\n"
        "The rules know ['batch', 'embed', 'mlp', 'heads']. Did you mean 'batch'? Add a rule such as "
        "('bach', \"model\"), or ('bach', None) to leave the axis whole."
    )


def test_a_name_whose_mesh_axis_is_taken() -> None:
    with pytest.raises(UnknownLogicalAxisError) as error:
        with_logical_constraint(X, ("mlp", "heads"), RULES, fallback=RulesFallback.RAISE_ERROR)
    assert "  ('mlp', 'heads'): 'heads', model is taken by mlp\n" in str(error.value)
    assert "Did you mean" not in str(error.value)
