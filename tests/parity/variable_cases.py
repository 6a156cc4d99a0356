"""Cases of variables, collections and random streams inside modules."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .case import Table, X, normal

VARIABLES = Table()
STREAMS = {"params": 0, "noise": 1, "dropout": 2}
DRAWS: dict[str, Any] = {"rngs": STREAMS, "apply_rngs": {"noise": 4, "dropout": 5}}


# Parameters.


@VARIABLES.module()
def param_of_python_scalars(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x * self.param("scale", lambda key: 2.0) + self.param("shift", lambda key: -1.0)

    return Net()


@VARIABLES.module(gradients=False)
def param_of_python_integers(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x * self.param("scale", lambda key: 2)

    return Net()


@VARIABLES.module()
def param_of_numpy_arrays(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x * self.param("scale", lambda key: np.full((1, 3), 2.0, np.float32))

    return Net()


@VARIABLES.module()
def param_of_weakly_typed_arrays(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x * self.param("scale", lambda key: jnp.asarray(2.0))

    return Net()


@VARIABLES.module(gradients=False)
def param_trees(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            def pair(key, shape):
                first, second = jax.random.split(key)
                return {"w": jax.random.normal(first, shape), "b": [jnp.zeros(shape), second]}

            tree = self.param("pair", pair, (1, 3))
            return x * tree["w"] + tree["b"][0]

    return Net()


@VARIABLES.module()
def param_with_keyword_arguments(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x + self.param("bias", nn.initializers.normal(), shape=(1, 3), dtype=jnp.float16)

    return Net()


@VARIABLES.module()
def param_that_depends_on_the_input(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x - self.param("mean", lambda key: x.mean(0, keepdims=True))

    return Net()


@VARIABLES.module()
def param_initialized_with_a_second_key(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            extra = self.make_rng("params") if self.is_initializing() else None
            noise = 0.0 if extra is None else jax.random.normal(extra, (1, 3))
            return x + self.param("bias", lambda key: jax.random.normal(key, (1, 3)) + noise)

    return Net()


@VARIABLES.module()
def param_boxed(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            init = nn.with_partitioning(nn.initializers.normal(), (None, "model"))
            return x * self.param("scale", init, (1, 3))

    return Net()


@VARIABLES.module()
def param_named_like_a_submodule_of_another_module(nn):
    class Leaf(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x + self.param("Leaf_0", nn.initializers.normal(), (1, 3))

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Leaf()(x)

    return Net()


# Other collections.


@VARIABLES.module(mutable=["state"], name="counter_that_counts")
@VARIABLES.module(name="counter_that_stands_still")
def counter(nn):
    class Counter(nn.Module):
        @nn.compact
        def __call__(self, x):
            count = self.variable("state", "count", lambda: jnp.zeros((), jnp.int32))
            if not self.is_initializing() and self.is_mutable_collection("state"):
                count.value += 1
            return x * count.value

    return Counter()


@VARIABLES.module(mutable=["state"])
def moving_average(nn):
    class Average(nn.Module):
        decay: float = 0.9

        @nn.compact
        def __call__(self, x):
            started = self.has_variable("state", "mean")
            mean = self.variable("state", "mean", jnp.zeros, (1, 3))
            if started:
                mean.value = self.decay * mean.value + (1 - self.decay) * x.mean(0, keepdims=True)
            return x - mean.value + self.param("bias", nn.initializers.normal(), (1, 3))

    return Average()


@VARIABLES.module(mutable=["memory", "clock"])
def several_collections(nn):
    class Net(nn.Module):
        def setup(self):
            self.dense = nn.Dense(3)
            self.seen = self.variable("memory", "seen", jnp.zeros, (2, 3))
            self.steps = self.variable("clock", "steps", lambda: 0)

        def __call__(self, x):
            previous, self.seen.value = self.seen.value, x
            self.steps.value += 1
            return self.dense(x + previous)

    return Net()


def two_stages(nn):
    class Stage(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(3)(x)
            self.sow("features", "dense", x)
            for collection in ("cache", "state"):
                if self.is_mutable_collection(collection):
                    last = self.variable(collection, "last", jnp.zeros, x.shape)
                    last.value = x + last.value
            return x

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Stage(name="second")(Stage(name="first")(x))

    return Net()


for mutable in (
    True,
    False,
    "cache",
    ["cache"],
    ["cache", "state"],
    ("cache", "features"),
    {"cache", "state"},
    ["cache", "a name that nobody uses"],
    [],
    ["params"],
    frozenset({"features"}),
):
    names = sorted(mutable) if isinstance(mutable, set | frozenset) else mutable
    VARIABLES.module(name=f"mutable={type(mutable).__name__} {names}", mutable=mutable)(two_stages)
for mutable in (True, "params", ["params", "cache"], ["params", "features"]):
    VARIABLES.module(name=f"init with mutable={mutable!r}", init_mutable=mutable)(two_stages)


@VARIABLES.module(mutable=["state"])
def variable_read_and_written_through_the_module(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            before = self.get_variable("state", "last", jnp.zeros(x.shape))
            self.put_variable("state", "last", x)
            return before, self.get_variable("state", "absent"), self.has_variable("state", "last")

    return Net()


@VARIABLES.module(mutable=["state"])
def variable_of_a_tree(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            state = self.variable("state", "tree", lambda: {"a": jnp.zeros((1, 3)), "b": (1.0,)})
            state.value = {"a": state.value["a"] + 1, "b": state.value["b"]}
            return x + state.value["a"]

    return Net()


@VARIABLES.module(mutable=["state"])
def variable_of_a_child_written_by_the_parent(nn):
    class Child(nn.Module):
        def setup(self):
            self.last = self.variable("state", "last", jnp.zeros, (2, 3))

        def __call__(self, x):
            return x + self.last.value

    class Net(nn.Module):
        def setup(self):
            self.child = Child()

        def __call__(self, x):
            y = self.child(x)
            self.child.last.value = y
            return y

    return Net()


@VARIABLES.module(mutable=["state"])
def variable_boxed(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            init = nn.with_partitioning(jnp.zeros, (None, "model"))
            last = self.variable("state", "last", init, (2, 3))
            last.value = last.value + x
            return last.value

    return Net()


@VARIABLES.module(mutable=["state"])
def variable_and_parameter_of_one_name_in_two_children(nn):
    class Child(nn.Module):
        collection: str

        @nn.compact
        def __call__(self, x):
            if self.collection == "params":
                return x * self.param("scale", nn.initializers.normal(), (1, 3))
            return x * self.variable(self.collection, "scale", jnp.ones, (1, 3)).value

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Child("state")(Child("params")(x))

    return Net()


# sow and perturb.


@VARIABLES.module(mutable=["intermediates"])
def sow(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(3)(x)
            stored = self.sow("intermediates", "hidden", x)
            return x, stored

    return Net()


@VARIABLES.module(mutable=["intermediates"])
def sow_repeatedly(nn):
    class Leaf(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.sow("intermediates", "input", x)
            return x + 1

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            leaf = Leaf()
            return leaf(leaf(Leaf()(x)))

    return Net()


@VARIABLES.module()
def sow_into_an_immutable_collection(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x, self.sow("intermediates", "hidden", x)

    return Net()


@VARIABLES.module(mutable=["losses"])
def sow_with_own_reduction(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            for i in range(3):
                self.sow("losses", "l2", x.sum() + i, lambda a, b: a + b, lambda: jnp.zeros(()))
            return x

    return Net()


@VARIABLES.module(init_mutable=True, mutable=["intermediates"])
def sow_during_init(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.sow("intermediates", "input", x)
            return x

    return Net()


@VARIABLES.module()
def perturb(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2)(self.perturb("hidden", nn.Dense(3)(x)))

    return Net()


# Random streams.


@VARIABLES.module(**DRAWS, gradients=False)
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


@VARIABLES.module(**DRAWS)
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


@VARIABLES.module(**DRAWS)
def make_rng_in_a_module_called_twice(nn):
    noise = noise_layer(nn)

    class Net(nn.Module):
        def setup(self):
            self.noise = noise()
            self.list = [noise(), noise()]

        def __call__(self, x):
            return self.noise(self.list[1](self.noise(self.list[0](x))))

    return Net()


@VARIABLES.module(**DRAWS)
def make_rng_beside_parameters(nn):
    noise = noise_layer(nn)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = noise()(nn.Dense(3)(x))
            bias = self.param("bias", nn.initializers.normal(), (1, 3))
            return noise()(nn.Dense(3)(x + bias)) * jax.random.normal(self.make_rng("noise"))

    return Net()


@VARIABLES.module(rngs={"params": 3}, apply_rngs={"params": 7}, gradients=False)
def make_rng_falls_back_to_params(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return [self.make_rng("unknown"), self.make_rng(), self.make_rng("other")]

    return Net()


@VARIABLES.module(rngs=3, apply_rngs={"params": 7}, gradients=False)
def make_rng_from_a_single_key(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            bias = self.param("bias", nn.initializers.normal(), (1, 3))
            return bias, self.make_rng(), self.make_rng("params")

    return Net()


@VARIABLES.module(rngs={"params": 0, "noise": 1}, apply_rngs={"noise": 2})
def make_rng_only_where_there_is_a_stream(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            found = [self.has_rng(stream) for stream in ("noise", "dropout", "params")]
            return x + jax.random.normal(self.make_rng("noise"), x.shape), found

    return Net()


for implementation in ("threefry2x32", "rbg", "unsafe_rbg"):
    VARIABLES.module(
        name=f"make_rng, {implementation} keys",
        key=partial(jax.random.key, impl=implementation),
        **DRAWS,
    )(lambda nn: noise_layer(nn)())
VARIABLES.module(name="make_rng, raw keys", key=jax.random.PRNGKey, **DRAWS)(
    lambda nn: noise_layer(nn)()
)


@VARIABLES.module(args=(normal(4, 8),), rngs=STREAMS, apply_rngs={"dropout": 5})
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


@VARIABLES.module(
    args=(normal(2, 8, 8, 1),),
    rngs=STREAMS,
    apply_rngs={"dropout": 5},
    mutable=["batch_stats"],
    name="convolutional_network_trains",
    kwargs={"train": True},
    eager_ulps=8,
    reason="batch normalisation is fused when it runs eagerly",
)
@VARIABLES.module(
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
