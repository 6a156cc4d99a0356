"""Cases of boxes, partition specs, logical axis rules and constraints.

`SHARDED` is a table of modules with boxes, each of which takes variables in the boxes of its own
library. `SHARDINGS` is a table of functions of a namespace, which holds what a library offers for
sharding; what they return is compared.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import initializers
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from .case import Table, normal
from .libraries import PEER, SUBJECT, Library

SHARDED = Table()
RULES = (("batch", "data"), ("embed", None), ("mlp", "model"), ("heads", "model"))


def names_of(library: Library) -> Any:
    """Returns a namespace with the layers of a library and all that it offers for sharding."""
    modules = {
        PEER: ["flax.linen", "flax.linen.spmd", "flax.core.meta"],
        SUBJECT: ["linen_modules", "linen_core"],
    }
    found: dict[str, Any] = {}
    for name in modules[library]:
        found |= vars(import_module(name))
    return SimpleNamespace(**found)


def boxes(nn: Any) -> Any:
    """Returns what offers boxes beside the layers of `nn`."""
    return nn if hasattr(nn, "with_partitioning") else import_module("linen_core")


def data_mesh() -> Mesh:
    """Returns a mesh data=4, model=2."""
    devices = np.array(jax.devices()[:8]).reshape(4, 2)
    return Mesh(devices, ("data", "model"), (AxisType.Auto, AxisType.Auto))


# Modules with boxes.


@SHARDED.module(args=(normal(4, 8),))
def box_around_a_kernel(nn):
    init = boxes(nn).with_partitioning(initializers.lecun_normal(), ("data", "model"))
    return nn.Dense(4, kernel_init=init)


@SHARDED.module(args=(normal(4, 8),))
def logical_box_around_a_kernel(nn):
    init = boxes(nn).with_logical_partitioning(initializers.lecun_normal(), ("embed", "mlp"))
    return nn.Dense(4, kernel_init=init)


@SHARDED.module(args=(normal(4, 8),))
def box_that_stays_closed(nn):
    init = boxes(nn).with_partitioning(initializers.normal(), (None, "model"))

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            box = self.param("w", init, (8, 4), unbox=False)
            return x @ box.unbox()

    return Net()


@SHARDED.module(args=(normal(4, 8),), mutable=["state"])
def box_around_a_variable(nn):
    init = boxes(nn).with_partitioning(jnp.ones, ("data",))

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            state = self.variable("state", "mean", init, (8,))
            state.value = state.value + x.mean(0)
            return x - state.value[None]

    return Net()


@SHARDED.module(args=(normal(4, 8),), mutable=["state"])
def variable_in_an_open_box(nn):
    init = boxes(nn).with_partitioning(jnp.ones, ("data",))

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            state = self.variable("state", "mean", init, (8,), unbox=False)
            state.value = state.value.replace_boxed(x.mean(0))
            return x - state.value.unbox()[None]

    return Net()


@SHARDED.module(args=(normal(4, 8),))
def box_in_setup(nn):
    init = boxes(nn).with_logical_partitioning(initializers.normal(), (None, "mlp"))

    class Net(nn.Module):
        def setup(self):
            self.w = self.param("w", init, (8, 4))

        def __call__(self, x):
            return x @ self.w

    return Net()


@SHARDED.module(args=(normal(4, 8),), gradients=False)
def box_around_a_tree(nn):
    def pair(key, shape):
        return {"a": initializers.normal()(key, shape), "b": jnp.ones(shape)}

    init = boxes(nn).with_partitioning(pair, ("data", None))

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            tree = self.param("tree", init, (8, 4))
            return x @ tree["a"] + x @ tree["b"]

    return Net()


@SHARDED.module(args=(normal(4, 8),))
def box_on_a_mesh(nn):
    names = (None, "model")
    init = boxes(nn).with_partitioning(initializers.lecun_normal(), names, data_mesh())
    return nn.Dense(4, kernel_init=init)


@SHARDED.module(args=(normal(4, 8),))
def logical_box_on_a_mesh(nn):
    names = (None, "mlp")
    init = boxes(nn).with_logical_partitioning(initializers.normal(), names, data_mesh(), RULES)
    return nn.Dense(4, kernel_init=init)


# Functions.


@dataclass(frozen=True)
class ShardingCase:
    """Something done with the sharding functions of a library.

    Attributes:
        name: id of the case.
        run: does it with a namespace from `names_of`, and returns what is to be compared.
    """

    name: str
    run: Callable[[Any], Any]


SHARDINGS: list[ShardingCase] = []


def add(name: str, run: Callable[[Any], Any]) -> None:
    """Adds a case."""
    SHARDINGS.append(ShardingCase(name, run))


def case(run: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Adds the decorated function as a case of its name."""
    add(run.__name__, run)
    return run


def describe(tree: Any, specs: bool = True) -> Any:
    """Returns the tree with boxes taken apart, and with their specs beside arrays on a mesh."""

    def is_box(x: Any) -> bool:
        return hasattr(x, "replace_boxed")

    def part(x: Any) -> Any:
        if is_box(x):
            fields = {name: getattr(x, name, None) for name in ("names", "rules")}
            return {"class": type(x).__name__, "value": describe(x.value, specs)} | fields
        if specs and isinstance(x, jax.Array) and isinstance(x.sharding, NamedSharding):
            spec = tuple(x.sharding.spec)
            return {"array": x, "spec": (*spec, *[None] * (x.ndim - len(spec)))}
        return x

    return jax.tree.map(part, tree, is_leaf=is_box)


RULE_SETS: dict[str, Any] = {
    "none": (),
    "plain": (("a", "x"), ("b", "y")),
    "list": [("a", "x"), ("b", "y")],
    "same_axis": (("a", "x"), ("b", "x")),
    "order": (("b", "x"), ("a", "x"), ("c", "x")),
    "second_choice": (("a", "x"), ("b", "x"), ("b", "y"), ("c", "x"), ("c", "y"), ("c", "z")),
    "repeated": (("a", "x"), ("a", "y"), ("b", "y")),
    "whole": (("a", None), ("a", "x"), ("b", "x")),
    "joined": (("a", ("x", "y")), ("b", "y"), ("c", "z")),
    "joined_last": (("b", "y"), ("a", ("x", "y")), ("a", "z")),
    "empty": (("a", ()), ("b", "x")),
    "unconstrained": (("a", PartitionSpec.UNCONSTRAINED), ("b", PartitionSpec.UNCONSTRAINED)),
    "foreign": (("d", "x"), ("e", "y")),
}
NAMES: dict[str, Any] = {
    "ab": ("a", "b"),
    "cba": ("c", "b", "a"),
    "a_none_none": ("a", None, None),
    "unconstrained": ("b", PartitionSpec.UNCONSTRAINED, "a", PartitionSpec.UNCONSTRAINED),
    "spec": PartitionSpec("b", "a"),
    "list": ["a", "c"],
    "taken": ("a", ("x", "z"), "b"),
    "no_axes": (),
    "nothing": None,
}
for rules_id, rules in RULE_SETS.items():
    for names_id, names in NAMES.items():
        add(
            f"axes_{rules_id}_{names_id}",
            lambda lib, names=names, rules=rules: lib.logical_to_mesh_axes(names, rules),
        )


@case
def rules_of_the_thread(lib):
    found = [lib.logical_to_mesh_axes(("mlp", "batch"))]
    with lib.logical_axis_rules(RULES):
        found += [lib.logical_to_mesh_axes(("mlp", "batch")), lib.get_logical_axis_rules()]
        lib.set_logical_axis_rules((("mlp", "data"),))
        found += [lib.logical_to_mesh_axes(("mlp", "batch")), lib.get_logical_axis_rules()]
    return [*found, lib.get_logical_axis_rules()]


def variables(lib):
    """Returns a tree with every kind of leaf."""
    return {
        "partitioned": lib.Partitioned(jnp.ones((8, 4)), ("data", "model")),
        "joined": lib.Partitioned(jnp.ones((8, 4)), (("data", "model"), None)),
        "tree": lib.Partitioned({"a": jnp.ones(8), "b": jnp.ones((8, 2))}, ("data",)),
        "abstract": lib.Partitioned(jax.ShapeDtypeStruct((8,), jnp.float32), ("model",)),
        "array": jnp.ones(2),
        "numpy": np.ones(2),
        "numpy_scalar": np.float32(1),
        "scalar": 3,
        "none": None,
    }


def logical(lib):
    """Returns a tree with logical boxes."""
    return {
        "w": lib.LogicallyPartitioned(jnp.ones((8, 4)), ("embed", "mlp")),
        "list": [lib.LogicallyPartitioned(jnp.ones((8, 4)), ("batch", "other")), jnp.ones(3)],
    }


@case
def specs_of_variables(lib):
    return lib.get_partition_spec(variables(lib) | logical(lib))


@case
def shardings_of_variables(lib):
    return lib.get_sharding(variables(lib), data_mesh())


@case
def specs_to_mesh(lib):
    return lib.logical_to_mesh(lib.get_partition_spec(logical(lib)), RULES)


@case
def specs_to_shardings(lib):
    return lib.logical_to_mesh_sharding(lib.get_partition_spec(logical(lib)), data_mesh(), RULES)


@case
def specs_with_nothing(lib):
    tree = {"a": PartitionSpec("batch"), "b": [None], "c": PartitionSpec()}
    return lib.logical_to_mesh(tree, RULES), lib.logical_to_mesh_sharding(tree, data_mesh(), RULES)


LAYERS = {"partition_name": "layers"}
for index in (0, 1, 2, 5):
    add(
        f"add_axis_{index}",
        lambda lib, index=index: describe(lib.add_axis(variables(lib), index, LAYERS)),
    )
    add(
        f"remove_axis_{index}",
        lambda lib, index=index: describe(
            lib.remove_axis(lib.add_axis(logical(lib), index, LAYERS), index, LAYERS)
        ),
    )
add("add_axis_without_a_name", lambda lib: lib.add_axis(variables(lib), 0, {}))
add("remove_axis_without_a_name", lambda lib: lib.remove_axis(variables(lib), 0, {}))
add("partition_name", lambda lib: lib.PARTITION_NAME)


@case
def replaced_values(lib):
    tree = {"a": lib.Partitioned(1, ("data",)), "b": 2}
    return describe(lib.replace_boxed(tree, {"a": 3, "b": 4}))


@case
def wrapped_initializers(lib):
    wrapped = {
        "plain": lib.with_partitioning(initializers.normal(), ("data", None)),
        "logical": lib.with_logical_partitioning(initializers.normal(), ("a", "b"), rules=RULES),
    }
    return {k: describe(init(jax.random.key(1), (8, 4))) for k, init in wrapped.items()}


@case
def boxes_through_jit_and_shapes(lib):
    def double(tree):
        return jax.tree.map(lambda x: x + x, tree)

    tree = {k: v for k, v in variables(lib).items() if k != "abstract"}
    return describe(jax.jit(double)(tree)), describe(jax.eval_shape(double, tree))


@case
def key_paths(lib):
    pairs = jax.tree_util.tree_leaves_with_path(variables(lib))
    return [jax.tree_util.keystr(path) for path, _ in pairs]


@case
def mesh_in_use(lib):
    found = [lib.global_mesh_defined(), lib.get_global_mesh()]
    with jax.set_mesh(data_mesh()):
        return [*found, lib.global_mesh_defined(), lib.get_global_mesh()]


# Constraints, compiled and not.


def constrained(function: Callable[[Any, Any], Any], name: str) -> None:
    """Adds a function of the library and an array on a mesh, in jit and eager."""

    def run(lib, around):
        with jax.set_mesh(data_mesh()):
            x = jax.device_put(normal(8, 4), PartitionSpec(None, "model"))
            return describe(around(lambda x: function(lib, x))(x))

    add(f"{name}_eager", lambda lib: run(lib, lambda f: f))
    add(f"{name}_jit", lambda lib: run(lib, jax.jit))


def unboxed(lib, x):
    tree = {"a": lib.Partitioned(x, ("model",)), "b": lib.Partitioned({"c": x}, (None, "data"))}
    return lib.unbox(tree)


def unboxed_without_constraint(lib, x):
    return lib.Partitioned(x, ("model",)).unbox(apply_constraint=False)


def unboxed_by_rules(lib, x):
    with lib.logical_axis_rules(RULES):
        return lib.unbox(lib.LogicallyPartitioned(x, ("batch", "other")))


def unboxed_without_rules(lib, x):
    return lib.unbox(lib.LogicallyPartitioned(x, ("batch", "mlp")))


def unboxed_by_its_own_rules(lib, x):
    box = lib.LogicallyPartitioned(x, ("batch", "mlp"), data_mesh(), (("mlp", "data"),))
    with lib.logical_axis_rules(RULES):
        return lib.unbox(box)


def constrained_trees(lib, x):
    names = {"a": ("batch", "mlp"), "b": None, "c": (None, "batch")}
    return lib.with_logical_constraint({"a": x, "b": x, "c": [x, x]}, names, RULES)


for function in (
    unboxed,
    unboxed_without_constraint,
    unboxed_by_rules,
    unboxed_without_rules,
    unboxed_by_its_own_rules,
    constrained_trees,
):
    constrained(function, function.__name__)

CONSTRAINTS: dict[str, Any] = {
    "both": ("batch", "mlp"),
    "swapped": ("mlp", "batch"),
    "short": ("batch",),
    "spec": PartitionSpec("mlp"),
    "whole": ("embed", None),
    "unknown": ("batch", "other"),
    "taken": ("mlp", "heads"),
    "unconstrained": ("batch", PartitionSpec.UNCONSTRAINED),
    "nothing": None,
}
for fallback in ("AXIS_IS_UNSHARDED", "RAISE_ERROR", "NO_CONSTRAINT"):
    for names_id, names in CONSTRAINTS.items():
        constrained(
            lambda lib, x, names=names, fallback=fallback: lib.with_logical_constraint(
                x, names, RULES, fallback=lib.RulesFallback[fallback]
            ),
            f"constraint_{names_id}_{fallback.lower()}",
        )

# What raises.

add("same_name_twice", lambda lib: lib.logical_to_mesh_axes(("a", "b", "a"), ()))
add("rules_in_a_dict", lambda lib: lib.logical_to_mesh_axes(("a",), {"a": "x"}))
add(
    "mesh_without_the_axis",
    lambda lib: lib.get_sharding(lib.Partitioned(jnp.ones(8), ("tensor",)), data_mesh()),
)
add(
    "more_names_than_axes",
    lambda lib: lib.Partitioned(jnp.ones(8), ("data", None), data_mesh()).unbox(),
)
