"""Cases of submodules that are shared, passed as fields or as arguments."""

import functools
from collections.abc import Callable
from dataclasses import field
from typing import Any

from .case import Table

SHARING = Table()


@SHARING.module()
def shared_by_two_attributes(nn):
    class Net(nn.Module):
        def setup(self):
            self.first = nn.Dense(3)
            self.second = self.first

        def __call__(self, x):
            return self.second(self.first(x))

    return Net()


@SHARING.module()
def shared_inside_a_list(nn):
    class Net(nn.Module):
        def setup(self):
            dense = nn.Dense(3)
            self.layers = [dense, nn.Dense(3), dense]

        def __call__(self, x):
            for layer in self.layers:
                x = layer(x)
            return x

    return Net()


@SHARING.module()
def shared_between_siblings(nn):
    class Tied(nn.Module):
        embedding: nn.Module
        features: int

        @nn.compact
        def __call__(self, x):
            return nn.Dense(self.features)(self.embedding(x))

    class Net(nn.Module):
        def setup(self):
            self.embedding = nn.Dense(3)
            self.left = Tied(self.embedding, 4)
            self.right = Tied(self.embedding, 5)

        def __call__(self, x):
            return self.left(x), self.right(x)

    return Net()


@SHARING.module()
def shared_with_a_compact_child(nn):
    class Child(nn.Module):
        other: nn.Module

        @nn.compact
        def __call__(self, x):
            return self.other(nn.Dense(3)(x))

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.Dense(3)
            return Child(dense)(Child(dense)(dense(x)))

    return Net()


@SHARING.module()
def shared_first_used_by_the_child(nn):
    class Child(nn.Module):
        other: nn.Module

        def __call__(self, x):
            return self.other(x)

    class Net(nn.Module):
        def setup(self):
            dense = nn.Dense(3)
            self.child = Child(dense)
            self.dense = dense

        def __call__(self, x):
            return self.dense(self.child(x))

    return Net()


@SHARING.module()
def shared_field_of_two_fields(nn):
    class Pair(nn.Module):
        left: nn.Module
        right: nn.Module

        def __call__(self, x):
            return self.left(self.right(x))

    dense = nn.Dense(3)
    return Pair(dense, dense)


# Submodules as fields and as arguments.


@SHARING.module()
def field_module(nn):
    class Net(nn.Module):
        inner: nn.Module

        @nn.compact
        def __call__(self, x):
            return nn.Dense(2)(self.inner(x))

    return Net(nn.Dense(4))


@SHARING.module()
def field_module_with_a_name(nn):
    class Net(nn.Module):
        inner: nn.Module

        def __call__(self, x):
            return self.inner(x)

    return Net(nn.Dense(4, name="named"))


@SHARING.module()
def field_module_in_setup(nn):
    class Net(nn.Module):
        inner: nn.Module

        def setup(self):
            self.outer = nn.Dense(3)

        def __call__(self, x):
            return self.outer(self.inner(x))

    return Net(nn.Dense(4))


@SHARING.module()
def field_lists_tuples_and_dicts(nn):
    class Net(nn.Module):
        stack: list[Any]
        pair: tuple[Any, ...]
        heads: dict[str, Any]

        def __call__(self, x):
            for layer in (*self.stack, *self.pair):
                x = layer(x)
            return {name: head(x) for name, head in self.heads.items()}

    return Net(
        [nn.Dense(3), nn.Dense(4)],
        (nn.Dense(5), nn.BatchNorm(use_running_average=True)),
        {"a": nn.Dense(2), "b": nn.relu},
    )


@SHARING.module()
def field_default_factory(nn):
    class Net(nn.Module):
        inner: nn.Module = field(default_factory=lambda: nn.Dense(4))

        def __call__(self, x):
            return self.inner(x)

    return Net()


@SHARING.module()
def field_default_instance_in_two_parents(nn):
    class Child(nn.Module):
        inner: Any = nn.Dense(3)

        def __call__(self, x):
            return self.inner(x)

    class Net(nn.Module):
        def setup(self):
            self.a = Child()
            self.b = Child()

        def __call__(self, x):
            return self.a(self.b(x))

    return Net()


@SHARING.module()
def field_nested_prototype(nn):
    class Wrap(nn.Module):
        inner: nn.Module

        def __call__(self, x):
            return self.inner(x)

    return Wrap(Wrap(Wrap(nn.Dense(3))))


@SHARING.module()
def field_module_in_a_closure_of_compact(nn):
    class Net(nn.Module):
        make: Callable[[], Any]

        @nn.compact
        def __call__(self, x):
            return self.make()(self.make()(x))

    return Net(functools.partial(nn.Dense, 3))


@SHARING.module()
def field_activation_and_initializer(nn):
    class Net(nn.Module):
        activation: Callable
        kernel_init: Callable

        @nn.compact
        def __call__(self, x):
            return self.activation(nn.Dense(4, kernel_init=self.kernel_init)(x))

    return Net(nn.tanh, nn.initializers.orthogonal())


@SHARING.module()
def argument_module(nn):
    class Apply(nn.Module):
        @nn.compact
        def __call__(self, layer, x):
            return nn.Dense(2)(layer(x))

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Apply()(nn.Dense(4), x)

    return Net()


@SHARING.module()
def argument_module_from_setup(nn):
    class Apply(nn.Module):
        def __call__(self, layers, x):
            return layers["a"](x) + layers["b"](x)

    class Net(nn.Module):
        def setup(self):
            self.heads = {"a": nn.Dense(3), "b": nn.Dense(3)}
            self.call = Apply()

        def __call__(self, x):
            return self.call(self.heads, x)

    return Net()


@SHARING.module()
def module_from_clone_with_updates(nn):
    return nn.Dense(3).clone(features=5, use_bias=False)
