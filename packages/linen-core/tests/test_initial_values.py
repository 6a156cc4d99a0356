"""Initial values: the same bits as separate calls, without a compilation for each shape."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.nn import initializers
from jax.sharding import AxisType

from linen_core import Scope, init, lazy_init
from linen_core import _initial_values as initial_values
from linen_core._flat_programs import run_flat

KEY = jax.random.key(3)
NORMAL = initializers.normal()
INITIALIZERS = {
    "lecun_normal": initializers.lecun_normal(),
    "he_uniform": initializers.he_uniform(),
    "glorot_normal over leading axes": initializers.glorot_normal(0, 1),
    "normal": initializers.normal(2.3),
    "truncated_normal": initializers.truncated_normal(0.3),
    "uniform": initializers.uniform(0.1),
    "constant": initializers.constant(0.7),
    "zeros": initializers.zeros,
    "ones": initializers.ones,
}


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, int]]:
    """The programs that run, each with its size."""
    if not initial_values._IS_ROUNDED_ALIKE:
        pytest.skip("this JAX is too old for them")
    seen: list[tuple[Any, int]] = []

    def run(program: Any, size: int, *args: Any) -> jax.Array:
        seen.append((program, size))
        return run_flat(program, size, *args)

    monkeypatch.setattr(initial_values, "run_flat", run)
    return seen


def parameters(*shapes: tuple[int, ...], init_fn: Any = NORMAL) -> Any:
    def fn(scope: Scope) -> None:
        for i, shape in enumerate(shapes):
            scope.param(f"w{i}", init_fn, shape)

    return fn


def assert_same_bits(fn: Any, key: jax.Array = KEY) -> None:
    found, expected = lazy_init(fn)(key), init(fn)(key)[1]
    chex.assert_trees_all_equal_shapes_and_dtypes(found, expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
        assert (a.committed, a.weak_type, a.sharding) == (b.committed, b.weak_type, b.sharding)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=lambda d: d.__name__)
@pytest.mark.parametrize("name", INITIALIZERS)
def test_the_bits_are_those_of_separate_calls(name: str, dtype: Any) -> None:
    def fn(scope: Scope) -> None:
        for shape in [(33, 70), (1, 9)]:
            scope.push().param("w", INITIALIZERS[name], shape, dtype)

    assert_same_bits(fn)


def test_an_initializer_that_is_no_flat_program(sizes: list[tuple[Any, int]]) -> None:
    assert_same_bits(parameters((3, 40), init_fn=initializers.orthogonal()))
    assert sizes == []


def test_double_precision() -> None:
    with jax.enable_x64(True):
        assert_same_bits(parameters((3, 40), (5,), init_fn=initializers.uniform(dtype=jnp.float64)))


@settings(max_examples=5, deadline=None)
@given(shape=st.lists(st.integers(1, 40), min_size=1, max_size=3), seed=st.integers(0, 2**32 - 1))
def test_any_shape_and_key(shape: list[int], seed: int) -> None:
    assert_same_bits(parameters(tuple(shape)), jax.random.key(seed))


@pytest.mark.parametrize("last", [3, 4, 5, 8, 9])
def test_short_last_axes(last: int) -> None:
    assert_same_bits(parameters((40, last), (3, 3, 8, last)))


def test_one_program_for_all_shapes(sizes: list[tuple[Any, int]]) -> None:
    lazy_init(parameters((3, 40), (5,), (6, 7, 8)))(KEY)
    assert len(sizes) == 3
    assert len(set(sizes)) == 1


def test_sizes(sizes: list[tuple[Any, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(initial_values, "_SIZES", (8, 100))
    fn = parameters((8,), (9,), (10, 10), (11, 10))
    variables = lazy_init(fn)(KEY)
    assert [size for _, size in sizes] == [8, 100, 100, 110]
    chex.assert_trees_all_equal(variables, init(fn)(KEY)[1])


def test_raw_keys(sizes: list[tuple[Any, int]]) -> None:
    assert_same_bits(parameters((3, 40)), jax.random.PRNGKey(1))
    assert len(sizes) == 1


def test_a_key_on_a_chosen_device_keeps_the_values_there(sizes: list[tuple[Any, int]]) -> None:
    assert_same_bits(parameters((3, 40)), jax.device_put(KEY, jax.devices()[-1]))
    assert sizes == []


def test_a_mesh_in_context_decides_where_values_go(sizes: list[tuple[Any, int]]) -> None:
    with jax.set_mesh(jax.make_mesh((1,), ("data",), (AxisType.Explicit,))):
        assert_same_bits(parameters((3, 40)))
    assert sizes == []


def test_generators_whose_bits_depend_on_the_shape(sizes: list[tuple[Any, int]]) -> None:
    assert_same_bits(parameters((3, 40)), jax.random.key(0, impl="rbg"))
    with jax.threefry_partitionable(False):
        assert_same_bits(parameters((3, 40)))
    assert sizes == []


def test_inside_a_trace_the_compiler_sees_the_initializers(sizes: list[tuple[Any, int]]) -> None:
    fn, spec = parameters((3, 40)), jax.ShapeDtypeStruct((2,), "float32")

    def with_spec(scope: Scope, x: jax.Array) -> None:
        del x
        fn(scope)

    compiled = jax.jit(lambda key: lazy_init(with_spec)(key, spec))(KEY)
    chex.assert_trees_all_close(compiled, lazy_init(fn)(KEY), rtol=1e-6)
    assert len(sizes) == 1


def test_parameters_of_one_constant_are_arrays_of_their_own() -> None:
    variables = lazy_init(parameters((3,), (3,), init_fn=initializers.zeros))(KEY)
    one, other = jax.tree.leaves(variables)
    assert one.unsafe_buffer_pointer() != other.unsafe_buffer_pointer()
    step = jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)
    chex.assert_trees_all_equal(jax.tree.leaves(step(variables)), [jnp.ones(3)] * 2)


def test_a_trace_makes_one_constant_for_all() -> None:
    jaxpr = jax.make_jaxpr(init(parameters((3,), (3,), (4,), init_fn=initializers.ones)))(KEY)
    assert len(jaxpr.eqns) == 2
