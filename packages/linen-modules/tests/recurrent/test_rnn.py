"""RNN: both of its loops, lengths, directions, cells of users, errors."""

import dataclasses
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linen_modules as nn
from linen_modules.errors import (
    CarryShapeError,
    CellMethodError,
    InputDtypeError,
    InputRankError,
    SequenceLengthsError,
)

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 3)), jnp.float32)
LENGTHS = jnp.array([6, 2])
CELLS: dict[str, Callable[[], nn.RNNCellBase]] = {
    "LSTM": lambda: nn.LSTMCell(4),
    "optimized LSTM": lambda: nn.OptimizedLSTMCell(4),
    "GRU": lambda: nn.GRUCell(4),
    "MGU": lambda: nn.MGUCell(4, reset_gate=False),
    "simple": lambda: nn.SimpleCell(4, activation_fn=nn.relu),
}
cells = pytest.mark.parametrize("make", CELLS.values(), ids=CELLS)


def loops(layer: nn.Module, *args: Any, **kwargs: Any) -> list[str]:
    """Names the functions that a traced call runs."""
    jaxpr = jax.make_jaxpr(lambda *args: layer.apply(*args, **kwargs))(*args)
    return [str(eqn.params.get("name", eqn.primitive.name)) for eqn in jaxpr.eqns]


def assert_close(found: Any, expected: Any) -> None:
    chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-6)


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "lengths": {"seq_lengths": LENGTHS},
    "reverse": {"reverse": True},
    "reverse, keep order": {"reverse": True, "keep_order": True},
    "lengths, reverse": {"seq_lengths": LENGTHS, "reverse": True},
    "all": {"seq_lengths": LENGTHS, "reverse": True, "keep_order": True},
}
options = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


@cells
@options
def test_both_loops_agree(make: Callable[[], Any], options: dict[str, Any]) -> None:
    layer = nn.RNN(make(), return_carry=True)
    scanned = nn.RNN(nn.remat(type(make()))(**arguments(make())), return_carry=True)
    variables = layer.init(KEY, X)
    assert "run_sequence" in loops(layer, variables, X, **options)
    assert "scan" in loops(scanned, variables, X, **options)
    assert_close(layer.apply(variables, X, **options), scanned.apply(variables, X, **options))


def arguments(cell: nn.RNNCellBase) -> dict[str, Any]:
    fields = (field.name for field in dataclasses.fields(cell) if field.init)  # pyright: ignore
    return {name: getattr(cell, name) for name in fields if name not in ("parent", "name")}


@cells
def test_equals_a_loop_in_python(make: Callable[[], Any]) -> None:
    layer = nn.RNN(make(), return_carry=True)
    variables = layer.init(KEY, X)
    params, cell = {"params": variables["params"]["cell"]}, make()
    carry, outputs = cell.initialize_carry(KEY, (2, 3)), []
    carries = []
    for step in range(6):
        carry, y = cell.apply(params, carry, X[:, step])
        outputs.append(y)
        carries.append(carry)
    assert_close(layer.apply(variables, X), (carry, jnp.stack(outputs, 1)))
    last, _ = layer.apply(variables, X, seq_lengths=LENGTHS)
    expected = jax.tree.map(lambda a, b: jnp.stack([a[0], b[1]]), carries[5], carries[1])
    assert_close(last, expected)


@cells
def test_gradients_agree(make: Callable[[], Any]) -> None:
    layer = nn.RNN(make())
    scanned = nn.RNN(nn.remat(type(make()))(**arguments(make())))
    variables = layer.init(KEY, X)

    def gradient(layer: nn.Module) -> Any:
        return jax.grad(lambda v, x: jnp.sum(jnp.sin(layer.apply(v, x))), (0, 1))(variables, X)

    assert_close(gradient(layer), gradient(scanned))


def test_gradients_of_low_precision_products() -> None:
    x, layer = jnp.ones((1, 300, 3)), nn.RNN(nn.GRUCell(4, dtype=jnp.bfloat16))
    variables = layer.init(KEY, x)

    def gradient(layer: nn.Module) -> Any:
        return jax.grad(lambda v: jnp.sum(layer.apply(v, x)))(variables)["params"]["cell"]

    # Sums over 300 steps in bfloat16 would be off by more.
    found, expected = gradient(layer)["hn"], gradient(nn.RNN(nn.GRUCell(4)))["hn"]
    chex.assert_trees_all_close(found, expected, rtol=0.05, atol=0.5)


@pytest.mark.parametrize("batch", [(), (2,), (5, 2)], ids=str)
@pytest.mark.parametrize("time_major", [True, False])
def test_axes(batch: tuple[int, ...], time_major: bool) -> None:
    x = jax.random.normal(KEY, (*batch, 6, 3))
    lengths = jnp.full(batch, 4)
    layer = nn.RNN(nn.GRUCell(4), return_carry=True)
    variables = layer.init(KEY, x)
    moved = jnp.moveaxis(x, len(batch), 0) if time_major else x
    carry, outputs = layer.apply(variables, moved, time_major=time_major, seq_lengths=lengths)
    outputs = jnp.moveaxis(outputs, 0, len(batch)) if time_major else outputs
    assert outputs.shape == (*batch, 6, 4)
    assert_close(carry, outputs[..., 3, :])


def test_lengths_of_zero_and_beyond_the_end() -> None:
    layer = nn.RNN(nn.GRUCell(4), return_carry=True)
    variables = layer.init(KEY, X)
    first = jnp.full((2, 4), 0.5)
    carry, outputs = layer.apply(variables, X, initial_carry=first, seq_lengths=jnp.array([0, 9]))
    assert_close(carry, jnp.stack([first[0], outputs[1, -1]]))


def test_no_steps() -> None:
    layer = nn.RNN(nn.LSTMCell(4), return_carry=True)
    carry, outputs = layer.init_with_output(KEY, jnp.ones((2, 0, 3)))[0]
    assert outputs.shape == (2, 0, 4)
    assert_close(carry, (jnp.zeros((2, 4)),) * 2)


class Decaying(nn.RNNCellBase):
    """A cell of a user, with dropout."""

    rate: float = 0.0

    @nn.compact
    def __call__(self, carry: Any, inputs: Any) -> Any:
        inputs = nn.Dropout(self.rate, deterministic=False)(nn.Dense(4)(inputs))
        carry = 0.5 * carry + inputs
        return carry, {"y": carry}

    def initialize_carry(self, rng: Any, input_shape: tuple[int, ...]) -> Any:
        return jax.random.normal(rng, (*input_shape[:-1], 4))

    @property
    def num_feature_axes(self) -> int:
        return 1


def test_cell_of_a_user() -> None:
    layer = nn.RNN(Decaying(), return_carry=True)
    variables = layer.init({"params": KEY, "dropout": KEY}, X)
    carry, outputs = layer.apply(variables, X, seq_lengths=LENGTHS)
    assert_close(carry, jnp.stack([outputs["y"][0, 5], outputs["y"][1, 1]]))


@pytest.mark.parametrize("split", [True, False])
def test_dropout_in_a_cell(split: bool) -> None:
    layer = nn.RNN(Decaying(0.5), split_rngs={"params": False, "dropout": split})
    x = jnp.ones((50, 2, 3))
    variables = layer.init({"params": KEY, "dropout": KEY}, x)
    y = layer.apply(variables, x, rngs={"dropout": KEY}, init_key=KEY)["y"]
    masks = y - 0.5 * jnp.concatenate([jax.random.normal(KEY, (50, 1, 4)), y[:, :1]], 1) != 0
    assert (not bool((masks[:, 0] == masks[:, 1]).all())) == split


@dataclasses.dataclass(frozen=True)
class Scaling(nn.Recurrence):
    """The arithmetic of a cell of a user."""

    fn: Callable[[Any], Any] = jnp.sin

    def project(self, parameters: Any, inputs: Any) -> Any:
        return self.fn(inputs * jnp.broadcast_to(parameters, inputs.shape)), ()

    def step(self, recurrent: Any, carry: Any, projected: Any) -> Any:
        return carry + projected, carry * projected


class ScalingCell(nn.RNNCellBase):
    """A cell without a `__call__` of its own."""

    fn: Callable[[Any], Any] = jnp.sin

    @nn.compact
    def recurrence(self, input_shape: tuple[int, ...]) -> Any:
        return Scaling(self.fn), self.param("scale", nn.initializers.ones, input_shape[-1:])

    def initialize_carry(self, rng: Any, input_shape: tuple[int, ...]) -> Any:
        return jnp.zeros(input_shape)

    @property
    def num_feature_axes(self) -> int:
        return 1


class LouderCell(ScalingCell):
    """One with a `__call__` that does something else."""

    def __call__(self, carry: Any, inputs: Any) -> Any:
        carry, outputs = super().__call__(carry, inputs)
        return carry, 10 * outputs


@pytest.mark.parametrize("fn", [jnp.sin, lambda x: jnp.sin(x)])
def test_pure_cell_of_a_user(fn: Any) -> None:
    x, layer = X[0], nn.RNN(ScalingCell(fn))
    y, variables = layer.init_with_output(KEY, x)
    before = np.cumsum(np.sin(x), 0) - np.sin(x)
    np.testing.assert_allclose(y, before * np.sin(x), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(layer.apply(variables, x), y, rtol=1e-5, atol=1e-5)
    assert ("run_sequence" in loops(layer, variables, x)) == (fn is jnp.sin)
    louder = nn.RNN(LouderCell(fn)).apply(variables, x)
    np.testing.assert_allclose(louder, 10 * y, rtol=1e-5, atol=1e-5)


class Tripling(nn.Module):
    """An activation with a parameter."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        return x * self.param("factor", nn.initializers.constant(3.0), ())


def test_activation_that_is_a_module() -> None:
    class Model(nn.Module):
        def setup(self) -> None:
            self.activation = Tripling()
            self.layer = nn.RNN(nn.SimpleCell(4, activation_fn=self.activation))

        def __call__(self, x: Any) -> Any:
            return self.layer(x)

    y, variables = Model().init_with_output(KEY, X)
    assert variables["params"]["activation"] == {"factor": 3.0}
    assert_close(Model().apply(variables, X), y)


SCANNED: dict[str, dict[str, Any]] = {
    "parameters by step": {
        "variable_axes": {"params": 0},
        "variable_broadcast": False,
        "split_rngs": {"params": True},
    },
    "everything broadcast": {"variable_broadcast": True},
}


@pytest.mark.parametrize("fields", SCANNED.values(), ids=SCANNED)
def test_settings_of_variables(fields: dict[str, Any]) -> None:
    layer = nn.RNN(nn.GRUCell(4), **fields)
    y, variables = layer.init_with_output(KEY, X)
    assert_close(layer.apply(variables, X), y)
    kernel = variables["params"]["cell"]["in"]["kernel"]
    by_step = bool(fields.get("variable_axes"))
    assert kernel.shape == ((6, 3, 4) if by_step else (3, 4))
    assert ("scan" in loops(layer, variables, X)) == by_step


class Counting(Decaying):
    """A cell with a variable that its steps hand on."""

    @nn.compact
    def __call__(self, carry: Any, inputs: Any) -> Any:
        steps = self.variable("count", "steps", jnp.zeros, ())
        steps.value += 1
        return carry, steps.value * jnp.ones_like(inputs)


def test_variables_that_steps_hand_on() -> None:
    layer = nn.RNN(Counting(), variable_carry="count")
    variables = {"count": {"cell": {"steps": jnp.zeros(())}}}
    y, updates = layer.apply(variables, X, mutable=["count"])
    assert y[0, :, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert updates["count"]["cell"]["steps"] == 6


def test_calls_of_the_cell_can_be_observed() -> None:
    layer = nn.RNN(nn.GRUCell(4))
    variables = layer.init(KEY, X)
    y, state = layer.apply(variables, X, capture_intermediates=True, mutable=["intermediates"])
    np.testing.assert_allclose(y, layer.apply(variables, X), rtol=1e-5, atol=1e-6)
    hidden = state["intermediates"]["cell"]["hn"]["__call__"][0]
    assert hidden.shape == (6, 2, 4)


def test_transformed_as_a_whole() -> None:
    layer = nn.RNN(nn.LSTMCell(4))
    variables = layer.init(KEY, X)
    expected = layer.apply(variables, X)
    checkpointed = nn.remat(nn.RNN)(nn.LSTMCell(4))
    assert_close(checkpointed.apply(variables, X), expected)
    ensemble = nn.vmap(
        nn.RNN, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=None, axis_size=3
    )(nn.LSTMCell(4))
    outputs, many = ensemble.init_with_output(KEY, X)
    second = jax.tree.map(lambda leaf: leaf[1], many)
    assert_close(outputs[1], layer.apply(second, X))


def test_default_key_follows_the_configuration() -> None:
    layer = nn.RNN(nn.GRUCell(4, carry_init=nn.initializers.normal()))
    variables = layer.init(KEY, X)
    with jax.default_prng_impl("rbg"):
        expected = layer.apply(variables, X, init_key=jax.random.key(0))
        np.testing.assert_array_equal(layer.apply(variables, X), expected)


class Growing(nn.RNNCellBase):
    """A cell whose carry changes its form."""

    grow: Callable[[Any], Any] = jnp.asarray

    def __call__(self, carry: Any, inputs: Any) -> Any:
        return self.grow(carry), inputs

    def initialize_carry(self, rng: Any, input_shape: tuple[int, ...]) -> Any:
        return {"a": jnp.zeros((*input_shape[:-1], 2))}

    num_feature_axes = 1  # pyright: ignore


@pytest.mark.parametrize(
    ("grow", "text"),
    [
        (
            lambda carry: {"a": carry["a"][..., None]},
            r"Growing at /cell: found a step that changes the form of the carry; expected it to "
            r"come out as it went in \(in -> out\):\n"
            r"  carry\['a'\]: float32\[2, 2\] -> float32\[2, 2, 1\]\nWrite",
        ),
        (lambda carry: {"a": carry["a"] > 0}, r"float32\[2, 2\] -> bool\[2, 2\]"),
        (lambda carry: carry | {"b": carry["a"]}, r"carry\['b'\]: nothing -> float32\[2, 2\]"),
        (lambda carry: {**carry, "b": None}, "structure: PyTreeDef"),
    ],
)
def test_carry_that_changes(grow: Any, text: str) -> None:
    with pytest.raises(CarryShapeError, match=text):
        nn.RNN(Growing(grow)).apply({}, X)


def test_carry_that_changes_in_a_pure_cell() -> None:
    layer = nn.RNN(nn.SimpleCell(4))
    variables = layer.init(KEY, X)
    with pytest.raises(
        CarryShapeError, match=r"SimpleCell at /cell: found a step .*\n  carry: float32\[1, 4\] -> "
    ):
        layer.apply(variables, X, initial_carry=jnp.ones((1, 4)))


def test_dtype_of_a_simple_cell() -> None:
    layer = nn.RNN(nn.SimpleCell(4, dtype=jnp.bfloat16))
    with pytest.raises(CarryShapeError, match=r"carry: float32\[2, 4\] -> bfloat16\[2, 4\]"):
        layer.init(KEY, X)
    carry = jnp.zeros((2, 4), jnp.bfloat16)
    y, _ = layer.init_with_output(KEY, X, initial_carry=carry)
    assert y.dtype == jnp.bfloat16


def test_initial_carry_of_another_form() -> None:
    with pytest.raises(
        CarryShapeError, match=r"LSTMCell at /cell: found a carry of shape \(2, 4\) for inputs of"
    ):
        nn.RNN(nn.LSTMCell(4)).init(KEY, X, initial_carry=jnp.ones((2, 4)))


def test_carry_without_batch_dimensions() -> None:
    class Single(Growing):
        def initialize_carry(self, rng: Any, input_shape: tuple[int, ...]) -> Any:
            return jnp.zeros(())

    layer = nn.RNN(Single(), return_carry=True)
    assert layer.apply({}, X)[0].shape == ()
    with pytest.raises(
        CarryShapeError,
        match=r"Single at /cell: found a carry of shape \(\); expected the batch dimensions \(2,\)",
    ):
        layer.apply({}, X, seq_lengths=LENGTHS)


@pytest.mark.parametrize("shape", [(), (3,), (2, 1), (6,)], ids=str)
def test_lengths_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        SequenceLengthsError,
        match=r"RNN at /: found seq_lengths of shape .*; expected that of the batch dimensions, "
        r"\(2,\). Write jnp.broadcast_to",
    ):
        nn.RNN(nn.GRUCell(4)).init(KEY, X, seq_lengths=jnp.ones(shape, int))


def test_lengths_that_are_no_integers() -> None:
    with pytest.raises(InputDtypeError, match="RNN at /: found seq_lengths of dtype float32"):
        nn.RNN(nn.GRUCell(4)).init(KEY, X, seq_lengths=jnp.ones(2))


def test_inputs_without_time() -> None:
    with pytest.raises(
        InputRankError,
        match=r"RNN at /: found inputs of shape \(3,\); expected an axis of time and the axes of "
        r"features of the cell, num_feature_axes=1.",
    ):
        nn.RNN(nn.GRUCell(4)).init(KEY, X[0, 0])


class Bare(nn.RNNCellBase):
    """A cell that defines nothing."""


class Half(Bare):
    """A cell that defines the number of axes only."""

    num_feature_axes = 1  # pyright: ignore


@pytest.mark.parametrize(
    ("cell", "kwargs", "text"),
    [
        (Bare(), {}, r"Bare at /cell: found no property `num_feature_axes`; expected .* Write\n"),
        (Half(), {}, r"Half at /cell: found no method `initialize_carry`; expected"),
        (
            Half(),
            {"initial_carry": jnp.zeros(2)},
            r"Half at /cell: found no method `__call__`; expected one step of the cell. Write def",
        ),
    ],
)
def test_cells_that_lack_something(cell: Any, kwargs: Any, text: str) -> None:
    with pytest.raises(CellMethodError, match=text):
        nn.RNN(cell).apply({}, X, **kwargs)


def test_cell_that_is_not_bound() -> None:
    with pytest.raises(CellMethodError, match="Bare: found no method `initialize_carry`"):
        Bare().initialize_carry(KEY, (2, 3))
