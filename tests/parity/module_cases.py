"""Cases of the module system: names, sharing, containers, methods."""

import functools
from collections.abc import Callable
from dataclasses import field
from typing import Any

import jax
import jax.numpy as jnp

from .case import Table, X

MODULES = Table()


# Names in compact methods.


@MODULES.module()
def compact_automatic_names(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(4)(nn.relu(nn.Dense(5)(x)))

    return Net()


@MODULES.module()
def compact_explicit_names(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(4, name="second")(nn.Dense(5, name="first")(x))

    return Net()


@MODULES.module()
def compact_explicit_and_automatic_names(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(4)(nn.Dense(5, name="named")(x))
            return nn.Dense(3)(nn.BatchNorm(use_running_average=True)(x))

    return Net()


@MODULES.module()
def compact_explicit_name_of_the_automatic_form(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(4)(nn.Dense(5, name="Dense_1")(x))

    return Net()


@MODULES.module()
def compact_names_follow_creation(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            first, second = nn.Dense(3), nn.Dense(3)
            return first(second(x))

    return Net()


@MODULES.module()
def compact_module_that_is_never_called(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            nn.Dense(7)
            return nn.Dense(3)(x)

    return Net()


@MODULES.module()
def compact_call_twice(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.Dense(3)
            return dense(dense(x))

    return Net()


@MODULES.module()
def compact_loop_and_branch(nn):
    class Net(nn.Module):
        depth: int
        normalize: bool = True

        @nn.compact
        def __call__(self, x):
            for i in range(self.depth):
                x = nn.Dense(3 + i, name=f"layer{i}")(x)
                if self.normalize:
                    x = nn.BatchNorm(use_running_average=True)(x)
            return x

    return Net(3)


@MODULES.module()
def compact_inside_compact(nn):
    class Block(nn.Module):
        features: int

        @nn.compact
        def __call__(self, x):
            return nn.Dense(x.shape[-1])(nn.gelu(nn.Dense(self.features)(x))) + x

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            for _ in range(2):
                x = Block(5)(x)
            return Block(4, name="last")(x)

    return Net()


@MODULES.module()
def compact_own_parameters_and_submodules(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            gain = self.param("gain", nn.initializers.normal(), (1, x.shape[-1]))
            return nn.Dense(4)(x * gain) + self.param("shift", nn.initializers.ones, (1, 4))

    return Net()


@MODULES.module()
def compact_submodule_in_a_helper(nn):
    class Net(nn.Module):
        def hidden(self, x):
            return nn.Dense(5)(x)

        @nn.compact
        def __call__(self, x):
            return self.hidden(self.hidden(x))

    return Net()


@MODULES.module()
def compact_class_names_with_digits(nn):
    class Conv1x1_2(nn.Module):  # noqa: N801
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(x)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Conv1x1_2()(Conv1x1_2()(x))

    return Net()


@MODULES.module()
def compact_repeated_class_in_two_parents(nn):
    class Leaf(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x + self.param("bias", nn.initializers.normal(), (1, 3))

    class Pair(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Leaf()(Leaf()(x))

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Pair()(Leaf()(Pair()(x)))

    return Net()


@MODULES.module()
def compact_deep_tree(nn):
    class Nest(nn.Module):
        depth: int

        @nn.compact
        def __call__(self, x):
            x = x + self.param("bias", nn.initializers.normal(), (1, 3))
            return Nest(self.depth - 1)(x) if self.depth else x

    return Nest(6)


# Names in setup.


@MODULES.module()
def setup_attributes(nn):
    class Net(nn.Module):
        def setup(self):
            self.encoder = nn.Dense(5)
            self.decoder = nn.Dense(3)

        def __call__(self, x):
            return self.decoder(nn.relu(self.encoder(x)))

    return Net()


@MODULES.module()
def setup_explicit_name_wins_over_the_attribute(nn):
    class Net(nn.Module):
        def setup(self):
            self.encoder = nn.Dense(5, name="named")

        def __call__(self, x):
            return self.encoder(x)

    return Net()


@MODULES.module()
def setup_parameters(nn):
    class Net(nn.Module):
        def setup(self):
            self.gain = self.param("scale", nn.initializers.normal(), (1, 3))
            self.dense = nn.Dense(4)

        def __call__(self, x):
            return self.dense(x * self.gain)

    return Net()


@MODULES.module()
def setup_submodule_that_is_never_called(nn):
    class Net(nn.Module):
        def setup(self):
            self.used = nn.Dense(3)
            self.unused = nn.Dense(4)

        def __call__(self, x):
            return self.used(x)

    return Net()


@MODULES.module()
def setup_lists(nn):
    class Net(nn.Module):
        def setup(self):
            self.layers = [nn.Dense(4), nn.Dense(5), nn.Dense(3)]

        def __call__(self, x):
            for layer in self.layers:
                x = layer(x)
            return x

    return Net()


@MODULES.module()
def setup_tuples(nn):
    class Net(nn.Module):
        def setup(self):
            self.layers = tuple(nn.Dense(3) for _ in range(3))

        def __call__(self, x):
            return functools.reduce(lambda value, layer: layer(value), self.layers, x)

    return Net()


@MODULES.module()
def setup_dicts(nn):
    class Net(nn.Module):
        def setup(self):
            self.heads = {"left": nn.Dense(2), "right": nn.Dense(3)}

        def __call__(self, x):
            return {name: head(x) for name, head in self.heads.items()}

    return Net()


@MODULES.module()
def setup_containers_in_containers(nn):
    class Net(nn.Module):
        def setup(self):
            self.towers = {"a": [nn.Dense(3), nn.Dense(4)], "b": ({"c": nn.Dense(5)},)}

        def __call__(self, x):
            a, b = self.towers["a"], self.towers["b"]
            return a[1](a[0](x)), b[0]["c"](x)

    return Net()


@MODULES.module()
def setup_mixed_container(nn):
    class Net(nn.Module):
        def setup(self):
            self.parts = [nn.Dense(3), nn.relu, None, 2.0, nn.Dense(3)]

        def __call__(self, x):
            return self.parts[4](self.parts[1](self.parts[0](x))) * self.parts[3]

    return Net()


@MODULES.module()
def setup_lists_that_grow(nn):
    class Net(nn.Module):
        def setup(self):
            layers = []
            for features in (4, 3):
                layers.append(nn.Dense(features))
            self.stack = layers
            self.last = nn.Dense(2)

        def __call__(self, x):
            for layer in self.stack:
                x = layer(x)
            return self.last(x)

    return Net()


@MODULES.module()
def setup_inside_setup(nn):
    class Block(nn.Module):
        features: int

        def setup(self):
            self.first = nn.Dense(self.features)
            self.norm = nn.BatchNorm(use_running_average=True)

        def __call__(self, x):
            return self.norm(self.first(x))

    class Net(nn.Module):
        def setup(self):
            self.blocks = [Block(4), Block(5)]

        def __call__(self, x):
            return self.blocks[1](self.blocks[0](x))

    return Net()


@MODULES.module()
def setup_inside_compact_inside_setup(nn):
    class Inner(nn.Module):
        def setup(self):
            self.dense = nn.Dense(3)

        def __call__(self, x):
            return self.dense(x)

    class Middle(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Inner()(nn.Dense(3)(Inner(name="own")(x)))

    class Net(nn.Module):
        def setup(self):
            self.middle = Middle()

        def __call__(self, x):
            return self.middle(self.middle(x))

    return Net()


@MODULES.module()
def setup_and_compact_in_one_class(nn):
    class Net(nn.Module):
        def setup(self):
            self.encoder = nn.Dense(4)

        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(self.encoder(x))

    return Net()


@MODULES.module()
def setup_order_of_use_does_not_matter(nn):
    class Net(nn.Module):
        def setup(self):
            self.a = nn.Dense(3)
            self.b = nn.Dense(3)

        def __call__(self, x):
            return self.a(self.b(x))

    return Net()


@MODULES.module(apply_rngs={"params": 4})
def setup_random_stream(nn):
    class Net(nn.Module):
        def setup(self):
            self.noise = jax.random.normal(self.make_rng("params"), (1, 3))
            self.dense = nn.Dense(3)

        def __call__(self, x):
            return self.dense(x)

    return Net()


# Sharing.


@MODULES.module()
def shared_by_two_attributes(nn):
    class Net(nn.Module):
        def setup(self):
            self.first = nn.Dense(3)
            self.second = self.first

        def __call__(self, x):
            return self.second(self.first(x))

    return Net()


@MODULES.module()
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


@MODULES.module()
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


@MODULES.module()
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


@MODULES.module()
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


@MODULES.module()
def shared_field_of_two_fields(nn):
    class Pair(nn.Module):
        left: nn.Module
        right: nn.Module

        def __call__(self, x):
            return self.left(self.right(x))

    dense = nn.Dense(3)
    return Pair(dense, dense)


@MODULES.module()
def share_scope(nn):
    class Base(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3, name="base")(x)

    class Adapter(nn.Module):
        base: nn.Module

        def setup(self):
            nn.share_scope(self, self.base)

        @nn.compact
        def __call__(self, x):
            return self.base(x) + nn.Dense(3, name="adapter")(x)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Adapter(Base())(x)

    return Net()


# Submodules as fields and as arguments.


@MODULES.module()
def field_module(nn):
    class Net(nn.Module):
        inner: nn.Module

        @nn.compact
        def __call__(self, x):
            return nn.Dense(2)(self.inner(x))

    return Net(nn.Dense(4))


@MODULES.module()
def field_module_with_a_name(nn):
    class Net(nn.Module):
        inner: nn.Module

        def __call__(self, x):
            return self.inner(x)

    return Net(nn.Dense(4, name="named"))


@MODULES.module()
def field_module_in_setup(nn):
    class Net(nn.Module):
        inner: nn.Module

        def setup(self):
            self.outer = nn.Dense(3)

        def __call__(self, x):
            return self.outer(self.inner(x))

    return Net(nn.Dense(4))


@MODULES.module()
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


@MODULES.module()
def field_default_factory(nn):
    class Net(nn.Module):
        inner: nn.Module = field(default_factory=lambda: nn.Dense(4))

        def __call__(self, x):
            return self.inner(x)

    return Net()


@MODULES.module()
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


@MODULES.module()
def field_nested_prototype(nn):
    class Wrap(nn.Module):
        inner: nn.Module

        def __call__(self, x):
            return self.inner(x)

    return Wrap(Wrap(Wrap(nn.Dense(3))))


@MODULES.module()
def field_module_in_a_closure_of_compact(nn):
    class Net(nn.Module):
        make: Callable[[], Any]

        @nn.compact
        def __call__(self, x):
            return self.make()(self.make()(x))

    return Net(functools.partial(nn.Dense, 3))


@MODULES.module()
def field_activation_and_initializer(nn):
    class Net(nn.Module):
        activation: Callable
        kernel_init: Callable

        @nn.compact
        def __call__(self, x):
            return self.activation(nn.Dense(4, kernel_init=self.kernel_init)(x))

    return Net(nn.tanh, nn.initializers.orthogonal())


@MODULES.module()
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


@MODULES.module()
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


@MODULES.module()
def module_made_outside_and_called_inside(nn):
    dense = nn.Dense(3)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return dense.copy(parent=self, name="adopted")(x)

    return Net()


@MODULES.module()
def module_from_clone_with_updates(nn):
    return nn.Dense(3).clone(features=5, use_bias=False)


@MODULES.module()
def module_from_copy_inside_compact(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.Dense(3)
            return dense.copy(name="again")(dense(x))

    return Net()


# Methods.


@MODULES.module(method="encode")
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


@MODULES.module(method="hidden")
def method_that_is_compact(nn):
    class Net(nn.Module):
        @nn.compact
        def hidden(self, x):
            return nn.Dense(4)(x)

        def __call__(self, x):
            return nn.relu(self.hidden(x))

    return Net()


@MODULES.module()
def method_of_a_submodule(nn):
    class Net(nn.Module):
        def setup(self):
            self.embed = nn.Embed(5, 3)

        def __call__(self, x):
            return self.embed.attend(x)

    return Net()


@MODULES.module()
def method_that_calls_itself_with_other_arguments(nn):
    class Net(nn.Module):
        def setup(self):
            self.dense = nn.Dense(3)

        def __call__(self, x, times=2):
            return self(self.dense(x), times - 1) if times else x

    return Net()


@MODULES.module()
def method_without_wrapping(nn):
    class Net(nn.Module):
        @nn.nowrap
        def width(self, x):
            return 2 * x.shape[-1]

        @nn.compact
        def __call__(self, x):
            return nn.Dense(self.width(x))(x)

    return Net()


@MODULES.module()
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


@MODULES.module()
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


@MODULES.module()
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


@MODULES.module(args=(), kwargs={"x": X, "scale": 2.0})
def method_with_keyword_arguments(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, *, x, scale=1.0):
            return nn.Dense(3)(x) * scale

    return Net()


@MODULES.module()
def method_without_parameters(nn):
    class Double(nn.Module):
        def __call__(self, x):
            return 2 * x

    return Double()


@MODULES.module()
def method_compact_name_scope(nn):
    class Net(nn.Module):
        @nn.compact_name_scope
        def up(self, x):
            return nn.Dense(5)(x)

        @nn.compact_name_scope
        def down(self, x):
            return nn.Dense(3)(x)

        def __call__(self, x):
            return self.down(self.up(x))

    return Net()


@MODULES.module()
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


@MODULES.module()
def fields_by_keyword_only(nn):
    class Net(nn.Module, kw_only=True):
        hidden: int = 5
        features: int

        @nn.compact
        def __call__(self, x):
            return nn.Dense(self.features)(nn.Dense(self.hidden)(x))

    return Net(features=2)


# What a module tells of itself.


@MODULES.module()
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


@MODULES.module()
def introspection_of_state(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            before = self.has_variable("params", "scale")
            self.param("scale", nn.initializers.ones, (1,))
            after = self.has_variable("params", "scale")
            return before, after, self.is_initializing(), self.is_mutable_collection("params")

    return Net()


@MODULES.module()
def introspection_of_variables(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.Dense(3)
            x = dense(x)
            return x, dense.variables["params"]["kernel"], jax.tree.map(jnp.shape, self.variables)

    return Net()


@MODULES.module(args=({"left": X, "right": (X, 2 * X)},))
def trees_in_and_out(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, tree):
            dense = nn.Dense(3)
            return jax.tree.map(dense, tree)

    return Net()
