"""The same functions in plain `jax.numpy`, over the same trees of variables.

`APPLY` has, for each model of `models.py`, a function of variables and input; models that keep
running averages return a pair of output and updates. `initialize` fills a tree of shapes.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import initializers

from models import (
    BLOCKS,
    CONVNET_FEATURES,
    HEADS,
    MLP_DEPTH,
    RECURRENT_DEPTH,
    RESNET_STAGES,
)

Tree = Any
NUMBERS = ("NHWC", "HWIO", "NHWC")


def initialize(key: jax.Array, shapes: Tree) -> Tree:
    """Draws variables of the given shapes as the layers' default initializers do."""
    paths, structure = jax.tree_util.tree_flatten_with_path(shapes)
    makers: dict[str, Callable[..., jax.Array]] = {
        "kernel": initializers.lecun_normal(),
        "bias": initializers.zeros,
        "scale": initializers.ones,
        "mean": initializers.zeros,
        "var": initializers.ones,
    }
    return structure.unflatten(
        makers[path[-1].key](jax.random.fold_in(key, i), leaf.shape, leaf.dtype)
        for i, (path, leaf) in enumerate(paths)
    )


def dense(params: Tree, x: jax.Array) -> jax.Array:
    """A matrix product and a bias."""
    return x @ params["kernel"] + params["bias"]


def layer_norm(params: Tree, x: jax.Array) -> jax.Array:
    """Mean zero and variance one over the last axis, then a scale and a bias."""
    mean = x.mean(-1)
    variance = jnp.maximum((x * x).mean(-1) - mean * mean, 0)
    y = (x - mean[..., None]) * (lax.rsqrt(variance + 1e-6)[..., None] * params["scale"])
    return y + params["bias"]


def mlp(variables: Tree, x: jax.Array) -> jax.Array:
    """A chain of dense layers and rectifiers."""
    for i in range(MLP_DEPTH):
        x = jax.nn.relu(dense(variables["params"][f"Dense_{i}"], x))
    return x


def attend(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    """Attention with several heads."""
    shape = (*query.shape[:-1], HEADS, query.shape[-1] // HEADS)
    query, key, value = (array.reshape(shape) for array in (query, key, value))
    weights = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", query, key) / shape[-1] ** 0.5)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, value).reshape(*shape[:-2], -1)


def transformer(block_name: str, layers: tuple[str, ...]) -> Callable[[Tree, jax.Array], jax.Array]:
    """Returns the stack of blocks for one naming of its layers."""
    attention_norm, query, key, value, out, mlp_norm, up, down = layers

    def run(variables: Tree, x: jax.Array) -> jax.Array:
        for i in range(BLOCKS):
            block = variables["params"][f"{block_name}_{i}"]
            y = layer_norm(block[attention_norm], x)
            y = attend(dense(block[query], y), dense(block[key], y), dense(block[value], y))
            x = x + dense(block[out], y)
            y = dense(block[up], layer_norm(block[mlp_norm], x))
            x = x + dense(block[down], jax.nn.gelu(y))
        return x

    return run


def conv(params: Tree, x: jax.Array, stride: int = 1, padding: Any = "SAME") -> jax.Array:
    """A convolution of images, with a bias where there is one."""
    strides = (stride, stride)
    y = lax.conv_general_dilated(x, params["kernel"], strides, padding, dimension_numbers=NUMBERS)
    return y + params["bias"] if "bias" in params else y


def batch_norm(params: Tree, averages: Tree, x: jax.Array) -> tuple[jax.Array, Tree]:
    """Normalises a batch with its own statistics and updates the running averages."""
    mean = x.mean((0, 1, 2))
    variance = jnp.maximum((x * x).mean((0, 1, 2)) - mean * mean, 0)
    y = (x - mean) * (lax.rsqrt(variance + 1e-5) * params["scale"]) + params["bias"]
    return y, {
        "mean": 0.99 * averages["mean"] + 0.01 * mean,
        "var": 0.99 * averages["var"] + 0.01 * variance,
    }


def max_pool(x: jax.Array, window: int, padding: str = "VALID") -> jax.Array:
    """The maximum over windows with stride two."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, window, window, 1), (1, 2, 2, 1), padding)


def convnet(variables: Tree, x: jax.Array) -> tuple[jax.Array, Tree]:
    """A small convolutional network in training mode."""
    params, averages, updates = variables["params"], variables["batch_stats"], {}
    for i, _ in enumerate(CONVNET_FEATURES):
        name = f"BatchNorm_{i}"
        x = conv(params[f"Conv_{i}"], x)
        x, updates[name] = batch_norm(params[name], averages[name], x)
        x = max_pool(jax.nn.relu(x), 2)
    return dense(params["Dense_0"], x.mean((1, 2))), {"batch_stats": updates}


def bottleneck(
    params: Tree, averages: Tree, x: jax.Array, stride: int
) -> tuple[jax.Array, dict[str, Tree]]:
    """A residual block of three convolutions."""
    updates = {}

    def normalize(name: str, x: jax.Array) -> jax.Array:
        y, updates[name] = batch_norm(params[name], averages[name], x)
        return y

    y = jax.nn.relu(normalize("BatchNorm_0", conv(params["Conv_0"], x)))
    y = jax.nn.relu(normalize("BatchNorm_1", conv(params["Conv_1"], y, stride)))
    y = normalize("BatchNorm_2", conv(params["Conv_2"], y))
    if "skip" in params:
        x = normalize("skip_norm", conv(params["skip"], x, stride))
    return jax.nn.relu(x + y), updates


def resnet50(variables: Tree, x: jax.Array) -> tuple[jax.Array, Tree]:
    """ResNet-50 in training mode."""
    params, averages, updates = variables["params"], variables["batch_stats"], {}
    x = conv(params["Conv_0"], x, 2, ((3, 3), (3, 3)))
    x, updates["BatchNorm_0"] = batch_norm(params["BatchNorm_0"], averages["BatchNorm_0"], x)
    x = max_pool(jax.nn.relu(x), 3, "SAME")
    strides = [
        2 if stage > 0 and block == 0 else 1
        for stage, blocks in enumerate(RESNET_STAGES)
        for block in range(blocks)
    ]
    for i, stride in enumerate(strides):
        name = f"Bottleneck_{i}"
        x, updates[name] = bottleneck(params[name], averages[name], x, stride)
    return dense(params["Dense_0"], x.mean((1, 2))), {"batch_stats": updates}


def joined(params: Tree, names: str, side: str) -> jax.Array:
    """Puts the kernels of all gates side by side."""
    return jnp.concatenate([params[side + gate]["kernel"] for gate in names], 1)


def lstm(variables: Tree, x: jax.Array) -> jax.Array:
    """Loops over time with the inputs' products outside of the loop."""
    for i in range(RECURRENT_DEPTH):
        params = variables["params"][f"LSTMCell_{i}"]
        kernel = joined(params, "ifgo", "h")
        bias = jnp.concatenate([params["h" + gate]["bias"] for gate in "ifgo"])

        def step(carry: Tree, x: jax.Array, kernel: jax.Array = kernel) -> tuple[Tree, jax.Array]:
            memory, h = carry
            i, f, g, o = jnp.split(x + h @ kernel, 4, -1)
            memory = jax.nn.sigmoid(f) * memory + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(memory)
            return (memory, h), h

        x = jnp.moveaxis(x, 1, 0)
        zeros = jnp.zeros((x.shape[1], kernel.shape[0]))
        _, x = lax.scan(step, (zeros, zeros), x @ joined(params, "ifgo", "i") + bias)
        x = jnp.moveaxis(x, 0, 1)
    return x


def gru(variables: Tree, x: jax.Array) -> jax.Array:
    """Loops over time with the inputs' products outside of the loop."""
    for i in range(RECURRENT_DEPTH):
        params = variables["params"][f"GRUCell_{i}"]
        kernel = joined(params, "rzn", "h")
        bias = jnp.concatenate([params["i" + gate]["bias"] for gate in "rzn"])

        def step(
            h: jax.Array, x: jax.Array, kernel: jax.Array = kernel, params: Tree = params
        ) -> tuple[jax.Array, jax.Array]:
            r, z, n = jnp.split(x, 3, -1)
            from_r, from_z, from_n = jnp.split(h @ kernel, 3, -1)
            r, z = jax.nn.sigmoid(r + from_r), jax.nn.sigmoid(z + from_z)
            n = jnp.tanh(n + r * (from_n + params["hn"]["bias"]))
            h = (1 - z) * n + z * h
            return h, h

        x = jnp.moveaxis(x, 1, 0)
        zeros = jnp.zeros((x.shape[1], kernel.shape[0]))
        _, x = lax.scan(step, zeros, x @ joined(params, "rzn", "i") + bias)
        x = jnp.moveaxis(x, 0, 1)
    return x


SETUP = ("attention_norm", "query", "key", "value", "out", "mlp_norm", "up", "down")
COMPACT = ("LayerNorm_0", *(f"Dense_{i}" for i in range(4)), "LayerNorm_1", "Dense_4", "Dense_5")
APPLY: dict[str, Callable[[Tree, jax.Array], Any]] = {
    "mlp": mlp,
    "transformer-setup": transformer("blocks", SETUP),
    "transformer-compact": transformer("Block", COMPACT),
    "convnet": convnet,
    "resnet50": resnet50,
    "lstm": lstm,
    "gru": gru,
}
