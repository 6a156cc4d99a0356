"""The cells: arithmetic, dtypes, observed calls, errors."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linen_modules as nn
from linen_modules.errors import CarryShapeError, InputRankError, PaddingError, WindowError

X = np.random.default_rng(0).normal(size=(2, 3))
KEY = jax.random.key(0)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def initialized(cell: nn.RNNCellBase) -> tuple[Any, Any]:
    carry = cell.initialize_carry(KEY, X.shape)
    return carry, cell.init(jax.random.key(1), carry, jnp.asarray(X))


def lstm(p: Callable, carry: Any) -> Any:
    c, h = carry
    i, f, g, o = (p(f"i{k}", X) + p(f"h{k}", h) for k in "ifgo")
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return c, sigmoid(o) * np.tanh(c)


def gru(p: Callable, h: Any) -> Any:
    r, z = (sigmoid(p(f"i{k}", X) + p(f"h{k}", h)) for k in "rz")
    return (1 - z) * np.tanh(p("in", X) + r * p("hn", h)) + z * h


def mgu(p: Callable, h: Any) -> Any:
    f = sigmoid(p("if", X) + p("hf", h))
    return (1 - f) * np.tanh(p("in", X) + f * p("hn", h)) + f * h


def mgu_without_reset(p: Callable, h: Any) -> Any:
    f = sigmoid(p("if", X) + p("hf", h))
    return (1 - f) * np.tanh(p("in", X) + p("hn", h)) + f * h


NORMAL = nn.initializers.normal(1.0)
CELLS: dict[str, tuple[nn.RNNCellBase, Callable[..., Any]]] = {
    "LSTM": (nn.LSTMCell(4, bias_init=NORMAL, carry_init=NORMAL), lstm),
    "optimized LSTM": (nn.OptimizedLSTMCell(4, bias_init=NORMAL, carry_init=NORMAL), lstm),
    "GRU": (nn.GRUCell(4, bias_init=NORMAL, carry_init=NORMAL), gru),
    "MGU": (nn.MGUCell(4, activation_bias_init=NORMAL, carry_init=NORMAL), mgu),
    "MGU without reset": (
        nn.MGUCell(4, carry_init=NORMAL, reset_gate=False),
        mgu_without_reset,
    ),
    "simple": (
        nn.SimpleCell(4, bias_init=NORMAL, carry_init=NORMAL),
        lambda p, h: np.tanh(p("i", X) + p("h", h)),
    ),
    "residual": (
        nn.SimpleCell(4, carry_init=NORMAL, residual=True),
        lambda p, h: np.tanh(p("i", X) + p("h", h) + h),
    ),
}
cells = pytest.mark.parametrize(("cell", "reference"), CELLS.values(), ids=CELLS)


@cells
def test_reference(cell: nn.RNNCellBase, reference: Callable[..., Any]) -> None:
    carry, variables = initialized(cell)
    params = jax.tree.map(np.asarray, variables["params"])

    def layer(name: str, x: Any) -> np.ndarray:
        return x @ params[name]["kernel"] + params[name].get("bias", 0)

    expected = reference(layer, jax.tree.map(np.asarray, carry))
    found, outputs = cell.apply(variables, carry, jnp.asarray(X))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(outputs, jax.tree.leaves(found)[-1])


@cells
def test_one_equation(cell: nn.RNNCellBase, reference: Callable[..., Any]) -> None:
    del reference
    carry, variables = initialized(cell)
    jaxpr = jax.make_jaxpr(cell.apply)(variables, carry, jnp.asarray(X))
    assert len(jaxpr.eqns) == 1


@cells
def test_calls_of_its_layers_can_be_observed(
    cell: nn.RNNCellBase, reference: Callable[..., Any]
) -> None:
    del reference
    carry, variables = initialized(cell)
    seen = []

    def observe(next_fun: Any, args: Any, kwargs: Any, context: Any) -> Any:
        seen.append((type(context.module).__name__, context.module.name))
        return next_fun(*args, **kwargs)

    expected = cell.apply(variables, carry, jnp.asarray(X))
    with nn.intercept_methods(observe):
        observed = cell.apply(variables, carry, jnp.asarray(X))
    assert {name for kind, name in seen if kind == "Dense"} == set(variables["params"])
    for one, other in zip(jax.tree.leaves(observed), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [nn.LSTMCell, nn.GRUCell, nn.MGUCell])
def test_dtypes(make: Any) -> None:
    cell = make(4, dtype=jnp.bfloat16)
    carry, variables = initialized(cell)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    new, outputs = cell.apply(variables, carry, jnp.asarray(X))
    assert {leaf.dtype for leaf in jax.tree.leaves((new, outputs))} == {jnp.dtype("float32")}
    low = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), (variables, carry, jnp.asarray(X)))
    assert make(4).apply(*low)[1].dtype == jnp.bfloat16


def test_first_carries() -> None:
    carry = nn.LSTMCell(4, param_dtype=jnp.float16).initialize_carry(KEY, (5, 2, 3))
    assert [(leaf.shape, leaf.dtype) for leaf in carry] == [((5, 2, 4), jnp.float16)] * 2
    c, h = nn.LSTMCell(4, carry_init=NORMAL).initialize_carry(KEY, (2, 3))
    assert not np.array_equal(c, h)
    assert nn.GRUCell(4).initialize_carry(KEY, (3,)).shape == (4,)
    memory, _ = nn.ConvLSTMCell(4, 3).initialize_carry(KEY, (2, 8, 3))
    assert memory.shape == (2, 8, 4)


@pytest.mark.parametrize(
    ("make", "carry", "text"),
    [
        (
            nn.GRUCell,
            jnp.ones((3, 4)),
            r"GRUCell at /: found a carry of shape \(3, 4\) for inputs of shape \(2, 3\); expected "
            r"\(2, 4\). Write cell.initialize_carry\(rng, \(2, 3\)\), or leave initial_carry out",
        ),
        (nn.GRUCell, jnp.ones((2, 3)), r"found a carry of shape \(2, 3\)"),
        (nn.GRUCell, (jnp.ones((2, 4)),), r"found a carry of shape \(\(2, 4\),\)"),
        (nn.GRUCell, jnp.ones((7, 2, 4)), r"found a carry of shape \(7, 2, 4\)"),
        (
            nn.LSTMCell,
            jnp.ones((2, 4)),
            r"LSTMCell at /: found a carry of shape \(2, 4\) .*expected \(\(2, 4\), \(2, 4\)\)",
        ),
        (nn.LSTMCell, (jnp.ones((2, 4)), jnp.ones((2, 5))), r"\(\(2, 4\), \(2, 5\)\)"),
    ],
)
def test_carry_of_another_form(make: Any, carry: Any, text: str) -> None:
    with pytest.raises(CarryShapeError, match=text):
        make(4).init(KEY, carry, jnp.asarray(X))


def test_carry_that_broadcasts() -> None:
    cell, x = nn.GRUCell(4), jnp.asarray(X)
    _, variables = initialized(cell)
    expected = cell.apply(variables, jnp.ones((2, 4)), x)[0]
    np.testing.assert_allclose(cell.apply(variables, jnp.ones((1, 4)), x)[0], expected, rtol=1e-6)


def test_input_of_too_few_dimensions() -> None:
    with pytest.raises(
        InputRankError,
        match=r"GRUCell at /: found inputs of shape \(\) for one step; expected 1 axes of features",
    ):
        nn.GRUCell(4).init(KEY, jnp.ones(4), jnp.ones(()))


VIDEO = jnp.ones((2, 6, 5, 3))


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        (
            {"strides": 2},
            WindowError,
            r"ConvLSTMCell at /: found strides=\(2, 2\) and padding='SAME', which turn spatial "
            r"dimensions \(6, 5\) into \(3, 3\); expected them to stay",
        ),
        ({"padding": "VALID"}, WindowError, r"into \(4, 3\)"),
        ({"padding": "CAUSAL"}, PaddingError, 'padding="CAUSAL" with 2 spatial dimensions'),
        ({"padding": "AROUND"}, PaddingError, "padding='AROUND'"),
    ],
)
def test_windows_that_do_not_fit(fields: dict[str, Any], error: Any, text: str) -> None:
    cell = nn.ConvLSTMCell(4, (3, 3), **fields)
    with pytest.raises(error, match=text):
        cell.init(KEY, cell.initialize_carry(KEY, VIDEO.shape), VIDEO)


def test_convolutions_can_be_observed() -> None:
    cell = nn.ConvLSTMCell(4, (3, 3))
    carry = cell.initialize_carry(KEY, VIDEO.shape)
    variables = cell.init(KEY, carry, VIDEO)
    expected = cell.apply(variables, carry, VIDEO)[1]
    (_, outputs), state = cell.apply(
        variables, carry, VIDEO, capture_intermediates=True, mutable=["intermediates"]
    )
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)
    assert set(state["intermediates"]) == {"ih", "hh", "__call__"}
