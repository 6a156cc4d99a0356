"""The models that are measured, written once for any library with this API.

Every `build` takes the library's module `nn`. The plain functions over the same parameter trees are
in `handwritten.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

WIDTH = 64
HEADS = 4
MLP_DEPTH = 200
BLOCKS = 24
CONVNET_FEATURES = (16, 32, 64)
RESNET_STAGES = (3, 4, 6, 3)
RECURRENT_DEPTH = 4


@dataclass(frozen=True)
class Model:
    """A model and the input it is measured on.

    Attributes:
        title: what the table calls it.
        build: makes the module from a library's `nn`.
        input_shape: shape of the one input, float32.
        mutable: collections that a training step updates.
    """

    title: str
    build: Callable[[Any], Any]
    input_shape: tuple[int, ...]
    mutable: tuple[str, ...] = ()


def mlp(nn: Any) -> Any:
    """Makes a chain of dense layers and rectifiers."""

    class MLP(nn.Module):
        depth: int = MLP_DEPTH

        @nn.compact
        def __call__(self, x):
            for _ in range(self.depth):
                x = nn.relu(nn.Dense(WIDTH)(x))
            return x

    return MLP()


def attend(nn: Any, query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    """Computes attention with several heads over [batch, length, width]."""
    shape = (*query.shape[:-1], HEADS, query.shape[-1] // HEADS)
    query, key, value = (array.reshape(shape) for array in (query, key, value))
    return nn.dot_product_attention(query, key, value).reshape(*shape[:-2], -1)


def transformer_setup(nn: Any) -> Any:
    """Makes a stack of transformer blocks whose layers are attributes."""

    class Block(nn.Module):
        def setup(self):
            self.attention_norm = nn.LayerNorm()
            self.query, self.key, self.value = (nn.Dense(WIDTH) for _ in range(3))
            self.out = nn.Dense(WIDTH)
            self.mlp_norm = nn.LayerNorm()
            self.up = nn.Dense(4 * WIDTH)
            self.down = nn.Dense(WIDTH)

        def __call__(self, x):
            y = self.attention_norm(x)
            x = x + self.out(attend(nn, self.query(y), self.key(y), self.value(y)))
            return x + self.down(nn.gelu(self.up(self.mlp_norm(x))))

    class Transformer(nn.Module):
        def setup(self):
            self.blocks = [Block() for _ in range(BLOCKS)]

        def __call__(self, x):
            for block in self.blocks:
                x = block(x)
            return x

    return Transformer()


def transformer_compact(nn: Any) -> Any:
    """Makes the same stack with automatic names."""

    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            y = nn.LayerNorm()(x)
            query, key, value = (nn.Dense(WIDTH)(y) for _ in range(3))
            x = x + nn.Dense(WIDTH)(attend(nn, query, key, value))
            y = nn.Dense(4 * WIDTH)(nn.LayerNorm()(x))
            return x + nn.Dense(WIDTH)(nn.gelu(y))

    class Transformer(nn.Module):
        @nn.compact
        def __call__(self, x):
            for _ in range(BLOCKS):
                x = Block()(x)
            return x

    return Transformer()


def convnet(nn: Any) -> Any:
    """Makes a small convolutional network in training mode."""

    class ConvNet(nn.Module):
        @nn.compact
        def __call__(self, x):
            for features in CONVNET_FEATURES:
                x = nn.Conv(features, (3, 3))(x)
                x = nn.relu(nn.BatchNorm(use_running_average=False)(x))
                x = nn.max_pool(x, (2, 2), strides=(2, 2))
            return nn.Dense(10)(x.mean((1, 2)))

    return ConvNet()


def resnet50(nn: Any) -> Any:
    """Makes ResNet-50 (He et al., 2015; stride in the 3x3 convolution) in training mode."""

    class Bottleneck(nn.Module):
        features: int
        stride: int

        @nn.compact
        def __call__(self, x):
            def normalize(x):
                return nn.BatchNorm(use_running_average=False)(x)

            y = nn.relu(normalize(nn.Conv(self.features, (1, 1), use_bias=False)(x)))
            y = nn.Conv(self.features, (3, 3), self.stride, use_bias=False)(y)
            y = nn.Conv(4 * self.features, (1, 1), use_bias=False)(nn.relu(normalize(y)))
            y = normalize(y)
            if x.shape != y.shape:
                x = nn.Conv(4 * self.features, (1, 1), self.stride, use_bias=False, name="skip")(x)
                x = nn.BatchNorm(use_running_average=False, name="skip_norm")(x)
            return nn.relu(x + y)

    class ResNet(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(64, (7, 7), 2, padding=[(3, 3), (3, 3)], use_bias=False)(x)
            x = nn.relu(nn.BatchNorm(use_running_average=False)(x))
            x = nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
            for stage, blocks in enumerate(RESNET_STAGES):
                for block in range(blocks):
                    stride = 2 if stage > 0 and block == 0 else 1
                    x = Bottleneck(64 * 2**stage, stride)(x)
            return nn.Dense(1000)(x.mean((1, 2)))

    return ResNet()


def recurrent(cell: str) -> Callable[[Any], Any]:
    """Returns what makes a stack of loops over cells of one kind."""

    def build(nn: Any) -> Any:
        class Recurrent(nn.Module):
            @nn.compact
            def __call__(self, x):
                for _ in range(RECURRENT_DEPTH):
                    x = nn.RNN(getattr(nn, cell)(WIDTH))(x)
                return x

        return Recurrent()

    return build


MODELS = {
    "mlp": Model(f"MLP, {MLP_DEPTH} layers", mlp, (8, WIDTH)),
    "transformer-setup": Model(
        f"Transformer, {BLOCKS} blocks, setup", transformer_setup, (2, 32, WIDTH)
    ),
    "transformer-compact": Model(
        f"Transformer, {BLOCKS} blocks, compact", transformer_compact, (2, 32, WIDTH)
    ),
    "convnet": Model("Small convolutional network", convnet, (8, 32, 32, 3), ("batch_stats",)),
    "resnet50": Model("ResNet-50", resnet50, (1, 224, 224, 3), ("batch_stats",)),
    "lstm": Model(f"LSTM, {RECURRENT_DEPTH} layers", recurrent("LSTMCell"), (16, 32, WIDTH)),
    "gru": Model(f"GRU, {RECURRENT_DEPTH} layers", recurrent("GRUCell"), (16, 32, WIDTH)),
}
