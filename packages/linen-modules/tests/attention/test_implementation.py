"""The choice between the arithmetic and a fused kernel."""

import logging
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linen_modules as nn
from linen_modules.attention import implementation
from linen_modules.attention.implementation import fused_attention
from linen_modules.errors import AlgorithmError, FusedAttentionError

KEYS = jax.random.split(jax.random.key(0), 4)
QUERY = jax.random.normal(KEYS[0], (2, 5, 4, 8))
KEY, VALUE = (jax.random.normal(key, (2, 7, 4, 8)) for key in KEYS[1:3])
MASK = (jax.random.normal(KEYS[3], (2, 1, 5, 7)) > 0).at[..., 0].set(True)
BIAS = jax.random.normal(KEYS[3], (4, 5, 7))
LOGGER = "linen_modules.attention"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """Pretends that there is a GPU whose kernel computes what XLA computes; lists the calls."""
    calls: list[dict[str, Any]] = []
    by_jax = jax.nn.dot_product_attention

    def kernel(*args: Any, implementation: str, **kwargs: Any) -> jax.Array:
        if args[0].dtype == jnp.float32:
            raise NotImplementedError("Q must be fp16 or bf16, got float32.")
        calls.append(kwargs | {"implementation": implementation})
        return by_jax(*args, implementation="xla", **kwargs)

    monkeypatch.setattr(jax.nn, "dot_product_attention", kernel)
    monkeypatch.setattr(implementation, "default_platform", lambda: "gpu")
    jax.clear_caches()
    implementation._refusal_by_jax.cache_clear()
    yield calls
    jax.clear_caches()
    implementation._refusal_by_jax.cache_clear()


def halved(*arrays: jax.Array) -> list[jax.Array]:
    return [array.astype(jnp.bfloat16) for array in arrays]


@pytest.mark.parametrize("choice", ["auto", "xla"])
def test_the_choice_does_not_matter_on_a_cpu(choice: Any) -> None:
    outputs = nn.dot_product_attention(QUERY, KEY, VALUE, implementation=choice)
    np.testing.assert_array_equal(outputs, nn.dot_product_attention(QUERY, KEY, VALUE))


def test_reason_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    implementation._log_once.cache_clear()
    with caplog.at_level(logging.DEBUG, LOGGER):
        for _ in range(2):
            nn.dot_product_attention(QUERY, KEY, VALUE)
            nn.dot_product_attention(QUERY, KEY, VALUE, precision="highest")
    assert [record.getMessage() for record in caplog.records] == [
        "attention is not fused: the default device is a cpu, and the kernel is one of NVIDIA GPUs",
        "attention is not fused: precision is given",
    ]
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "the default device is a cpu, and the kernel is one of NVIDIA GPUs"),
        ({"zero_fully_masked_rows": True}, "zero_fully_masked_rows is asked for"),
        ({"force_fp32_for_softmax": True}, "force_fp32_for_softmax asks for a float32 result"),
        ({"precision": "highest"}, "precision is given"),
        ({"einsum_dot_general": jax.lax.dot_general}, "products are replaced"),
        (
            {"dropout_rate": 0.5, "dropout_rng": jax.random.key(0)},
            "there is dropout of weights",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_kernel_that_cannot_run(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(
        FusedAttentionError,
        match="dot_product_attention: found implementation='cudnn', which cannot run here: "
        f"{reason}. Write implementation='auto' to use it only where it can.",
    ):
        nn.dot_product_attention(QUERY, KEY, VALUE, implementation="cudnn", **options)


def test_unknown_implementation() -> None:
    with pytest.raises(
        AlgorithmError,
        match=r"found implementation='flash'; expected 'auto', 'xla' or 'cudnn'\. Write",
    ):
        nn.dot_product_attention(QUERY, KEY, VALUE, implementation="flash")  # pyright: ignore[reportArgumentType]


def test_a_gpu_takes_the_kernel_for_half_precision(gpu: list[dict[str, Any]]) -> None:
    arrays = halved(QUERY, KEY, VALUE)
    outputs = nn.dot_product_attention(*arrays, mask=MASK, is_causal=True)
    assert gpu[-1]["implementation"] == "cudnn"
    assert gpu[-1]["is_causal"]
    expected = nn.dot_product_attention(*arrays, mask=MASK, is_causal=True, implementation="xla")
    np.testing.assert_allclose(outputs.astype(jnp.float32), expected.astype(jnp.float32), atol=0.03)
    count = len(gpu)
    nn.dot_product_attention(*arrays, mask=MASK, is_causal=True)
    assert len(gpu) == count  # neither asked nor traced again


def test_what_jax_refuses_is_computed_by_xla(
    gpu: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    implementation._log_once.cache_clear()
    with caplog.at_level(logging.DEBUG, LOGGER):
        nn.dot_product_attention(QUERY, KEY, VALUE)
    assert not gpu
    assert caplog.messages == ["attention is not fused: Q must be fp16 or bf16, got float32"]
    with pytest.raises(FusedAttentionError, match="cannot run here: Q must be fp16 or bf16, got"):
        nn.dot_product_attention(QUERY, KEY, VALUE, implementation="cudnn")


def test_layers_take_the_kernel(gpu: list[dict[str, Any]]) -> None:
    layer = nn.MultiHeadAttention(4, dtype=jnp.bfloat16, num_kv_heads=2, local_window_size=(3, 0))
    x = QUERY[..., 0, :]
    outputs, variables = layer.init_with_output(jax.random.key(0), x)
    assert gpu[-1]["implementation"] == "cudnn"
    expected = layer.clone(implementation="xla").apply(variables, x)
    np.testing.assert_allclose(outputs.astype(jnp.float32), expected.astype(jnp.float32), atol=0.05)


@pytest.mark.parametrize(
    ("batch", "kv_heads"), [((), 4), ((2,), 2), ((2, 1), 4)], ids=["none", "one", "two"]
)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mask": MASK},
        {"mask": MASK[:1, 0, :1].astype(jnp.float32), "bias": BIAS},
        {"is_causal": True},
        # JAX 0.8.0 forgets a window where there is nothing else to mask.
        {"local_window_size": (2, 1), "mask": jnp.ones_like(MASK)},
        {"local_window_size": (2, 0)},
        {"dtype": jnp.float32},
    ],
    ids=lambda value: "-".join(value) or "plain",
)
def test_arguments_of_the_kernel(
    batch: tuple[int, ...], options: dict[str, Any], kv_heads: int
) -> None:
    arrays = [
        array.reshape(*batch, *array.shape[1:]) if batch else array[0]
        for array in (QUERY, KEY[:, :, :kv_heads], VALUE[:, :, :kv_heads])
    ]
    options = options | {"dtype": options.get("dtype")}
    mask = options.pop("mask", None)
    if mask is not None and mask.ndim == 4:
        mask = mask.reshape(*batch, *mask.shape[1:]) if batch else mask[0]
    bias = options.pop("bias", None)
    found = fused_attention(arrays[0], arrays[1], arrays[2], bias, mask, kernel="xla", **options)
    expected = nn.dot_product_attention(*arrays, bias=bias, mask=mask, **options)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_default_platform() -> None:
    assert implementation.default_platform() == jax.default_backend()
    with jax.default_device(jax.devices("cpu")[0]):
        assert implementation.default_platform() == "cpu"
