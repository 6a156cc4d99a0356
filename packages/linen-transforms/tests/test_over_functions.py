"""Lifting over Modules: methods and functions, and what transformations get of them."""

import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import pytest
from jax.nn import initializers

import linen_transforms as lt
from linen_core import Module, compact, struct
from linen_core.extend import fingerprint
from linen_transforms._over_modules import over_functions

from .layers import Dense, Inside
from .scaling import (
    BODIES,
    KEY,
    CompactNet,
    Net,
    PlainChild,
    Wrapper,
    X,
    layer,
    scale,
    scaled,
)


@pytest.fixture(autouse=True)
def no_bodies() -> None:
    BODIES.clear()


# Methods and functions


class Decorated(Module):
    """Has a lifted method."""

    @scale
    @compact
    def __call__(self, x: Any) -> Any:
        """Call a layer."""
        return Dense()(x)


class DecoratedChild(Decorated):
    """Calls the lifted method of its base class."""

    @compact
    def __call__(self, x: Any) -> Any:
        return super().__call__(x) + 0 * self.param("zero", initializers.zeros, ())


def compact_layer(mdl: Any, x: Any) -> Any:
    return mdl.half(x)


class Shared(Module):
    """Lifts what uses its own layers."""

    how: Callable[[Any, Any], Any]

    def setup(self) -> None:
        self.Dense_0 = Dense()

    def __call__(self, x: Any) -> Any:
        return self.how(self, x)

    def half(self, x: Any) -> Any:
        return self.Dense_0(x)


# A model that doubles what the layer Dense_0 gives.
DOUBLED: dict[str, Module] = {
    "decorated method": Decorated(),
    "function": Inside(scale(layer)),
    "partial": Inside(scale(functools.partial(layer))),
    "function in a function": Inside(lambda mdl, x: scale(layer)(mdl, x)),
    "bound method": Shared(lambda mdl, x: scale(mdl.half)(x)),
    "bound method of a layer": Inside(lambda _, x: scale(Dense().__call__)(x)),
    "unbound method": Inside(lambda _, x: scale(Dense.__call__)(Dense(), x)),
    "method of the module": Shared(lambda mdl, x: scale(Shared.half)(mdl, x)),
    "closure": Shared(lambda mdl, x: scale(lambda _, x: mdl.half(x))(mdl, x)),
    "closure over a layer": Shared(
        lambda mdl, x: (lambda dense: scale(lambda _, x: dense(x))(mdl, x))(mdl.Dense_0)
    ),
    "argument": Shared(lambda mdl, x: scale(lambda _, m, x: m(x))(mdl, mdl.Dense_0, x)),
    "argument in a tree": Shared(
        lambda mdl, x: scale(lambda _, tree: tree["m"][0](tree["x"]))(
            mdl, tree={"m": [mdl.Dense_0], "x": x}
        )
    ),
    "function of a layer": Shared(lambda mdl, x: scale(lambda m, x: m(x))(mdl.Dense_0, x)),
    "keyword argument": Shared(
        lambda mdl, x: scale(lambda m, *, x, mdl: m.half(x))(mdl, x=x, mdl=mdl)
    ),
    "class": Inside(lambda _, x: scale(Dense)(name="Dense_0")(x)),
}


@pytest.mark.parametrize("model", DOUBLED.values(), ids=DOUBLED)
def test_what_is_lifted_gives_twice_as_much(model: Module) -> None:
    expected = CompactNet().init(KEY, X)["params"]["Dense_0"]
    y, variables = model.init_with_output(KEY, X)
    chex.assert_trees_all_equal(variables, {"params": {"Dense_0": expected}})
    chex.assert_trees_all_close(y, 2 * X @ expected["kernel"], rtol=1e-6)
    assert len(BODIES) >= 1


def test_lifted_methods_are_inherited() -> None:
    y, variables = DecoratedChild().init_with_output(KEY, X)
    assert sorted(variables["params"]) == ["Dense_0", "zero"]
    chex.assert_trees_all_close(y, 2 * X @ variables["params"]["Dense_0"]["kernel"], rtol=1e-6)


def test_lifted_functions_are_called_what_they_were() -> None:
    lifted = scale(layer)
    assert (lifted.__name__, lifted.__doc__, lifted.__wrapped__) == (
        "layer",
        "Call a layer in a module.",
        layer,
    )
    assert Decorated.__call__.__doc__ == "Call a layer."
    method = scale(Net().encode)
    assert (method.__name__, method.__doc__) == ("encode", "Do the first half.")


def test_names_go_on_counting_in_and_out_of_a_function() -> None:
    def two(mdl: Module, x: Any) -> Any:
        x = Dense()(x)
        return Dense()(x)

    class Model(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            x = scale(two)(self, Dense()(x))
            return Dense()(x)

    variables = Model().init(KEY, X)
    assert sorted(variables["params"]) == [f"Dense_{i}" for i in range(4)]
    y = X
    for i in (0, 1, 2, 3):
        y = y @ variables["params"][f"Dense_{i}"]["kernel"]
    chex.assert_trees_all_close(Model().apply(variables, X), 2 * y, rtol=1e-5)


@struct.dataclass
class Layers:
    """Two modules, and how much one counts."""

    one: Any
    other: Any
    weight: float = struct.field(pytree_node=False, default=1.0)


# How to hold two modules, and how to get at them.
TREES: dict[str, tuple[Callable[..., Any], Callable[[Any], tuple[Any, ...]]]] = {
    "tuple": (lambda a, b: (a, b), lambda tree: tree),
    "dict": (lambda a, b: {"x": b, "y": [a]}, lambda tree: (tree["y"][0], tree["x"])),
    "struct": (Layers, lambda tree: (tree.one, tree.other)),
    "with other things": (lambda a, b: [None, 3, a, b], lambda tree: tree[2:]),
}


@pytest.mark.parametrize(("hold", "get"), TREES.values(), ids=TREES)
def test_the_first_argument_may_hold_modules(hold: Any, get: Any) -> None:
    def both(tree: Any, x: Any) -> Any:
        a, b = get(tree)
        assert type(tree) is type(hold(a, b))
        return a(x) + 3 * b(x)

    class Model(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            return scale(both)(hold(Dense(name="a"), Dense(name="b")), x)

    y, variables = Model().init_with_output(KEY, X)
    a, b = (variables["params"][name]["kernel"] for name in "ab")
    chex.assert_trees_all_close(y, 2 * (X @ a + 3 * X @ b), rtol=1e-6)


def test_several_functions_in_one_transformation() -> None:
    def added(*bodies: Any) -> Callable[..., Any]:
        assert [body.__name__ for body in bodies] == ["one", "other"]
        return lambda scopes, *args: scaled(bodies[0])(scopes, *args) + bodies[1](scopes, *args)

    def one(mdl: Module, x: Any) -> Any:
        return Dense(name="a")(x)

    def other(mdl: Module, x: Any) -> Any:
        return Dense(name="b")(x)

    y, variables = Inside(over_functions("add", (one, other), added)).init_with_output(KEY, X)
    a, b = (variables["params"][name]["kernel"] for name in "ab")
    chex.assert_trees_all_close(y, 2 * X @ a + X @ b, rtol=1e-6)


LIFTS: dict[str, Callable[[Any], Any]] = {
    "scale": scale,
    "vmap": lt.vmap,
    "jit": lt.jit,
    "remat": lt.remat,
    "map_variables": lambda target: lt.map_variables(target, "params"),
    "fold_rngs": lt.fold_rngs,
    "add_metadata_axis": lambda target: lt.add_metadata_axis(target, {"params": 0}),
}


NAMES = ("args", "cut", "fn", "groups", "keys", "mdl", "scopes", "variables")


@pytest.mark.parametrize("lifted", LIFTS.values(), ids=LIFTS)
def test_arguments_may_have_any_name(lifted: Callable[[Any], Any]) -> None:
    def total(mdl: Module, /, **kwargs: Any) -> Any:
        return sum(kwargs[name] for name in NAMES)

    kwargs = {name: i * X for i, name in enumerate(NAMES)}
    model = Inside(lambda mdl: lifted(total)(mdl, **kwargs))
    factor = 2 if lifted is scale else 1
    chex.assert_trees_all_close(model.apply({}), factor * sum(range(len(NAMES))) * X)


# What transformations get


def test_bodies_of_classes() -> None:
    scale(Net, "encode")(4).init(KEY, X)
    (body,) = BODIES
    assert (body.__name__, body.__wrapped__, body.modules) == ("encode", Net.encode, ())
    assert (body.owner, body.is_anonymous) == (Net, False)


def test_bodies_of_functions() -> None:
    def call(mdl: Module, x: Any) -> Any:
        y = scale(layer)(mdl, x)
        (module,) = BODIES[-1].modules
        assert module is mdl
        assert BODIES[-1].owner is Inside
        return y

    Inside(call).init(KEY, X)
    assert [(body.__name__, body.__wrapped__) for body in BODIES] == [("layer", layer)]


def test_bodies_that_have_no_name() -> None:
    Inside(scale(functools.partial(layer))).init(KEY, X)
    assert [body.__name__ for body in BODIES] == ["partial"]


def identity(model: Module) -> Any:
    BODIES.clear()
    model.init(KEY, X)
    return fingerprint([body.identity for body in BODIES])


def named(name: str, **fields: Any) -> Module:
    return Inside(lambda _, x: scale(Net)(**fields, name=name)(x))


class SameMethods(Net):
    """Another class of the same methods."""


class Adopts(Module):
    """Calls what it is given."""

    @compact
    def __call__(self, inner: Any, x: Any) -> Any:
        return Wrapper(inner)(x)


def adopting(features: int) -> Module:
    return Inside(lambda _, x: scale(Adopts)()(Dense(features, parent=None), x))


def function_of(number: float) -> Module:
    return Inside(lambda mdl, x: scale(lambda _, x: number * x)(mdl, x))


SAME_IDENTITY: dict[str, tuple[Module, Module]] = {
    "places": (named("one"), named("other")),
    "equal functions": (function_of(1.0), function_of(1.0)),
    "equal modules": (adopting(3), adopting(3)),
}
OTHER_IDENTITY: dict[str, tuple[Module, Module]] = {
    "fields": (named("one"), named("one", features=4)),
    "functions": (function_of(1.0), function_of(2.0)),
    "modules": (adopting(3), adopting(1)),
    "classes": (
        Inside(lambda _, x: scale(Net)()(x)),
        Inside(lambda _, x: scale(SameMethods)()(x)),
    ),
    "methods": (Inside(lambda _, x: scale(Net)()(x)), Inside(lambda _, x: scale(PlainChild)()(x))),
}


@pytest.mark.parametrize(("one", "other"), SAME_IDENTITY.values(), ids=SAME_IDENTITY)
def test_bodies_that_do_the_same(one: Module, other: Module) -> None:
    assert identity(one) == identity(other)


@pytest.mark.parametrize(("one", "other"), OTHER_IDENTITY.values(), ids=OTHER_IDENTITY)
def test_bodies_that_do_something_else(one: Module, other: Module) -> None:
    assert identity(one) != identity(other)


@pytest.mark.parametrize("is_anonymous", [True, False])
def test_methods_need_not_know_their_place(is_anonymous: bool) -> None:
    seen: list[Any] = []

    class Looks(Module):
        def __call__(self, x: Any) -> Any:
            seen.append(self.name)
            return x

    model = Inside(lambda _, x: scale(Looks, is_anonymous=is_anonymous)(name="looks")(x))
    operations = jax.make_jaxpr(lambda x: model.apply({}, x))(X).eqns
    assert BODIES[0].is_anonymous is is_anonymous
    assert seen == [None if is_anonymous else "looks"]
    names = [str(operation.source_info.name_stack) for operation in operations]
    assert names
    assert all("looks" in name for name in names) is is_anonymous


def test_bodies_of_several_functions_in_one_module() -> None:
    def add(mdl: Module, x: Any) -> Any:
        return x + x

    def multiply(mdl: Module, x: Any) -> Any:
        return x * x

    Inside(lambda mdl, x: [scale(fn)(mdl, x) for fn in (add, add, multiply)]).apply({}, X)
    first, again, other = (fingerprint(body.identity) for body in BODIES)
    assert first == again != other
