"""Random keys: how paths are folded into them, and what counts as a key."""

import hashlib
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linen_core import LazyRng
from linen_core._rngs import as_streams, is_valid_rng
from linen_core.config import config
from linen_core.errors import InvalidRngError, LinenError

KEY = jax.random.key(0)

parts = st.lists(st.one_of(st.text(max_size=5), st.integers(0, 2**40)), min_size=1, max_size=5)


def bits(key: jax.Array) -> np.ndarray:
    return np.asarray(jax.random.key_data(key) if key.dtype != jnp.uint32 else key)


def folded(key: jax.Array, path: list[str | int], separator: bytes = b"") -> jax.Array:
    """Fold a path into a key, by the definition alone."""
    data = b""
    for part in path:
        data += separator
        if isinstance(part, str):
            data += part.encode()
        else:
            data += bytes.fromhex(f"{part:x}".zfill(len(f"{part:x}") + len(f"{part:x}") % 2))
            data = data[:-1] if part == 0 else data
    number = int.from_bytes(hashlib.sha1(data).digest()[:4], "big")
    return jax.random.fold_in(key, jnp.uint32(number))


@given(parts)
def test_keys_are_folded_with_the_digest_of_the_path(path: list[str | int]) -> None:
    chex.assert_trees_all_equal(
        bits(LazyRng.create(KEY, *path).as_jax_rng()), bits(folded(KEY, path))
    )


@given(parts)
def test_with_the_separator_a_zero_byte_precedes_each_part(path: list[str | int]) -> None:
    with config.temporary(fix_rng_separator=True):
        key = LazyRng.create(KEY, *path).as_jax_rng()
    chex.assert_trees_all_equal(bits(key), bits(folded(KEY, path, b"\0")))


@pytest.mark.parametrize("number", [0, 1, 255, 256, 65_535, 65_536, 2**31, 2**32 + 1])
def test_integers_take_as_few_bytes_as_they_need(number: int) -> None:
    data = np.base_repr(number, 16) if number else ""
    data = bytes.fromhex(data.zfill(len(data) + len(data) % 2))
    digest = int.from_bytes(hashlib.sha1(data).digest()[:4], "big")
    chex.assert_trees_all_equal(
        bits(LazyRng(KEY, (number,)).as_jax_rng()), bits(jax.random.fold_in(KEY, digest))
    )


def test_the_separator_keeps_paths_apart_and_changes_values() -> None:
    def draw(*path: str) -> list[int]:
        return bits(LazyRng.create(KEY, *path).as_jax_rng()).tolist()

    assert draw("ab", "c") == draw("a", "bc")
    plain = draw("ab", "c")
    with config.temporary(fix_rng_separator=True):
        assert draw("ab", "c") != draw("a", "bc")
        assert draw("ab", "c") != plain
    assert draw("ab", "c") == plain


@pytest.mark.parametrize(
    "key",
    [KEY, jax.random.PRNGKey(0), np.zeros(2, np.uint32), jax.random.key(0, impl="rbg")],
    ids=["typed", "raw", "numpy", "rbg"],
)
def test_a_folded_key_is_of_the_same_kind(key: Any) -> None:
    assert LazyRng.create(key).as_jax_rng() is key
    new = LazyRng.create(key, "a").as_jax_rng()
    assert (new.dtype, new.shape) == (key.dtype, key.shape)
    assert bits(new).tolist() != bits(key).tolist()


def test_typed_and_raw_keys_give_the_same_bits() -> None:
    typed, raw = (LazyRng.create(k, "a", 1).as_jax_rng() for k in (KEY, jax.random.PRNGKey(0)))
    chex.assert_trees_all_equal(bits(typed), bits(raw))


def test_create_appends_and_leaves_the_original() -> None:
    outer = LazyRng.create(KEY, "a")
    inner = LazyRng.create(outer, "b", 2)
    assert (outer.suffix, inner.suffix) == (("a",), ("a", "b", 2))
    assert inner.rng is KEY


def test_clear_suffix_leaves_the_path_out() -> None:
    cleared = LazyRng.create(KEY, "a").clear_suffix()
    assert cleared.suffix == ()
    assert cleared.as_jax_rng() is KEY


def test_a_lazy_key_crosses_a_transformation() -> None:
    lazy = LazyRng.create(KEY, "a")
    leaves, structure = jax.tree.flatten(lazy)
    assert leaves == [KEY]
    assert jax.tree.unflatten(structure, leaves).suffix == ("a",)
    inside = jax.jit(lambda rng: rng.as_jax_rng())(lazy)
    chex.assert_trees_all_equal(bits(inside), bits(lazy.as_jax_rng()))
    stacked = jax.vmap(lambda k: LazyRng.create(k, "a").as_jax_rng())(jax.random.split(KEY, 2))
    assert stacked.shape == (2,)


def test_repr_shows_the_path() -> None:
    assert repr(LazyRng.create(KEY, "a", 1)).endswith("suffix=('a', 1))")


@pytest.mark.parametrize(
    ("rng", "expected"),
    [
        (KEY, True),
        (jax.random.PRNGKey(0), True),
        (np.zeros(2, np.uint32), True),
        (LazyRng.create(KEY, "a"), True),
        (LazyRng(jnp.ones(2)), False),
        (jax.random.split(KEY), False),
        (jax.random.split(jax.random.PRNGKey(0)), False),
        (jnp.zeros(2, jnp.int32), False),
        (jnp.uint32(1), False),
        (0, False),
        (None, False),
        ("params", False),
    ],
    ids=lambda x: str(x)[:20].replace("\n", " "),
)
def test_is_valid_rng(rng: Any, expected: bool) -> None:
    assert is_valid_rng(rng) is expected


def test_a_traced_key_is_a_key() -> None:
    assert jax.jit(lambda key: int(is_valid_rng(key)))(KEY) == 1
    assert jax.jit(lambda key: int(is_valid_rng(key)))(jax.random.PRNGKey(0)) == 1


def test_as_streams() -> None:
    assert as_streams(KEY, "rngs") == {"params": KEY}
    given_ = {"params": KEY, "dropout": LazyRng.create(KEY, "a")}
    streams = as_streams(given_, "rngs")
    assert streams == given_
    assert streams is not given_


@pytest.mark.parametrize(
    ("rngs", "stream", "shown"),
    [
        (0, "'params'", "0"),
        ({"dropout": 3.0}, "'dropout'", "3.0"),
        ({"params": KEY, "noise": None}, "'noise'", "None"),
        (
            {"params": jax.random.split(KEY)},
            "'params'",
            "an array of shape (2,) and dtype key<fry>",
        ),
        (jnp.zeros(3), "'params'", "an array of shape (3,) and dtype float32"),
        ({1: KEY}, "1", "an array of shape () and dtype key<fry>"),
        (None, "'params'", "None"),
    ],
    ids=["int", "float", "none in a dict", "batch of keys", "floats", "name", "none"],
)
def test_what_is_no_key(rngs: Any, stream: str, shown: str) -> None:
    with pytest.raises(InvalidRngError) as caught:
        as_streams(rngs, "The first argument of init")
    assert isinstance(caught.value, LinenError)
    assert str(caught.value) == (
        "The first argument of init must be a key, or a dict from stream names to keys, made by "
        f"jax.random.key(seed), but stream {stream} is {shown}."
    )
