"""Programs for arrays of any shape."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest
from jax.nn import initializers

from linen_core._flat_programs import NotFlat, flatten, run_flat

KEY = jax.random.key(3)
OUTSIDE = jnp.arange(6.0).reshape(2, 3)

FLAT: dict[str, Callable[[jax.Array, tuple[int, ...]], jax.Array]] = {
    "normal": lambda key, shape: 0.3 * jax.random.normal(key, shape),
    "uniform": lambda key, shape: jax.random.uniform(key, shape, minval=-2.0),
    "bits": lambda key, shape: jax.random.bits(key, shape),
    "bernoulli": lambda key, shape: jax.random.bernoulli(key, 0.3, shape),
    "constant": lambda _, shape: jnp.full(shape, 2.5, jnp.float32),
    "truncated normal": lambda key, shape: jax.random.truncated_normal(key, -2, 2, shape),
    "half precision": lambda key, shape: initializers.normal()(key, shape, jnp.bfloat16),
    "folded key": lambda key, shape: jax.random.normal(jax.random.fold_in(key, 7), shape),
}
NOT_FLAT: dict[str, Callable[[jax.Array], Any]] = {
    "numbers depend on their position": lambda key: jnp.arange(6.0).reshape(2, 3),
    "numbers depend on each other": lambda key: jnp.cumsum(jax.random.normal(key, (2, 3)), 0),
    "a reduction": lambda key: (
        jax.random.normal(key, (2, 3)) - jax.random.normal(key, (2, 3)).sum()
    ),
    "orthogonal": lambda key: initializers.orthogonal()(key, (2, 3)),
    "transposed": lambda key: jax.random.normal(key, (3, 2)).T,
    "one number": lambda key: jax.random.normal(key),
    "one number with dimensions": lambda key: jax.random.normal(key, (1, 1)),
    "narrow": lambda key: jnp.zeros((2, 3)).at[0].set(1.0),
    "an array from outside": lambda key: jax.random.normal(key, (2, 3)) * OUTSIDE,
    "a weak type": lambda key: jnp.full((2, 3), 2.5),
    "several results of one call": lambda key: jnp.modf(jax.random.normal(key, (2, 3)))[0],
    "a reshape that transposes": lambda key: jax.lax.reshape(
        jax.random.normal(key, (3, 3)), (3, 3), dimensions=(1, 0)
    ),
    "a product and a sum, which processors merge": lambda key: (
        1.1 * jax.random.normal(key, (2, 3)) + 0.37
    ),
    "the same of scalars": lambda key: (
        (1.1 * jax.random.normal(key) + 0.37) * jax.random.normal(key, (2, 3))
    ),
    "an approximation that goes by the position": lambda key: jnp.exp(
        jax.random.normal(key, (2, 3))
    ),
    "several keys": lambda key: jax.vmap(lambda k: jax.random.normal(k, (3,)))(
        jax.random.split(key)
    ),
}


def traced(make: Callable[[jax.Array], Any], key: jax.Array = KEY) -> Any:
    return jax.make_jaxpr(make)(key)


@pytest.mark.parametrize("shape", [(2, 3), (7,), (3, 1, 5), (1, 40)])
@pytest.mark.parametrize("name", FLAT)
def test_the_first_numbers_are_those_of_the_array(name: str, shape: tuple[int, ...]) -> None:
    program, literals = flatten(traced(lambda key: FLAT[name](key, shape)))
    expected = FLAT[name](KEY, shape)
    numbers = run_flat(program, 50, KEY, *literals)
    assert numbers.shape == (50,)
    chex.assert_trees_all_equal(numbers[: expected.size].reshape(shape), expected)
    assert numbers.dtype == expected.dtype


@pytest.mark.parametrize("name", FLAT)
def test_the_program_is_the_same_for_all_shapes(name: str) -> None:
    programs = [
        flatten(traced(lambda key, shape=shape: FLAT[name](key, shape)))[0]
        for shape in [(2, 3), (4, 4), (5,), (1, 2, 3, 4)]
    ]
    assert len(set(programs)) == 1


def test_programs_compare_by_what_they_compute() -> None:
    def program(name: str) -> Any:
        return flatten(traced(lambda key: FLAT[name](key, (2, 3))))[0]

    assert program("normal") == program("normal") != program("uniform")
    assert program("normal") != "normal"
    assert len({program(name) for name in FLAT}) == len(FLAT)


def test_constants_of_separate_calls_are_arguments() -> None:
    def scaled(factor: float) -> Any:
        return flatten(traced(lambda key: factor * jax.random.normal(key, (2, 3))))

    (program, one), (same, other) = scaled(0.5), scaled(0.25)
    assert program == same
    assert (one, other) == ([0.5], [0.25])


@pytest.mark.parametrize("name", NOT_FLAT)
def test_what_is_no_flat_program(name: str) -> None:
    with pytest.raises(NotFlat):
        flatten(traced(NOT_FLAT[name]))


def test_other_generators_do_not_go_by_position() -> None:
    key = jax.random.key(0, impl="rbg")
    with pytest.raises(NotFlat):
        flatten(traced(lambda key: jax.random.normal(key, (2, 3)), key))
