"""The table of layers: what is tested of all of them alike, here and against flax.linen.

Which variables a layer has is in `layouts.json`; `nox -s layouts` writes it down anew.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import linen_modules


def normal(*shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(17), shape)


@dataclass(frozen=True)
class Descriptor:
    """A layer, what it is called with, and what it does.

    Attributes:
        build: makes the layer from `linen_modules`, or another library with this API.
        inputs: a batch of inputs; axis 0 is the batch.
        streams: the random streams it draws from when it is applied.
        mutable: the collections it changes when it is applied.
        equations: how many cached functions a call of it traces. Keys and the arrays that a loop
            begins with count, too.
        mixes_batch: whether an example's output depends on the other examples.
        has_peer: whether flax.linen has the layer.
    """

    build: Callable[[Any], Any]
    inputs: Callable[[], jax.Array]
    streams: tuple[str, ...] = ()
    mutable: tuple[str, ...] = ()
    equations: int = 1
    mixes_batch: bool = False
    has_peer: bool = True

    def init_with_output(self, nn: Any = linen_modules) -> tuple[Any, Any]:
        """Returns the outputs and the variables of the layer of a library."""
        rngs = {stream: jax.random.key(2) for stream in ("params", *self.streams)}
        return self.build(nn).init_with_output(rngs, self.inputs())


class Training(linen_modules.Module):
    """Calls a layer as in training."""

    layer: Any

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.layer(x, update_stats=True)


MASK = jnp.tril(jnp.ones((3, 6, 4)))

LAYERS = {
    "dense": Descriptor(
        lambda nn: nn.Dense(4),
        lambda: normal(5, 6),
    ),
    "dense without bias": Descriptor(
        lambda nn: nn.Dense(4, use_bias=False),
        lambda: normal(5, 2, 6),
    ),
    "conv": Descriptor(
        lambda nn: nn.Conv(4, (3, 2), strides=2, padding=[(1, 0), 1]),
        lambda: normal(5, 8, 7, 6),
    ),
    "causal conv": Descriptor(
        lambda nn: nn.Conv(4, (3,), padding="CAUSAL", feature_group_count=2),
        lambda: normal(5, 8, 6),
    ),
    "masked circular conv": Descriptor(
        lambda nn: nn.Conv(4, (3,), padding="CIRCULAR", mask=MASK),
        lambda: normal(5, 8, 6),
    ),
    "embed": Descriptor(
        lambda nn: nn.Embed(7, 4),
        lambda: jnp.arange(10).reshape(5, 2) % 7,
    ),
    "layer norm": Descriptor(
        lambda nn: nn.LayerNorm(),
        lambda: normal(5, 3, 6),
    ),
    "layer norm over two axes": Descriptor(
        lambda nn: nn.LayerNorm(reduction_axes=(-1, -2), feature_axes=(-2, -1)),
        lambda: normal(5, 3, 6),
    ),
    "batch norm in training": Descriptor(
        lambda nn: nn.BatchNorm(use_running_average=False),
        lambda: normal(5, 3, 6),
        mutable=("batch_stats",),
        mixes_batch=True,
    ),
    "batch norm in inference": Descriptor(
        lambda nn: nn.BatchNorm(use_running_average=True),
        lambda: normal(5, 3, 6),
    ),
    "dropout": Descriptor(
        lambda nn: nn.Dropout(0.5, deterministic=False),
        lambda: normal(5, 6),
        streams=("dropout",),
        equations=2,
        mixes_batch=True,
    ),
    "dense general": Descriptor(
        lambda nn: nn.DenseGeneral((4, 3), axis=(-1, -3)),
        lambda: normal(5, 6, 2, 7),
    ),
    "einsum": Descriptor(
        lambda nn: nn.Einsum((6, 4, 3), "...a,abc->...bc"),
        lambda: normal(5, 2, 6),
    ),
    "transposed conv": Descriptor(
        lambda nn: nn.ConvTranspose(4, (3, 2), strides=(2, 1), transpose_kernel=True),
        lambda: normal(5, 8, 7, 6),
    ),
    "circular transposed conv": Descriptor(
        lambda nn: nn.ConvTranspose(4, (3,), strides=2, padding="CIRCULAR", mask=MASK),
        lambda: normal(5, 8, 6),
    ),
    "local conv": Descriptor(
        lambda nn: nn.ConvLocal(4, (3,), strides=2),
        lambda: normal(5, 8, 6),
    ),
    "prelu": Descriptor(
        lambda nn: nn.PReLU(),
        lambda: normal(5, 6),
    ),
    "sequential": Descriptor(
        lambda nn: nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(3, use_bias=False)]),
        lambda: normal(5, 6),
        equations=3,
    ),
    "attention": Descriptor(
        lambda nn: nn.MultiHeadAttention(2),
        lambda: normal(5, 3, 6),
        equations=5,
    ),
    "attention with dropout": Descriptor(
        lambda nn: nn.SelfAttention(2, dropout_rate=0.5, deterministic=False, use_bias=False),
        lambda: normal(5, 3, 6),
        streams=("dropout",),
        equations=6,
    ),
    "rotary attention with shared heads": Descriptor(
        lambda nn: nn.MultiHeadAttention(
            3,
            num_kv_heads=1,
            rotary_fn=nn.rotary_embedding,
            normalize_qk=True,
            is_causal=True,
            use_bias=False,
        ),
        lambda: normal(5, 4, 6),
        equations=9,
        has_peer=False,
    ),
    "rms norm": Descriptor(
        lambda nn: nn.RMSNorm(),
        lambda: normal(5, 3, 6),
    ),
    "group norm": Descriptor(
        lambda nn: nn.GroupNorm(2),
        lambda: normal(5, 1, 3, 6),
    ),
    "group norm of a given size": Descriptor(
        lambda nn: nn.GroupNorm(None, group_size=3, reduction_axes=-1),
        lambda: normal(5, 3, 6),
    ),
    "instance norm": Descriptor(
        lambda nn: nn.InstanceNorm(),
        lambda: normal(5, 1, 3, 6),
    ),
    "spectral norm": Descriptor(
        lambda nn: Training(nn.SpectralNorm(nn.Conv(4, (3,)))),
        lambda: normal(5, 7, 6),
        mutable=("batch_stats",),
        equations=2,
        has_peer=False,
    ),
    "weight norm": Descriptor(
        lambda nn: nn.Sequential([nn.WeightNorm(nn.Dense(4))]),
        lambda: normal(5, 6),
        equations=2,
    ),
    "lstm": Descriptor(
        lambda nn: nn.RNN(nn.LSTMCell(4)),
        lambda: normal(5, 3, 6),
        equations=3,
    ),
    "gru, reversed": Descriptor(
        lambda nn: nn.RNN(nn.GRUCell(4), reverse=True),
        lambda: normal(5, 3, 6),
        equations=3,
    ),
    "minimal gated unit": Descriptor(
        lambda nn: nn.RNN(nn.MGUCell(4)),
        lambda: normal(5, 3, 6),
        equations=3,
    ),
    "bidirectional": Descriptor(
        lambda nn: nn.Bidirectional(nn.RNN(nn.SimpleCell(4)), nn.RNN(nn.OptimizedLSTMCell(2))),
        lambda: normal(5, 3, 6),
        equations=7,
    ),
    "convolutional lstm": Descriptor(
        lambda nn: nn.RNN(nn.ConvLSTMCell(4, (3,))),
        lambda: normal(5, 3, 7, 6),
        equations=3,
    ),
}
