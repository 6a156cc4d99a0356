"""SpectralNorm."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linen_modules as nn
from linen_core.errors import ModifyScopeVariableError, NameInUseError, ScopeCollectionNotFound
from linen_modules.errors import (
    MissingArgumentError,
    NoParametersError,
    ParameterRankError,
    UnsupportedFieldError,
)
from linen_modules.norm import spectral_norm

X = jax.random.normal(jax.random.key(5), (3, 6))
NAME = "layer_instance/kernel"


def init(layer: nn.Module, x: jax.Array = X, update_stats: bool = True) -> Any:
    return layer.init(jax.random.key(0), x, update_stats=update_stats)


@pytest.mark.parametrize("shape", [(6, 4), (3, 2, 5)], ids=str)
def test_arithmetic(shape: tuple[int, ...]) -> None:
    kernel = jax.random.normal(jax.random.key(1), shape)
    normalized, u, sigma = spectral_norm(kernel, jnp.ones((1, shape[-1])), n_steps=200)
    matrix = np.asarray(kernel).reshape(-1, shape[-1])
    _, values, vectors = np.linalg.svd(matrix)
    np.testing.assert_allclose(sigma, values[0], rtol=1e-5)
    np.testing.assert_allclose(np.abs(u[0]), np.abs(vectors[0]), atol=1e-3)
    np.testing.assert_allclose(normalized, kernel / values[0], rtol=1e-5)


def test_gradient_is_that_of_the_singular_value() -> None:
    kernel = jax.random.normal(jax.random.key(1), (5, 4))

    def exact(kernel: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(kernel / jnp.linalg.norm(kernel, 2)))

    def iterated(kernel: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(spectral_norm(kernel, jnp.ones((1, 4)), n_steps=200)[0]))

    expected = jax.grad(exact)(kernel)
    np.testing.assert_allclose(jax.grad(iterated)(kernel), expected, rtol=1e-3, atol=1e-4)


def test_zero_stays_zero() -> None:
    normalized, u, sigma = spectral_norm(jnp.zeros((3, 2)), jnp.ones((1, 2)))
    chex.assert_tree_all_finite((normalized, u, sigma))
    np.testing.assert_array_equal(normalized, jnp.zeros((3, 2)))


def test_variables() -> None:
    variables = init(nn.SpectralNorm(nn.Dense(4), collection_name="spectral"))
    assert jax.tree.map(jnp.shape, variables) == {
        "params": {"layer_instance": {"kernel": (6, 4), "bias": (4,)}},
        "spectral": {f"{NAME}/u": (1, 4), f"{NAME}/sigma": ()},
    }


def test_estimates_converge() -> None:
    layer = nn.SpectralNorm(nn.Dense(4, use_bias=False))
    variables = init(layer)
    for _ in range(100):
        _, updates = layer.apply(variables, X, update_stats=True, mutable=["batch_stats"])
        variables = variables | updates
    kernel = variables["params"]["layer_instance"]["kernel"]
    largest = np.linalg.norm(np.asarray(kernel), 2)
    np.testing.assert_allclose(variables["batch_stats"][f"{NAME}/sigma"], largest, rtol=1e-5)
    y = layer.apply(variables, X, update_stats=False)
    np.testing.assert_allclose(y, X @ kernel / largest, rtol=1e-4, atol=1e-5)


def test_biases_and_other_collections_stay() -> None:
    layer = nn.SpectralNorm(nn.BatchNorm(use_running_average=False))
    variables = init(layer)
    y, updates = layer.apply(variables, X, update_stats=True, mutable=["batch_stats"])
    inner = {name: tree["layer_instance"] for name, tree in variables.items()}
    expected, inner_updates = nn.BatchNorm(False).apply(inner, X, mutable=["batch_stats"])
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    found = {"batch_stats": updates["batch_stats"]["layer_instance"]}
    chex.assert_trees_all_close(found, inner_updates, rtol=1e-6)


def test_no_steps_pass_the_parameters_on() -> None:
    variables = init(nn.SpectralNorm(nn.Dense(4), n_steps=0))
    assert list(variables) == ["params"]


def test_bound_modules_keep_their_estimates() -> None:
    layer = nn.SpectralNorm(nn.Dense(4))
    variables = init(layer)
    bound = layer.bind(variables, mutable=["batch_stats"])
    bound(X, update_stats=True)
    _, updates = layer.apply(variables, X, update_stats=True, mutable=["batch_stats"])
    chex.assert_trees_all_close(bound.variables["batch_stats"], updates["batch_stats"], rtol=1e-6)


def test_mutable_parameters_are_stored_divided() -> None:
    layer = nn.SpectralNorm(nn.Dense(4))
    variables = init(layer)
    _, updates = layer.apply(variables, X, update_stats=True, mutable=True)
    sigma = updates["batch_stats"][f"{NAME}/sigma"]
    before, after = variables["params"], updates["params"]
    np.testing.assert_allclose(
        after["layer_instance"]["kernel"], before["layer_instance"]["kernel"] / sigma, rtol=1e-5
    )


class Shared(nn.Module):
    """A layer that is called by itself, and in two wrappers, one of them twice."""

    def setup(self) -> None:
        self.inner = nn.Dense(6)
        self.first = nn.SpectralNorm(self.inner)
        self.second = nn.SpectralNorm(self.inner)

    def __call__(self, x: jax.Array, update_stats: bool) -> jax.Array:
        x = self.first(self.inner(x), update_stats=update_stats)
        x = self.first(x, update_stats=update_stats)
        return self.second(x, update_stats=update_stats)


def test_shared_layers() -> None:
    model = Shared()
    variables = model.init(jax.random.key(0), X, update_stats=True)
    names = {"inner/kernel/u": (1, 6), "inner/kernel/sigma": ()}
    assert jax.tree.map(jnp.shape, variables) == {
        "params": {"inner": {"kernel": (6, 6), "bias": (6,)}},
        "batch_stats": {"first": names, "second": names},
    }
    assert model.apply(variables, X, update_stats=False).shape == (3, 6)


def test_layers_that_lie_in_several_places() -> None:
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            layers = nn.Sequential([nn.Dense(4), nn.Dense(3)])
            return nn.SpectralNorm(layers)(x, update_stats=True)

    with pytest.raises(NameInUseError, match="Sequential_0/kernel/u"):
        Model().init(jax.random.key(0), X)


def test_boxes() -> None:
    kernel_init = nn.with_partitioning(nn.initializers.lecun_normal(), ("in", "out"))
    variables = init(nn.SpectralNorm(nn.Dense(4, kernel_init=kernel_init)))
    assert variables["params"]["layer_instance"]["kernel"].names == ("in", "out")
    assert set(variables["batch_stats"]) == {f"{NAME}/value/u", f"{NAME}/value/sigma"}


@pytest.mark.parametrize("stored", [jnp.bfloat16, jnp.float32])
def test_dtype(stored: Any) -> None:
    layer = nn.SpectralNorm(nn.Dense(4, param_dtype=stored), dtype=jnp.float16)
    kernel = init(layer)["params"]["layer_instance"]["kernel"]
    assert kernel.dtype == jnp.float16


def test_update_stats_is_missing() -> None:
    with pytest.raises(
        MissingArgumentError,
        match="SpectralNorm at /: found no update_stats; expected whether to store the new "
        "estimates of singular values. Write update_stats=True in training, with "
        r'mutable=\["batch_stats"\] in apply, and update_stats=False otherwise.',
    ):
        nn.SpectralNorm(nn.Dense(4)).init(jax.random.key(0), X)


def test_estimates_that_are_not_mutable() -> None:
    layer = nn.SpectralNorm(nn.Dense(4))
    with pytest.raises(ModifyScopeVariableError, match="batch_stats"):
        layer.apply(init(layer), X, update_stats=True)


def test_estimates_that_are_missing() -> None:
    layer = nn.SpectralNorm(nn.Dense(4))
    with pytest.raises(ScopeCollectionNotFound, match="batch_stats"):
        layer.apply({"params": init(layer)["params"]}, X, update_stats=False)


@pytest.mark.parametrize(
    ("build", "error", "text"),
    [
        (
            lambda: nn.SpectralNorm(nn.Conv(4, (3,)), error_on_non_matrix=True),
            ParameterRankError,
            r"SpectralNorm at /: found the parameter layer_instance/kernel of shape \(3, 6, 4\); "
            "expected a matrix, as error_on_non_matrix=True says. Write error_on_non_matrix=False",
        ),
        (
            lambda: nn.SpectralNorm(nn.Dropout(0.5, deterministic=True)),
            NoParametersError,
            "SpectralNorm at /: found a layer without parameters, Dropout at /layer_instance; "
            "expected one that has a kernel. Call the layer without SpectralNorm.",
        ),
        (
            lambda: nn.SpectralNorm(nn.Dense(4), n_steps=-1),
            UnsupportedFieldError,
            "SpectralNorm at /: found n_steps=-1; expected a number of steps. Write n_steps=1",
        ),
    ],
    ids=["matrix", "parameters", "steps"],
)
def test_errors(build: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        init(build())
