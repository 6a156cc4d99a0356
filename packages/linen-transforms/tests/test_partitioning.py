"""Named axes: variables, the collections of names beside, and lifted transformations."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest
from jax.nn import initializers
from jax.sharding import PartitionSpec

import linen_core
from linen_core import FrozenDict, Module, bind, compact
from linen_core.errors import (
    ModifyScopeVariableError,
    NameInUseError,
    UnboundModuleError,
    UnknownLogicalAxisError,
)
from linen_transforms import lift, partitioning
from linen_transforms.errors import AxisNamesError, OutsideModuleError, StaticArgumentError
from linen_transforms.partitioning import (
    AxisMetadata,
    PartitionedVariable,
    RulesFallback,
    ScanIn,
    ScanOut,
    get_axis_names,
    param_with_axes,
    scan_with_axes,
    variable_with_axes,
    vmap_with_axes,
)

KEY = jax.random.key(0)
X = jnp.arange(12.0).reshape(4, 3) / 12


class Dense(Module):
    """A layer with a parameter and state."""

    axes: Any = ("in", "out")

    @compact
    def __call__(self, x: Any) -> Any:
        kernel = param_with_axes("kernel", initializers.normal(), (3, 3), axes=self.axes)
        calls = variable_with_axes("state", "calls", jnp.zeros, (3,), axes=("out",))
        if self.is_mutable_collection("state") and not self.is_initializing():
            calls.value = calls.value + 1
        return x @ kernel


class Step(Dense):
    """The body of a loop."""

    @compact
    def __call__(self, x: Any, _: Any = None) -> Any:
        return super().__call__(x), None


NAMES: dict[str, tuple[Any, Any]] = {
    "tuple": (("in", "out"), ("in", "out")),
    "list": (["in", None], ("in", None)),
    "spec": (PartitionSpec("in", "out"), PartitionSpec("in", "out")),
}


@pytest.mark.parametrize(("axes", "names"), NAMES.values(), ids=NAMES)
def test_names_are_variables(axes: Any, names: Any) -> None:
    variables = Dense(axes).init(KEY, X)
    assert variables["params_axes"] == {"kernel_axes": AxisMetadata(names)}
    assert variables["state_axes"] == {"calls_axes": AxisMetadata(("out",))}
    assert jax.tree.leaves(variables["params_axes"]) == []
    specs = get_axis_names(variables["params_axes"])
    assert specs == {"kernel": PartitionSpec(*names)}


def test_no_names() -> None:
    variables = Dense(None).init(KEY, X)
    assert set(variables) == {"params", "state", "state_axes"}


def test_names_of_trees() -> None:
    class Tree(Module):
        @compact
        def __call__(self) -> Any:
            axes = {"a": ("x", "y"), "b": ["z"]}
            return param_with_axes(
                "w", lambda _: {"a": jnp.ones((2, 3)), "b": jnp.ones(2)}, axes=axes
            )

    names = Tree().init(KEY)["params_axes"]
    assert names["w_axes"].names == FrozenDict({"a": ("x", "y"), "b": ("z",)})
    assert get_axis_names({"deep": names}) == {
        "deep": {"w": {"a": PartitionSpec("x", "y"), "b": PartitionSpec("z")}}
    }


def test_apply_needs_no_names() -> None:
    variables = Dense().init(KEY, X)
    bare = {"params": variables["params"], "state": variables["state"]}
    chex.assert_trees_all_equal(Dense().apply(bare, X), X @ bare["params"]["kernel"])
    _, changed = Dense().apply(bare, X, mutable=["state"])
    chex.assert_trees_all_equal(changed, {"state": {"calls": jnp.ones(3)}})
    _, changed = Dense().apply(variables, X, mutable=True)
    assert changed["params_axes"] == variables["params_axes"]


def test_shared_modules_note_names_once() -> None:
    class Twice(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            dense = Dense()
            return dense(dense(x))

    assert set(Twice().init(KEY, X)["params_axes"]) == {"Dense_0"}


def test_module_argument() -> None:
    class Outer(Module):
        def setup(self) -> None:
            self.w = param_with_axes("w", initializers.ones, (3,), axes=("a",), module=self)

        def __call__(self) -> Any:
            return self.w

    assert set(Outer().init(KEY)["params_axes"]) == {"w_axes"}
    with pytest.raises(UnboundModuleError):
        param_with_axes("w", initializers.ones, (3,), axes=("a",), module=Outer())


@pytest.mark.parametrize(
    "call",
    [
        lambda: param_with_axes("w", initializers.ones, (3,), axes=("a",)),
        lambda: variable_with_axes("state", "w", jnp.ones, (3,), axes=("a",)),
    ],
    ids=["param", "variable"],
)
def test_outside_of_modules(call: Callable[[], Any]) -> None:
    with pytest.raises(
        OutsideModuleError, match="_with_axes is called where no method of a module"
    ):
        call()


def test_other_names() -> None:
    variables = Dense().init(KEY, X)
    text = r"""/: the axes of "kernel" are called \('in', 'out'\) in the variables, but \('a', 'b'\) here"""
    with pytest.raises(AxisNamesError, match=text):
        Dense(("a", "b")).apply(variables, X, mutable=True)


def test_names_in_use() -> None:
    class Clash(Module):
        @compact
        def __call__(self) -> Any:
            self.variable("params_axes", "w_axes", lambda: 0)
            return param_with_axes("w", initializers.ones, (3,), axes=("a",))

    with pytest.raises(NameInUseError):
        Clash().init(KEY)


def test_what_is_no_metadata() -> None:
    with pytest.raises(AxisNamesError, match="get_axis_names takes a collection of AxisMetadata"):
        get_axis_names({"dense": {"kernel_axes": PartitionSpec("a")}})


# Sharding.


def test_values_are_sharded() -> None:
    mesh = jax.make_mesh((2,), ("data",))

    class Net(Module):
        @compact
        def __call__(self) -> Any:
            kernel = param_with_axes("kernel", initializers.ones, (4, 3), axes=("in", "out"))
            state = variable_with_axes("state", "mean", jnp.zeros, (4,), axes=("in",))
            state.value = state.value + 1
            return kernel, state.value

    with jax.set_mesh(mesh), partitioning.axis_rules([("in", "data")]):
        kernel, mean = jax.jit(Net().init_with_output)(KEY)[0]
        assert tuple(kernel.sharding.spec) in {("data",), ("data", None)}
        assert tuple(mean.sharding.spec) == ("data",)
        assert partitioning.get_axis_rules() == (("in", "data"),)


def test_variable_fallback() -> None:
    scope = bind({"state": {"w": jnp.ones(3)}}, mutable=["state"])
    reference = PartitionedVariable(scope, "state", "w", ("a",), RulesFallback.RAISE_ERROR)
    reference.value = jnp.zeros(3)
    assert not reference.value.any()
    with partitioning.axis_rules([("b", "data")]), pytest.raises(UnknownLogicalAxisError):
        _ = reference.value
    immutable = PartitionedVariable(bind({"state": {"w": jnp.ones(3)}}), "state", "w")
    assert not immutable.is_mutable()
    with pytest.raises(ModifyScopeVariableError):
        immutable.value = jnp.zeros(3)


SAME = {
    "axis_rules": "logical_axis_rules",
    "get_axis_rules": "get_logical_axis_rules",
    "logical_to_mesh": "logical_to_mesh",
    "logical_to_mesh_axes": "logical_to_mesh_axes",
    "set_axis_rules": "set_logical_axis_rules",
    "with_sharding_constraint": "with_logical_constraint",
    "RulesFallback": "RulesFallback",
}


@pytest.mark.parametrize(("name", "core_name"), SAME.items(), ids=SAME)
def test_names_for_what_linen_core_has(name: str, core_name: str) -> None:
    assert getattr(partitioning, name) is getattr(linen_core, core_name)


# Lifted transformations.

SPLIT = {"params": True}
AXES = {
    0: ("L", "in", "out"),
    1: ("in", "L", "out"),
    2: ("in", "out", "L"),
    -1: ("in", "out", "L"),
    -2: ("in", "L", "out"),
}


@pytest.mark.parametrize(("axis", "names"), AXES.items())
def test_scan_names_its_axis(axis: int, names: Any) -> None:
    layers = scan_with_axes(
        Step,
        variable_axes={"params": axis, "state": 0},
        split_rngs=SPLIT,
        length=5,
        axis_name="L",
        axes_collections=("params", "state"),
    )()
    variables = layers.init(KEY, X)
    assert variables["params_axes"]["kernel_axes"].names == names
    assert variables["state_axes"]["calls_axes"].names == ("L", "out")
    assert variables["params"]["kernel"].shape[axis] == 5
    _, changed = layers.apply(variables, X, mutable=True)
    assert changed["params_axes"] == variables["params_axes"]
    bare = {"params": variables["params"], "state": variables["state"]}
    assert set(layers.apply(bare, X, mutable=["state"])[1]) == {"state"}


@pytest.mark.parametrize(("axis", "names"), AXES.items())
def test_vmap_names_its_axis(axis: int, names: Any) -> None:
    experts = vmap_with_axes(
        Dense,
        variable_axes={"params": axis, "state": 0},
        split_rngs=SPLIT,
        in_axes=None,
        axis_size=5,
        partitioning_axis_names={"params": "L"},
    )()
    variables = experts.init(KEY, X)
    assert variables["params_axes"]["kernel_axes"].names == names
    assert "state_axes" not in variables
    assert experts.apply(variables, X).shape == (5, 4, 3)


def test_shared_variables_have_no_axis() -> None:
    shared = vmap_with_axes(
        Dense,
        variable_axes={"params": None, "state": ScanOut(0)},
        split_rngs={"params": False},
        partitioning_axis_names={"params": "L"},
    )()
    variables = shared.init(KEY, X)
    assert variables["params_axes"]["kernel_axes"].names == ("in", "out")


def test_nested_loops() -> None:
    inner = scan_with_axes(
        Step, variable_axes={"params": 0, "state": 0}, split_rngs=SPLIT, length=3, axis_name="L"
    )
    outer = scan_with_axes(
        inner, variable_axes={"params": 0, "state": 0}, split_rngs=SPLIT, length=2, axis_name="M"
    )
    assert outer.__name__ == "Map_variablesScanMap_variablesScanStep"
    names = outer().init(KEY, X)["params_axes"]["kernel_axes"].names
    assert names == ("M", "L", "in", "out")


def test_functions() -> None:
    class Net(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            def expert(_: Any, x: Any) -> Any:
                return Dense(name="expert")(x)

            return vmap_with_axes(
                expert,
                variable_axes={"params": 0, "state": 0},
                split_rngs=SPLIT,
                partitioning_axis_names={"params": "L"},
            )(self, x)

    variables = Net().init(KEY, X)
    assert variables["params_axes"]["expert"]["kernel_axes"].names == ("L", "in", "out")


def test_another_name_than_that_of_the_axis() -> None:
    cls: Any = Step
    layers = scan_with_axes(
        cls, variable_axes={"params": 0, "state": 0}, split_rngs=SPLIT, length=5
    )()
    variables = layers.init(KEY, X)
    wrong = variables | {"params_axes": {"kernel_axes": AxisMetadata(("in", "layers", "out"))}}
    text = "The axis 0 of variables in 'params_axes' must be called 'layers', since that is"
    with pytest.raises(AxisNamesError, match=text):
        layers.apply(wrong, X)


def test_variables_that_only_go_in_or_out() -> None:
    both = {"params": ScanIn(0), "state": ScanOut(1)}
    cls: Any = Step
    layers = scan_with_axes(cls, variable_axes=both, split_rngs=SPLIT, length=5)()
    params = {"kernel": jnp.stack([jnp.eye(3)] * 5)}
    (y, _), changed = layers.apply({"params": params}, X, mutable=True)
    chex.assert_trees_all_close(y, X)
    assert jax.tree.map(jnp.shape, changed["state"]) == {"calls": (3, 5)}


def test_remat() -> None:
    class Flagged(Module):
        @compact
        def __call__(self, x: Any, is_scaled: bool) -> Any:
            scale = param_with_axes("scale", initializers.ones, (), axes=())
            return x * scale if is_scaled else x

    rematerialised = partitioning.remat(Flagged, static_argnums=1)
    assert rematerialised.__name__ == "Core_remat_staticFlagged"
    variables = rematerialised().init(KEY, X, True)
    chex.assert_trees_all_equal(rematerialised().apply(variables, X, False), X)
    with pytest.raises(StaticArgumentError):
        partitioning.remat(Flagged, static_argnums=2)().init(KEY, X, True)
    assert partitioning.core_remat_static is lift.checkpoint
