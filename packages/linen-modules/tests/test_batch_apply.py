"""BatchApply."""

import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linen_modules as nn
from linen_modules.errors import BatchShapeError

X = jnp.arange(120.0).reshape(2, 3, 4, 5)


@pytest.mark.parametrize(("num_dims", "merged"), [(1, (2, 3, 4, 5)), (2, (6, 4, 5)), (4, (120,))])
def test_shape_that_the_function_sees(num_dims: int, merged: tuple[int, ...]) -> None:
    def function(x: jax.Array) -> jax.Array:
        assert x.shape == merged
        return x + 1

    np.testing.assert_array_equal(nn.BatchApply(function, num_dims)(X), X + 1)


def test_trees_keywords_and_what_is_no_array() -> None:
    def function(x: Any, scale: float, *, more: Any, mode: str) -> Any:
        assert (scale, mode) == (2.0, "full")
        return {"sum": x["x"].sum((1, 2)) + more[0], "x": scale * x["x"]}, None

    result, nothing = nn.BatchApply(function)({"x": X}, 2.0, more=[X[:, :, 0, 0]], mode="full")
    np.testing.assert_array_equal(result["sum"], X.sum((2, 3)) + X[:, :, 0, 0])
    np.testing.assert_array_equal(result["x"], 2 * X)
    assert nothing is None


def test_arrays_of_fewer_dimensions_are_passed_on() -> None:
    weights = jnp.arange(5.0)
    np.testing.assert_allclose(nn.BatchApply(jnp.dot)(X, weights), X @ weights)


def test_numpy_arrays() -> None:
    assert nn.BatchApply(lambda x: x[:, :1])(np.ones((2, 3, 4))).shape == (2, 3, 1)


def test_modules_keep_their_parameters() -> None:
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return nn.BatchApply(nn.Conv(3, (2,)))(x)

    variables = Model().init(jax.random.key(0), X)
    assert jax.tree.map(jnp.shape, variables) == {
        "params": {"Conv_0": {"kernel": (2, 5, 3), "bias": (3,)}}
    }


def test_value() -> None:
    assert nn.BatchApply(jnp.sin) == nn.BatchApply(jnp.sin, 2)
    assert pickle.loads(pickle.dumps(nn.BatchApply(nn.relu))) == nn.BatchApply(nn.relu)


@pytest.mark.parametrize(
    ("num_dims", "function", "args", "text"),
    [
        (
            5,
            jnp.sin,
            (X,),
            r"BatchApply: found arguments of shapes \[\(2, 3, 4, 5\)\]; expected the same leading 5 "
            r"dimensions in all that have so many, and one of them at least. Write num_dims=1",
        ),
        (2, jnp.add, (X, X.reshape(3, 2, 4, 5)), "found arguments of shapes"),
        (2, jnp.sin, (3.0,), r"found arguments of shapes \[\]"),
        (0, jnp.sin, (X,), "found num_dims=0; expected at least 1. Write num_dims=2"),
        (
            2,
            jnp.sum,
            (X,),
            r"found a result of shape \(\); expected \(6, ...\), with the leading dimensions "
            r"\(2, 3\) of the arguments merged into the first. Write a function",
        ),
        (2, lambda x: x[1:], (X,), r"found a result of shape \(5, 4, 5\)"),
        (2, lambda x: 3.0, (X,), r"found a result of shape \(\)"),
    ],
)
def test_errors(num_dims: int, function: Any, args: Any, text: str) -> None:
    with pytest.raises(BatchShapeError, match=text):
        nn.BatchApply(function, num_dims)(*args)
