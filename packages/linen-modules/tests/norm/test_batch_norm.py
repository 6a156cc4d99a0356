"""BatchNorm."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linen_modules as nn
from linen_core.errors import MergeParamError, ModifyScopeVariableError
from linen_modules.errors import AxisError, MaskShapeError

X = np.random.default_rng(0).normal(2.0, 3.0, size=(8, 5, 6))


def train(
    layer: nn.BatchNorm, variables: Any, x: Any, **kwargs: Any
) -> tuple[jax.Array, dict[str, jax.Array]]:
    y, updates = layer.apply(variables, jnp.asarray(x), False, mutable=["batch_stats"], **kwargs)
    return y, updates["batch_stats"]


def init(layer: nn.BatchNorm, x: Any = X) -> Any:
    return layer.init(jax.random.key(0), jnp.asarray(x), use_running_average=False)


def test_init_keeps_the_averages() -> None:
    statistics = init(nn.BatchNorm(axis_name="absent"))["batch_stats"]
    np.testing.assert_array_equal(statistics["mean"], np.zeros(6))
    np.testing.assert_array_equal(statistics["var"], np.ones(6))


@pytest.mark.parametrize("use_fast_variance", [True, False])
@pytest.mark.parametrize("axis", [-1, 1, (1, 2), (-1, 1)], ids=str)
def test_training(axis: Any, use_fast_variance: bool) -> None:
    layer = nn.BatchNorm(axis=axis, momentum=0.9, use_fast_variance=use_fast_variance)
    features = {ax % 3 for ax in np.atleast_1d(axis)}
    reduced = tuple(ax for ax in range(3) if ax not in features)
    variables = init(layer)
    shape = tuple(X.shape[ax] for ax in sorted(features))
    scale, bias = np.arange(1.0, 1 + np.prod(shape)).reshape(shape), 0.5 * np.ones(shape)
    variables = {**variables, "params": {"scale": scale, "bias": bias}}
    y, statistics = train(layer, variables, X)

    mean, variance = X.mean(reduced, keepdims=True), X.var(reduced, keepdims=True)
    expected = (X - mean) / np.sqrt(variance + 1e-5)
    expected = expected * np.expand_dims(scale, reduced) + np.expand_dims(bias, reduced)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(statistics["mean"], 0.1 * mean.reshape(shape), rtol=1e-5)
    np.testing.assert_allclose(statistics["var"], 0.9 + 0.1 * variance.reshape(shape), rtol=1e-5)


def test_inference() -> None:
    layer = nn.BatchNorm(use_running_average=True)
    mean, variance = np.arange(6.0), np.arange(1.0, 7.0)
    variables = init(nn.BatchNorm()) | {"batch_stats": {"mean": mean, "var": variance}}
    y = layer.apply(variables, jnp.asarray(X))
    np.testing.assert_allclose(y, (X - mean) / np.sqrt(variance + 1e-5), rtol=1e-5, atol=1e-5)


def test_averages_converge() -> None:
    layer = nn.BatchNorm(momentum=0.5)
    variables = init(layer)
    for _ in range(30):
        _, statistics = train(layer, variables, X)
        variables = variables | {"batch_stats": statistics}
    np.testing.assert_allclose(statistics["mean"], X.mean((0, 1)), rtol=1e-5)  # pyright: ignore[reportPossiblyUnboundVariable]
    np.testing.assert_allclose(statistics["var"], X.var((0, 1)), rtol=1e-5)  # pyright: ignore[reportPossiblyUnboundVariable]


def test_fast_variance_is_right_about_a_running_mean() -> None:
    layer, x = nn.BatchNorm(momentum=0.0), np.asarray(X + 1e4, np.float32)
    exact = np.asarray(x, np.float64).var((0, 1))
    variables = init(layer)
    _, first = train(layer, variables, x)
    _, second = train(layer, variables | {"batch_stats": first}, x)
    np.testing.assert_allclose(second["var"], exact, rtol=1e-5)
    _, stable = train(layer.clone(use_fast_variance=False), variables, x)
    np.testing.assert_allclose(stable["var"], exact, rtol=1e-5)


def test_mask() -> None:
    mask = np.random.default_rng(1).random((8, 5, 1)) < 0.6
    y, statistics = train(
        nn.BatchNorm(momentum=0.0), init(nn.BatchNorm()), X, mask=jnp.asarray(mask)
    )
    where = np.broadcast_to(mask, X.shape)
    mean, variance = X.mean((0, 1), where=where), X.var((0, 1), where=where)
    np.testing.assert_allclose(statistics["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(statistics["var"], variance, rtol=1e-5)
    np.testing.assert_allclose(y, (X - mean) / np.sqrt(variance + 1e-5), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("use_fast_variance", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_batch_split_over_a_named_axis(masked: bool, use_fast_variance: bool) -> None:
    # The devices have very different numbers of unmasked examples.
    mask = jnp.asarray([[1] * 5, [1] * 5, [1] * 5, [0] * 5, [0] * 5, [0] * 5, [0] * 5, [1] * 5])
    mask = mask[..., None].astype(bool) if masked else jnp.ones((8, 5, 1), bool)
    layer = nn.BatchNorm(use_fast_variance=use_fast_variance)
    variables = init(layer)
    whole = train(layer, variables, X, mask=mask)
    split = layer.clone(axis_name="devices")
    y, statistics = jax.vmap(
        lambda x, m: train(split, variables, x, mask=m if masked else None), axis_name="devices"
    )(jnp.asarray(X.reshape(4, 2, 5, 6)), mask.reshape(4, 2, 5, 1))
    np.testing.assert_allclose(y.reshape(X.shape), whole[0], rtol=1e-4, atol=1e-4)
    for name, of_devices in statistics.items():
        for of_device in of_devices:
            np.testing.assert_allclose(of_device, whole[1][name], rtol=1e-5)


def test_single_examples_under_vmap() -> None:
    layer = nn.BatchNorm(axis_name="batch")
    x = jnp.asarray(X[:, 0], jnp.float32)
    variables = init(layer, x)
    y, _ = jax.vmap(lambda x: train(layer, variables, x), axis_name="batch")(x)
    np.testing.assert_allclose(y, train(nn.BatchNorm(), variables, x)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("inputs", "stored", "dtype", "forced", "output", "averages"),
    [
        ("float32", "float32", None, True, "float32", "float32"),
        ("bfloat16", "float32", None, True, "float32", "float32"),
        ("bfloat16", "bfloat16", None, True, "bfloat16", "float32"),
        ("bfloat16", "bfloat16", None, False, "bfloat16", "bfloat16"),
        ("float16", "float32", "float16", True, "float16", "float32"),
    ],
)
@pytest.mark.parametrize("use_running_average", [True, False])
def test_promotion(
    inputs: str,
    stored: str,
    dtype: str | None,
    forced: bool,
    output: str,
    averages: str,
    use_running_average: bool,
) -> None:
    layer = nn.BatchNorm(dtype=dtype, param_dtype=stored, force_float32_reductions=forced)
    x = jnp.asarray(X, inputs)
    variables = init(layer, x)
    y, updates = layer.apply(variables, x, use_running_average, mutable=["batch_stats"])
    assert y.dtype == output
    assert {leaf.dtype for leaf in jax.tree.leaves(variables["params"])} == {jnp.dtype(stored)}
    assert {leaf.dtype for leaf in jax.tree.leaves(updates)} <= {jnp.dtype(averages)}


@pytest.mark.parametrize("fields", [{}, {"use_running_average": True}], ids=["missing", "twice"])
def test_use_running_average_is_given_once(fields: dict[str, Any]) -> None:
    with pytest.raises(MergeParamError, match="use_running_average"):
        nn.BatchNorm(**fields).init(jax.random.key(0), jnp.asarray(X), *([False] if fields else []))


def test_averages_that_are_not_mutable() -> None:
    layer = nn.BatchNorm(use_running_average=False)
    with pytest.raises(ModifyScopeVariableError, match="batch_stats"):
        layer.apply(init(nn.BatchNorm()), jnp.asarray(X))


def test_axes_that_do_not_exist() -> None:
    with pytest.raises(AxisError, match=r"BatchNorm at /: found axis=3 and an input of shape"):
        init(nn.BatchNorm(axis=3))


def test_mask_that_does_not_fit() -> None:
    with pytest.raises(MaskShapeError, match=r"BatchNorm at /: found a mask of shape \(8, 5\)"):
        train(nn.BatchNorm(), init(nn.BatchNorm()), X, mask=jnp.ones((8, 5)))
