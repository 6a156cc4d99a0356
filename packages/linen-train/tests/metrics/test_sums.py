import functools
import math
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import PartitionSpec as P

from linen_train.errors import MetricShapeError, MetricValueError
from linen_train.metrics import Mean, Sum

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("values", "options", "total", "mean"),
    [
        ([1.0, 2.0, 6.0], {}, 9.0, 3.0),
        ([True, False, True, True], {}, 3.0, 0.75),
        ([250, 250], {}, 500.0, 250.0),
        (5.0, {}, 5.0, 5.0),
        (5.0, {"weights": 4}, 20.0, 5.0),
        ([1.0, 5.0], {"weights": [3.0, 1.0]}, 8.0, 2.0),
        ([1.0, 5.0], {"mask": [False, True]}, 5.0, 5.0),
        ([[1.0, 2.0], [5.0, 5.0]], {"mask": [True, False]}, 3.0, 1.5),
        ([[1.0, 2.0], [5.0, 8.0]], {"weights": [1.0, 2.0]}, 29.0, 29 / 6),
        ([1.0, 5.0, 9.0], {"weights": [1.0, 3.0, 9.0], "mask": [True, True, False]}, 16.0, 4.0),
        ([1.0, NAN], {"mask": [True, False]}, 1.0, 1.0),
        ([1.0, INF], {"weights": [1.0, 0.0]}, 1.0, 1.0),
        ([1.0, NAN], {}, NAN, NAN),
        ([1.0, INF], {}, INF, INF),
        ([1.0, 2.0], {"mask": [False, False]}, 0.0, NAN),
        ([1.0, 2.0], {"weights": [0.0, 0.0]}, 0.0, NAN),
        (np.zeros((0, 3), np.float32), {}, 0.0, NAN),
    ],
)
def test_one_batch(values: Any, options: Any, total: float, mean: float) -> None:
    options = {name: np.asarray(value) for name, value in options.items()}
    for compiled in (lambda f: f, jax.jit):
        found = compiled(lambda: Sum.from_batch(values, **options).compute())()
        np.testing.assert_equal(float(found), total)
        found = compiled(lambda: Mean.from_batch(values, **options).compute())()
        np.testing.assert_allclose(float(found), mean, rtol=1e-6)


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint8", "int32", "float16", "bfloat16", "float32"]
)
def test_dtypes(dtype: str) -> None:
    mean = Mean.from_batch(jnp.ones(1 << 16, dtype))
    assert float(mean.compute()) == 1.0
    assert float(mean.values.compute()) == 1 << 16
    chex.assert_tree_shape_prefix(mean, ())
    assert {leaf.dtype.name for leaf in jax.tree.leaves(mean)} == {"float32"}


def test_double_precision_is_kept_where_it_is_given() -> None:
    with jax.enable_x64(True):
        total = Sum.from_batch(np.asarray([1e8, 0.25]))
    assert float(np.float64(total.total) + np.float64(total.residue)) == 1e8 + 0.25


batches = st.lists(
    st.lists(st.tuples(st.integers(-99, 99), st.integers(0, 3), st.booleans()), max_size=4),
    min_size=1,
    max_size=5,
)


@functools.partial(jax.jit, static_argnums=0)
def compiled(kind: Any, values: jax.Array, weights: jax.Array, mask: jax.Array) -> Any:
    return kind.from_batch(values, weights=weights, mask=mask)


def measured(kind: Any, rows: Any) -> Any:
    padded = np.full((20, 3), [np.nan, 1, 0], np.float32)
    padded[: len(rows)] = np.asarray(rows).reshape(-1, 3)
    values, weights, mask = padded.T
    return compiled(kind, values, weights, mask > 0)


@pytest.mark.parametrize("kind", [Mean, Sum])
@given(split=batches)
def test_any_split_merges_to_what_all_at_once_gives(kind: Any, split: Any) -> None:
    merged = kind.empty()
    for rows in split:
        merged = merged.merge(measured(kind, rows))
    backwards = measured(kind, split[-1])
    for rows in reversed(split[:-1]):
        backwards = measured(kind, rows).merge(backwards)
    at_once = measured(kind, [row for rows in split for row in rows])
    chex.assert_trees_all_equal(merged, at_once, backwards)


def test_many_steps_do_not_drift() -> None:
    def step(total: Sum, _: None) -> tuple[Sum, None]:
        return total.merge(Sum.from_batch(jnp.float32(0.1))), None

    steps = 1_000_000
    total, _ = jax.lax.scan(step, Sum.empty(), length=steps)
    exact = steps * float(np.float32(0.1))
    assert abs(float(total.compute()) - exact) <= np.spacing(np.float32(exact))


@pytest.mark.parametrize(
    "number",
    [
        *(3_000_000_000, np.int64(3_000_000_000), np.uint64(3_000_000_000), np.int64(-(2**40))),
        *(np.uint64(2**33), np.uint64(2**64 - 1), -(2**63)),
    ],
    ids=["python", "int64", "uint64", "negative", "bit_33", "most", "least"],
)
def test_integers_of_64_bits_do_not_wrap_around(number: Any) -> None:
    assert float(Sum.from_batch(number).compute()) == np.float32(number)
    pairs: list[Any] = [[number, number], np.array([number, number])]
    one_and_two: Any = [1.0, 2.0]
    for values in pairs:
        assert float(Mean.from_batch(values).compute()) == np.float32(number)
        weighted = Mean.from_batch(one_and_two, weights=values)
        assert float(weighted.compute()) == pytest.approx(1.5)


def test_a_number_beyond_64_bits() -> None:
    assert float(Sum.from_batch(2**70).compute()) == 2.0**70
    with pytest.raises(MetricValueError, match=r"found values=1000.*, expected one array"):
        Sum.from_batch(10**400)


def test_what_becomes_an_array_by_itself() -> None:
    class Boxed:
        def __jax_array__(self) -> jax.Array:
            return jnp.arange(4.0)

    values: Any = Boxed()
    assert float(Sum.from_batch(values).compute()) == 6.0
    assert float(jax.jit(lambda: Sum.from_batch(values).compute())()) == 6.0


def test_counts_beyond_the_digits_of_float32() -> None:
    count = Sum.from_batch(np.ones((1 << 24) + 1, np.bool_)).merge(
        Sum.from_batch(np.asarray([True]))
    )
    assert float(np.float64(count.total) + np.float64(count.residue)) == (1 << 24) + 2
    many = Sum.from_batch(jnp.float32(1 << 30))
    for _ in range(3):
        many = many.merge(Sum.from_batch(np.asarray([True])))
    assert float(np.float64(many.total) + np.float64(many.residue)) == (1 << 30) + 3


@pytest.mark.parametrize("value", [INF, -INF, NAN])
def test_what_is_not_finite_stays(value: float) -> None:
    total = Sum.from_batch(value).merge(Sum.from_batch(1.0)).merge(Sum.empty())
    np.testing.assert_equal(float(total.compute()), value)


def unequal() -> tuple[jax.Array, jax.Array, float]:
    """Return values and a mask that leaves each of four devices another number of them."""
    values = jnp.arange(16.0).reshape(4, 4)
    mask = jnp.tril(jnp.ones((4, 4), jnp.bool_))
    return values, mask, float(np.asarray(values)[np.asarray(mask)].mean())


def masked_mean(values: jax.Array, mask: jax.Array) -> Mean:
    return Mean.from_batch(values, mask=mask)


def reduced_mean(values: jax.Array, mask: jax.Array) -> jax.Array:
    return masked_mean(values, mask).reduce("data").compute()


def over_vmap(values: jax.Array, mask: jax.Array) -> jax.Array:
    return jax.vmap(reduced_mean, axis_name="data")(values, mask)


def over_pmap(values: jax.Array, mask: jax.Array) -> jax.Array:
    return jax.pmap(reduced_mean, axis_name="data", devices=jax.devices()[:4])(values, mask)


def over_shard_map(values: jax.Array, mask: jax.Array) -> jax.Array:
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((4,), ("data",), axis_types=auto, devices=jax.devices()[:4])
    mapped = jax.shard_map(reduced_mean, mesh=mesh, in_specs=P("data"), out_specs=P())
    return jax.jit(mapped)(values, mask)


def over_jit(values: jax.Array, mask: jax.Array) -> jax.Array:
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((4,), ("data",), axis_types=auto, devices=jax.devices()[:4])
    put = jax.device_put((values, mask), jax.sharding.NamedSharding(mesh, P("data")))
    return jax.jit(lambda *batch: masked_mean(*batch).compute())(*put)


@pytest.mark.parametrize("over", [over_vmap, over_pmap, over_shard_map, over_jit])
def test_devices_with_unequal_counts(
    over: Callable[[jax.Array, jax.Array], jax.Array],
) -> None:
    values, mask, expected = unequal()
    np.testing.assert_allclose(over(values, mask), expected, rtol=1e-6)


def test_one_process_has_nothing_to_reduce() -> None:
    mean = Mean.from_batch(np.asarray([1.0, 2.0]))
    assert mean.reduce_processes() is mean


@pytest.mark.parametrize(
    ("values", "options", "error", "text"),
    [
        (
            np.zeros((3, 2)),
            {"weights": np.zeros(2)},
            MetricShapeError,
            "Mean.from_batch: found weights of shape (2,) for values of shape (3, 2), expected that "
            "shape, or that of its first axes.",
        ),
        (
            np.zeros(()),
            {"mask": np.zeros(2, bool)},
            MetricShapeError,
            "Mean.from_batch: found mask of shape (2,) for values of shape (), expected that shape, "
            "or that of its first axes.",
        ),
        (
            np.zeros(2),
            {"mask": np.zeros(2, np.float32)},
            MetricValueError,
            "Mean.from_batch: found a mask of float32, expected booleans. Write mask=mask > 0, or "
            "give numbers as weights=.",
        ),
        (
            np.zeros(2, np.complex64),
            {},
            MetricValueError,
            "Mean.from_batch: found values of complex64, expected real numbers or booleans.",
        ),
        (
            np.zeros(2),
            {"weights": np.zeros(2, np.complex64)},
            MetricValueError,
            "Mean.from_batch: found weights of complex64, expected real numbers or booleans.",
        ),
        (
            ["a"],
            {},
            MetricValueError,
            "Mean.from_batch: found values of <U1, expected real numbers or booleans.",
        ),
        (
            [[1.0], [1.0, 2.0]],
            {},
            MetricValueError,
            "Mean.from_batch: found values=[[1.0], [1.0, 2.0]], expected one array of real numbers "
            "or booleans. Write np.concatenate(arrays) for several.",
        ),
        (
            {"loss": jnp.zeros(())},
            {},
            MetricValueError,
            "Mean.from_batch: found values={'loss': Array(0., dtype=float32)}, expected one array "
            "of real numbers or booleans. Write np.concatenate(arrays) for several.",
        ),
        (
            None,
            {},
            MetricValueError,
            "Mean.from_batch: found values of object, expected real numbers or booleans.",
        ),
        (
            np.zeros(2),
            {"mask": ["a", "b"]},
            MetricValueError,
            "Mean.from_batch: found a mask of <U1, expected booleans. Write mask=mask > 0, or give "
            "numbers as weights=.",
        ),
    ],
    ids=[
        "weights",
        "mask",
        "mask_dtype",
        "complex",
        "complex_weights",
        "text",
        "ragged",
        "dict",
        "none",
        "text_mask",
    ],
)
def test_batches_that_do_not_fit(
    values: Any, options: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error) as caught:
        Mean.from_batch(values, **options)
    assert str(caught.value) == text
