"""Cases of random streams inside modules, and of dropout."""

from functools import partial
from typing import Any

import jax

from .case import Table, normal

STREAMED = Table()
STREAMS = {"params": 0, "noise": 1, "dropout": 2}
DRAWS: dict[str, Any] = {"rngs": STREAMS, "apply_rngs": {"noise": 4, "dropout": 5}}


@STREAMED.module(**DRAWS, gradients=False)
def make_rng_repeatedly_from_several_streams(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            streams = ("noise", "dropout", "noise", "noise", "dropout")
            return [self.make_rng(stream) for stream in streams]

    return Net()


def noise_layer(nn):
    class Noise(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x + jax.random.normal(self.make_rng("noise"), x.shape)

    return Noise


@STREAMED.module(**DRAWS)
def make_rng_in_nested_modules(nn):
    noise = noise_layer(nn)

    class Middle(nn.Module):
        @nn.compact
        def __call__(self, x):
            return noise()(noise(name="named")(nn.Dense(3)(x)))

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Middle()(noise()(Middle()(x)))

    return Net()


@STREAMED.module(**DRAWS)
def make_rng_in_a_module_called_twice(nn):
    noise = noise_layer(nn)

    class Net(nn.Module):
        def setup(self):
            self.noise = noise()
            self.list = [noise(), noise()]

        def __call__(self, x):
            return self.noise(self.list[1](self.noise(self.list[0](x))))

    return Net()


@STREAMED.module(**DRAWS)
def make_rng_beside_parameters(nn):
    noise = noise_layer(nn)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = noise()(nn.Dense(3)(x))
            bias = self.param("bias", nn.initializers.normal(), (1, 3))
            return noise()(nn.Dense(3)(x + bias)) * jax.random.normal(self.make_rng("noise"))

    return Net()


@STREAMED.module(rngs={"params": 3}, apply_rngs={"params": 7}, gradients=False)
def make_rng_falls_back_to_params(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return [self.make_rng("unknown"), self.make_rng(), self.make_rng("other")]

    return Net()


@STREAMED.module(rngs=3, apply_rngs={"params": 7}, gradients=False)
def make_rng_from_a_single_key(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            bias = self.param("bias", nn.initializers.normal(), (1, 3))
            return bias, self.make_rng(), self.make_rng("params")

    return Net()


@STREAMED.module(rngs={"params": 0, "noise": 1}, apply_rngs={"noise": 2})
def make_rng_only_where_there_is_a_stream(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            found = [self.has_rng(stream) for stream in ("noise", "dropout", "params")]
            return x + jax.random.normal(self.make_rng("noise"), x.shape), found

    return Net()


for implementation in ("threefry2x32", "rbg", "unsafe_rbg"):
    STREAMED.module(
        name=f"make_rng, {implementation} keys",
        key=partial(jax.random.key, impl=implementation),
        **DRAWS,
    )(lambda nn: noise_layer(nn)())
STREAMED.module(name="make_rng, raw keys", key=jax.random.PRNGKey, **DRAWS)(
    lambda nn: noise_layer(nn)()
)


@STREAMED.module(args=(normal(4, 8),), rngs=STREAMS, apply_rngs={"dropout": 5})
def dropout_in_nested_modules(nn):
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dropout(0.3, deterministic=False)(nn.relu(nn.Dense(8)(x)))
            return x + nn.Dropout(0.3, deterministic=False)(nn.Dense(8)(x))

    class Net(nn.Module):
        def setup(self):
            self.blocks = [Block() for _ in range(2)]
            self.dropout = nn.Dropout(0.5)

        def __call__(self, x):
            for block in self.blocks:
                x = self.dropout(block(x), deterministic=False)
            return x

    return Net()


@STREAMED.module(
    args=(normal(2, 8, 8, 1),),
    rngs=STREAMS,
    apply_rngs={"dropout": 5},
    mutable=["batch_stats"],
    name="convolutional_network_trains",
    kwargs={"train": True},
    eager_ulps=8,
    reason="batch normalisation is fused when it runs eagerly",
)
@STREAMED.module(
    args=(normal(2, 8, 8, 1),),
    name="convolutional_network_evaluates",
    kwargs={"train": False},
)
def convolutional_network(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            for features in (4, 8):
                x = nn.Conv(features, (3, 3), use_bias=False)(x)
                x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
                x = nn.max_pool(x, (2, 2), strides=(2, 2))
            x = nn.Dropout(0.4, deterministic=not train)(x.reshape(x.shape[0], -1))
            return nn.log_softmax(nn.Dense(10)(x))

    return Net()
