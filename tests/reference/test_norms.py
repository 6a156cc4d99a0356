"""Normalising layers against PyTorch, with its weights."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import linen_modules as nn

TOLERANCE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4}


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(2.0, 3.0, size=shape).astype(np.float32)


def channels_first(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.moveaxis(x, -1, 1).copy())


def channels_last(y: torch.Tensor) -> np.ndarray:
    return np.moveaxis(y.detach().numpy(), 1, -1)


def randomized(layer: torch.nn.Module) -> torch.nn.Module:
    """Gives a layer weights that are not all the same."""
    with torch.no_grad():
        for seed, parameter in enumerate(layer.parameters()):
            parameter.copy_(torch.from_numpy(normal(*parameter.shape, seed=seed)))
    return layer


def affine(layer: torch.nn.Module) -> dict[str, Any]:
    names = {"weight": "scale", "bias": "bias"}
    return {names[name]: jnp.asarray(p.detach()) for name, p in layer.named_parameters()}


@pytest.mark.parametrize("spatial", [(), (5,), (4, 3)], ids=str)
def test_batch_norm(spatial: tuple[int, ...]) -> None:
    theirs = randomized((torch.nn.BatchNorm1d if len(spatial) < 2 else torch.nn.BatchNorm2d)(6))
    ours = nn.BatchNorm(momentum=0.9)
    variables: Any = {
        "params": affine(theirs),
        "batch_stats": {"mean": jnp.zeros(6), "var": jnp.ones(6)},
    }
    for seed in range(3):
        x = normal(8, *spatial, 6, seed=seed)
        y, updates = ours.apply(variables, jnp.asarray(x), False, mutable=["batch_stats"])
        np.testing.assert_allclose(y, channels_last(theirs(channels_first(x))), **TOLERANCE)
        # PyTorch averages the unbiased variance.
        count = x.size // 6
        old, new = (tree["batch_stats"]["var"] for tree in (variables, updates))
        updates["batch_stats"]["var"] = new + 0.1 * (new - 0.9 * old) / 0.1 / (count - 1)
        variables = {**variables, **updates}
    theirs.eval()
    y = ours.apply(variables, jnp.asarray(x), True)  # pyright: ignore[reportPossiblyUnboundVariable]
    np.testing.assert_allclose(y, channels_last(theirs(channels_first(x))), **TOLERANCE)  # pyright: ignore[reportPossiblyUnboundVariable]


@pytest.mark.parametrize("axes", [(-1,), (-2, -1)], ids=str)
def test_layer_norm(axes: tuple[int, ...]) -> None:
    x = normal(4, 5, 6)
    theirs = randomized(torch.nn.LayerNorm([x.shape[axis] for axis in axes]))
    ours = nn.LayerNorm(epsilon=1e-5, reduction_axes=axes, feature_axes=axes)
    y = ours.apply({"params": affine(theirs)}, jnp.asarray(x))
    np.testing.assert_allclose(y, theirs(torch.from_numpy(x)).detach(), **TOLERANCE)


@pytest.mark.parametrize("axes", [(-1,), (-2, -1)], ids=str)
def test_rms_norm(axes: tuple[int, ...]) -> None:
    x = normal(4, 5, 6)
    theirs = randomized(torch.nn.RMSNorm([x.shape[axis] for axis in axes], eps=1e-6))
    ours = nn.RMSNorm(reduction_axes=axes, feature_axes=axes)
    y = ours.apply({"params": affine(theirs)}, jnp.asarray(x))
    np.testing.assert_allclose(y, theirs(torch.from_numpy(x)).detach(), **TOLERANCE)


@pytest.mark.parametrize(
    ("spatial", "groups"), [((), 1), ((), 2), ((5,), 2), ((5,), 6), ((4, 3), 3)], ids=str
)
def test_group_norm(spatial: tuple[int, ...], groups: int) -> None:
    theirs, x = randomized(torch.nn.GroupNorm(groups, 6)), normal(8, *spatial, 6)
    ours = nn.GroupNorm(groups, epsilon=1e-5)
    y = ours.apply({"params": affine(theirs)}, jnp.asarray(x))
    np.testing.assert_allclose(y, channels_last(theirs(channels_first(x))), **TOLERANCE)


@pytest.mark.parametrize(
    ("spatial", "cls"),
    [((5,), torch.nn.InstanceNorm1d), ((4, 3), torch.nn.InstanceNorm2d)],
    ids=["one", "two"],
)
def test_instance_norm(spatial: tuple[int, ...], cls: Any) -> None:
    theirs, x = randomized(cls(6, affine=True)), normal(8, *spatial, 6)
    y = nn.InstanceNorm(epsilon=1e-5).apply({"params": affine(theirs)}, jnp.asarray(x))
    np.testing.assert_allclose(y, channels_last(theirs(channels_first(x))), **TOLERANCE)


def test_weight_norm() -> None:
    theirs = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(6, 4))
    theirs = randomized(theirs)
    parameters = {name: p.detach().numpy() for name, p in theirs.named_parameters()}
    params = {
        "layer_instance": {
            "kernel": parameters["parametrizations.weight.original1"].T,
            "bias": parameters["bias"],
        },
        "layer_instance/kernel/scale": parameters["parametrizations.weight.original0"][:, 0],
    }
    x = normal(3, 6)
    y = nn.WeightNorm(nn.Dense(4)).apply({"params": params}, jnp.asarray(x))
    np.testing.assert_allclose(y, theirs(torch.from_numpy(x)).detach(), **TOLERANCE)


def test_spectral_norm() -> None:
    linear = randomized(torch.nn.Linear(6, 4))
    kernel, bias = linear.weight.detach().numpy().T.copy(), linear.bias.detach().numpy().copy()
    theirs = torch.nn.utils.parametrizations.spectral_norm(linear, n_power_iterations=50)
    ours = nn.SpectralNorm(nn.Dense(4), n_steps=50)
    variables = {
        "params": {"layer_instance": {"kernel": kernel, "bias": bias}},
        "batch_stats": {
            "layer_instance/kernel/u": normal(1, 4),
            "layer_instance/kernel/sigma": np.float32(1),
        },
    }
    x = normal(3, 6)
    y = ours.apply(variables, jnp.asarray(x), update_stats=False)
    np.testing.assert_allclose(y, theirs(torch.from_numpy(x)).detach(), **TOLERANCE)
