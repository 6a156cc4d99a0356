"""Cases of copies and fields of modules, perturbations, interceptors and functions of modules."""

import collections
import contextlib
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import jax.numpy as jnp

from .case import Table, X, normal

LIFE = Table()
T = TypeVar("T")


def residual(nn):
    """A module class that applies the modules in two of its fields."""

    class Residual(nn.Module):
        first: Any
        second: Any
        scale: float = 1.0

        @nn.compact
        def __call__(self, x):
            return x + self.scale * self.second(self.first(x))

    return Residual


# Copies.


@LIFE.module()
def copy_in_a_compact_method(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.Dense(3, name="dense")
            return dense.copy(name="again")(dense.copy(features=4)(dense(x)))

    return Net()


@LIFE.module()
def copy_in_setup(nn):
    class Net(nn.Module):
        def setup(self):
            self.first = nn.Dense(3)
            self.second = self.first.copy(features=4)
            self.others = [self.first.copy(), self.second.copy()]

        def __call__(self, x):
            return self.others[1](self.others[0](self.first(x))), self.second(x)

    return Net()


@LIFE.module()
def copy_keeps_sharing(nn):
    shared = nn.Dense(3)
    return residual(nn)(shared, shared).copy(scale=2.0).copy(name=None)


@LIFE.module()
def copy_of_nested_shared_modules(nn):
    shared = nn.Dense(3)
    return residual(nn)(residual(nn)(shared, shared), shared).copy(scale=0.5)


@LIFE.module()
def copy_of_a_module_with_submodules_in_its_fields(nn):
    class Net(nn.Module):
        block: Any

        @nn.compact
        def __call__(self, x):
            return self.block.copy()(self.block(x))

    shared = nn.Dense(3)
    return Net(residual(nn)(shared, shared))


@LIFE.module()
def copy_of_a_module_around_one_of_this_method(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.Dense(3)
            block = residual(nn)(dense, dense)
            return block.copy()(block(x))

    return Net()


@LIFE.module()
def clone_keeps_sharing(nn):
    shared = nn.Dense(3)
    return residual(nn)(shared, shared).clone(scale=2.0)


@LIFE.module()
def clone_with_a_parent(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3, parent=None).clone(parent=self)(nn.Dense(3)(x))

    return Net()


# Fields.


@LIFE.module()
def field_inheritance_in_any_order(nn: Any) -> Any:
    @dataclasses.dataclass
    class Sizes:
        features: int = 4

    class First(Sizes, nn.Module):
        scale: float = 2.0

        @nn.compact
        def __call__(self, x):
            return self.scale * nn.Dense(self.features)(x)

    class Second(nn.Module, Sizes):
        inner: Any = None

        @nn.compact
        def __call__(self, x):
            return self.inner(nn.Dense(self.features)(x))

    return Second(features=5, inner=First(3))  # pyright: ignore[reportCallIssue]


@LIFE.module()
def field_diamond(nn):
    class Base(nn.Module):
        features: int = 3

        def setup(self):
            self.base = nn.Dense(self.features)

    class Left(Base):
        def setup(self):
            super().setup()
            self.left = nn.Dense(3)

    class Right(Base):
        def setup(self):
            super().setup()
            self.right = nn.Dense(3)

    class Net(Left, Right):
        def __call__(self, x):
            return self.left(self.right(self.base(x)))

    return Net()


@LIFE.module()
def field_of_a_generic_class_with_class_variables(nn: Any) -> Any:
    class Net(nn.Module, Generic[T]):
        hidden: T
        features: ClassVar[int] = 5
        last: int = dataclasses.field(default=2, kw_only=True)

        @nn.compact
        def __call__(self, x):
            return nn.Dense(self.last)(nn.Dense(self.features)(x * jnp.float32(self.hidden)))

    return Net[float](0.5, last=3)


@LIFE.module()
def field_that_is_no_argument(nn):
    class Net(nn.Module):
        features: int
        double: int = dataclasses.field(init=False)

        def __post_init__(self):
            self.double = 2 * self.features
            super().__post_init__()

        @nn.compact
        def __call__(self, x):
            return nn.Dense(self.double)(x)

    return Net(2).clone(features=3)


@LIFE.module()
def field_arrays(nn):
    class Net(nn.Module):
        offsets: Any

        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(x + self.offsets[0]) + self.offsets[1]["a"]

    return Net([normal(1, 3), {"a": normal(1, 3, seed=1)}])


@LIFE.module()
def field_with_own_equality_and_hash(nn):
    class Net(nn.Module):
        features: int

        def __eq__(self, other):
            return isinstance(other, Net)

        def __hash__(self):
            return 5

        @nn.compact
        def __call__(self, x):
            return nn.Dense(self.features)(x)

    return {Net(3): Net(4)}[Net(5)]


@LIFE.module()
def field_replaced_in_post_init(nn):
    class Net(nn.Module):
        inner: Any = None

        def __post_init__(self):
            if self.inner is None:
                self.inner = nn.Dense(3)
            super().__post_init__()

        def __call__(self, x):
            return self.inner(x)

    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Net()(Net(nn.Dense(3))(x))

    return Outer()


class Pair(NamedTuple):
    """Two values."""

    left: Any
    right: Any


@LIFE.module()
def field_named_tuples(nn):
    class Net(nn.Module):
        pair: Any

        def setup(self):
            self.own = Pair([nn.Dense(3)], nn.tanh)

        def __call__(self, x):
            return self.own.right(self.own.left[0](self.pair.right["a"](self.pair.left(x))))

    return Net(Pair(nn.Dense(4), {"a": nn.Dense(5)}))


@LIFE.module()
def field_ordered_dict_and_integer_keys(nn):
    class Net(nn.Module):
        heads: Any

        def setup(self):
            self.own = collections.OrderedDict(b=nn.Dense(3), a=nn.Dense(3))

        def __call__(self, x):
            return self.own["a"](self.own["b"](self.heads[3](x)))

    return Net({3: nn.Dense(3)})


@LIFE.module()
def field_function_of_a_sibling(nn):
    class Encoder(nn.Module):
        def setup(self):
            self.dense = nn.Dense(3)

        def encode(self, x):
            return self.dense(x)

    class Apply(nn.Module):
        fn: Callable[..., Any]

        def __call__(self, x):
            return self.fn(x)

    class Net(nn.Module):
        def setup(self):
            self.encoder = Encoder()
            self.call = Apply(self.encoder.encode)

        def __call__(self, x):
            return self.call(x)

    return Net()


@LIFE.module()
def field_names_preserved_by_the_class(nn):
    class Net(nn.Module):
        preserve_adopted_names: ClassVar[bool] = True
        named: Any
        unnamed: Any

        def __call__(self, x):
            return self.unnamed(self.named[0](x))

    return Net([nn.Dense(3, name="own")], nn.Dense(3))


# Methods.


@LIFE.module()
def method_cached_properties_and_descriptors(nn):
    class Doubled:
        def __get__(self, instance, owner=None):
            return self if instance is None else 2 * instance.features

    class Net(nn.Module):
        features: int = 2
        doubled = Doubled()

        def setup(self):
            self.dense = nn.Dense(self.doubled)

        @functools.cached_property
        def halved(self):
            return self.dense.features / 2

        @staticmethod
        def negated(x):
            return -x

        @classmethod
        def made(cls, features):
            return cls(features, parent=None)

        def __call__(self, x):
            return self.negated(self.dense(x)) * self.halved, self.made(7).features

    return Net()


@LIFE.module()
def method_that_is_special(nn):
    class Net(nn.Module):
        def setup(self):
            self.layers = [nn.Dense(3), nn.Dense(3)]

        def __getitem__(self, index):
            return self.layers[index]

        def __iter__(self):
            return iter(self.layers)

        def __len__(self):
            return len(self.layers)

        def __call__(self, x):
            for layer in self:
                x = layer(x)
            return self[0](x) * len(self)

    return Net()


@LIFE.module()
def method_super_call_between_compact_methods(nn):
    class Base(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(x)

    class Net(Base):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(super().__call__(nn.Dense(3)(x)))

    return Net()


# Perturbations.


def perturbed(nn):
    """A module class that perturbs trees and arrays, one of them twice."""

    class Perturbed(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = self.perturb("hidden", nn.Dense(3)(x))
            pair = self.perturb("pair", {"a": x, "b": (x.sum(0, keepdims=True),)})
            return self.perturb("pair", pair)["a"] * pair["b"][0]

    return Perturbed


@LIFE.module(name="perturb")
@LIFE.module(name="perturb_during_init_with_mutable_params", init_mutable=["params"])
@LIFE.module(name="perturb_created_by_apply", init_mutable=["params"], mutable=["perturbations"])
def perturb(nn):
    return perturbed(nn)()


@LIFE.module()
def perturb_in_a_submodule_without_compact(nn):
    class Leaf(nn.Module):
        def __call__(self, x):
            return self.perturb("x", x, collection="deltas")

    class Net(nn.Module):
        def setup(self):
            self.leaf = Leaf()

        def __call__(self, x):
            return self.leaf(x)

    return Net()


# Interceptors.


def intercepted(nn, *interceptors, module):
    """A module that calls another one with interceptors around all methods."""

    class Intercepted(nn.Module):
        inner: Any

        @nn.compact
        def __call__(self, x):
            with intercepting(nn, interceptors):
                return self.inner(x)

    return Intercepted(module)


def intercepting(nn, interceptors):
    """Enters `intercept_methods` for each of some interceptors, in order."""
    stack = contextlib.ExitStack()
    for interceptor in interceptors:
        stack.enter_context(nn.intercept_methods(interceptor))
    return stack


@LIFE.module()
def interceptors_nest(nn):
    def add(next_fun, args, kwargs, context):
        return next_fun(*args, **kwargs) + 1

    def double(next_fun, args, kwargs, context):
        return 2 * next_fun(*args, **kwargs)

    return intercepted(nn, add, double, module=nn.Dense(3))


@LIFE.module()
def interceptor_that_changes_arguments(nn):
    def change(next_fun, args, kwargs, context):
        return next_fun(*(2 * arg for arg in args), **kwargs)

    return intercepted(nn, change, module=nn.Dense(3))


@LIFE.module()
def interceptor_that_calls_the_original(nn):
    def original(next_fun, args, kwargs, context):
        return context.orig_method(*args, **kwargs), context.method_name, context.module.name

    return intercepted(nn, original, module=nn.Dense(3))


@LIFE.module(mutable=["intermediates"])
def interceptors_and_captured_values(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            def double(next_fun, args, kwargs, context):
                return 2 * next_fun(*args, **kwargs)

            dense = nn.Dense(3, parent=None)
            variables = {"params": {"kernel": jnp.eye(3), "bias": jnp.zeros(3)}}
            with nn.intercept_methods(double):
                plain = dense.apply(variables, x)
                captured = dense.apply(variables, x, capture_intermediates=True)
            return plain, captured

    return Net()


# Functions of modules.


@dataclasses.dataclass(frozen=True)
class FunctionOfModule:
    """A function of a module under the two methods of a module that a case calls."""

    nn: Any
    function: Callable[..., Any]
    module: Any
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def init_with_output(self, rngs, *args, **kwargs):
        """Runs `init_with_output` on the function, and `init`, which must agree."""
        options = self.options | kwargs
        variables = self.nn.init(self.function, self.module, **options)(rngs, *args)
        result = self.nn.init_with_output(self.function, self.module, **options)(rngs, *args)
        return (result[0], variables), result[1]

    def apply(self, variables, *args, rngs=None, **kwargs):
        """Runs `apply` on the function."""
        run = self.nn.apply(self.function, self.module, **self.options | kwargs)
        return run(variables, *args, rngs=rngs)


@LIFE.module(name="function_of_a_module")
@LIFE.module(name="function_of_a_module_with_mutable_collections", mutable=["state"])
def function_of_a_module(nn):
    class Net(nn.Module):
        def setup(self):
            self.encoder = nn.Dense(4)
            self.decoder = nn.Dense(3)
            self.calls = self.variable("state", "calls", lambda: 0)

    def reconstruct(net, x):
        if net.is_mutable_collection("state"):
            net.calls.value += 1
        return net.decoder(net.encoder(x)), net.is_initializing()

    return FunctionOfModule(nn, reconstruct, Net())


@LIFE.module(mutable=["intermediates"])
def function_of_a_module_that_captures(nn):
    return FunctionOfModule(
        nn, lambda dense, x: dense(dense(x)), nn.Dense(3), {"capture_intermediates": True}
    )


@LIFE.module(args=(X, 2.0))
def function_of_a_module_that_is_a_method(nn):
    class Net(nn.Module):
        @nn.compact
        def scaled(self, x, scale):
            return scale * nn.Dense(3)(x)

    return FunctionOfModule(nn, Net.scaled, Net())
