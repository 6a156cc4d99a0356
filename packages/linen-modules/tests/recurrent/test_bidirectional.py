"""Bidirectional."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linen_modules as nn
from linen_modules.errors import CarryShapeError, DirectionError

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 3)), jnp.float32)


def layer(**fields: Any) -> nn.Bidirectional:
    return nn.Bidirectional(nn.RNN(nn.GRUCell(4)), nn.RNN(nn.LSTMCell(5)), **fields)


@pytest.mark.parametrize("lengths", [None, [6, 2]])
def test_two_layers(lengths: Any) -> None:
    lengths = None if lengths is None else jnp.array(lengths)
    variables = layer().init(KEY, X)
    carries, y = layer(return_carry=True).apply(variables, X, seq_lengths=lengths)
    params = variables["params"]
    forward, backward = (
        nn.RNN(cell, return_carry=True).apply(
            {"params": params[name]}, X, seq_lengths=lengths, reverse=reverse, keep_order=reverse
        )
        for cell, name, reverse in [
            (nn.GRUCell(4), "forward_rnn", False),
            (nn.LSTMCell(5), "backward_rnn", True),
        ]
    )
    np.testing.assert_array_equal(y, jnp.concatenate([forward[1], backward[1]], -1))
    np.testing.assert_array_equal(carries[0], forward[0])
    np.testing.assert_array_equal(carries[1][1], backward[0][1])


def test_merge_and_time_major() -> None:
    both = nn.Bidirectional(
        nn.RNN(nn.GRUCell(4)), nn.RNN(nn.GRUCell(4)), merge_fn=jnp.subtract, time_major=True
    )
    y, variables = both.init_with_output(KEY, jnp.moveaxis(X, 1, 0))
    assert y.shape == (6, 2, 4)
    batch_major = both.apply(variables, X, time_major=False)
    np.testing.assert_allclose(jnp.moveaxis(y, 0, 1), batch_major, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{"reverse": True}, {"keep_order": False}])
def test_one_direction(options: dict[str, Any]) -> None:
    with pytest.raises(
        DirectionError, match=r"Bidirectional at /: found reverse=.*expected neither"
    ):
        layer().init(KEY, X, **options)
    layer().init(KEY, X, reverse=False, keep_order=True)


def test_initial_carry_that_is_no_pair() -> None:
    with pytest.raises(
        CarryShapeError,
        match=r"Bidirectional at /: found an initial_carry of shape \(2, 4\); expected a pair",
    ):
        layer().init(KEY, X, initial_carry=jnp.ones((2, 4)))
