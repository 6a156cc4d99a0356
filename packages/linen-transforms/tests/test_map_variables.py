"""`map_variables` and `swap_collection`: what a body sees, and what is stored."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest
from jax.nn import initializers

from linen_core import FrozenDict, Module, apply, compact, init
from linen_core.errors import (
    ModifyScopeVariableError,
    ScopeCollectionNotFound,
)
from linen_transforms import lift, map_variables
from linen_transforms.errors import (
    LiftedMethodError,
    MappedVariablesError,
    NotAModuleError,
    TransformTargetError,
)

KEY = jax.random.key(0)
X = jnp.arange(1.0, 4.0)


def doubled(variables: Any) -> Any:
    return jax.tree.map(lambda leaf: 2 * leaf, variables)


def halved(variables: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf / 2, variables)


def transposed(variables: Any) -> Any:
    return jax.tree.map(jnp.transpose, variables)


class Scale(Module):
    """Multiplies with parameters, and counts."""

    when_run: Any = None

    @compact
    def __call__(self, x: Any) -> Any:
        if self.when_run is not None:
            self.when_run()
        w = self.param("w", lambda key: X)
        count = self.variable("state", "count", lambda: jnp.array(0.0))
        if self.is_mutable_collection("state") and not self.is_initializing():
            count.value += 1
        return x * w

    def other(self, x: Any) -> Any:
        return self(x) + 1


class Twice(Module):
    """Calls one layer twice."""

    lifted: Any

    @compact
    def __call__(self, x: Any) -> Any:
        layer = self.lifted(name="layer")
        return layer(layer(x))


OPEN: dict[str, dict[str, Any]] = {
    "init": {"init": True},
    "mutable": {"mutable": True},
    "both": {"init": True, "mutable": True},
}


@pytest.mark.parametrize("options", OPEN.values(), ids=OPEN)
def test_what_is_stored_is_what_maps_to_what_was_created(options: Any) -> None:
    lifted = map_variables(Scale, "params", doubled, halved, **options)
    y, variables = lifted().init_with_output(KEY, jnp.ones(3))
    chex.assert_trees_all_equal(variables["params"]["w"], X / 2)
    chex.assert_trees_all_equal(y, X)
    chex.assert_trees_all_equal(lifted().apply(variables, jnp.ones(3)), X)


@pytest.mark.parametrize("options", OPEN.values(), ids=OPEN)
def test_a_layer_that_is_called_twice_keeps_its_variables(options: Any) -> None:
    lifted = map_variables(Scale, "params", doubled, halved, **options)
    y, variables = Twice(lifted).init_with_output(KEY, jnp.ones(3))
    chex.assert_trees_all_equal(variables["params"]["layer"]["w"], X / 2)
    chex.assert_trees_all_equal(y, X**2)


def test_init_runs_twice_and_apply_once() -> None:
    runs: list[int] = []
    layer = map_variables(Scale, "params", doubled, halved, init=True)(lambda: runs.append(1))
    variables = layer.init(KEY, X)
    assert len(runs) == 2
    layer.apply(variables, X)
    assert len(runs) == 3


def test_init_does_nothing_where_nothing_that_is_mapped_can_change() -> None:
    lifted = map_variables(Scale, "params", doubled, halved, init=True)
    variables = {"params": {"w": X}, "state": {"count": 0.0}}
    y, state = lifted().apply(variables, X, mutable="state")
    chex.assert_trees_all_equal(y, 2 * X * X)
    assert state["state"]["count"] == 1


def test_a_closed_map_creates_nothing() -> None:
    with pytest.raises(ScopeCollectionNotFound):
        map_variables(Scale, "params", doubled)().init(KEY, X)


def test_a_closed_map_changes_nothing() -> None:
    lifted = map_variables(Scale, "state", doubled)
    variables = {"params": {"w": X}, "state": {"count": 1.0}}
    _, state = lifted().apply(variables, X, mutable="state")
    assert state["state"]["count"] == 1.0


def test_state_is_mapped_in_and_out() -> None:
    lifted = map_variables(Scale, "state", doubled, halved, mutable=True)
    variables = {"params": {"w": X}, "state": {"count": jnp.array(3.0)}}
    _, state = lifted().apply(variables, X, mutable="state")
    assert state["state"]["count"].item() == 3.5


def test_a_transposed_layer_is_tied() -> None:
    class Autoencoder(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            encoder = Matrix(2)
            decode = map_variables(lambda mdl, z: mdl.times(z), "params", transposed)
            return decode(encoder, encoder(x))

    class Matrix(Module):
        features: int

        @compact
        def __call__(self, x: Any) -> Any:
            return x @ self.param("kernel", initializers.normal(), (x.shape[-1], self.features))

        def times(self, z: Any) -> Any:
            return z @ self.get_variable("params", "kernel")

    variables = Autoencoder().init(KEY, X)
    kernel = variables["params"]["Matrix_0"]["kernel"]
    chex.assert_trees_all_close(Autoencoder().apply(variables, X), X @ kernel @ kernel.T)
    gradient = jax.grad(lambda v: Autoencoder().apply(v, X).sum())(variables)
    expected = jax.grad(lambda kernel: (X @ kernel @ kernel.T).sum())(kernel)
    chex.assert_trees_all_close(gradient["params"]["Matrix_0"]["kernel"], expected, rtol=1e-5)


def test_methods_can_have_maps_of_their_own() -> None:
    methods = {"__call__": {}, "other": {"trans_in_fn": halved}}
    lifted = map_variables(Scale, "params", doubled, methods=methods)
    variables = {"params": {"w": X}, "state": {"count": 0.0}}
    chex.assert_trees_all_equal(lifted().apply(variables, X), 2 * X * X)
    chex.assert_trees_all_equal(lifted().apply(variables, X, method="other"), X * X / 2 + 1)


def test_names_of_lifted_classes() -> None:
    assert map_variables(Scale, "params").__name__ == "Map_variablesScale"


def test_functions_may_change_the_dicts_that_they_get() -> None:
    def change(variables: Any) -> Any:
        variables["params"]["w"] = variables["params"].pop("v")
        return variables

    variables = {"params": {"v": X}, "state": {"count": 0.0}}
    y = map_variables(Scale, "params", change)().apply(variables, X)
    chex.assert_trees_all_equal(y, X * X)
    assert list(variables["params"]) == ["v"]


def test_functions_may_return_frozen_dicts() -> None:
    variables = FrozenDict({"params": {"w": X}, "state": {"count": 0.0}})
    y = map_variables(Scale, "params", lambda v: FrozenDict(doubled(v)))().apply(variables, X)
    chex.assert_trees_all_equal(y, 2 * X * X)


def test_functions_may_move_variables_between_collections() -> None:
    def read(scope: Any) -> Any:
        return scope.get_variable("params", "w")

    lifted = lift.map_variables(read, "masked", lambda v: {"params": doubled(v["masked"])})
    assert apply(lifted)({"masked": {"w": 3.0}}) == 6.0


@pytest.mark.parametrize("result", [None, 3, {"params": X}, {1: {}}], ids=str)
def test_functions_that_return_no_collections(result: Any) -> None:
    with pytest.raises(MappedVariablesError) as found:
        map_variables(Scale, "params", lambda v: result)().apply({"params": {"w": X}}, X)
    assert str(found.value) == (
        "/: the function that maps variables in must return a dict from collections to dicts of "
        f"variables, as the one it gets, but returned {result!r}."
    )
    with pytest.raises(MappedVariablesError, match="maps variables out must"):
        map_variables(Scale, "params", trans_out_fn=lambda v: result, init=True)().init(KEY, X)


def test_what_cannot_be_lifted() -> None:
    with pytest.raises(TransformTargetError):
        map_variables(3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(LiftedMethodError):
        map_variables(Scale, methods="missing")
    with pytest.raises(NotAModuleError):
        map_variables(lambda mdl: 1)(Scale())


# swap_collection

TWO = {"a": {"x": 1.0}, "b": {"x": 2.0}}


def test_collections_are_swapped() -> None:
    def read(scope: Any) -> Any:
        return scope.get_variable("a", "x"), scope.get_variable("b", "x")

    assert apply(lift.swap_collection(read, "a", "b"))(TWO) == (2.0, 1.0)
    assert apply(lift.swap_collection(read, "a", "a"))(TWO) == (1.0, 2.0)


def write(scope: Any) -> None:
    scope.put_variable("a", "x", 5.0)


@pytest.mark.parametrize("mutable", ["b", ["a", "b"], True], ids=str)
def test_what_is_written_lands_in_the_other_collection(mutable: Any) -> None:
    _, changed = apply(lift.swap_collection(write, "a", "b"), mutable=mutable)(TWO)
    assert changed["b"] == {"x": 5.0}
    assert changed.get("a", {"x": 1.0}) == {"x": 1.0}


def test_only_what_is_mutable_under_its_own_name_can_be_written() -> None:
    with pytest.raises(ModifyScopeVariableError):
        apply(lift.swap_collection(write, "a", "b"), mutable="a")(TWO)


def test_parameters_are_created_in_the_other_collection() -> None:
    def body(scope: Any, shape: Any = (2,)) -> Any:
        return scope.param("w", initializers.ones, shape)

    _, variables = init(lift.swap_collection(body, "params", "fast"))(KEY, shape=(3,))
    chex.assert_trees_all_equal(variables, {"fast": {"w": jnp.ones(3)}})
