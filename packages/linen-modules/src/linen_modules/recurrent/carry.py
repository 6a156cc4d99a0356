"""Carries: how the first one is made, and that steps keep its form."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import keystr, tree_flatten_with_path

from linen_modules import initializers
from linen_modules._cached_jit import cached_jit
from linen_modules.errors import CarryShapeError
from linen_modules.typing import Array, DTypeLike, Initializer

__all__ = ["check_same_carry", "default_key", "initial_carry", "initial_pair", "split_key"]


def check_same_carry(before: Any, after: Any) -> None:
    """Compares the carry that a step was given with the one that it returns.

    Args:
        before: a pytree of arrays.
        after: another one.

    Raises:
        CarryShapeError: if structures, shapes or dtypes differ. The text says where, but not in
            which cell.
    """
    rows = [_forms(tree) for tree in (before, after)]
    # What is weakly typed, such as a Python number, takes the dtype that comes out.
    weak = {where for where, (_, _, is_weak) in rows[0].items() if is_weak}
    differing = [
        f"  carry{where}: {_text(rows[0].get(where))} -> {_text(rows[1].get(where))}"
        for where in {**rows[0], **rows[1]}
        if _differ(rows[0].get(where), rows[1].get(where), where in weak)
    ]
    structures = [jax.tree.structure(tree) for tree in (before, after)]
    if not differing and structures[0] != structures[1]:
        differing = [f"  structure: {structures[0]} -> {structures[1]}"]
    if differing:
        raise CarryShapeError(
            "found a step that changes the form of the carry; expected it to come out as it went "
            "in (in -> out):\n"
            + "\n".join(differing)
            + "\nWrite .astype(...) or .reshape(...) on what the step returns, or begin with a carry "
            "of the form that comes out: initial_carry=..., or initialize_carry of the cell."
        )


Form = tuple[tuple[int, ...], Any, bool]


def _forms(tree: Any) -> dict[str, Form]:
    leaves, _ = tree_flatten_with_path(tree)
    types = ((keystr(path), jax.typeof(leaf)) for path, leaf in leaves)
    return {where: (form.shape, form.dtype, form.weak_type) for where, form in types}


def _differ(before: Form | None, after: Form | None, is_weak: bool) -> bool:
    if before is None or after is None:
        return True
    return before[0] != after[0] or (before[1] != after[1] and not is_weak)


def _text(form: Form | None) -> str:
    return "nothing" if form is None else f"{form[1]}{list(form[0])}"


def default_key() -> jax.Array:
    """Makes the key that a first carry is made with if there is no other.

    Returns:
        The key of seed 0.
    """
    config: Any = jax.config  # the default kind of keys is no part of what JAX caches functions by
    return _key(impl=config.jax_default_prng_impl)


@cached_jit()
def _key(*, impl: str) -> jax.Array:
    return jax.random.key(0, impl=impl)


@cached_jit()
def split_key(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Makes two keys of one.

    Args:
        key: a random key.

    Returns:
        Two keys.
    """
    first, second = jax.random.split(key)
    return first, second


def initial_carry(
    carry_init: Initializer, rng: jax.Array, shape: tuple[int, ...], dtype: DTypeLike
) -> Array:
    """Makes a carry of one array.

    Args:
        carry_init: makes it.
        rng: a random key.
        shape: its shape.
        dtype: its dtype.

    Returns:
        The array.
    """
    if carry_init is initializers.zeros:
        return _zeros(shape=shape, dtype=dtype)
    return carry_init(rng, shape, dtype)


@cached_jit()
def _zeros(*, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    return jnp.zeros(shape, dtype)


def initial_pair(
    carry_init: Initializer, rng: jax.Array, shape: tuple[int, ...], dtype: DTypeLike
) -> tuple[Array, Array]:
    """Makes a carry of two arrays, each with a key of its own.

    Args:
        carry_init: makes one array.
        rng: a random key.
        shape: the shape of each.
        dtype: the dtype of each.

    Returns:
        The two arrays.
    """
    if carry_init is initializers.zeros:
        zeros = _zeros(shape=shape, dtype=dtype)
        return zeros, zeros
    first, second = split_key(rng)
    return carry_init(first, shape, dtype), carry_init(second, shape, dtype)
