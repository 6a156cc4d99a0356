"""Cases of the methods of modules, and of what a module tells of itself."""

from typing import Any

import jax
import jax.numpy as jnp

from .case import Table, X

METHODS = Table()


@METHODS.module(method="encode")
def method_of_setup(nn):
    class Autoencoder(nn.Module):
        def setup(self):
            self.encoder = nn.Dense(4)
            self.decoder = nn.Dense(3)

        def encode(self, x):
            return self.encoder(x)

        def __call__(self, x):
            return self.decoder(self.encode(x))

    return Autoencoder()


@METHODS.module(method="hidden")
def method_that_is_compact(nn):
    class Net(nn.Module):
        @nn.compact
        def hidden(self, x):
            return nn.Dense(4)(x)

        def __call__(self, x):
            return nn.relu(self.hidden(x))

    return Net()


@METHODS.module()
def method_of_a_submodule(nn):
    class Net(nn.Module):
        def setup(self):
            self.embed = nn.Embed(5, 3)

        def __call__(self, x):
            return self.embed.attend(x)

    return Net()


@METHODS.module()
def method_that_calls_itself_with_other_arguments(nn):
    class Net(nn.Module):
        def setup(self):
            self.dense = nn.Dense(3)

        def __call__(self, x, times=2):
            return self(self.dense(x), times - 1) if times else x

    return Net()


@METHODS.module()
def method_without_wrapping(nn):
    class Net(nn.Module):
        @nn.nowrap
        def width(self, x):
            return 2 * x.shape[-1]

        @nn.compact
        def __call__(self, x):
            return nn.Dense(self.width(x))(x)

    return Net()


@METHODS.module()
def method_inherited(nn):
    class Base(nn.Module):
        features: int

        @nn.compact
        def __call__(self, x):
            return nn.Dense(self.features)(x)

    class Derived(Base):
        scale: float = 2.0

        def __call__(self, x):
            return self.scale * super().__call__(x)

    return Derived(4)


@METHODS.module()
def method_inherited_setup(nn):
    class Base(nn.Module):
        def setup(self):
            self.first = nn.Dense(4)

        def __call__(self, x):
            return self.first(x)

    class Derived(Base):
        def setup(self):
            super().setup()
            self.second = nn.Dense(3)

        def __call__(self, x):
            return self.second(super().__call__(x))

    return Derived()


@METHODS.module()
def method_property(nn):
    class Net(nn.Module):
        def setup(self):
            self.dense = nn.Dense(3)

        @property
        def doubled(self):
            return lambda x: 2 * self.dense(x)

        def __call__(self, x):
            return self.doubled(x)

    return Net()


@METHODS.module(args=(), kwargs={"x": X, "scale": 2.0})
def method_with_keyword_arguments(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, *, x, scale=1.0):
            return nn.Dense(3)(x) * scale

    return Net()


@METHODS.module()
def method_without_parameters(nn):
    class Double(nn.Module):
        def __call__(self, x):
            return 2 * x

    return Double()


@METHODS.module()
def post_init(nn):
    class Net(nn.Module):
        features: int = 3

        def __post_init__(self):
            super().__post_init__()
            object.__setattr__(self, "width", 2 * self.features)

        @nn.compact
        def __call__(self, x):
            return nn.Dense(self.features)(x)

    return Net(4)


@METHODS.module()
def fields_by_keyword_only(nn: Any) -> Any:
    class Net(nn.Module, kw_only=True):  # pyright: ignore[reportGeneralTypeIssues, reportCallIssue]
        hidden: int = 5
        features: int

        @nn.compact
        def __call__(self, x):
            return nn.Dense(self.features)(nn.Dense(self.hidden)(x))

    return Net(features=2)


# What a module tells of itself.


@METHODS.module()
def introspection_paths_and_names(nn):
    class Leaf(nn.Module):
        @nn.compact
        def __call__(self):
            return "/".join(self.path), self.name

    class Net(nn.Module):
        def setup(self):
            self.leaf = Leaf()
            self.leaves = [Leaf(), Leaf(name="own")]

        @nn.compact
        def __call__(self, x):
            return [leaf() for leaf in (self.leaf, *self.leaves, Leaf())], self.path, self.name

    return Net()


@METHODS.module()
def introspection_of_state(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            before = self.has_variable("params", "scale")
            self.param("scale", nn.initializers.ones, (1,))
            after = self.has_variable("params", "scale")
            return before, after, self.is_initializing(), self.is_mutable_collection("params")

    return Net()


@METHODS.module()
def introspection_of_variables(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.Dense(3)
            x = dense(x)
            return x, dense.variables["params"]["kernel"], jax.tree.map(jnp.shape, self.variables)

    return Net()


@METHODS.module(args=({"left": X, "right": (X, 2 * X)},))
def trees_in_and_out(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, tree):
            dense = nn.Dense(3)
            return jax.tree.map(dense, tree)

    return Net()
