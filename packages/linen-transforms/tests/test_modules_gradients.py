"""Gradients inside of modules, against JAX on their pure `apply`."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest

import linen_transforms
from linen_core import Module, Partitioned, compact, with_partitioning
from linen_transforms import grad, jvp, value_and_grad, vjp, vmap
from linen_transforms.errors import (
    NotAModuleError,
    ScalarOutputError,
    SeveralPlacesError,
    TangentError,
    TransformTargetError,
)

from .layers import Dense, Inside, Recorder

KEY = jax.random.key(0)
X = jnp.array([1.0, 2.0, 3.0])


class Energy(Module):
    """A scalar of a hidden layer."""

    def setup(self) -> None:
        self.hidden = Dense()

    def __call__(self, x: Any) -> Any:
        return jnp.sum(jnp.sin(self.hidden(x)))

    def by(self, transformation: Any, target: Any, *args: Any, **options: Any) -> Any:
        return transformation(target, self, *args, **options)


MODEL = Energy()
VARIABLES = MODEL.init(KEY, X)


def expected(argnums: Any) -> Any:
    return jax.value_and_grad(MODEL.apply, argnums=argnums)(VARIABLES, X)


TARGETS: dict[str, Any] = {
    "a method": Energy.__call__,
    "a bound method": MODEL.__call__,
    "a function": lambda mdl, x: mdl(x),
    "a function of attributes": lambda mdl, x: jnp.sum(jnp.sin(mdl.hidden(x))),
}
every_target = pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))


@every_target
def test_values_and_gradients(target: Any) -> None:
    def call(transformation: Any) -> Any:
        return MODEL.apply(VARIABLES, transformation, target, X, method="by")

    y, slope = expected(1)
    chex.assert_trees_all_close(call(grad), (slope,))
    chex.assert_trees_all_close(call(value_and_grad), (y, (slope,)))
    _, backward = call(vjp)
    chex.assert_trees_all_close(backward(jnp.ones(())), expected((0, 1))[1])


@every_target
def test_derivatives(target: Any) -> None:
    tangents = jax.tree.map(jnp.cos, VARIABLES)
    args = (jvp, target, (X,), (X,), tangents)
    found = MODEL.apply(VARIABLES, *args, method="by")
    chex.assert_trees_all_close(found, jax.jvp(MODEL.apply, (VARIABLES, X), (tangents, X)))


def test_auxiliary_output() -> None:
    def paired(mdl: Any, x: Any) -> Any:
        return mdl(x), {"x": x}

    def call(transformation: Any) -> Any:
        return MODEL.apply(VARIABLES, transformation, paired, X, has_aux=True, method="by")

    y, slope = expected(1)
    chex.assert_trees_all_close(call(grad), ((slope,), {"x": X}))
    chex.assert_trees_all_close(call(value_and_grad), ((y, {"x": X}), (slope,)))
    found, backward, aux = call(vjp)
    chex.assert_trees_all_close((found, backward(1.0)[1], aux), (y, slope, {"x": X}))


@pytest.mark.parametrize("transformation", ["grad", "value_and_grad", "vjp", "jvp"])
def test_init_makes_the_variables_of_a_plain_call(transformation: str) -> None:
    """The function makes layers of its own, draws, changes state and sows."""

    def net(call: Any) -> Module:
        def inner(mdl: Any, x: Any) -> Any:
            return jnp.sum(Recorder()(Dense()(x)))

        def run(mdl: Any, x: Any) -> Any:
            x = Dense()(x)
            call(inner, mdl, x)
            return Recorder()(x), mdl.make_rng("noise")

        return Inside(run)

    def lifted(fn: Any, mdl: Any, x: Any) -> Any:
        args = ((x,), (x,), {}) if transformation == "jvp" else (x,)
        return getattr(linen_transforms, transformation)(fn, mdl, *args)

    rngs = {"params": KEY, "noise": jax.random.key(1)}
    plain, model = net(lambda fn, mdl, x: fn(mdl, x)), net(lifted)
    variables = plain.init(rngs, X)
    chex.assert_trees_all_equal(model.init(rngs, X), variables)
    options: Any = {"rngs": {"noise": KEY}, "mutable": ["state", "intermediates"]}
    found, changed = model.apply(variables, X, **options)
    right, right_changed = plain.apply(variables, X, **options)
    chex.assert_trees_all_equal(found[1], right[1])
    chex.assert_trees_all_close((found[0], changed), (right[0], right_changed), rtol=1e-6)


def test_gradients_inside_of_gradients() -> None:
    def norm(mdl: Any, x: Any) -> Any:
        return jnp.sum(grad(Energy.__call__, mdl, x)[0] ** 2)

    def right(variables: Any, x: Any) -> Any:
        return jnp.sum(jax.grad(MODEL.apply, argnums=1)(variables, x) ** 2)

    _, backward = MODEL.apply(VARIABLES, vjp, norm, X, method="by")
    chex.assert_trees_all_close(
        backward(1.0), jax.grad(right, argnums=(0, 1))(VARIABLES, X), rtol=1e-5
    )


def test_gradients_inside_of_vmap() -> None:
    class Force(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            return grad(Energy.__call__, Energy(name="energy"), x)[0]

    model = vmap(Force, variable_axes={"params": None}, split_rngs={"params": False})()
    xs = jnp.stack([X, 2 * X])
    variables = model.init(KEY, xs)
    inner = {"params": variables["params"]["energy"]}
    right = jax.vmap(jax.grad(MODEL.apply, argnums=1), in_axes=(None, 0))(inner, xs)
    chex.assert_trees_all_close(model.apply(variables, xs), right, rtol=1e-5)


def test_gradients_of_perturbations() -> None:
    class Perturbed(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            y = self.perturb("y", Dense()(x))
            return jnp.sum(jnp.sin(y))

    def run(mdl: Any, x: Any) -> Any:
        return vjp(Perturbed.__call__, Perturbed(), x, vjp_variables="perturbations")[1](1.0)

    variables = Inside(run).init(KEY, X)
    gradients, _ = Inside(run).apply(variables, X)
    y = X @ variables["params"]["Perturbed_0"]["Dense_0"]["kernel"]
    chex.assert_trees_all_close(gradients, {"perturbations": {"y": jnp.cos(y)}})


def test_gradients_are_boxed_as_variables_are() -> None:
    class Boxed(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            init = with_partitioning(jax.nn.initializers.ones, ("axis",))
            return jnp.sum(self.param("w", init, (3,)) * x)

    def once(mdl: Any, x: Any) -> Any:
        return vjp(Boxed.__call__, Boxed(), x)[1](1.0)[0]

    variables = Inside(once).init(KEY, X)
    gradients = Inside(once).apply(variables, X)
    assert isinstance(gradients["params"]["w"], Partitioned)
    chex.assert_trees_all_close(gradients, {"params": {"w": Partitioned(X, ("axis",))}})

    def direction(mdl: Any, x: Any) -> Any:
        return jvp(Boxed.__call__, Boxed(), (x,), (0 * x,), gradients)[1]

    chex.assert_trees_all_close(Inside(direction).apply(variables, X), jnp.sum(X * X))


class Pair(Module):
    """Two layers that are made elsewhere, and one of its own."""

    first: Any
    second: Any

    @compact
    def __call__(self, x: Any) -> Any:
        return Dense(name="own")(self.second(jnp.sin(self.first(x))))


def of_a_pair(use: Any) -> Module:
    """Calls `use` with a function of several modules, which are given in every way there is."""

    def run(mdl: Any, x: Any) -> Any:
        captured = Dense(name="captured")
        pair = Pair(Dense(name="first"), Dense(name="second"))
        argument = Dense(name="argument")

        def energy(modules: Any, layer: Any, x: Any) -> Any:
            return jnp.sum(jnp.sin(layer["of"](modules[0](x)) * captured(x)))

        return use(energy, (pair,), {"of": argument}, x)

    return Inside(run)


PAIR = of_a_pair(lambda energy, modules, layer, x: energy(modules, layer, x))
PAIR_VARIABLES = PAIR.init(KEY, X)
# Modules in fields come before the module; then what the function has captured, and arguments.
PLACES = ("first", "second", "Pair_0", "captured", "argument")


def by_place(params: Any) -> list[Any]:
    return [{"params": params[name]} for name in PLACES]


def test_gradients_at_several_places() -> None:
    def use(energy: Any, *args: Any) -> Any:
        y, backward = vjp(energy, *args, multi_scope=True)
        return y, backward(jnp.ones(()))

    chex.assert_trees_all_equal(of_a_pair(use).init(KEY, X), PAIR_VARIABLES)
    y, (gradients, module, slope) = of_a_pair(use).apply(PAIR_VARIABLES, X)
    right, (right_gradients, right_slope) = jax.value_and_grad(PAIR.apply, argnums=(0, 1))(
        PAIR_VARIABLES, X
    )
    assert module == {"of": None}
    chex.assert_trees_all_close(gradients, by_place(right_gradients["params"]), rtol=1e-5)
    chex.assert_trees_all_close((y, slope), (right, right_slope), rtol=1e-5)


def test_derivatives_at_several_places() -> None:
    params = PAIR_VARIABLES["params"]

    def use(energy: Any, modules: Any, layer: Any, x: Any) -> Any:
        return jvp(energy, modules, (layer, x), (layer, x), by_place(params))

    right = jax.jvp(PAIR.apply, (PAIR_VARIABLES, X), (PAIR_VARIABLES, X))
    chex.assert_trees_all_close(of_a_pair(use).apply(PAIR_VARIABLES, X), right, rtol=1e-5)


def test_arguments_that_are_modules_have_no_gradient() -> None:
    y, (module, slope) = of_a_pair(value_and_grad).apply(PAIR_VARIABLES, X)
    right, right_slope = jax.value_and_grad(PAIR.apply, argnums=1)(PAIR_VARIABLES, X)
    assert module == {"of": None}
    chex.assert_trees_all_close((y, slope), (right, right_slope), rtol=1e-5)


def test_one_dict_is_for_one_place() -> None:
    with pytest.raises(SeveralPlacesError) as info:
        of_a_pair(vjp).apply(PAIR_VARIABLES, X)
    places = ", ".join(f"/{name}" for name in PLACES)
    assert str(info.value) == (
        f"vjp: the function works with modules at several places, {places}, but one dict holds the "
        "variables of one. Write vjp(..., multi_scope=True) for a list of dicts."
    )

    def use(energy: Any, modules: Any, layer: Any, x: Any) -> Any:
        return jvp(energy, modules, (layer, x), (layer, x), {"params": {}, "state": {"n": 1}})

    with pytest.raises(SeveralPlacesError) as info:
        of_a_pair(use).apply(PAIR_VARIABLES, X)
    assert str(info.value) == (
        f"jvp: the function works with modules at several places, {places}, but one dict holds the "
        "variables of one. Write a list of dicts as variable_tangents, one for each."
    )


@pytest.mark.parametrize("multi_scope", [False, True])
def test_submodules_are_at_the_place_of_their_module(multi_scope: bool) -> None:
    def use(mdl: Any, x: Any) -> Any:
        hidden = Dense(name="hidden")

        def run(pair: Any, x: Any) -> Any:
            return jnp.sum(pair[1](x))

        return vjp(run, (mdl, hidden), x, multi_scope=multi_scope)[1](1.0)[0]

    variables = Inside(lambda mdl, x: jnp.sum(Dense(name="hidden")(x))).init(KEY, X)
    right = jax.grad(lambda v: jnp.sum(X @ v["params"]["hidden"]["kernel"]))(variables)
    found = Inside(use).apply(variables, X)
    chex.assert_trees_all_close(found, [right] if multi_scope else right)


@pytest.mark.parametrize("name", ["grad", "value_and_grad", "vjp", "jvp"])
@pytest.mark.parametrize("target", [Dense, Dense(), 3], ids=["class", "module", "number"])
def test_only_functions_are_differentiated(name: str, target: Any) -> None:
    args = ((X,), (X,), {}) if name == "jvp" else (X,)
    with pytest.raises(TransformTargetError) as info:
        MODEL.apply(VARIABLES, getattr(linen_transforms, name), target, *args, method="by")
    assert str(info.value) == (
        f"{name} takes a method, or a function whose first argument is a Module, but got {target!r}. "
        "Write lambda mdl, *args: mdl(*args) to differentiate the call of a module."
    )


@pytest.mark.parametrize("name", ["grad", "value_and_grad", "vjp", "jvp"])
@pytest.mark.parametrize("module", [3.0, Dense(), ()], ids=["number", "unbound module", "nothing"])
def test_there_must_be_a_bound_module(name: str, module: Any) -> None:
    args = ((X,), (X,), {}) if name == "jvp" else (X,)
    with pytest.raises(NotAModuleError) as info:
        getattr(linen_transforms, name)(lambda mdl, x: x.sum(), module, *args)
    assert str(info.value) == (
        f"The second argument of {name} must be a bound Module, or hold one, but is {module!r}. "
        f"Write {name}(fn, self, ...) inside of a method, or bind the module first."
    )


@pytest.mark.parametrize("transformation", [grad, value_and_grad])
def test_gradients_need_a_scalar(transformation: Any) -> None:
    args = (transformation, lambda mdl, x: mdl.hidden(x), X)
    with pytest.raises(ScalarOutputError, match=rf"^{transformation.__name__} needs a function"):
        MODEL.apply(VARIABLES, *args, method="by")


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (((X,), (X,), {"params": {}, "other": {"w": X}}), "variable_tangents"),
        (((X,), (X,), [VARIABLES, VARIABLES]), "variable_tangents"),
        ((X, (X,), {}), "primals"),
        (((X,), X, {}), "tangents"),
    ],
)
def test_tangents_must_fit(args: Any, text: str) -> None:
    with pytest.raises(TangentError, match=f"^jvp: `{text}` must"):
        MODEL.apply(VARIABLES, jvp, Energy.__call__, *args, method="by")
