"""Helpers over a leading axis of devices, loops over axes, and partial evaluation."""

from collections.abc import Iterator
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linen_train.errors import DataShapeError, ScanAxisError
from linen_train.jax_utils import (
    pad_shard_unpad,
    partial_eval_by_shape,
    pmean,
    prefetch_to_device,
    replicate,
    scan_in_dim,
    unreplicate,
)

X = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)
DEVICES = 8


@pytest.mark.parametrize("devices", [None, jax.devices()[2:4]], ids=["all", "two"])
def test_replicated_trees_have_one_copy_on_each_device(devices: Any) -> None:
    copies = replicate({"a": X, "b": [3, None]}, devices)
    count = len(devices or jax.devices())
    chex.assert_shape(copies["a"], (count, 2, 3, 4))
    assert [s.device for s in copies["a"].addressable_shards] == list(devices or jax.devices())
    assert {s.data.shape for s in copies["a"].addressable_shards} == {(1, 2, 3, 4)}
    assert not copies["b"][0].weak_type
    chex.assert_trees_all_equal(unreplicate(copies), {"a": X, "b": [np.int32(3), None]})


def test_random_keys_are_replicated_as_keys() -> None:
    keys = replicate(jax.random.key(0))
    assert keys.dtype == jax.random.key(0).dtype
    assert keys.shape == (DEVICES,)


def test_numpy_arrays_are_unreplicated_too() -> None:
    np.testing.assert_array_equal(unreplicate({"a": X})["a"], X[0])


def test_what_is_not_replicated_is_told_of() -> None:
    with pytest.raises(DataShapeError, match=r"unreplicate: found a scalar at a/0, expected"):
        unreplicate({"a": [jnp.float32(1)]})


def test_pmean_is_the_mean_over_a_named_axis() -> None:
    mean = jax.vmap(lambda x: pmean(x, "batch"), axis_name="batch")(jnp.arange(4.0))
    np.testing.assert_array_equal(mean, np.full(4, 1.5))


# Prefetching.


@pytest.mark.parametrize("size", [1, 2, 9])
def test_all_batches_arrive_in_order_on_their_devices(size: int) -> None:
    batches: Any = ({"x": np.full((DEVICES, 2), i)} for i in range(5))
    arrived = list(prefetch_to_device(batches, size))
    assert [int(batch["x"][0, 0]) for batch in arrived] == [0, 1, 2, 3, 4]
    assert len(arrived[0]["x"].sharding.device_set) == DEVICES


def test_so_many_batches_are_drawn_ahead() -> None:
    drawn: list[int] = []

    def batches() -> Iterator[np.ndarray]:
        for i in range(9):
            drawn.append(i)
            yield np.zeros((2, 1))

    prefetched = prefetch_to_device(batches(), 3, devices=jax.devices()[:2])
    next(prefetched)
    assert drawn == [0, 1, 2]
    next(prefetched)
    assert drawn == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("batch", "size", "text"),
    [
        (np.zeros((3, 2)), 1, "found shape (3, 2), expected a leading axis that 8 devices"),
        ({"x": np.zeros(())}, 1, "found shape () at x, expected a leading axis"),
        (np.zeros((8, 2)), 0, "found size=0, expected at least 1 batch"),
    ],
    ids=["uneven", "scalar", "no room"],
)
def test_batches_that_cannot_be_placed_are_told_of(batch: Any, size: int, text: str) -> None:
    with pytest.raises(DataShapeError) as caught:
        list(prefetch_to_device(iter([batch]), size))
    assert f"prefetch_to_device: {text}" in str(caught.value)


# Padding.


@pytest.mark.parametrize("size", [1, 5, 8, 13])
def test_results_are_as_without_padding(size: int) -> None:
    seen = []

    def wrapped(scale: float, x: Any) -> Any:
        seen.append(x.shape)
        return x * scale

    x = np.arange(2.0 * size).reshape(size, 2)
    np.testing.assert_array_equal(pad_shard_unpad(wrapped)(3.0, x), 3 * x)
    assert seen == [(8, -(-size // 8), 2)]


def test_a_smallest_batch_for_each_device_can_be_asked_for() -> None:
    call = pad_shard_unpad(lambda x: x, static_argnums=(), static_return=True)
    out = call({"a": np.ones((5, 2))}, min_device_batch=4)["a"]
    assert out.shape == (8, 4, 2)
    assert out.sum() == 10


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((np.ones(5), np.ones(4)), "found batch sizes ['4', '5']"),
        ((np.ones(5), np.float32(1)), "found batch sizes ['5', 'none']"),
        ((), "found batch sizes no arrays"),
        ((np.float32(1),), "found batch sizes ['none']"),
    ],
    ids=["two sizes", "scalar", "nothing", "only a scalar"],
)
def test_batch_sizes_that_differ_are_told_of(arguments: Any, text: str) -> None:
    call = pad_shard_unpad(lambda *x: x, static_argnums=())
    with pytest.raises(DataShapeError) as caught:
        call(*arguments)
    assert text in str(caught.value)
    assert "static_argnums" in str(caught.value)


# Partial evaluation.


def test_only_what_depends_on_values_is_evaluated() -> None:
    def fn(x: Any, y: Any) -> Any:
        known = jnp.ones(2) * y
        both = jax.jit(lambda a, b: (a * 2, b + 1))(x, known)
        return {"x": x.sum(), "known": known, "both": both, "given": y}

    out = partial_eval_by_shape(fn, [((3,), jnp.int8)], 2.0)
    assert out["x"] == jax.eval_shape(lambda x: x.sum(), jnp.zeros(3, jnp.int8))
    assert out["both"][0] == jax.ShapeDtypeStruct((3,), jnp.int8)
    np.testing.assert_array_equal(out["known"], [2.0, 2.0])
    np.testing.assert_array_equal(out["both"][1], [3.0, 3.0])
    assert out["given"] == 2.0


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ((2, 3), jax.ShapeDtypeStruct((2, 3), jnp.float32)),
        ([2, 3], jax.ShapeDtypeStruct((2, 3), jnp.float32)),
        ((), jax.ShapeDtypeStruct((), jnp.float32)),
        (((2,), jnp.int8), jax.ShapeDtypeStruct((2,), jnp.int8)),
        (jax.ShapeDtypeStruct((2,), jnp.int8), jax.ShapeDtypeStruct((2,), jnp.int8)),
    ],
    ids=str,
)
def test_inputs_are_shapes_with_or_without_dtype(spec: Any, expected: Any) -> None:
    assert partial_eval_by_shape(lambda x: x, [spec]) == expected


# Loops over axes.


def body(carry: Any, x: Any) -> Any:
    return carry + x.sum(), 2 * x


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [0, (1,), -1, (0, 1), (2, 0), (0, 1, 2)], ids=str)
def test_outputs_have_the_axes_where_the_inputs_do(axis: Any, keepdims: bool) -> None:
    shapes = []

    def watched(carry: Any, x: Any) -> Any:
        shapes.append(x.shape)
        return body(carry, x)

    carry, ys = scan_in_dim(watched, 0.0, X, axis=axis, keepdims=keepdims)
    np.testing.assert_array_equal(ys, 2 * X)
    assert carry == X.sum()
    axes = {a % 3 for a in ((axis,) if isinstance(axis, int) else axis)}
    sizes = [1 if i in axes else n for i, n in enumerate(X.shape) if keepdims or i not in axes]
    assert set(shapes) == {tuple(sizes)}


def test_loops_run_from_the_first_axis_to_the_last() -> None:
    _, order = scan_in_dim(lambda c, x: (c + 1, c), 0, X[..., 0], axis=(1, 0))
    np.testing.assert_array_equal(order, [[0, 2, 4], [1, 3, 5]])


@pytest.mark.parametrize("unroll", [2, (2, 3)], ids=str)
def test_unrolled_loops_give_the_same(unroll: Any) -> None:
    carry, ys = scan_in_dim(body, 0.0, X, axis=(0, 1), unroll=unroll)
    chex.assert_trees_all_equal((carry, ys), scan_in_dim(body, 0.0, X, axis=(0, 1)))


@pytest.mark.parametrize(
    ("axis", "options", "text"),
    [
        ((), {}, "found axis=() and unroll=(1,), expected at least one axis"),
        ((0, 1), {"unroll": (1, 2, 3)}, "found axis=(0, 1) and unroll=(1, 2, 3)"),
        ((3,), {}, "found an array in xs with 3 axes"),
        ((0, -3), {}, "found an array in xs with 3 axes"),
    ],
    ids=["none", "unrolls", "beyond", "twice"],
)
def test_axes_that_do_not_fit_are_told_of(axis: Any, options: Any, text: str) -> None:
    with pytest.raises(ScanAxisError) as caught:
        scan_in_dim(body, 0.0, X, axis=axis, **options)
    assert f"scan_in_dim: {text}" in str(caught.value)


@pytest.mark.parametrize(
    ("keepdims", "text"),
    [
        (True, "found an output of body_fn with 0 axes"),
        (False, "found the outputs with 1 axes"),
    ],
)
def test_outputs_without_the_axes_are_told_of(keepdims: bool, text: str) -> None:
    with pytest.raises(ScanAxisError) as caught:
        scan_in_dim(lambda c, x: (c, x.sum()), 0.0, X, axis=(1,), keepdims=keepdims)
    assert text in str(caught.value)


def test_outputs_of_a_kept_axis_have_size_one() -> None:
    with pytest.raises(
        ScanAxisError, match=r"shape \(2, 2, 4\), expected size 1 in the axes \(1,\)"
    ):
        scan_in_dim(lambda c, x: (c, jnp.concatenate([x, x], 1)), 0.0, X, axis=(1,), keepdims=True)
