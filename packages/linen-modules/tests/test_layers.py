"""What holds for every layer and every function of arrays, driven by one table."""

import copy
import functools
import pickle
from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest

import linen_modules as nn

from .descriptors import LAYERS, Descriptor

KEY = jax.random.key(3)


def run(descriptor: Descriptor, variables: Any, inputs: jax.Array) -> tuple[jax.Array, Any]:
    rngs = dict.fromkeys(descriptor.streams, KEY)
    layer = descriptor.build(nn)
    return layer.apply(variables, inputs, rngs=rngs, mutable=list(descriptor.mutable) or ["none"])


@functools.cache
def init(descriptor: Descriptor) -> Any:
    return descriptor.init_with_output()[1]


layers = pytest.mark.parametrize("descriptor", LAYERS.values(), ids=LAYERS.keys())


@layers
def test_shapes_of_init_without_arrays(descriptor: Descriptor) -> None:
    rngs = {stream: jax.random.key(2) for stream in ("params", *descriptor.streams)}
    abstract = jax.eval_shape(descriptor.build(nn).init, rngs, descriptor.inputs())
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
    layer = descriptor.build(nn)
    if getattr(layer, "mask", None) is not None:
        pytest.skip("arrays have no equality")
    assert pickle.loads(pickle.dumps(layer)) == layer
    assert copy.deepcopy(layer) == layer


@layers
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_dtype_of_computation(descriptor: Descriptor, dtype: Any) -> None:
    layer = descriptor.build(nn)
    if not hasattr(layer, "dtype"):
        pytest.skip("has no dtype of its own")
    layer = layer.clone(dtype=dtype)
    outputs, variables = layer.init_with_output(jax.random.key(0), descriptor.inputs())
    assert outputs.dtype == dtype
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@layers
def test_double_precision(descriptor: Descriptor) -> None:
    layer = descriptor.build(nn)
    if not hasattr(layer, "param_dtype"):
        pytest.skip("has no parameters of its own")
    rngs = {stream: jax.random.key(0) for stream in ("params", *descriptor.streams)}
    with jax.enable_x64(True):
        layer = layer.clone(param_dtype=jnp.float64)
        outputs, variables = layer.init_with_output(rngs, descriptor.inputs())
        assert outputs.dtype == jnp.float64
        params = variables.get("params", {})
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float64")}


@layers
def test_summary(descriptor: Descriptor) -> None:
    layer = descriptor.build(nn)
    rngs = {stream: jax.random.key(0) for stream in ("params", *descriptor.streams)}
    text = layer.tabulate(rngs, descriptor.inputs(), compute_flops=True)
    assert type(layer).__name__ in text
    params = jax.tree.leaves(init(descriptor).get("params", {}))
    assert f"{sum(leaf.size for leaf in params):,}" in text or not params


def test_equal_layers_hash_alike() -> None:
    assert nn.Dense(3) == nn.Dense(3)
    assert hash(nn.Conv(3, (2,))) == hash(nn.Conv(3, (2,)))
    assert nn.Dense(3, kernel_init=nn.initializers.normal(0.02)) == nn.Dense(
        3, kernel_init=nn.initializers.normal(stddev=0.02)
    )
