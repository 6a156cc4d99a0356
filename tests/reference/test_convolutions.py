"""Linear maps, convolutions and pools against PyTorch, with its weights."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import linen_modules as nn

TOLERANCE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}
CONV = {1: torch.nn.Conv1d, 2: torch.nn.Conv2d, 3: torch.nn.Conv3d}
CONV_TRANSPOSE = {
    1: torch.nn.ConvTranspose1d,
    2: torch.nn.ConvTranspose2d,
    3: torch.nn.ConvTranspose3d,
}
SIZES = {1: (11,), 2: (9, 8), 3: (6, 5, 7)}
WINDOWS = {1: (3,), 2: (3, 2), 3: (2, 3, 2)}


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def channels_first(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.moveaxis(x, -1, 1).copy())


def channels_last(y: torch.Tensor) -> np.ndarray:
    return np.moveaxis(y.detach().numpy(), 1, -1)


def variables(layer: torch.nn.Module) -> dict[str, Any]:
    """Gives the weights as parameters.

    PyTorch has the features of the output in front, which go last, and those of the input go before
    them; of a transposed convolution it is the other way round, as with `transpose_kernel`.
    """
    weight, bias = (getattr(layer, name) for name in ("weight", "bias"))
    kernel = weight.detach().numpy()
    params = {"kernel": jnp.asarray(kernel.transpose(*range(2, kernel.ndim), 1, 0))}
    if bias is not None:
        params["bias"] = jnp.asarray(bias.detach().numpy())
    return {"params": params}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(6,), (3, 6), (2, 3, 6)], ids=str)
def test_dense(shape: tuple[int, ...], bias: bool) -> None:
    theirs, x = torch.nn.Linear(6, 4, bias=bias), normal(*shape)
    for ours in (nn.Dense(4, use_bias=bias), nn.DenseGeneral(4, use_bias=bias)):
        y = ours.apply(variables(theirs), jnp.asarray(x))
        np.testing.assert_allclose(y, theirs(torch.from_numpy(x)).detach(), **TOLERANCE)


def test_dense_general_over_two_axes() -> None:
    theirs, x = torch.nn.Linear(12, 6), normal(2, 4, 3)
    params = variables(theirs)["params"]
    kernel, bias = params["kernel"].reshape(4, 3, 2, 3), params["bias"].reshape(2, 3)
    y = nn.DenseGeneral((2, 3), (-2, -1)).apply(
        {"params": {"kernel": kernel, "bias": bias}}, jnp.asarray(x)
    )
    expected = theirs(torch.from_numpy(x).flatten(1)).detach().reshape(2, 2, 3)
    np.testing.assert_allclose(y, expected, **TOLERANCE)


def test_einsum_of_a_batch_of_kernels() -> None:
    x, kernel, bias = normal(5, 2, 4), normal(5, 4, 3), normal(5, 3)
    params = {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
    y = nn.Einsum((5, 4, 3), "abc,acd->abd").apply({"params": params}, jnp.asarray(x))
    expected = torch.baddbmm(*map(torch.from_numpy, (bias[:, None], x, kernel)))
    np.testing.assert_allclose(y, expected, **TOLERANCE)


def test_prelu() -> None:
    theirs, x = torch.nn.PReLU(init=0.3), normal(3, 4)
    params = {"negative_slope": jnp.asarray(theirs.weight.detach().numpy()[0])}
    y = nn.PReLU().apply({"params": params}, jnp.asarray(x))
    np.testing.assert_allclose(y, theirs(torch.from_numpy(x)).detach(), **TOLERANCE)


# fields of PyTorch -> fields of Linen
CONV_FIELDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "valid": ({}, {"padding": "VALID"}),
    "same": ({"padding": "same"}, {}),
    "same, dilation": ({"padding": "same", "dilation": 2}, {"kernel_dilation": 2}),
    "padding": ({"padding": 1}, {"padding": 1}),
    "strides": ({"stride": 2, "padding": 1}, {"strides": 2, "padding": 1}),
    "dilation": ({"dilation": 2}, {"kernel_dilation": 2, "padding": "VALID"}),
    "groups": ({"groups": 2}, {"feature_group_count": 2, "padding": "VALID"}),
    "depthwise": (
        {"groups": 4, "stride": 2},
        {"feature_group_count": 4, "strides": 2, "padding": "VALID"},
    ),
    "without bias": ({"bias": False}, {"use_bias": False, "padding": "VALID"}),
}


def compare_conv(window: Sequence[int], theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    ndim = len(window)
    x, layer = normal(2, *SIZES[ndim], 4), CONV[ndim](4, 8, tuple(window), **theirs)
    y = nn.Conv(8, window, **ours).apply(variables(layer), jnp.asarray(x))
    np.testing.assert_allclose(y, channels_last(layer(channels_first(x))), **TOLERANCE)


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("fields", CONV_FIELDS.values(), ids=CONV_FIELDS.keys())
@pytest.mark.filterwarnings(
    "ignore:Using padding='same' with even kernel:UserWarning"
)  # by PyTorch
def test_conv(fields: Any, ndim: int) -> None:
    compare_conv(WINDOWS[ndim], *fields)


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("mode", ["circular", "reflect"])
@pytest.mark.parametrize("window", [(3,), (5, 3), (3, 5, 3)], ids=str)
def test_conv_with_padding_made_of_the_input(
    window: tuple[int, ...], mode: str, strides: int
) -> None:
    padding = tuple(size // 2 for size in window)
    theirs = {"padding_mode": mode, "padding": padding, "stride": strides}
    compare_conv(window, theirs, {"padding": mode.upper(), "strides": strides})


def test_causal_conv() -> None:
    x, layer = normal(2, 11, 4), torch.nn.Conv1d(4, 8, 3, dilation=2)
    y = nn.Conv(8, 3, padding="CAUSAL", kernel_dilation=2).apply(variables(layer), jnp.asarray(x))
    expected = layer(torch.nn.functional.pad(channels_first(x), (4, 0)))
    np.testing.assert_allclose(y, channels_last(expected), **TOLERANCE)


# strides, dilation; what PyTorch cuts off both sides, and adds at the end
TRANSPOSED: dict[str, tuple[int, int, int, int]] = {
    "plain": (1, 1, 0, 0),
    "strides": (2, 1, 0, 0),
    "strides and dilation": (2, 2, 0, 0),
    "cut off": (2, 1, 1, 0),
    "cut off and longer": (3, 2, 1, 2),
}


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("case", TRANSPOSED.values(), ids=TRANSPOSED.keys())
def test_conv_transpose(case: tuple[int, int, int, int], ndim: int) -> None:
    strides, dilation, cut_off, longer = case
    x, window = normal(2, *SIZES[ndim], 4), WINDOWS[ndim]
    layer = CONV_TRANSPOSE[ndim](
        4, 6, window, strides, padding=cut_off, output_padding=longer, dilation=dilation
    )
    reach = [dilation * (size - 1) - cut_off for size in window]
    ours = nn.ConvTranspose(
        6,
        window,
        strides,
        padding=[(r, r + longer) for r in reach],
        kernel_dilation=dilation,
        transpose_kernel=True,
    )
    y = ours.apply(variables(layer), jnp.asarray(x))
    np.testing.assert_allclose(y, channels_last(layer(channels_first(x))), **TOLERANCE)


def test_conv_transpose_with_a_kernel_that_is_not_transposed() -> None:
    x, layer = normal(2, 11, 4), torch.nn.ConvTranspose1d(4, 6, 3, 2, padding=1, output_padding=1)
    kernel = layer.weight.detach().numpy().transpose(2, 0, 1)[::-1]
    params = variables(layer)["params"] | {"kernel": jnp.asarray(kernel)}
    y = nn.ConvTranspose(6, 3, 2, padding=[(1, 2)]).apply({"params": params}, jnp.asarray(x))
    np.testing.assert_allclose(y, channels_last(layer(channels_first(x))), **TOLERANCE)


def test_conv_local() -> None:
    x, kernel, bias = normal(2, 9, 4), normal(4, 4 * 3, 5), normal(4, 5)
    params = {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
    y = nn.ConvLocal(5, 3, 2, "VALID").apply({"params": params}, jnp.asarray(x))
    windows = channels_first(x).unfold(2, 3, 2).permute(0, 2, 1, 3).flatten(2)
    expected = torch.einsum("bpi,pio->bpo", windows, torch.from_numpy(kernel))
    np.testing.assert_allclose(y, expected + torch.from_numpy(bias), **TOLERANCE)


POOLS: dict[str, dict[str, Any]] = {
    "plain": {"kernel_size": 3, "stride": 1},
    "strides": {"kernel_size": 3, "stride": 2},
    "padding": {"kernel_size": 3, "stride": 2, "padding": 1},
}


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("options", POOLS.values(), ids=POOLS.keys())
def test_pools(options: dict[str, Any], ndim: int) -> None:
    x, functions = normal(2, *SIZES[ndim], 4), torch.nn.functional
    ours = ((options["kernel_size"],) * ndim, options["stride"], options.get("padding", "VALID"))
    highest = getattr(functions, f"max_pool{ndim}d")(channels_first(x), **options)
    np.testing.assert_array_equal(nn.max_pool(jnp.asarray(x), *ours), channels_last(highest))
    for count_include_pad in (True, False):
        mean = getattr(functions, f"avg_pool{ndim}d")(
            channels_first(x), **options, count_include_pad=count_include_pad
        )
        y = nn.avg_pool(jnp.asarray(x), *ours, count_include_pad=count_include_pad)
        np.testing.assert_allclose(y, channels_last(mean), **TOLERANCE)
