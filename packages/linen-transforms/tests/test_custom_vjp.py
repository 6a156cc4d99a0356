"""`custom_vjp` over functions of scopes and of modules."""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest

import linen_transforms
from linen_core import Module, apply, compact, init
from linen_transforms import custom_vjp, lift, vjp
from linen_transforms.errors import (
    CotangentError,
    KeywordArgumentsError,
    NondiffArgumentError,
    NotAModuleError,
    TransformTargetError,
)

from .layers import Dense, Inside, Recorder

KEY = jax.random.key(0)
X = jnp.array([1.0, 2.0, 3.0])
VARIABLES = {"params": {"w": jnp.array([0.5, -1.0, 2.0])}}

# How a loss is differentiated: JAX runs the forward function at once, or long after the call.
WAYS: dict[str, Any] = {
    "eager": jax.value_and_grad,
    "compiled": lambda f, **options: jax.jit(jax.value_and_grad(f, **options)),
    "of compiled": lambda f, **options: jax.value_and_grad(jax.jit(f), **options),
    "of remat": lambda f, **options: jax.value_and_grad(jax.checkpoint(f), **options),
}
every_way = pytest.mark.parametrize("way", WAYS)


def scale(scope: Any, x: Any) -> Any:
    return jnp.sum(scope.get_variable("params", "w") * x)


def forward(scope: Any, x: Any) -> Any:
    return lift.vjp(scale, scope, x)


def signs(residual: Any, cotangent: Any) -> Any:
    gradients, *others = residual(cotangent)
    return jax.tree.map(jnp.sign, gradients), *(2 * other for other in others)


@every_way
def test_gradients_are_those_of_the_backward_function(way: str) -> None:
    loss = apply(lift.custom_vjp(scale, forward, signs))
    y, (gradients, slope) = WAYS[way](loss, argnums=(0, 1))(VARIABLES, X)
    chex.assert_trees_all_close(y, jnp.sum(VARIABLES["params"]["w"] * X))
    chex.assert_trees_all_close(gradients, {"params": {"w": jnp.ones(3)}})
    chex.assert_trees_all_close(slope, 2 * VARIABLES["params"]["w"])


@pytest.mark.parametrize("number", [1, -2])
def test_arguments_without_gradient(number: int) -> None:
    seen: list[Any] = []

    def powered(scope: Any, power: int, x: Any) -> Any:
        return scale(scope, x**power)

    def powered_forward(scope: Any, power: int, x: Any) -> Any:
        return powered(scope, power, x), x

    def backward(*args: Any) -> Any:
        seen.append(args[0])
        return {"params": {"w": args[2] * args[1]}}, None

    model = lift.custom_vjp(powered, powered_forward, backward, nondiff_argnums=number)
    loss = apply(lambda scope, x: model(scope, 2, x))
    gradients, slope = jax.grad(loss, argnums=(0, 1))(VARIABLES, X)
    assert seen == [2]
    chex.assert_trees_all_close(gradients, {"params": {"w": X}})
    chex.assert_trees_all_close(slope, jnp.zeros(3))


@pytest.mark.parametrize(
    ("grad_vars", "given"),
    [
        ("params", {"params": {"w": X}}),
        ("state", {"state": {"n": 7.0}}),
        (True, {"params": {"w": X}, "state": {"n": 7.0}}),
        (False, {}),
        ("params", None),
    ],
)
def test_other_collections_have_no_gradient(grad_vars: Any, given: Any) -> None:
    def product(scope: Any, x: Any) -> Any:
        return scale(scope, x) * scope.get_variable("state", "n")

    def product_forward(scope: Any, x: Any) -> Any:
        return product(scope, x), None

    model = lift.custom_vjp(product, product_forward, lambda *_: (given, None), grad_vars)
    variables = {**VARIABLES, "state": {"n": jnp.array(2.0)}}
    expected = jax.tree.map(jnp.zeros_like, variables) | (given or {})
    chex.assert_trees_all_close(jax.grad(apply(model))(variables, X), expected)


def sign_layer(module: Any, x: Any) -> Any:
    """Calls a module, with the signs of its gradients."""

    def call(module: Any, x: Any) -> Any:
        return module(x)

    return custom_vjp(call, functools.partial(vjp, call), signs)(module, x)


@every_way
def test_draws_and_changes_are_those_of_a_plain_call(way: str) -> None:
    def net(call: Any) -> Module:
        def run(mdl: Any, x: Any) -> Any:
            recorder, other = Recorder(), Recorder()
            y = call(recorder, call(recorder, x))
            return y + call(other, x) + recorder(x)

        return Inside(run)

    rngs = {"params": KEY, "noise": jax.random.key(1)}
    plain = net(lambda module, x: module(x))
    variables = plain.init(rngs, X)
    chex.assert_trees_all_equal(net(sign_layer).init(rngs, X), variables)
    params = {"params": variables["params"]}

    def loss(model: Module, params: Any) -> Any:
        state = {"state": variables["state"]}
        options: Any = {"mutable": ["state", "intermediates"], "rngs": {"noise": rngs["noise"]}}
        y, changed = model.apply({**params, **state}, X, **options)
        return jnp.sum(y), changed

    expected = loss(plain, params)
    found, gradients = WAYS[way](functools.partial(loss, net(sign_layer)), has_aux=True)(params)
    chex.assert_trees_all_close(found, expected, rtol=1e-6)
    chex.assert_trees_all_equal_shapes(gradients, params)


@every_way
def test_layers_made_in_the_function_are_found_again(way: str) -> None:
    def both(mdl: Any, x: Any) -> Any:
        return Dense()(jnp.sin(Dense()(x)))

    def net(mdl: Any, x: Any) -> Any:
        y = custom_vjp(both, functools.partial(vjp, both), lambda r, y: r(y))(mdl, Dense(2)(x))
        return jnp.sum(Dense(2)(y))

    def plain(mdl: Any, x: Any) -> Any:
        y = both(mdl, Dense(2)(x))
        return jnp.sum(Dense(2)(y))

    variables = Inside(plain).init(KEY, X)
    chex.assert_trees_all_equal(Inside(net).init(KEY, X), variables)
    expected = WAYS[way](Inside(plain).apply)(variables, X)
    chex.assert_trees_all_close(WAYS[way](Inside(net).apply)(variables, X), expected, rtol=1e-5)


def test_modules_at_several_places() -> None:
    class Pair(Module):
        first: Any
        second: Any

        def __call__(self, x: Any) -> Any:
            return self.second(jnp.sin(self.first(x)))

    def net(mdl: Any, x: Any) -> Any:
        first, third = Dense(name="first"), Dense(name="third")
        pair = Pair(first, Dense(name="second"))

        def run(pair: Any, third: Any, x: Any) -> Any:
            return jnp.sum(third(pair(x)) * first(x))

        def run_forward(*args: Any) -> Any:
            return vjp(run, *args, multi_scope=True)

        def backward(residual: Any, cotangent: Any) -> Any:
            gradients, module, slope = residual(cotangent)
            assert module is None
            return (
                [jax.tree.map(lambda g, i=i: g * i, g) for i, g in enumerate(gradients)],
                None,
                slope,
            )

        return custom_vjp(run, run_forward, backward)(pair, third, x)

    def plain(mdl: Any, x: Any) -> Any:
        first, second, third = (Dense(name=name) for name in ("first", "second", "third"))
        return jnp.sum(third(second(jnp.sin(first(x)))) * first(x))

    variables = Inside(plain).init(KEY, X)
    expected = jax.grad(Inside(plain).apply)(variables, X)["params"]
    found = jax.grad(Inside(net).apply)(variables, X)["params"]
    assert not jnp.any(found["first"]["kernel"])
    chex.assert_trees_all_close(found["second"], expected["second"])
    chex.assert_trees_all_close(found["third"], jax.tree.map(lambda g: 3 * g, expected["third"]))


@pytest.mark.parametrize("transformation", ["vmap", "scan", "remat", "jit"])
def test_inside_of_other_transformations(transformation: str) -> None:
    class Step(Module):
        call: Any

        def setup(self) -> None:
            self.dense = Dense()

        def __call__(self, carry: Any, x: Any) -> Any:
            y = self.call(self.dense, carry + x)
            return jnp.sin(y), y

    def gentle(module: Any, x: Any) -> Any:
        call = Dense.__call__
        return custom_vjp(call, functools.partial(vjp, call), lambda r, y: r(y))(module, x)

    options: dict[str, Any] = {
        "vmap": {
            "variable_axes": {"params": None},
            "split_rngs": {"params": False},
            "in_axes": (None, 0),
        },
        "scan": {"variable_axes": {"params": 0}, "split_rngs": {"params": True}},
    }
    lifted = getattr(linen_transforms, transformation)(Step, **options.get(transformation, {}))
    xs = X if transformation in ("remat", "jit") else jnp.stack([X, 2 * X])

    def loss(call: Any, variables: Any) -> Any:
        return sum(map(jnp.sum, lifted(call).apply(variables, X, xs)))

    variables = lifted(gentle).init(KEY, X, xs)
    expected = jax.grad(functools.partial(loss, lambda module, x: module(x)))(variables)
    for way in WAYS.values():
        found = way(functools.partial(loss, gentle))(variables)[1]
        chex.assert_trees_all_close(found, expected, rtol=1e-5)


@every_way
def test_draws_in_a_loop_are_those_of_a_plain_call(way: str) -> None:
    """The forward function draws after the loop has ended, which counts its draws twice."""

    class Step(Module):
        call: Any

        @compact
        def __call__(self, carry: Any, _: Any) -> Any:
            layer = Recorder()
            return layer(self.call(layer, carry)), None

    def loss(call: Any, params: Any) -> Any:
        split: Any = {"params": True, "noise": True}
        axes: Any = {"params": 0, "state": 0}
        inner = linen_transforms.scan(Step, axes, split_rngs=split, length=2)
        model = linen_transforms.scan(inner, axes, split_rngs=split, length=3)(call)
        variables = model.init({"params": KEY, "noise": KEY}, X, None) | params
        return jnp.sum(model.apply(variables, X, None, rngs={"noise": KEY})[0])

    params = {"params": {"Recorder_0": {"Dense_0": {"kernel": jnp.ones((3, 2, 3, 3))}}}}
    expected = loss(lambda module, x: module(x), params)
    found, _ = WAYS[way](functools.partial(loss, sign_layer))(params)
    chex.assert_trees_all_close(found, expected, rtol=1e-6)


def test_new_variables() -> None:
    def create(scope: Any, x: Any) -> Any:
        return jnp.sum(scope.param("w", jax.nn.initializers.ones, (3,)) * x)

    model = lift.custom_vjp(create, functools.partial(lift.vjp, create), signs)
    y, variables = init(model)(KEY, X)
    chex.assert_trees_all_close((y, variables), (6.0, {"params": {"w": jnp.ones(3)}}))


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        (
            ({"params": {"b": X, "w": X}}, X),
            "the first result of the backward function must have the structure of the variables, "
            "['params']['w'], or be None for no gradient, but has ['params']['b'], ['params']['w'].",
        ),
        (
            3,
            "the backward function must return a tuple of the gradients of the variables and of 1 "
            "argument, as vjp gives them, but returned 3.",
        ),
        (
            (),
            "the backward function must return a tuple of the gradients of the variables and of 1 "
            "argument, as vjp gives them, but returned ().",
        ),
    ],
)
def test_backward_functions_must_return_gradients(returned: Any, text: str) -> None:
    model = lift.custom_vjp(scale, lambda s, x: (scale(s, x), None), lambda *_: returned)
    with pytest.raises(CotangentError) as info:
        jax.grad(apply(model))(VARIABLES, X)
    assert str(info.value) == f"custom_vjp: {text}"


@pytest.mark.parametrize(
    ("number", "what"),
    [(0, "the module or scope itself"), (2, "no argument"), (-3, "no argument")],
)
def test_arguments_without_gradient_must_exist(number: int, what: str) -> None:
    model = lift.custom_vjp(scale, forward, signs, nondiff_argnums=(number,))
    with pytest.raises(NondiffArgumentError) as info:
        apply(model)(VARIABLES, X)
    assert str(info.value) == (
        f"custom_vjp: nondiff_argnums has {number}, which is {what}. Arguments are counted as in the "
        "call, from 0 for the module or scope; this call has 1 after it."
    )


def test_keyword_arguments_are_refused() -> None:
    with pytest.raises(KeywordArgumentsError):
        apply(lambda s, x: lift.custom_vjp(scale, forward, signs)(s, x=x))(VARIABLES, X)
    run = custom_vjp(Dense.__call__, functools.partial(vjp, Dense.__call__), signs)
    with pytest.raises(KeywordArgumentsError):
        Inside(lambda mdl, x: run(Dense(), x=x)).init(KEY, X)


@pytest.mark.parametrize("target", [Dense, Dense(), 3], ids=["class", "module", "number"])
@pytest.mark.parametrize("place", [0, 1])
def test_only_functions_are_lifted(target: Any, place: int) -> None:
    functions = [scale, forward]
    functions[place] = target
    with pytest.raises(TransformTargetError) as info:
        custom_vjp(functions[0], functions[1], signs)
    assert str(info.value) == (
        "custom_vjp takes a method, or a function whose first argument is a Module, but got "
        f"{target!r}. Write lambda mdl, *args: mdl(*args) to differentiate the call of a module."
    )


@pytest.mark.parametrize("argument", [X, Dense()], ids=["array", "unbound module"])
def test_there_must_be_a_module(argument: Any) -> None:
    with pytest.raises(NotAModuleError):
        custom_vjp(scale, forward, signs)(argument, X)
