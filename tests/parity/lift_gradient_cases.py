"""Gradients inside of modules: every transformation over every form of a function, and their arguments.

The functions make parameters, draw from a stream, change a collection and sow; the tables then
differentiate their gradients once more.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .case import Case, ScopeCase, Table
from .lift_cases import CARRY, STREAMS, XS, compact_step, memory, setup_step

GRADIENTS = Table()

# A transformation at work: called with a library, a function of a module and its arguments.
Use = Callable[..., Any]


def scalar(fn: Any) -> Any:
    """Returns a function with a scalar made of a step's results."""
    return lambda mdl, *args: sum(jnp.sum(jnp.sin(y)) for y in jax.tree.leaves(fn(mdl, *args)))


def pulled_back(y: Any, backward: Any, *aux: Any) -> Any:
    """Returns what `vjp` gave, with gradients in the place of the backward function."""
    return y, backward(jax.tree.map(jnp.cos, y)), *aux


def grad(nn: Any, fn: Any, mdl: Any, *args: Any) -> Any:
    return nn.grad(scalar(fn), mdl, *args)


def grad_with_aux(nn: Any, fn: Any, mdl: Any, *args: Any) -> Any:
    return nn.grad(lambda m, *a: (scalar(fn)(m, *a), {"args": a}), mdl, *args, has_aux=True)


def value_and_grad(nn: Any, fn: Any, mdl: Any, *args: Any) -> Any:
    return nn.value_and_grad(scalar(fn), mdl, *args)


def value_and_grad_with_aux(nn: Any, fn: Any, mdl: Any, *args: Any) -> Any:
    def pair(mdl: Any, *args: Any) -> Any:
        y = fn(mdl, *args)
        return jnp.sum(y[0] ** 2), y

    return nn.value_and_grad(pair, mdl, *args, has_aux=True)


def vjp(nn: Any, fn: Any, mdl: Any, *args: Any) -> Any:
    return pulled_back(*nn.vjp(fn, mdl, *args))


def vjp_with_aux(nn: Any, fn: Any, mdl: Any, *args: Any) -> Any:
    def pair(mdl: Any, *args: Any) -> Any:
        y = fn(mdl, *args)
        return y[0], {"y": y[1]}

    return pulled_back(*nn.vjp(pair, mdl, *args, has_aux=True))


def vjp_of_several_scopes(nn: Any, fn: Any, mdl: Any, *args: Any) -> Any:
    return pulled_back(*nn.vjp(fn, mdl, *args, multi_scope=True))


def vjp_of_no_variables(nn: Any, fn: Any, mdl: Any, *args: Any) -> Any:
    return pulled_back(*nn.vjp(fn, mdl, *args, vjp_variables=False))


def jvp(nn: Any, fn: Any, mdl: Any, *args: Any) -> Any:
    return nn.jvp(fn, mdl, args, tuple(map(jnp.cos, args)), {})


def jvp_of_variables(nn: Any, fn: Any, mdl: Any, *args: Any) -> Any:
    params = mdl.variables.get("params", {})
    tangents = {"params": jax.tree.map(jnp.cos, params)} if params else {}
    return nn.jvp(fn, mdl, args, tuple(map(jnp.cos, args)), tangents)


def custom_vjp(nn: Any, fn: Any, mdl: Any, *args: Any) -> Any:
    def forward(mdl: Any, *args: Any) -> Any:
        return nn.vjp(fn, mdl, *args)

    def backward(residual: Any, cotangent: Any) -> Any:
        gradients, *others = residual(cotangent)
        return jax.tree.map(jnp.sign, gradients), *others

    return nn.custom_vjp(fn, forward_fn=forward, backward_fn=backward)(mdl, *args)


def custom_vjp_with_a_static_argument(nn: Any, fn: Any, mdl: Any, *args: Any) -> Any:
    def scaled(mdl: Any, scale: Any, *args: Any) -> Any:
        return jax.tree.map(lambda y: y * scale, fn(mdl, *args))

    def forward(mdl: Any, scale: Any, *args: Any) -> Any:
        y, backward, z = nn.vjp(lambda m, *a: (scaled(m, scale, *a), a), mdl, *args, has_aux=True)
        return y, (backward, z)

    def backward(scale: Any, residual: Any, cotangent: Any) -> Any:
        gradients, *_ = residual[0](cotangent)
        return gradients, *(scale * z for z in residual[1])

    return nn.custom_vjp(scaled, forward, backward, nondiff_argnums=(1,))(mdl, 3, *args)


USES: tuple[Use, ...] = (
    grad,
    grad_with_aux,
    value_and_grad,
    value_and_grad_with_aux,
    vjp,
    vjp_with_aux,
    vjp_of_several_scopes,
    vjp_of_no_variables,
    jvp,
    jvp_of_variables,
    custom_vjp,
    custom_vjp_with_a_static_argument,
)


def submodule(nn: Any, use: Use) -> Any:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, carry, x):
            step = compact_step(nn)()
            first = use(nn, lambda mdl, *args: mdl(*args), step, carry, x)
            return first, use(nn, lambda mdl, *args: mdl(*args), step, x, carry)

    return Net()


def function_that_makes_layers(nn: Any, use: Use) -> Any:
    def step(mdl, carry, x):
        y = memory(nn)()(nn.Dense(3)(carry))
        return carry + y, nn.Dense(2, name="out")(y * x)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, carry, x):
            return use(nn, step, self, nn.Dense(3)(carry), x), nn.Dense(2)(x)

    return Net()


def method(nn: Any, use: Use) -> Any:
    class Net(nn.Module):
        def setup(self):
            self.step = setup_step(nn)()

        def swapped(self, carry, x):
            return self.step(x, carry)

        def __call__(self, carry, x):
            return use(nn, type(self).swapped, self, carry, x), self.step(carry, x)

    return Net()


FORMS: tuple[Callable[[Any, Use], Any], ...] = (submodule, function_that_makes_layers, method)

GRADIENTS.extend(
    Case(
        name=f"{use.__name__}_of_{form.__name__}",
        build=lambda nn, use=use, form=form: form(nn, use),
        args=(CARRY, XS[0]),
        rngs=STREAMS,
        apply_rngs={"noise": 4},
        mutable=["state", "sown"],
        # flax.linen cannot differentiate a custom_vjp whose state depends on what is differentiated.
        gradients=form is not submodule or not use.__name__.startswith("custom_vjp"),
        gradient_ulps=4,
        reason="second derivatives are sums of many terms, which XLA adds up in another order",
    )
    for use in USES
    for form in FORMS
)


def scale_layer(nn: Any) -> Any:
    """Returns a layer with a floating-point state and a perturbation."""

    class Scale(nn.Module):
        @nn.compact
        def __call__(self, x):
            scale = self.param("scale", nn.initializers.normal(), x.shape)
            mean = self.variable("state", "mean", jnp.ones, x.shape)
            y = self.perturb("y", scale * x * mean.value)
            if not self.is_initializing() and self.is_mutable_collection("state"):
                mean.value = mean.value + jnp.tanh(y)
            return jnp.sin(y) * mean.value

    return Scale


def vjp_of_collections(nn: Any, collections: Any, **options: Any) -> Any:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            layer = scale_layer(nn)()
            return pulled_back(
                *nn.vjp(type(layer).__call__, layer, x, vjp_variables=collections, **options)
            )

    return Net()


for label, collections in {
    "state": "state",
    "perturbations": "perturbations",
    "params_and_state": ["params", "state"],
    "everything": True,
}.items():
    for is_mutable in (False, True):
        GRADIENTS.append(
            Case(
                name=f"vjp_of_{label}_{'mutable' if is_mutable else 'immutable'}",
                build=lambda nn, collections=collections: vjp_of_collections(nn, collections),
                args=(CARRY,),
                mutable=["state"] if is_mutable else False,
            )
        )


@GRADIENTS.module(args=(CARRY,))
def vjp_of_modules_in_fields(nn):
    class Pair(nn.Module):
        first: Any
        second: Any

        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(self.first(self.second(x)))

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            pair = Pair(nn.Dense(3, name="a"), nn.Dense(3, name="b"))
            y, backward = nn.vjp(lambda mdl, x: mdl(x), pair, x, multi_scope=True)
            return y, backward(jnp.cos(y))

    return Net()


@GRADIENTS.module(args=(CARRY,))
def gradient_of_a_gradient(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            def energy(mdl, x):
                return jnp.sum(jnp.sin(mdl(x)))

            def norm(mdl, x):
                return jnp.sum(nn.grad(energy, mdl, x)[0] ** 2)

            return nn.value_and_grad(norm, nn.Dense(3), x)

    return Net()


@GRADIENTS.module(args=(XS,))
def gradients_of_examples(nn):
    class Force(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.grad(lambda mdl, x: jnp.sum(jnp.sin(mdl(x))), nn.Dense(3), x)[0]

    return nn.vmap(Force, variable_axes={"params": None}, split_rngs={"params": False})()


@GRADIENTS.module(args=(XS,))
def gradient_in_a_scan(nn):
    class Descent(nn.Module):
        @nn.compact
        def __call__(self, carry, x):
            energy, (slope,) = nn.value_and_grad(
                lambda mdl, carry: jnp.sum(jnp.sin(mdl(carry) * x)), nn.Dense(3), carry
            )
            return carry - 0.1 * slope, energy

    class Net(nn.Module):
        @nn.compact
        def __call__(self, xs):
            steps = nn.scan(Descent, variable_broadcast="params", split_rngs={"params": False})
            return steps()(jnp.ones(3), xs)

    return Net()


@GRADIENTS.module(args=(CARRY,), apply_rngs={"noise": 1}, rngs=STREAMS)
def custom_vjp_twice_and_then_a_call(nn):
    class Noisy(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(x) + jax.random.normal(self.make_rng("noise"), x.shape)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            layer = Noisy()
            y = custom_vjp(nn, lambda mdl, x: mdl(x), layer, x)
            return custom_vjp(nn, lambda mdl, x: mdl(x), layer, y), layer(x)

    return Net()


def dense(scope: Any, x: Any) -> Any:
    return x @ scope.param("kernel", jax.nn.initializers.normal(), (x.shape[-1], 3))


def two(scopes: Any, x: Any) -> Any:
    return jnp.sin(dense(scopes[1], dense(scopes[0], x)))


def scope_case(name: str, function: Callable[[Any], Callable[..., Any]]) -> None:
    """Adds a case for a function made from a library's `lift`."""
    GRADIENTS.append(LiftCase(name=name, function=function, args=(CARRY,)))


class LiftCase(ScopeCase):
    """A case whose function is made from a library's `lift`."""

    def make(self, library: Any) -> Any:
        lift = library.lift
        return ScopeCase(name=self.name, function=self.function(lift)).make(library)


scope_case(
    "lift_value_and_grad",
    lambda lift: lambda s, x: lift.value_and_grad(lambda s, x: dense(s, x).sum(), s, x),
)
scope_case(
    "lift_vjp",
    lambda lift: lambda s, x: pulled_back(*lift.vjp(dense, s, x)),
)
scope_case(
    "lift_vjp_of_a_tuple_of_scopes",
    lambda lift: lambda s, x: pulled_back(*lift.vjp(two, (s.push("a"), s.push("b")), x)),
)
scope_case(
    "lift_jvp_of_no_variables",
    lambda lift: lambda s, x: lift.jvp(dense, s, (x,), (jnp.cos(x),), {}),
)
scope_case(
    "lift_custom_vjp",
    lambda lift: (
        lambda s, x: lift.custom_vjp(
            dense,
            lambda s, x: lift.vjp(dense, s, x),
            lambda residual, y: jax.tree.map(jnp.sign, residual(y)),
        )(s, x)
    ),
)
scope_case(
    "lift_custom_vjp_of_a_tuple_of_scopes",
    lambda lift: (
        lambda s, x: lift.custom_vjp(
            two,
            lambda s, x: lift.vjp(two, s, x),
            lambda residual, y: jax.tree.map(jnp.sign, residual(y)),
        )((s.push("a"), s.push("b")), x)
    ),
)
