"""The small helpers of flax.training and flax.jax_utils give the same results here."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import jax_utils as their_jax_utils
from flax import serialization as their_serialization
from flax.training import common_utils as their_common_utils
from flax.training import early_stopping as their_early_stopping
from flax.training import lr_schedule as their_lr_schedule
from flax.training import orbax_utils as their_orbax_utils
from flax.training import prefetch_iterator as their_prefetch_iterator
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import linen_train.common_utils
import linen_train.early_stopping
import linen_train.jax_utils
import linen_train.lr_schedule
import linen_train.orbax_utils
import linen_train.prefetch_iterator
from linen_train.serialization import to_bytes

from .comparison import differences


class Ours:
    jax_utils: Any = linen_train.jax_utils
    common_utils: Any = linen_train.common_utils
    early_stopping: Any = linen_train.early_stopping
    lr_schedule: Any = linen_train.lr_schedule
    orbax_utils: Any = linen_train.orbax_utils
    prefetch_iterator: Any = linen_train.prefetch_iterator


class Theirs:
    jax_utils: Any = their_jax_utils
    common_utils: Any = their_common_utils
    early_stopping: Any = their_early_stopping
    lr_schedule: Any = their_lr_schedule
    orbax_utils: Any = their_orbax_utils
    prefetch_iterator: Any = their_prefetch_iterator


Library = Any
X = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)
TREE = {"a": X, "b": 3, "c": [None, jnp.ones((2,), jnp.bfloat16), True]}
DEVICES = 8  # see conftest.py


def placed(array: Any) -> Any:
    """Returns what can be compared of an array and its place."""
    sharding = array.sharding
    spec = getattr(sharding, "spec", None)
    return {"array": array, "devices": sorted(d.id for d in sharding.device_set), "spec": str(spec)}


def sharded(*spec: str | None) -> jax.Array:
    mesh = Mesh(np.array(jax.devices()), ("x",))
    return jax.device_put(np.arange(8.0), NamedSharding(mesh, PartitionSpec(*spec)))


def replicated(lib: Library) -> Any:
    return [placed(leaf) for leaf in jax.tree.leaves(lib.jax_utils.replicate(TREE))]


def replicated_on_two(lib: Library) -> Any:
    out = lib.jax_utils.replicate(TREE, devices=jax.devices()[2:4])
    return [placed(leaf) for leaf in jax.tree.leaves(out)]


def unreplicated(lib: Library) -> Any:
    return lib.jax_utils.unreplicate(lib.jax_utils.replicate(TREE))


def replicated_keys(lib: Library) -> Any:
    keys = lib.jax_utils.replicate({"rng": jax.random.key(3)})["rng"]
    return jax.random.key_data(keys), jax.random.key_data(lib.jax_utils.unreplicate(keys))


def mean_over_devices(lib: Library) -> Any:
    return jax.vmap(lambda x: lib.jax_utils.pmean(x, "i"), axis_name="i")({"a": jnp.arange(4.0)})


def prefetched(lib: Library) -> Any:
    batches = ({"x": np.full((DEVICES, 2), i)} for i in range(5))
    return [placed(batch["x"]) for batch in lib.jax_utils.prefetch_to_device(batches, 2)]


def prefetched_to_two(lib: Library) -> Any:
    batches = iter([np.full((2, 2), i) for i in range(3)])
    out = lib.jax_utils.prefetch_to_device(batches, 5, devices=jax.devices()[:2])
    return [placed(batch) for batch in out]


def padded(size: int, **options: Any) -> Callable[[Library], Any]:
    def case(lib: Library) -> Any:
        seen = []

        def wrapped(scale: Any, *arrays: Any, name: str, **named: Any) -> Any:
            seen.append([np.asarray(a) for a in (*arrays, *named.values())])
            return {"scaled": scale * arrays[0], "named": named["z"]}

        call = lib.jax_utils.pad_shard_unpad(wrapped, static_argnames=("name",))
        x = np.arange(size * 2.0, dtype=np.float32).reshape(size, 2)
        out = call(2.0, x, x[:, 0], name="n", z=x.astype("int8"), **options)
        return jax.tree.map(np.asarray, out), seen

    return case


def padded_static_return(lib: Library) -> Any:
    call = lib.jax_utils.pad_shard_unpad(
        lambda a, x: (a, x.shape, x.sum()), static_argnums=(0,), static_return=True
    )
    return call("a", np.ones((5, 2), np.float32))


def partially_evaluated(lib: Library) -> Any:
    def fn(x: Any, y: Any, scale: float = 1.0) -> Any:
        known = jnp.ones(2) * y * scale
        return {
            "known": known,
            "unknown": x @ known,
            "nested": jax.jit(lambda a, b: (a, b + 1))(x, known),
        }

    return lib.jax_utils.partial_eval_by_shape(fn, [((3, 2), jnp.float32)], 2.0, scale=3.0)


def partially_evaluated_shapes(lib: Library) -> Any:
    return lib.jax_utils.partial_eval_by_shape(
        lambda x, y: (x * 2, y.astype("int8")), [(2, 3), (4,)]
    )


def scanned(keepdims: bool = False, **options: Any) -> Callable[[Library], Any]:
    def case(lib: Library) -> Any:
        def body(carry: Any, x: Any) -> Any:
            carry = carry + x["a"].sum() * 0.5
            return carry, {"twice": x["a"] * 2, "carry": jnp.full_like(x["a"], carry)}

        return lib.jax_utils.scan_in_dim(body, 0.0, {"a": X}, keepdims=keepdims, **options)

    return case


def scanned_to_scalars(lib: Library) -> Any:
    return lib.jax_utils.scan_in_dim(lambda c, x: (c, x.sum()), 0.0, X, axis=(1, 0))


def shards(lib: Library) -> Any:
    return lib.common_utils.shard({"a": np.ones((16, 2)), "b": jnp.arange(8)})


def shard_of_keys(lib: Library) -> Any:
    shard = lib.common_utils.shard_prng_key
    return shard(jax.random.PRNGKey(1)), jax.random.key_data(shard(jax.random.key(2)))


def stacked(lib: Library) -> Any:
    return lib.common_utils.stack_forest([{"a": i, "b": np.ones(2, "int8")} for i in range(3)])


def metrics(lib: Library) -> Any:
    steps = [{"loss": jnp.full((DEVICES,), i), "m": jnp.full((DEVICES, 2), i)} for i in range(3)]
    mesh = Mesh(np.array(jax.devices()), ("x",))
    steps = jax.device_put(steps, NamedSharding(mesh, PartitionSpec("x")))
    return lib.common_utils.get_metrics(steps)


def onehot(*args: Any) -> Callable[[Library], Any]:
    return lambda lib: lib.common_utils.onehot(np.array([[0, 2], [5, -1]]), 3, *args)


def rates(name: str, *args: Any) -> Callable[[Library], Any]:
    def case(lib: Library) -> Any:
        schedule = getattr(lib.lr_schedule, f"create_{name}_learning_rate_schedule")(*args)
        steps = [*range(0, 150, 3), 149]
        plain = [float(schedule(step)) for step in steps]
        traced = jax.jit(lambda step: jnp.float32(schedule(step)))
        return (
            plain,
            [float(schedule(jnp.int32(step))) for step in steps],
            [traced(s) for s in steps],
        )

    return case


def stopped(metrics: list[Any], **settings: Any) -> Callable[[Library], Any]:
    def case(lib: Library) -> Any:
        stop = lib.early_stopping.EarlyStopping(**settings)
        history = [stop]
        for metric in metrics:
            stop = stop.update(metric)
            history.append(stop)
        history.append(stop.reset())
        serialize = to_bytes if lib is Ours else their_serialization.to_bytes
        return [serialize(stop) for stop in history], [jax.tree.leaves(stop) for stop in history]

    return case


def prefetch_iterator(lib: Library) -> Any:
    return list(lib.prefetch_iterator.PrefetchIterator(iter("abcde"), 2))


def prefetch_iterator_error(lib: Library) -> Any:
    def items() -> Any:
        yield 1
        raise KeyError("in the iterator")

    prefetched = lib.prefetch_iterator.PrefetchIterator(items())
    found: list[Any] = [next(prefetched)]
    for _ in range(2):
        with pytest.raises(KeyError, match="in the iterator") as caught:
            next(prefetched)
        found.append(type(caught.value).__name__)
    return found


def multi_device_arrays(lib: Library) -> Any:
    values = [sharded("x"), sharded(), jnp.ones(2), np.ones(2), 3, None]
    return [lib.orbax_utils.is_multi_device_array(value) for value in values]


def save_args(lib: Library) -> Any:
    return repr(lib.orbax_utils.save_args_from_target({"a": sharded("x"), "b": 1, "c": None}))


def restore_args(lib: Library) -> Any:
    target = {"a": sharded("x"), "b": np.ones(3), "c": 1, "d": jnp.ones(2, "int8"), "e": "text"}
    return repr(lib.orbax_utils.restore_args_from_target(target))


def restore_args_on_a_mesh(lib: Library) -> Any:
    mesh = Mesh(np.array(jax.devices()[:4]).reshape(4, 1), ("x", "y"))
    target = {"a": sharded("x"), "b": np.ones(3), "c": sharded()}
    return repr(lib.orbax_utils.restore_args_from_target(target, mesh))


def transformations(lib: Library) -> Any:
    construct = lib.orbax_utils.maybe_construct_transformations
    targets = [TREE, None, {"a": {}, "b": [None, ()], "c": {"d": 1}}, {}]
    return repr([construct(target, None) for target in targets] + [construct(TREE, {"a": 1})])


WORSE = [1.0, 0.95, 0.7, 0.69, 0.68, 0.5]

CASES: dict[str, Callable[[Library], Any]] = {
    "replicate": replicated,
    "replicate on two devices": replicated_on_two,
    "unreplicate": unreplicated,
    "replicate keys": replicated_keys,
    "pmean": mean_over_devices,
    "prefetch_to_device": prefetched,
    "prefetch_to_device of two": prefetched_to_two,
    "pad_shard_unpad": padded(5),
    "pad_shard_unpad, full": padded(16),
    "pad_shard_unpad, min_device_batch": padded(9, min_device_batch=3),
    "pad_shard_unpad, static_return": padded_static_return,
    "partial_eval_by_shape": partially_evaluated,
    "partial_eval_by_shape of shapes": partially_evaluated_shapes,
    **{
        f"scan_in_dim {axis}{' keepdims' * keepdims}": scanned(axis=axis, keepdims=keepdims)
        for axis in (0, (0,), (1,), -1, (0, 1), (1, 0), (2, 0), (0, 1, 2))
        for keepdims in (False, True)
    },
    "scan_in_dim, unroll": scanned(axis=(0, 1), unroll=(2, 3)),
    "scan_in_dim to scalars": scanned_to_scalars,
    "shard": shards,
    "shard_prng_key": shard_of_keys,
    "stack_forest": stacked,
    "get_metrics": metrics,
    "onehot": onehot(),
    "onehot with values": onehot(2.0, -1.0),
    "constant": rates("constant", 0.3, 7),
    "constant, warm-up": rates("constant", 0.3, 7, 2.5),
    "stepped": rates("stepped", 0.3, 13, [[1, 0.1], [3, 0.01]]),
    "stepped, warm-up": rates("stepped", 0.3, 13, [[1, 0.1], [3, 0.01], [7, 0.001]], 1.3),
    "cosine": rates("cosine", 0.3, 11, 5),
    "cosine, warm-up": rates("cosine", 0.3, 11, 5, 1.3),
    "early stopping": stopped(WORSE, patience=1, min_delta=0.1),
    "early stopping at once": stopped(WORSE),
    "early stopping, numpy": stopped([np.float32(m) for m in WORSE], patience=3),
    "early stopping, NaN later": stopped([1.0, float("nan"), float("nan"), 0.5], patience=1),
    "prefetch_iterator": prefetch_iterator,
    "prefetch_iterator, error": prefetch_iterator_error,
    "is_multi_device_array": multi_device_arrays,
    "save_args_from_target": save_args,
    "restore_args_from_target": restore_args,
    "restore_args_from_target on a mesh": restore_args_on_a_mesh,
    "maybe_construct_transformations": transformations,
}  # fmt: skip


# flax says of several of them that JAX or TensorFlow has replaced them, or one of their arguments.
@pytest.mark.filterwarnings("ignore:use jax.lax.pmean:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:PrefetchIterator is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:restore_args_from_target:DeprecationWarning")
@pytest.mark.parametrize("name", CASES)
def test_helpers_agree(name: str) -> None:
    found, expected = CASES[name](Ours), CASES[name](Theirs)
    assert list(differences(found, expected)) == []


# Where results differ on purpose.


def test_a_first_metric_that_is_nan_can_improve_here() -> None:
    for library, improves in ((Ours, True), (Theirs, False)):
        stop = library.early_stopping.EarlyStopping(patience=9).update(float("nan")).update(1.0)
        assert stop.has_improved == improves


def test_infinity_does_not_improve_on_infinity_here() -> None:
    for library, improves in ((Ours, False), (Theirs, True)):
        first = library.early_stopping.EarlyStopping(patience=9).update(float("inf"))
        assert (first.has_improved, first.update(float("inf")).has_improved) == (True, improves)


def test_an_empty_prefetch_loses_the_batches_in_flax_and_is_refused_here() -> None:
    assert list(Theirs.jax_utils.prefetch_to_device(iter([np.ones((DEVICES, 1))]), 0)) == []
    with pytest.raises(ValueError, match="size=0"):
        Ours.jax_utils.prefetch_to_device(iter([np.ones((DEVICES, 1))]), 0)
