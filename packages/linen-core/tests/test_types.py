# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""What type checkers see: expectations that pyright checks, and that hold when the code runs.

`assert_type` is checked by `nox -s types`. A comment `# pyright: ignore[rule]` expects that error: the
checker complains about one that is not needed.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Generic, TypeVar, assert_type

import jax
import pytest

from linen_core import (
    CollectionFilter,
    DenyList,
    FrozenDict,
    MethodContext,
    Module,
    Scope,
    Variable,
    apply,
    bind,
    compact,
    copy,
    freeze,
    init,
    intercept_methods,
    lazy_init,
    merge_param,
    nowrap,
    pop,
    struct,
    unfreeze,
)
from linen_core.cursor import Cursor, cursor
from linen_core.state_dict import from_state_dict
from linen_core.traverse_util import ModelParamTraversal, flatten_dict, unflatten_dict

T = TypeVar("T")
KEY = jax.random.key(0)
X: jax.Array = jax.random.normal(KEY, (3,))


class Layer(Module):
    features: int
    scale: float = 1.0
    tags: list[str] = dataclasses.field(default_factory=list[str])
    derived: int = dataclasses.field(init=False, default=0)

    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        weight = self.param("weight", jax.nn.initializers.ones, (self.features,))
        count = self.variable("state", "count", int)
        assert_type(count, Variable[int])
        assert_type(count.value, int)
        self.sow("intermediates", "x", x)
        return x * weight * self.scale

    @nowrap
    def doubled(self) -> int:
        return 2 * self.features


class Wide(Layer):
    factor: int = 2


class Options(Module, kw_only=True):
    rate: float
    layer: Layer | None = None


class Stack(Module, Generic[T]):
    item: T

    def setup(self) -> None:
        self.inner = Layer(2)


# Constructors.


def test_constructors() -> None:
    assert_type(Layer(3), Layer)
    assert_type(Layer(3, 2.0, ["a"], name="first", parent=None), Layer)
    assert_type(Wide(3, factor=4), Wide)
    assert_type(Options(rate=0.5, layer=Layer(1)), Options)
    assert_type(Stack(item=1.0), Stack[float])
    assert_type(Stack(3).item, int)
    assert_type(Layer(3).features, int)
    assert_type(Layer(3).name, str | None)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Layer(),  # pyright: ignore[reportCallIssue]
        lambda: Layer(3, width=3),  # pyright: ignore[reportCallIssue]
        lambda: Layer(3, derived=1),  # pyright: ignore[reportCallIssue]
        lambda: Wide(factor=3),  # pyright: ignore[reportCallIssue]
        lambda: Options(0.5),  # pyright: ignore[reportCallIssue]
        lambda: Layer(1, 2.0, [], "name"),  # pyright: ignore[reportCallIssue]
    ],
    ids=["missing", "unknown", "not_init", "inherited", "keyword_only", "name_by_position"],
)
def test_wrong_constructors(wrong: Callable[[], object]) -> None:
    with pytest.raises(TypeError):
        wrong()


def test_wrong_types_are_flagged() -> None:
    Layer("three")  # pyright: ignore[reportArgumentType]
    Stack[int](item="one")  # pyright: ignore[reportArgumentType]


# Pure functions of a module.


def test_apply() -> None:
    model = Layer(3)
    variables = model.init(KEY, X)
    assert_type(variables, dict[str, Any])
    assert_type(model.apply(variables, X), Any)
    assert_type(model.apply(variables, X, mutable=False), Any)
    assert_type(model.apply(variables, X, mutable=["state"]), tuple[Any, dict[str, Any]])
    assert_type(model.apply(variables, X, mutable="state"), tuple[Any, dict[str, Any]])
    assert_type(model.apply(variables, X, mutable=True), tuple[Any, dict[str, Any]])
    assert_type(model.apply(variables, X, mutable=DenyList("state")), tuple[Any, dict[str, Any]])
    assert_type(model.apply(variables, X, capture_intermediates=True), tuple[Any, dict[str, Any]])
    assert_type(model.apply(freeze(variables), X, rngs={"noise": KEY}), Any)
    y, updates = model.apply(
        variables, X, capture_intermediates=lambda module, name: name == "__call__"
    )
    assert_type(y, Any)
    assert_type(updates, dict[str, Any])


def test_init() -> None:
    model = Layer(3)
    spec = jax.ShapeDtypeStruct((3,), "float32")
    assert_type(model.lazy_init({"params": KEY}, spec), dict[str, Any])
    assert_type(model.init_with_output(KEY, X), tuple[Any, dict[str, Any]])
    assert_type(model.init(KEY, X, method="__call__", mutable=["params", "state"]), dict[str, Any])


def test_methods_keep_their_types() -> None:
    bound = Layer(3).bind({"params": {"weight": X}}, mutable=True)
    assert_type(bound, Layer)
    assert_type(bound(X), jax.Array)
    assert_type(Layer(3).doubled(), int)
    assert_type(bound.unbind(), tuple[Layer, dict[str, Any]])
    assert_type(bound.clone(features=4), Layer)
    assert_type(bound.path, tuple[str, ...])
    assert_type(bound.variables, dict[str, Any])
    assert_type(Stack(1).bind({}).inner, Layer)


def test_interceptors() -> None:
    def double(
        next_fun: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: MethodContext,
    ) -> Any:
        assert_type(context.method_name, str)
        return next_fun(*args, **kwargs)

    with intercept_methods(double):
        Layer(3).init(KEY, X)
    with intercept_methods(len):  # pyright: ignore[reportArgumentType]
        pass


# The functional core.


def constant(key: jax.Array) -> float:
    return 2.0


def path_of(scope: Scope) -> str:
    return scope.path_text


def test_functional_core() -> None:
    def model(scope: Scope, x: int) -> int:
        count = scope.variable("state", "count", lambda: 0)
        assert_type(count, Variable[int])
        assert_type(scope.param("scale", constant), float)
        assert_type(scope.child(model, "inner"), Callable[..., Any])
        return x

    assert_type(init(model)(KEY, 1), Any)
    assert_type(lazy_init(model)(KEY, 1), dict[str, Any])
    with bind({}, KEY, mutable=True).temporary() as scope:
        assert_type(scope, Scope)
        assert_type(scope.push("a").make_rng(), jax.Array)
        assert_type(scope.variables(), dict[str, Any])
    assert_type(apply(path_of)({}), Any)
    chosen: CollectionFilter = ["params"]
    assert_type(merge_param("rate", None, 0.5), float)
    apply(path_of, mutable=chosen)({})
    apply(path_of, mutable={"state"})({})
    with pytest.raises(TypeError):
        apply(path_of, mutable=3)({})  # pyright: ignore[reportArgumentType]


# Structs, dicts and cursors.


@struct.dataclass
class Point:
    x: float
    unit: str = struct.field(pytree_node=False, default="m")


class Averages(struct.PyTreeNode, kw_only=True):
    mean: float
    decay: float = 0.9


def test_structs() -> None:
    assert_type(Point(1.0), Point)
    assert_type(Point(1.0, unit="s").unit, str)
    assert_type(Averages(mean=1.0).replace(mean=2.0), Averages)
    with pytest.raises(TypeError):
        Averages(1.0)  # pyright: ignore[reportCallIssue]
    with pytest.raises(AttributeError):
        Point(1.0).x = 2.0  # pyright: ignore[reportAttributeAccessIssue]


def test_dicts() -> None:
    frozen = freeze({"a": 1})
    assert_type(frozen, FrozenDict[str, int])
    assert_type(unfreeze(frozen), dict[str, int])
    assert_type(copy(frozen), FrozenDict[str, int])
    assert_type(pop({"a": 1}, "a"), tuple[dict[str, int], int])
    assert_type(flatten_dict({"a": {"b": 1}}), dict[Any, Any])
    assert_type(unflatten_dict({("a", "b"): 1}), dict[Any, Any])
    assert_type(ModelParamTraversal(lambda path, leaf: True).update(abs, {"a": 1}), dict[str, int])
    assert_type(from_state_dict(Point(1.0), {"x": 2.0}), Point)


def test_cursors() -> None:
    point = cursor(Point(1.0))
    assert_type(point, Cursor[Point])
    assert_type(point.build(), Point)
    assert_type(point.apply_update(lambda path, value: value), Cursor[Point])
    assert_type(point.find(lambda path, value: path == "x"), Cursor[Any])
    point.x = 2.0
    assert point.build() == Point(2.0)
