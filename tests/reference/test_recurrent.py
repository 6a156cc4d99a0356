"""Recurrent layers against those of PyTorch, with copied weights.

PyTorch keeps the kernels of all gates in one array, transposed: (gates * features, inputs).
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import linen_modules as nn

FEATURES, INPUTS = 4, 3
X = np.random.default_rng(0).normal(size=(3, 7, INPUTS)).astype("float32")
LENGTHS = np.array([7, 4, 2])
KEY = jax.random.key(0)
NORMAL = nn.initializers.normal(0.5)

Params = dict[str, dict[str, Any]]


def lstm_gates(params: Params) -> dict[str, list[np.ndarray]]:
    return gates(params, "ifgo")


def gru_gates(params: Params) -> dict[str, list[np.ndarray]]:
    return gates(params, "rzn")


def gates(params: Params, names: Sequence[str]) -> dict[str, list[np.ndarray]]:
    """Gives the arrays of PyTorch gate by gate, biases that are not there as zeros."""
    return {
        f"{kind}_{side}h": [
            np.asarray(layer.get(name, np.zeros(FEATURES))).T
            for layer in (params[side + gate] for gate in names)
        ]
        for side in "ih"
        for kind, name in (("weight", "kernel"), ("bias", "bias"))
    }


def simple_gates(params: Params) -> dict[str, list[np.ndarray]]:
    return gates(params, [""])


# layer of PyTorch, cell, how the parameters are copied
LAYERS: dict[str, tuple[Any, Any, Any]] = {
    "LSTM": (torch.nn.LSTM, nn.LSTMCell(FEATURES, bias_init=NORMAL), lstm_gates),
    "optimized LSTM": (
        torch.nn.LSTM,
        nn.OptimizedLSTMCell(FEATURES, bias_init=NORMAL),
        lstm_gates,
    ),
    # As in PyTorch, the reset gate acts on the product with the carry and its bias.
    "GRU": (torch.nn.GRU, nn.GRUCell(FEATURES, bias_init=NORMAL), gru_gates),
    "RNN": (torch.nn.RNN, nn.SimpleCell(FEATURES, bias_init=NORMAL), simple_gates),
}
layers = pytest.mark.parametrize(("make", "cell", "convert"), LAYERS.values(), ids=LAYERS)


def copy_weights(layer: Any, params: Params, convert: Any, suffix: str = "_l0") -> None:
    for name, parts in convert(params).items():
        value = torch.from_numpy(np.concatenate(parts).astype("float32"))
        getattr(layer, name + suffix).data.copy_(value)


def carry_of(state: Any) -> Any:
    """Brings the last states of PyTorch to a carry: (memory, outputs), or the outputs."""
    if isinstance(state, tuple):
        return state[1][0].detach().numpy(), state[0][0].detach().numpy()
    return state[0].detach().numpy()


def assert_close(found: Any, expected: Any) -> None:
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, expected
    )


@layers
def test_outputs_and_last_carry(make: Any, cell: Any, convert: Any) -> None:
    layer = nn.RNN(cell, return_carry=True)
    variables = layer.init(KEY, jnp.asarray(X))
    reference = make(INPUTS, FEATURES, batch_first=True)
    copy_weights(reference, variables["params"]["cell"], convert)
    expected, state = reference(torch.from_numpy(X))
    carry, y = layer.apply(variables, jnp.asarray(X))
    assert_close(y, expected.detach().numpy())
    assert_close(carry, carry_of(state))


@layers
def test_gradients(make: Any, cell: Any, convert: Any) -> None:
    layer = nn.RNN(cell)
    variables = layer.init(KEY, jnp.asarray(X))
    reference = make(INPUTS, FEATURES, batch_first=True)
    copy_weights(reference, variables["params"]["cell"], convert)
    inputs = torch.from_numpy(X).requires_grad_()
    torch.sin(reference(inputs)[0]).sum().backward()
    gradients, of_inputs = jax.grad(lambda v, x: jnp.sin(layer.apply(v, x)).sum(), (0, 1))(
        variables, jnp.asarray(X)
    )
    assert inputs.grad is not None
    assert_close(of_inputs, inputs.grad.numpy())
    for name, parts in convert(gradients["params"]["cell"]).items():
        expected = np.split(getattr(reference, name + "_l0").grad.numpy(), len(parts))
        for part, other in zip(parts, expected, strict=True):
            if part.any():  # a bias that only PyTorch has is zero here
                np.testing.assert_allclose(part, other, rtol=1e-4, atol=1e-4)


@layers
def test_packed_sequences(make: Any, cell: Any, convert: Any) -> None:
    layer = nn.RNN(cell, return_carry=True)
    variables = layer.init(KEY, jnp.asarray(X))
    reference = make(INPUTS, FEATURES, batch_first=True)
    copy_weights(reference, variables["params"]["cell"], convert)
    packed = pack_padded_sequence(torch.from_numpy(X), torch.from_numpy(LENGTHS), batch_first=True)
    outputs, state = reference(packed)
    expected = pad_packed_sequence(outputs, batch_first=True)[0].detach().numpy()
    carry, y = layer.apply(variables, jnp.asarray(X), seq_lengths=jnp.asarray(LENGTHS))
    counts = np.arange(7)[:, None] < LENGTHS[:, None, None]
    assert_close(np.where(counts, y, 0), expected)
    assert_close(carry, carry_of(state))


@layers
def test_two_directions(make: Any, cell: Any, convert: Any) -> None:
    layer = nn.Bidirectional(nn.RNN(cell), nn.RNN(cell.clone()))
    variables = layer.init(KEY, jnp.asarray(X))
    reference = make(INPUTS, FEATURES, batch_first=True, bidirectional=True)
    copy_weights(reference, variables["params"]["forward_rnn"]["cell"], convert)
    copy_weights(reference, variables["params"]["backward_rnn"]["cell"], convert, "_l0_reverse")
    packed = pack_padded_sequence(torch.from_numpy(X), torch.from_numpy(LENGTHS), batch_first=True)
    outputs, _ = reference(packed)
    expected = pad_packed_sequence(outputs, batch_first=True)[0].detach().numpy()
    y = layer.apply(variables, jnp.asarray(X), seq_lengths=jnp.asarray(LENGTHS))
    counts = np.arange(7)[:, None] < LENGTHS[:, None, None]
    assert_close(np.where(counts, y, 0), expected)


def test_stacked_layers() -> None:
    cells = [nn.LSTMCell(FEATURES, bias_init=NORMAL) for _ in range(2)]
    layer = nn.Sequential([nn.RNN(cell) for cell in cells])
    variables = layer.init(KEY, jnp.asarray(X))
    reference = torch.nn.LSTM(INPUTS, FEATURES, num_layers=2, batch_first=True)
    for i in range(2):
        copy_weights(reference, variables["params"][f"layers_{i}"]["cell"], lstm_gates, f"_l{i}")
    expected = reference(torch.from_numpy(X))[0].detach().numpy()
    assert_close(layer.apply(variables, jnp.asarray(X)), expected)
