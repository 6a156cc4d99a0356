"""Named axes: functions of the layers of a library and of its module `partitioning`."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import initializers
from jax.sharding import AxisType, Mesh, PartitionSpec

from .case import normal
from .libraries import PEER, SUBJECT, Library

PARTITIONING = {
    PEER: import_module("flax.linen.partitioning"),
    SUBJECT: import_module("linen_transforms.partitioning"),
}
KEY, X = jax.random.key(0), normal(4, 3)
SPLIT = {"split_rngs": {"params": True}}


@dataclass(frozen=True)
class PartitioningCase:
    """Something done with named axes.

    Attributes:
        name: id of the case.
        run: does it with the layers of a library and its module `partitioning`, and returns what is
            to be compared.
    """

    name: str
    run: Callable[[Any, Any], Any]

    def outcome(self, library: Library) -> Any:
        """Returns what it gives, with metadata taken apart, or the exception that it raises."""
        try:
            return describe(self.run(library.nn, PARTITIONING[library]))
        except Exception as error:
            return error


def describe(tree: Any) -> Any:
    """Returns the tree with axis metadata and references taken apart."""

    def part(leaf: Any) -> Any:
        if type(leaf).__name__ == "AxisMetadata":
            return {"metadata": hashable(leaf.names)}
        return leaf

    def hashable(names: Any) -> Any:
        # Lists of names are tuples here, so that a jitted function can return them.
        if hasattr(names, "items"):
            return {key: hashable(value) for key, value in names.items()}
        return tuple(names) if isinstance(names, list) else names

    return jax.tree.map(part, tree, is_leaf=lambda leaf: type(leaf).__name__ == "AxisMetadata")


CASES: list[PartitioningCase] = []


def case(run: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Adds the decorated function as a case of its name."""
    CASES.append(PartitioningCase(run.__name__, run))
    return run


def cases(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds one case for each option, which the decorated function takes third."""

    def add(run: Callable[..., Any]) -> Callable[..., Any]:
        for name, option in options.items():
            fixed = lambda nn, p, option=option: run(nn, p, option)  # noqa: E731
            CASES.append(PartitioningCase(f"{run.__name__}_{name}", fixed))
        return run

    return add


def dense(nn: Any, p: Any, axes: Any = ("in", "out"), state_axes: Any = ("out",)) -> Any:
    """Returns a layer with a parameter and state."""

    class Dense(nn.Module):
        @nn.compact
        def __call__(self, x):
            w = p.param_with_axes("w", initializers.uniform(), (3, 3), axes=axes)
            state = p.variable_with_axes("state", "mean", jnp.zeros, (3,), axes=state_axes)
            if self.is_mutable_collection("state"):
                state.value = state.value + x.mean(0)
            return x @ w + state.value[None]

    return Dense


def step(nn: Any, p: Any) -> Any:
    """Returns the body of a loop."""

    class Step(nn.Module):
        @nn.compact
        def __call__(self, x, _=None):
            w = p.param_with_axes("w", initializers.uniform(), (3, 3), axes=("in", "out"))
            state = p.variable_with_axes("state", "mean", jnp.zeros, (3,), axes=("out",))
            if self.is_mutable_collection("state"):
                state.value = state.value + x.mean(0)
            return jnp.sin(x @ w) + state.value[None], None

    return Step


def everything(model: Any, *args: Any) -> Any:
    """Returns what `init` and `apply` give with several mutable collections."""
    y, variables = model.init_with_output(KEY, *args)
    bare = {name: tree for name, tree in variables.items() if not name.endswith("_axes")}
    return [
        y,
        variables,
        model.apply(variables, *args),
        model.apply(variables, *args, mutable=True),
        model.apply(variables, *args, mutable=["state"]),
        model.apply(bare, *args, mutable=["state", "params_axes"]),
        model.apply(bare, *args, mutable=["state"]),
        type(model).__name__,
    ]


@cases(
    tuple=("in", "out"),
    list=["in", None],
    spec=PartitionSpec("in", "out"),
    none=None,
    too_few=("in",),
    twice=("in", "in"),
)
def layer(nn, p, axes):
    return everything(dense(nn, p, axes)(), X)


@case
def layer_without_names_of_state(nn, p):
    return everything(dense(nn, p, state_axes=None)(), X)


@cases(all=("x",), mapping={"a": ("x", "y"), "b": ("z",)}, lists={"a": ["x", None], "b": ["z"]})
def tree(nn, p, axes):
    class Tree(nn.Module):
        @nn.compact
        def __call__(self):
            init = lambda key: {"a": jnp.ones((2, 3)), "b": jnp.ones(2)}  # noqa: E731
            return p.param_with_axes("w", init, axes=axes)

    return Tree().init_with_output(KEY)


@case
def shared_and_nested(nn, p):
    class Net(nn.Module):
        def setup(self):
            self.layer = dense(nn, p)()
            self.w = p.param_with_axes("w", initializers.uniform(), (3,), axes=("out",))

        def __call__(self, x):
            return self.layer(self.layer(x)) * self.w[None]

    return everything(Net(), X)


@case
def module_argument(nn, p):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            other = dense(nn, p)(name="other")
            x = other(x)
            w = p.param_with_axes("w", initializers.uniform(), (3,), axes=("out",), module=self)
            return x * w[None]

    return everything(Net(), X)


@case
def other_names_than_before(nn, p):
    variables = dense(nn, p)().init(KEY, X)
    return dense(nn, p, ("a", "b"))().apply(variables, X, mutable=True)


@case
def names_of_variables(nn, p):
    metadata = {"a": {"b_axes": p.AxisMetadata(("x", None)), "c": p.AxisMetadata(names=("y",))}}
    deep = {"d_axes": {"e_axes_axes": p.AxisMetadata(PartitionSpec("z"))}}
    return dict(p.get_axis_names(metadata | deep))


@cases(axis_0=0, axis_1=1, axis_2=2)
def scan(nn, p, axis):
    options = {"variable_axes": {"params": axis, "state": 0}, "length": 5, **SPLIT}
    return everything(p.scan_with_axes(step(nn, p), **options)(), X)


@case
def scan_of_several_collections(nn, p):
    options = {
        "variable_axes": {"params": 1, "state": 1},
        "length": 5,
        "axis_name": "depth",
        "axes_collections": ("params", "state"),
    }
    return everything(p.scan_with_axes(step(nn, p), **options, **SPLIT)(), X)


@case
def scan_without_collections(nn, p):
    options = {"variable_axes": {"params": 0, "state": 0}, "axes_collections": ()}
    return everything(p.scan_with_axes(step(nn, p), length=5, **options, **SPLIT)(), X)


@case
def scan_with_broadcast_parameters(nn, p):
    options = {"variable_axes": {"state": 0}, "variable_broadcast": "params", "length": 5}
    model = p.scan_with_axes(step(nn, p), split_rngs={"params": False}, **options)()
    return everything(model, X)


@case
def scan_of_scan(nn, p):
    options = {"variable_axes": {"params": 0, "state": 0}, **SPLIT}
    inner = p.scan_with_axes(step(nn, p), length=3, **options)
    return everything(p.scan_with_axes(inner, length=2, axis_name="outer", **options)(), X)


@case
def scan_of_remat(nn, p):
    options = {"variable_axes": {"params": 0, "state": 0}, **SPLIT}
    return everything(p.scan_with_axes(p.remat(step(nn, p)), length=3, **options)(), X)


@case
def scan_with_another_name(nn, p):
    options = {"variable_axes": {"params": 0, "state": 0}, "length": 5, **SPLIT}
    model = p.scan_with_axes(step(nn, p), **options)()
    variables = dict(model.init(KEY, X))
    variables["params_axes"] = {"w_axes": p.AxisMetadata(("other", "in", "out"))}
    return model.apply(variables, X)


@cases(first=0, second=1)
def vmap(nn, p, axis):
    options = {"in_axes": None, "axis_size": 5, **SPLIT}
    axes = {"params": axis, "state": 0}
    names = {"params": "expert"}
    cls = p.vmap_with_axes(dense(nn, p), axes, partitioning_axis_names=names, **options)
    return everything(cls(), X)


@cases(none={}, both={"params": "e", "state": "f"})
def vmap_names(nn, p, names):
    options = {"in_axes": None, "axis_size": 5, **SPLIT}
    axes = {"params": 0, "state": 1}
    cls = p.vmap_with_axes(dense(nn, p), axes, partitioning_axis_names=names, **options)
    return everything(cls(), X)


@case
def functions(nn, p):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            def experts(_, x):
                return dense(nn, p)(name="expert")(x)

            def layer(_, x):
                return step(nn, p)(name="layer")(x)

            axes = {"params": 0, "state": 0}
            names = {"params": "expert"}
            options = {"in_axes": None, "axis_size": 2, **SPLIT}
            lifted = p.vmap_with_axes(experts, axes, partitioning_axis_names=names, **options)
            x = lifted(self, x)[0]
            return p.scan_with_axes(layer, axes, length=3, **SPLIT)(self, x)[0]

    return everything(Net(), X)


@case
def names_of_lifted_modules(nn, p):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            options = {"variable_axes": {"params": 0, "state": 0}, "length": 5, **SPLIT}
            x, _ = p.scan_with_axes(step(nn, p), **options)()(x)
            return p.remat(dense(nn, p))()(x)

    return everything(Net(), X)


@cases(ins_and_outs=False, out_of_vmap=True)
def in_and_out(nn, p, is_vmap):
    axes = {"params": p.ScanIn(0), "state": p.ScanOut(1)}
    variables = {"params": {"w": normal(5, 3, 3)}, "state": {"mean": normal(5, 3)}}
    if is_vmap:
        model = nn.vmap(dense(nn, p), variable_axes=axes, in_axes=None, axis_size=5)()
    else:
        model = nn.scan(step(nn, p), variable_axes=axes, length=5)()
    return model.apply(variables, X, mutable=["state"]), model.apply(variables, X, mutable=True)


@case
def static_arguments(nn, p):
    class Flagged(nn.Module):
        @nn.compact
        def __call__(self, x, is_scaled):
            w = p.param_with_axes("w", initializers.uniform(), (3,), axes=("out",))
            return x * w[None] if is_scaled else x

    model = p.remat(Flagged, static_argnums=(1,))()
    return model.init_with_output(KEY, X, True), type(model).__name__


@case
def sharded(nn, p):
    devices = np.array(jax.devices()[:8]).reshape(4, 2)
    mesh = Mesh(devices, ("data", "model"), (AxisType.Auto, AxisType.Auto))

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            w = p.param_with_axes("w", initializers.ones, (4, 8), axes=("in", "out"))
            v = p.variable_with_axes("state", "v", jnp.ones, (8,), axes=("out",))
            v.value = v.value + 1
            return p.with_sharding_constraint(x @ w + v.value[None], ("batch", "out"))

    with jax.set_mesh(mesh), p.axis_rules((("batch", "data"), ("out", "model"))):
        y, variables = jax.jit(Net().init_with_output)(KEY, normal(8, 4))
        specs = p.logical_to_mesh(p.get_axis_names(variables["params_axes"]))
        where = [tuple(leaf.sharding.spec) for leaf in (y, variables["state"]["v"])]
        return y, variables, dict(specs), where, p.logical_to_mesh_axes(("out", "other"))


@case
def outside_of_a_module(nn, p):
    return p.param_with_axes("w", initializers.ones, (3,), axes=("a",))
