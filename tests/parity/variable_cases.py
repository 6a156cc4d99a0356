"""Cases of parameters, other variables and their collections inside modules."""

import jax
import jax.numpy as jnp
import numpy as np

from .case import Table

VARIABLES = Table()


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


# sow.


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
