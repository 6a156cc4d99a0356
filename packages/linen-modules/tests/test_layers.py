"""What holds for every layer and every function of arrays, driven by one table."""

import copy
import functools
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest

import linen_modules as nn


def normal(*shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(17), shape)


@dataclass(frozen=True)
class Descriptor:
    """A layer, what it is called with, and what it declares.

    Attributes:
        build: makes the layer.
        inputs: a batch of inputs; axis 0 is the batch.
        variables: the shapes of all variables.
        streams: the random streams it draws from when it is applied.
        mutable: the collections it changes when it is applied.
        equations: how many cached functions a call of it traces.
        mixes_batch: whether an example's output depends on the other examples.
    """

    build: Callable[[], Any]
    inputs: Callable[[], jax.Array]
    variables: Any = field(default_factory=dict, hash=False)
    streams: tuple[str, ...] = ()
    mutable: tuple[str, ...] = ()
    equations: int = 1
    mixes_batch: bool = False


KEY = jax.random.key(3)
MASK = jnp.tril(jnp.ones((3, 6, 4)))
FEATURES = {"scale": (6,), "bias": (6,)}
AVERAGES = {"mean": (6,), "var": (6,)}

LAYERS = {
    "dense": Descriptor(
        lambda: nn.Dense(4), lambda: normal(5, 6), {"params": {"kernel": (6, 4), "bias": (4,)}}
    ),
    "dense without bias": Descriptor(
        lambda: nn.Dense(4, use_bias=False),
        lambda: normal(5, 2, 6),
        {"params": {"kernel": (6, 4)}},
    ),
    "conv": Descriptor(
        lambda: nn.Conv(4, (3, 2), strides=2, padding=[(1, 0), 1]),
        lambda: normal(5, 8, 7, 6),
        {"params": {"kernel": (3, 2, 6, 4), "bias": (4,)}},
    ),
    "causal conv": Descriptor(
        lambda: nn.Conv(4, (3,), padding="CAUSAL", feature_group_count=2),
        lambda: normal(5, 8, 6),
        {"params": {"kernel": (3, 3, 4), "bias": (4,)}},
    ),
    "masked circular conv": Descriptor(
        lambda: nn.Conv(4, (3,), padding="CIRCULAR", mask=MASK),
        lambda: normal(5, 8, 6),
        {"params": {"kernel": (3, 6, 4), "bias": (4,)}},
    ),
    "embed": Descriptor(
        lambda: nn.Embed(7, 4),
        lambda: jnp.arange(10).reshape(5, 2) % 7,
        {"params": {"embedding": (7, 4)}},
    ),
    "layer norm": Descriptor(nn.LayerNorm, lambda: normal(5, 3, 6), {"params": FEATURES}),
    "layer norm over two axes": Descriptor(
        lambda: nn.LayerNorm(reduction_axes=(-1, -2), feature_axes=(-2, -1)),
        lambda: normal(5, 3, 6),
        {"params": {"scale": (3, 6), "bias": (3, 6)}},
    ),
    "batch norm in training": Descriptor(
        lambda: nn.BatchNorm(use_running_average=False),
        lambda: normal(5, 3, 6),
        {"params": FEATURES, "batch_stats": AVERAGES},
        mutable=("batch_stats",),
        mixes_batch=True,
    ),
    "batch norm in inference": Descriptor(
        lambda: nn.BatchNorm(use_running_average=True),
        lambda: normal(5, 3, 6),
        {"params": FEATURES, "batch_stats": AVERAGES},
    ),
    "dropout": Descriptor(
        lambda: nn.Dropout(0.5, deterministic=False),
        lambda: normal(5, 6),
        streams=("dropout",),
        equations=2,  # one makes the key
        mixes_batch=True,
    ),
}


def run(descriptor: Descriptor, variables: Any, inputs: jax.Array) -> tuple[jax.Array, Any]:
    rngs = dict.fromkeys(descriptor.streams, KEY)
    layer = descriptor.build()
    return layer.apply(variables, inputs, rngs=rngs, mutable=list(descriptor.mutable) or ["none"])


@functools.cache
def init(descriptor: Descriptor) -> Any:
    rngs = {stream: jax.random.key(2) for stream in ("params", *descriptor.streams)}
    return descriptor.build().init(rngs, descriptor.inputs())


layers = pytest.mark.parametrize("descriptor", LAYERS.values(), ids=LAYERS.keys())


@layers
def test_variables(descriptor: Descriptor) -> None:
    assert jax.tree.map(jnp.shape, init(descriptor)) == descriptor.variables


@layers
def test_shapes_of_init_without_arrays(descriptor: Descriptor) -> None:
    rngs = {stream: jax.random.key(2) for stream in ("params", *descriptor.streams)}
    abstract = jax.eval_shape(descriptor.build().init, rngs, descriptor.inputs())
    chex.assert_trees_all_equal_shapes_and_dtypes(abstract, init(descriptor))


@layers
def test_jit_equals_eager(descriptor: Descriptor) -> None:
    variables, inputs = init(descriptor), descriptor.inputs()
    eager = run(descriptor, variables, inputs)
    jitted = jax.jit(lambda v, x: run(descriptor, v, x))(variables, inputs)
    chex.assert_trees_all_close(jitted, eager, rtol=1e-6, atol=1e-6)


@layers
def test_one_equation(descriptor: Descriptor) -> None:
    variables, inputs = init(descriptor), descriptor.inputs()
    jaxpr = jax.make_jaxpr(lambda v, x: run(descriptor, v, x))(variables, inputs)
    assert [equation.primitive.name for equation in jaxpr.eqns] in (
        ["jit"] * descriptor.equations,
        ["pjit"] * descriptor.equations,  # its name in older versions of JAX
    )


@layers
def test_gradients_are_finite(descriptor: Descriptor) -> None:
    variables, inputs = init(descriptor), descriptor.inputs()

    def loss(variables: Any) -> jax.Array:
        return jnp.sum(run(descriptor, variables, inputs)[0] ** 2)

    chex.assert_tree_all_finite(jax.grad(loss)(variables))


@layers
def test_vmap_equals_batch(descriptor: Descriptor) -> None:
    if descriptor.mixes_batch:
        pytest.skip("an example's output depends on the others")
    variables, inputs = init(descriptor), descriptor.inputs()
    batched = run(descriptor, variables, inputs)[0]
    mapped = jax.vmap(lambda x: run(descriptor, variables, x)[0])(inputs)
    chex.assert_trees_all_close(mapped, batched, rtol=1e-5, atol=1e-5)


@layers
def test_pickle_and_copies(descriptor: Descriptor) -> None:
    layer = descriptor.build()
    if getattr(layer, "mask", None) is not None:
        pytest.skip("arrays have no equality")
    assert pickle.loads(pickle.dumps(layer)) == layer
    assert copy.deepcopy(layer) == layer


@layers
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_dtype_of_computation(descriptor: Descriptor, dtype: Any) -> None:
    layer = descriptor.build()
    if not hasattr(layer, "dtype"):
        pytest.skip("has no dtype of its own")
    layer = layer.clone(dtype=dtype)
    outputs, variables = layer.init_with_output(jax.random.key(0), descriptor.inputs())
    assert outputs.dtype == dtype
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_equal_layers_hash_alike() -> None:
    assert nn.Dense(3) == nn.Dense(3)
    assert hash(nn.Conv(3, (2,))) == hash(nn.Conv(3, (2,)))
    assert nn.Dense(3, kernel_init=nn.initializers.normal(0.02)) == nn.Dense(
        3, kernel_init=nn.initializers.normal(stddev=0.02)
    )
