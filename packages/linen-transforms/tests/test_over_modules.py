"""Lifting over Modules: classes, and what cannot be lifted."""

import copy
import functools
import pickle
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest

import linen_transforms as lt
from linen_core import Module, compact
from linen_core.errors import UnboundModuleError
from linen_transforms.errors import (
    LiftedMethodError,
    LiftedModuleError,
    NotAModuleError,
    TransformedMethodReturnValueError,
    TransformTargetError,
)

from .layers import Dense, Inside
from .scaling import (
    BODIES,
    CLASSES,
    KEY,
    CompactNet,
    Methods,
    Net,
    PlainChild,
    ScaleNet,
    Wrapper,
    X,
    layer,
    scale,
)

classes = pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)


@pytest.fixture(autouse=True)
def no_bodies() -> None:
    BODIES.clear()


# Classes


@classes
def test_a_lifted_class_is_like_the_class(cls: Any) -> None:
    plain, lifted = cls(), scale(cls)()
    y, variables = plain.init_with_output(KEY, X)
    found, same = lifted.init_with_output(KEY, X)
    chex.assert_trees_all_equal(same, variables)
    chex.assert_trees_all_equal(found, 2 * y)
    chex.assert_trees_all_equal(lifted.apply(variables, X), 2 * plain.apply(variables, X))
    assert plain.apply(variables, X).shape == y.shape


@classes
def test_a_lifted_class_inside_of_a_model(cls: Any) -> None:
    class Model(Module):
        layer: Any

        @compact
        def __call__(self, x: Any) -> Any:
            return self.layer(name="layer")(x) + self.layer(name="other")(x)

    y, variables = Model(cls).init_with_output(KEY, X)
    chex.assert_trees_all_equal(Model(scale(cls)).init_with_output(KEY, X), (2 * y, variables))


# What is lifted, and the factors of the methods.
METHODS: dict[str, tuple[Methods, dict[str, int]]] = {
    "none": (None, {"__call__": 2}),
    "one": ("encode", {"encode": 2}),
    "a list": (["encode", "decode"], {"encode": 2, "decode": 2}),
    "a tuple": (("__call__",), {"__call__": 2}),
    "no method": ((), {}),
    "own options": ({"encode": {}, "decode": {"factor": 5}}, {"encode": 2, "decode": 5}),
}


@pytest.mark.parametrize(("methods", "factors"), METHODS.values(), ids=METHODS)
def test_the_methods_that_are_lifted(methods: Methods, factors: dict[str, int]) -> None:
    variables = Net().init(KEY, X)
    lifted = scale(Net, methods)()
    for method in ("encode", "decode", "__call__"):
        y = Net().apply(variables, X, method=method)
        inner = factors.get("encode", 1) * factors.get("decode", 1)
        # A lifted method calls those of the original class.
        factor = factors.get(method, inner if method == "__call__" else 1)
        chex.assert_trees_all_close(lifted.apply(variables, X, method=method), factor * y)


def test_lifted_classes_have_names_and_docstrings() -> None:
    lifted = scale(Net, ["encode"])
    assert (lifted.__name__, lifted.__qualname__) == ("ScaleNet", "ScaleNet")
    assert (lifted.__module__, lifted.__doc__) == (Net.__module__, Net.__doc__)
    assert issubclass(lifted, Net)
    assert (lifted.encode.__name__, lifted.encode.__doc__) == ("encode", "Do the first half.")
    assert repr(lifted(4)) == "ScaleNet(features=4)"
    assert scale(lifted).__name__ == "ScaleScaleNet"


def test_the_original_class_stays_what_it_is() -> None:
    methods = dict(vars(Net))
    scale(Net, ["__call__", "encode"], is_mapped=True)
    assert dict(vars(Net)) == methods


def test_two_lifts_of_one_class() -> None:
    class Model(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            one, other = scale(Dense), scale(Dense, {"__call__": {"factor": 3}})
            return one()(x), other()(x), one()(x), Dense()(x)

    results, variables = Model().init_with_output(KEY, X)
    names = ["ScaleDense_0", "ScaleDense_1", "ScaleDense_2", "Dense_0"]
    assert sorted(variables["params"]) == sorted(names)
    for y, name, factor in zip(results, names, (2, 3, 2, 1), strict=True):
        chex.assert_trees_all_close(y, factor * X @ variables["params"][name]["kernel"])


def test_lifts_of_lifts() -> None:
    y, variables = Net().init_with_output(KEY, X)
    twice = scale(scale(Net, {"encode": {"factor": 3}}), ["__call__", "encode"])()
    chex.assert_trees_all_equal(twice.init(KEY, X), variables)
    chex.assert_trees_all_close(twice.apply(variables, X), 2 * 3 * y, rtol=1e-6)
    half = Net().apply(variables, X, method="encode")
    found = twice.apply(variables, X, method="encode")
    chex.assert_trees_all_close(found, 2 * 3 * half, rtol=1e-6)


def test_classes_that_inherit_from_a_lifted_one() -> None:
    class Shifted(scale(CompactNet)):
        def __call__(self, x: Any) -> Any:
            return super().__call__(x) + 1

    y, variables = CompactNet().init_with_output(KEY, X)
    chex.assert_trees_all_equal(Shifted().init_with_output(KEY, X), (2 * y + 1, variables))


def test_inherited_methods_are_lifted() -> None:
    lifted = scale(PlainChild, "decode")()
    y, variables = Net().init_with_output(KEY, X)
    chex.assert_trees_all_close(lifted.apply(variables, X), 2 * y + 1, rtol=1e-6)


def test_arguments_by_position_and_by_name() -> None:
    variables = Net().init(KEY, X)
    y = Net().apply(variables, X, method="decode")
    lifted = scale(Net, "decode")()
    found = lifted.apply(variables, x=X, shift=3.0, method="decode")
    chex.assert_trees_all_close(found, 2 * (y + 3), rtol=1e-6)


@pytest.mark.parametrize("methods", [("__call__",), ("encode",), ("encode", "decode")])
def test_modules_are_set_up_where_they_are_used(methods: Any) -> None:
    runs: list[Any] = []

    class Counted(Net):
        def setup(self) -> None:
            runs.append(type(self).__name__)
            super().setup()

    lifted = scale(Counted, methods)()
    lifted.apply(Net().init(KEY, X), X)
    # Each lifted call is one of a copy; other methods are those of the module itself.
    expected = [] if methods == ("__call__",) else ["ScaleCounted"]
    assert runs == expected + ["Counted"] * len(methods)


# Modules that come from outside


def test_modules_in_fields_and_arguments_are_shared() -> None:
    class Uses(Module):
        inner: Any

        @compact
        def __call__(self, x: Any, *others: Any, **named: Any) -> Any:
            assert all(other is self.inner for other in (*others, *named.values()))
            return self.inner(x)

    class Model(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            dense = Dense(name="dense")
            return scale(Uses)(dense)(x, dense, named=dense) - dense(x)

    y, variables = Model().init_with_output(KEY, X)
    assert list(variables["params"]) == ["dense"]
    chex.assert_trees_all_close(y, X @ variables["params"]["dense"]["kernel"])


@pytest.mark.parametrize("is_named", [True, False])
def test_modules_that_are_only_arguments_are_used_where_they_are(is_named: bool) -> None:
    class Calls(Module):
        def __call__(self, x: Any, modules: Any) -> Any:
            return modules[0](x)

    class Model(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            modules = [Dense(name="dense")]
            calls = scale(Calls)()
            return calls(x, modules=modules) if is_named else calls(x, modules)

    y, variables = Model().init_with_output(KEY, X)
    assert list(variables["params"]) == ["dense"]
    chex.assert_trees_all_close(y, 2 * X @ variables["params"]["dense"]["kernel"], rtol=1e-6)


def test_modules_that_are_not_bound_are_handed_on() -> None:
    unbound = Dense(parent=None)

    class Checks(Module):
        @compact
        def __call__(self, modules: Any, x: Any) -> Any:
            (inner,) = modules["all"]
            assert inner is unbound
            return Wrapper(inner)(x)

    _, variables = scale(Checks)().init_with_output(KEY, {"all": [unbound]}, X)
    assert sorted(variables["params"]["Wrapper_0"]) == ["Dense_0", "inner"]


@pytest.mark.parametrize("is_method", [True, False])
def test_functions_that_are_arguments_use_their_modules_inside(is_method: bool) -> None:
    class Calls(Module):
        def __call__(self, fn: Any, x: Any) -> Any:
            return fn(x)

    class Model(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            dense = Dense(name="dense")
            fn = dense.__call__ if is_method else lambda x: dense(x)
            return lt.remat(Calls, static_argnums=0)()(fn, x)

    y, variables = Model().init_with_output(KEY, X)
    chex.assert_trees_all_close(y, X @ variables["params"]["dense"]["kernel"])


def test_modules_that_have_ended_may_be_captured() -> None:
    kept: list[Any] = []

    class Keeps(Module):
        def __call__(self, x: Any) -> Any:
            kept.append(self)
            return x

    Keeps().apply({}, X)
    y = Inside(lambda mdl, x: scale(lambda _, x: (kept, x)[1])(mdl, x)).apply({}, X)
    chex.assert_trees_all_equal(y, 2 * X)


# What cannot be lifted


NOT_METHODS: list[tuple[Any, Any]] = [
    ("missing", "missing"),
    ("features", "features"),
    ("width", "width"),
    (["encode", "missing"], "missing"),
    ({"missing": {}}, "missing"),
    (["encode", 3], 3),
    (3, 3),
]


@pytest.mark.parametrize(("methods", "name"), NOT_METHODS, ids=str)
def test_there_must_be_such_methods(methods: Any, name: Any) -> None:
    with pytest.raises(LiftedMethodError) as caught:
        scale(Net, methods)
    assert str(caught.value) == (
        f"scale: `methods` names {name!r}, but the class Net has no such method."
    )


TARGETS: dict[str, tuple[Any, str]] = {
    "number": (3, "3."),
    "nothing": (None, "None."),
    "class": (int, "<class 'int'>."),
    "module": (Net(), "Net(features=3). Write scale(Net, ...)(...) to lift the class."),
}


@pytest.mark.parametrize(("target", "found"), TARGETS.values(), ids=TARGETS)
def test_what_cannot_be_lifted(target: Any, found: str) -> None:
    with pytest.raises(TransformTargetError) as caught:
        scale(target)
    assert str(caught.value) == (
        "scale lifts a Module class, a method, or a function whose first argument is a Module, but "
        f"got {found}"
    )


NO_MODULES: dict[str, tuple[Any, str]] = {
    "number": (3.0, "3.0"),
    "module that is not bound": (Net(), "Net(features=3)"),
    "containers": ({"x": [Net()], "y": ()}, "{'x': [Net(features=3)], 'y': ()}"),
}


@pytest.mark.parametrize(("mdl", "found"), NO_MODULES.values(), ids=NO_MODULES)
def test_a_function_needs_a_bound_module(mdl: Any, found: str) -> None:
    with pytest.raises(NotAModuleError) as caught:
        scale(layer)(mdl, X)
    assert str(caught.value) == (
        "The first argument of a function lifted by scale must be a bound Module, or hold one, but is "
        f"{found}. Write scale(fn, ...)(self, ...) inside of a method, or bind the module first."
    )


def test_a_method_of_a_module_that_is_not_bound() -> None:
    with pytest.raises(NotAModuleError, match=r"but is Net\(features=3\)"):
        scale(Net().encode)(X)
    for cls in (Net, CompactNet):  # what is not lifted may have worked, with other numbers
        with pytest.raises(UnboundModuleError) as caught:
            scale(cls)()(X)
        assert str(caught.value) == (
            f"Scale{cls.__name__} is not bound to variables, so its method __call__, lifted by scale, "
            "cannot be called. Write model.apply(variables, ...), or bound = model.bind(variables) and "
            "use that."
        )


RETURNED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "module": (lambda mdl: mdl, "a Inside; expected"),
    "module in a tree": (lambda mdl: {"x": (X, mdl)}, "a Inside at ['x'][1]; expected"),
    "variable": (
        lambda mdl: [mdl.variable("state", "x", lambda: 0)],
        "a Variable at [0]; expected",
    ),
}


@pytest.mark.parametrize(("result", "found"), RETURNED.values(), ids=RETURNED)
def test_modules_and_variables_do_not_come_out(result: Callable[[Any], Any], found: str) -> None:
    def give(mdl: Any) -> Any:
        return result(mdl)

    class Model(Module):
        @compact
        def __call__(self) -> Any:
            return Inside(scale(give), name="inside")()

    with pytest.raises(TransformedMethodReturnValueError) as caught:
        Model().init(KEY)
    assert str(caught.value).startswith(f"/inside: the lifted {give.__qualname__} returns {found}")


# Parameters that have more axes outside


def mapped(cls: Any, **kwargs: Any) -> Any:
    axes: Any = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
    return lt.vmap(cls, **axes, **kwargs)


class Makes(Module):
    """Makes a parameter in a method that is not lifted."""

    @compact
    def __call__(self, x: Any) -> Any:
        return Dense(name="dense")(x)

    def plain(self, x: Any) -> Any:
        return x + 1

    def uses(self, x: Any) -> Any:
        return x + self.get_variable("params", "dense")["kernel"].sum()


TEXT = (
    "{path} makes or uses a parameter outside of vmap, but {module} is a module of a class that was "
    "lifted by it, whose parameters have one more axis there. Name the method that is called in "
    "vmap(..., methods=[...]), or lift the call: vmap(lambda mdl, x: mdl.method(x), ...)(module, x)."
)


@pytest.mark.parametrize("is_inside", [True, False])
@pytest.mark.parametrize("is_init", [True, False])
def test_methods_that_are_not_lifted_have_no_parameters(is_init: bool, is_inside: bool) -> None:
    lifted = mapped(Net, methods=["encode"])
    model: Any = lifted()
    method: Any = "decode"
    kernels = {"params": {"second": {"kernel": jnp.ones((4, 3, 3))}}}
    if is_inside:
        model, method = Inside(lambda _, x: lifted(name="net").decode(x)), "__call__"
        kernels = {"params": {"net": kernels["params"]}}
    run = functools.partial(model.init, KEY) if is_init else functools.partial(model.apply, kernels)
    with pytest.raises(LiftedModuleError) as caught:
        run(X, method=method)
    module = "/net" if is_inside else "/"
    path = "/net/second" if is_inside else "/second"
    assert str(caught.value) == TEXT.format(path=path, module=module)


def test_what_else_methods_that_are_not_lifted_may_do() -> None:
    lifted = mapped(Makes)()
    variables = lifted.init(KEY, X)
    assert variables["params"]["dense"]["kernel"].shape == (4, 3, 3)
    chex.assert_trees_all_equal(lifted.apply(variables, X, method="plain"), X + 1)
    total = variables["params"]["dense"]["kernel"].sum()
    chex.assert_trees_all_close(lifted.apply(variables, X, method="uses"), X + total)
    net = mapped(Net, methods=["encode", "decode"])()
    y, variables = net.init_with_output(KEY, X)
    encoded = net.apply(variables, X, method="encode")
    chex.assert_trees_all_close(net.apply(variables, encoded, method="decode"), y)


@pytest.mark.parametrize("axis", [None, 0])
def test_parameters_without_another_axis_may_be_used(axis: int | None) -> None:
    axes: Any = {"variable_axes": {"params": axis}, "split_rngs": {"params": axis is not None}}
    lifted = lt.vmap(Net, **axes, methods="encode")()
    variables = Net().init(KEY, X)
    if axis is None:
        y = lifted.apply(variables, X, method="decode")
        chex.assert_trees_all_close(y, Net().apply(variables, X, method="decode"))
    else:
        with pytest.raises(LiftedModuleError):
            lifted.apply(jax.tree.map(lambda x: x[None], variables), X, method="decode")


def test_setup_is_called_what_it_was() -> None:
    class Documented(Net):
        def setup(self) -> None:
            """Make layers."""
            super().setup()

    setup = mapped(Documented).setup
    assert setup is not Documented.setup
    assert (setup.__name__, setup.__doc__) == ("setup", "Make layers.")


# Copies and pickles

ROUND_TRIPS: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
}


@pytest.mark.parametrize("trip", ROUND_TRIPS.values(), ids=ROUND_TRIPS)
def test_instances_of_lifted_classes_are_copied(trip: Callable[[Any], Any]) -> None:
    model = ScaleNet(3)
    variables = model.init(KEY, X)
    again = trip(model)
    assert again == model
    assert again is not model
    expected = model.apply(variables, X)
    chex.assert_trees_all_equal(again.apply(variables, X), expected)
    bound = trip(model.bind(variables))
    assert type(bound) is ScaleNet
    chex.assert_trees_all_equal(bound(X), expected)
