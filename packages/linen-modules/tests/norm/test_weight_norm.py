"""WeightNorm."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linen_modules as nn
from linen_modules.errors import AxisError, NoParametersError
from linen_modules.norm import weight_norm

X = jax.random.normal(jax.random.key(5), (3, 6))


def init(layer: nn.Module) -> Any:
    return layer.init(jax.random.key(0), X)


@pytest.mark.parametrize(
    ("feature_axes", "features"), [((1,), (4,)), ((0,), (6,)), ((0, 1), (6, 4)), ((), ())], ids=str
)
def test_arithmetic(feature_axes: tuple[int, ...], features: tuple[int, ...]) -> None:
    kernel = jax.random.normal(jax.random.key(1), (6, 4))
    scale = np.arange(1.0, 1.0 + np.prod(features)).reshape(features)
    y = weight_norm(kernel, jnp.asarray(scale, jnp.float32), feature_axes=feature_axes)
    others = tuple(axis for axis in range(2) if axis not in feature_axes)
    np.testing.assert_allclose(np.sqrt(np.sum(np.square(y), others)), scale, rtol=1e-5)
    np.testing.assert_array_equal(np.sign(y), np.sign(kernel))


@pytest.mark.parametrize(
    ("layer", "fields", "scales"),
    [
        (nn.Dense(4), {}, {"kernel": (4,)}),
        (nn.Dense(4), {"use_scale": False}, {}),
        (nn.Dense(4), {"feature_axes": 0}, {"kernel": (6,)}),
        (nn.Dense(4), {"feature_axes": (1, 0)}, {"kernel": (6, 4)}),
        (nn.Dense(4), {"variable_filter": None}, {"kernel": (4,), "bias": (4,)}),
        (nn.Dense(4), {"variable_filter": ()}, {"kernel": (4,), "bias": (4,)}),
        (nn.Dense(4), {"variable_filter": {"instance/b"}}, {"bias": (4,)}),
        (nn.Dense(4), {"variable_filter": "bias"}, {"bias": (4,)}),
        (nn.Conv(4, (3,)), {}, {"kernel": (4,)}),
        (nn.Conv(4, (3,)), {"feature_axes": (-2, -1)}, {"kernel": (6, 4)}),
        (nn.Conv(4, (3,)), {"feature_axes": None}, {"kernel": ()}),
    ],
    ids=str,
)
def test_scales(layer: Any, fields: dict[str, Any], scales: dict[str, Any]) -> None:
    params = init(nn.WeightNorm(layer, **fields))["params"]
    del params["layer_instance"]
    expected = {f"layer_instance/{name}/scale": shape for name, shape in scales.items()}
    assert jax.tree.map(jnp.shape, params) == expected


def test_output() -> None:
    layer = nn.WeightNorm(nn.Dense(4))
    kernel, scale, bias = np.asarray(jax.random.normal(jax.random.key(1), (6, 4))), 3.0, 0.5
    params = {
        "layer_instance": {"kernel": kernel, "bias": np.full(4, bias)},
        "layer_instance/kernel/scale": np.full(4, scale),
    }
    expected = X @ (scale * kernel / np.linalg.norm(kernel, axis=0)) + bias
    np.testing.assert_allclose(layer.apply({"params": params}, X), expected, rtol=1e-5, atol=1e-5)


def test_init_stores_normalised_parameters() -> None:
    kernel = init(nn.WeightNorm(nn.Dense(4)))["params"]["layer_instance"]["kernel"]
    np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), np.ones(4), rtol=1e-6)


def test_complex_kernels() -> None:
    kernel = jnp.array([[3 + 4j], [0]])
    y = weight_norm(kernel, None, feature_axes=(1,))
    np.testing.assert_allclose(y, kernel / 5, rtol=1e-6)


class Shared(nn.Module):
    """A layer that is called by itself, and in a wrapper twice."""

    def setup(self) -> None:
        self.inner = nn.Dense(6)
        self.wrapped = nn.WeightNorm(self.inner)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.wrapped(self.wrapped(self.inner(x)))


def test_shared_layers() -> None:
    variables = init(Shared())
    assert jax.tree.map(jnp.shape, variables) == {
        "params": {
            "inner": {"kernel": (6, 6), "bias": (6,)},
            "wrapped": {"inner/kernel/scale": (6,)},
        }
    }


@pytest.mark.parametrize(
    ("build", "error", "text"),
    [
        (
            lambda: nn.WeightNorm(nn.Dropout(0.5, deterministic=True)),
            NoParametersError,
            "WeightNorm at /: found a layer without parameters, Dropout at /layer_instance",
        ),
        (
            lambda: nn.WeightNorm(nn.Dense(4), variable_filter={"kernal"}),
            NoParametersError,
            r"WeightNorm at /: found variable_filter=\['kernal'\], which is in the name of no "
            r"parameter; expected a part of one of \['layer_instance/bias', "
            r"'layer_instance/kernel'\]. Write variable_filter=None for all parameters.",
        ),
        (
            lambda: nn.WeightNorm(nn.Dense(4), feature_axes=2),
            AxisError,
            "WeightNorm at /: found feature_axes=2 and the parameter layer_instance/kernel of "
            r"shape \(6, 4\); expected axes from -2 to 1.",
        ),
        (lambda: nn.WeightNorm(nn.Dense(4), feature_axes=-3), AxisError, "found feature_axes=-3"),
    ],
    ids=["parameters", "filter", "axis", "negative axis"],
)
def test_errors(build: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        init(build())
