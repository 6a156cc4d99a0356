"""Masks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linen_modules as nn
from linen_modules.attention.masks import visible_positions
from linen_modules.errors import MaskShapeError

TOKENS = jnp.array([[1, 1, 2, 0], [1, 2, 2, 2]])


@pytest.mark.parametrize(
    ("pairwise_fn", "reference"),
    [
        (jnp.multiply, np.multiply.outer),
        (jnp.equal, np.equal.outer),
        (lambda q, k: q - k, np.subtract.outer),
    ],
    ids=["product", "segments", "own function"],
)
def test_attention_mask(pairwise_fn: Any, reference: Any) -> None:
    mask = nn.make_attention_mask(TOKENS, TOKENS[:, :3], pairwise_fn, extra_batch_dims=1)
    assert mask.shape == (1, 2, 1, 4, 3)
    assert mask.dtype == jnp.float32
    for row, tokens in zip(mask[0, :, 0], np.asarray(TOKENS), strict=True):
        np.testing.assert_array_equal(row, reference(tokens, tokens[:3]))


@pytest.mark.parametrize("dtype", [jnp.float32, bool, jnp.bfloat16])
@pytest.mark.parametrize(("shape", "extra"), [((3,), 0), ((2, 3), 0), ((2, 3), 2)], ids=str)
def test_causal_mask(shape: tuple[int, ...], extra: int, dtype: Any) -> None:
    mask = nn.make_causal_mask(jnp.zeros(shape), extra, dtype)
    assert mask.shape == (*[1] * extra, *shape[:-1], 1, 3, 3)
    assert mask.dtype == dtype
    expected = np.broadcast_to(np.tril(np.ones((3, 3))), mask.shape)
    np.testing.assert_array_equal(np.asarray(mask, np.float32), expected)


def test_combined_masks() -> None:
    causal, padding = nn.make_causal_mask(TOKENS, dtype=bool), TOKENS[:, None, None] > 0
    mask = nn.combine_masks(causal, None, padding, 3 * padding)
    assert mask is not None
    assert mask.dtype == jnp.float32
    np.testing.assert_array_equal(mask, np.asarray(causal) & np.asarray(padding))
    assert nn.combine_masks(None, None) is None
    np.testing.assert_array_equal(nn.combine_masks(3 * padding), 3.0 * padding)
    single = nn.combine_masks(3 * padding, dtype=bool)
    assert single is not None
    assert single.dtype == bool


def test_functions_are_traced_once() -> None:
    def masks(x: jax.Array) -> Any:
        causal = nn.make_causal_mask(x)
        return nn.combine_masks(nn.make_attention_mask(x, x), causal)

    jaxpr = jax.make_jaxpr(masks)(TOKENS)
    assert {equation.primitive.name for equation in jaxpr.eqns} <= {"jit", "pjit"}
    assert len(jaxpr.eqns) == 3


@pytest.mark.parametrize(
    "shapes", [((2, 3), (3,)), ((2, 3), (4, 3)), ((2, 1, 3), (1, 2, 2))], ids=str
)
def test_masks_that_do_not_combine(shapes: Any) -> None:
    first, second = (str(shape).replace("(", r"\(").replace(")", r"\)") for shape in shapes)
    with pytest.raises(
        MaskShapeError,
        match=f"combine_masks: found masks of shapes {first}, {second}; expected one rank and "
        r"shapes that broadcast to each other. Write mask\[None\]",
    ):
        nn.combine_masks(*map(jnp.ones, shapes))


@pytest.mark.parametrize("is_causal", [True, False])
@pytest.mark.parametrize("window", [None, (1, 2), (0, 0), (9, 1)], ids=str)
@pytest.mark.parametrize("first", [0, 3])
def test_visible_positions(is_causal: bool, window: tuple[int, int] | None, first: int) -> None:
    visible = visible_positions(
        3, 7, is_causal=is_causal, local_window_size=window, first_query=first
    )
    for query in range(3):
        for key in range(7):
            distance = first + query - key
            expected = distance >= 0 or not is_causal
            if window is not None:
                expected &= -window[1] <= distance <= window[0]
            assert visible[query, key] == expected
