"""Parameters: initializers do not run when the parameter exists, and mismatches are found."""

import dataclasses
import enum
import functools
import types
from collections.abc import Callable, Iterator
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linen_core import (
    AxisMetadata,
    LazyRng,
    Module,
    Scope,
    apply,
    compact,
    freeze,
    lazy_init,
    struct,
)
from linen_core import _parameter as parameter
from linen_core.errors import LinenError, ScopeParamShapeError

KEY = jax.random.key(0)
initializers = jax.nn.initializers

# Global, so that a function that counts does not hold what it counts.
runs: list[str] = []


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    runs.clear()
    parameter._remembered.clear()
    yield
    parameter._remembered.clear()


def conventional(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    runs.append("conventional")
    return jnp.ones(shape, dtype)


def free(key: jax.Array, *args: Any, **kwargs: Any) -> jax.Array:
    runs.append("free")
    return jnp.ones((2, 3))


class Stateless:
    def __call__(self, key: jax.Array) -> jax.Array:
        return free(key)


@dataclasses.dataclass
class Configured:
    size: int

    def __call__(self, key: jax.Array) -> jax.Array:
        runs.append("configured")
        return jnp.ones((2, self.size))


class Colour(enum.Enum):
    RED = 1


def closure_over(value: Any) -> Callable[[jax.Array], jax.Array]:
    def init(key: jax.Array) -> jax.Array:
        runs.append("closure")
        assert value is not None
        return jnp.ones((2, 3))

    return init


def use(make: Callable[[], tuple[Any, tuple[Any, ...], dict[str, Any]]]) -> Callable[..., Any]:
    """Make a function of variables with a parameter, whose initializer is made anew in each call."""

    def model(scope: Scope) -> Any:
        init_fn, args, kwargs = make()
        return scope.param("w", init_fn, *args, **kwargs)

    return apply(model)


CALLABLE = Stateless()
MESH = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))


@pytest.mark.parametrize(
    "args",
    [((2, 3),), ([2, 3],), ((2, 3), jnp.bfloat16), ((np.int64(2), 3), object())],
    ids=["tuple", "list", "dtype", "numpy"],
)
def test_an_initializer_that_takes_a_shape_never_runs(args: Any) -> None:
    run = use(lambda: (conventional, args, {}))
    for _ in range(3):
        run({"params": {"w": jnp.zeros((2, 3))}})
    assert runs == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: (free, (), {}),
        lambda: (lambda key: free(key), (), {}),
        lambda: (functools.partial(free, scale=2.0), (), {}),
        lambda: (CALLABLE, (), {}),
        lambda: (Configured(3), (), {}),
        lambda: (Configured(3).__call__, (), {}),
        lambda: (conventional, (), {"shape": (2, 3)}),
        lambda: (free, (jnp.ones(3), np.ones(2)), {}),
        lambda: (free, ({"a": [1, 2]}, [["b"]]), {"x": {"y": {}}}),
        lambda: (free, ({1, 2}, frozenset({3})), {}),
        lambda: (free, (range(3), slice(1, 2), ..., Colour.RED), {}),
        lambda: (closure_over([1, {"a": 2}]), (), {}),
        lambda: (closure_over(jnp.float32), (), {}),
        lambda: (closure_over(np.dtype("int8")), (), {}),
        lambda: (closure_over(np.float32(2)), (), {}),
        lambda: (closure_over(jnp.ones(3)), (), {}),
        lambda: (closure_over(KEY), (), {}),
        lambda: (closure_over(Colour.RED), (), {}),
        lambda: (closure_over(MESH), (), {}),
        lambda: (closure_over(jax.sharding.PartitionSpec("data")), (), {}),
        lambda: (
            closure_over(jax.sharding.NamedSharding(MESH, jax.sharding.PartitionSpec())),
            (),
            {},
        ),
        lambda: (closure_over(Module()), (), {}),
    ],
    ids=(
        "function lambda partial callable dataclass bound_method keyword arrays unhashable sets "
        "atoms closure_list closure_type closure_dtype closure_scalar closure_array closure_key "
        "closure_enum closure_mesh closure_spec closure_sharding closure_module"
    ).split(),
)
def test_any_other_initializer_is_traced_once_in_the_process(make: Any) -> None:
    run = use(make)
    variables = {"params": {"w": jnp.zeros((2, 3))}}
    run(variables)
    assert len(runs) == 1
    for _ in range(3):
        run(variables)
        jax.jit(run)(variables)
    assert len(runs) == 1


@pytest.mark.parametrize(
    "opaque", [types.SimpleNamespace(a=1), {1: object()}], ids=["object", "dict"]
)
def test_an_initializer_over_something_unknown_is_still_right(opaque: Any) -> None:
    run = use(lambda: (closure_over(opaque), (), {}))
    run({"params": {"w": jnp.zeros((2, 3))}})
    with pytest.raises(ScopeParamShapeError):
        run({"params": {"w": jnp.zeros((2, 4))}})


def test_a_closure_over_a_name_that_has_no_value_yet() -> None:
    def make() -> Any:
        def init(key: jax.Array) -> jax.Array:
            return jnp.ones(2) if key is not None else later

        result = init, (), {}
        if runs:
            later = 1
        return result

    use(make)({"params": {"w": jnp.zeros(2)}})


def test_the_arrays_of_an_initializer_may_decide_the_shape() -> None:
    def model(scope: Scope, sizes: np.ndarray) -> Any:
        return scope.param("w", lambda key: jnp.ones(tuple(sizes)))

    variables = {"params": {"w": jnp.zeros((2, 3))}}
    apply(model)(variables, np.array([2, 3]))
    with pytest.raises(ScopeParamShapeError, match=r"makes shape \(5, 6\)"):
        apply(model)(variables, np.array([5, 6]))


def test_arguments_may_be_tuples_of_arrays() -> None:
    run = use(lambda: (free, ((jnp.ones(3), jnp.ones(3)),), {}))
    assert run({"params": {"w": jnp.zeros((2, 3))}}).shape == (2, 3)


def test_no_more_is_remembered_than_is_sensible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameter, "_MOST_REMEMBERED", 2)
    for size in range(5):
        use(lambda size=size: (Configured(size), (), {}))({"params": {"w": jnp.zeros((2, size))}})
    assert len(parameter._remembered) <= 2


MISMATCH = (
    'The module "encoder": the parameter "w" was found with {found}, but its initializer makes '
    "{expected}. Either the input has another size than at init, or the parameters are of another "
    "configuration of the model."
)


@struct.dataclass
class Named(AxisMetadata):
    value: Any

    def unbox(self) -> Any:
        return self.value

    def replace_boxed(self, val: Any) -> "Named":
        return Named(val)

    def add_axis(self, index: int, params: Any) -> "Named":
        return self

    def remove_axis(self, index: int, params: Any) -> "Named":
        return self


@pytest.mark.parametrize(
    ("value", "init_fn", "args", "found", "expected"),
    [
        (jnp.ones((2, 4)), conventional, ((2, 3),), "shape (2, 4)", "shape (2, 3)"),
        (jnp.ones((2, 4)), free, (), "shape (2, 4)", "shape (2, 3)"),
        (np.ones(()), free, (), "shape ()", "shape (2, 3)"),
        (1.0, conventional, ((1,),), "shape ()", "shape (1,)"),
        (jnp.ones(6), free, ({"a": [1]},), "shape (6,)", "shape (2, 3)"),
        (
            {"a": jnp.ones(2)},
            free,
            (),
            "the structure {'a': (2,)} of shapes",
            "shape (2, 3)",
        ),
        (
            {"a": jnp.ones(2), "b": jnp.ones(3)},
            lambda key: {"a": jnp.ones(2), "b": jnp.ones(4)},
            (),
            "the structure {'a': (2,), 'b': (3,)} of shapes",
            "the structure {'a': (2,), 'b': (4,)} of shapes",
        ),
        (Named(jnp.ones(2)), lambda key: Named(jnp.ones(3)), (), "shape (2,)", "shape (3,)"),
        (jnp.ones(2), lambda key: Named(jnp.ones(3)), (), "shape (2,)", "shape (3,)"),
    ],
    ids="shape free scalar python unhashable structure pytree boxed box_expected".split(),
)
def test_mismatches(value: Any, init_fn: Any, args: Any, found: str, expected: str) -> None:
    def model(scope: Scope) -> Any:
        return scope.push("encoder").param("w", init_fn, *args)

    variables = {"params": {"encoder": {"w": value}}}
    assert ScopeParamShapeError.__bases__ == (LinenError, ValueError)
    errors = []
    for _ in range(2):
        with pytest.raises(ScopeParamShapeError) as caught:
            apply(model)(variables)
        errors.append(caught.value)
    for error in errors:
        assert str(error) == MISMATCH.format(found=found, expected=expected)
        assert error.mismatches == ((("encoder",), "w", expected, found),)


@pytest.mark.parametrize(
    ("value", "init_fn"),
    [
        (Named(jnp.ones(3)), lambda key: jnp.ones(3)),
        (jnp.ones(3), lambda key: Named(jnp.ones(3))),
        (freeze({"a": jnp.ones(2)}), lambda key: {"a": jnp.ones(2)}),
        (jnp.ones(3, jnp.bfloat16), lambda key: jnp.ones(3)),
        (np.ones(3), lambda key: jnp.ones(3)),
        (2.0, lambda key: 1.0),
    ],
    ids=["box", "no box", "FrozenDict", "dtype", "numpy", "scalar"],
)
def test_what_is_no_mismatch(value: Any, init_fn: Any) -> None:
    use(lambda: (init_fn, (), {}))({"params": {"w": value}})


def test_a_mismatch_is_found_under_jit() -> None:
    run = use(lambda: (conventional, ((2, 3),), {}))
    with pytest.raises(ScopeParamShapeError):
        jax.jit(run)({"params": {"w": jnp.zeros((2, 4))}})


def test_the_same_initializer_with_other_arguments_is_checked_anew() -> None:
    def model(scope: Scope, size: int) -> Any:
        return scope.param("w", lambda key: jnp.ones(size))

    apply(model)({"params": {"w": jnp.zeros(2)}}, 2)
    apply(model)({"params": {"w": jnp.zeros(3)}}, 3)
    with pytest.raises(ScopeParamShapeError, match=r"found with shape \(2,\)"):
        apply(model)({"params": {"w": jnp.zeros(2)}}, 3)


# Making.


def test_equal_initializers_are_traced_once_while_tracing() -> None:
    class Pair(Module):
        @compact
        def __call__(self) -> None:
            self.param("a", initializers.normal(), (3, 2))
            self.param("b", initializers.normal(), (3, 2))
            self.param("c", initializers.normal(2.0), (3, 2))

    jaxpr = jax.make_jaxpr(Pair().init)(KEY).jaxpr
    made = [e for e in jaxpr.eqns if e.params.get("name") == parameter.INITIALIZER_NAME]
    assert len(made) == 3
    assert made[0].params["jaxpr"] is made[1].params["jaxpr"]
    assert made[0].params["jaxpr"] is not made[2].params["jaxpr"]


def test_an_initializer_of_the_users_runs_each_time() -> None:
    for _ in range(2):
        jax.eval_shape(
            lambda key: parameter.initialize(conventional, LazyRng(key, (1,)), ((2,),), {}, {}), KEY
        )
    assert len(runs) == 2


def test_an_initializer_with_an_array_keeps_its_own_array() -> None:
    def make(value: Any) -> Any:
        init = initializers.constant(value)
        return jax.jit(lambda key: parameter.initialize(init, LazyRng(key, (1,)), ((2,),), {}, {}))(
            KEY
        )

    chex.assert_trees_all_equal(make(jnp.float32(1)), jnp.ones(2))
    chex.assert_trees_all_equal(make(jnp.float32(2)), jnp.full(2, 2.0))


def test_a_partial_of_a_users_function_is_not_taken_for_pure() -> None:
    start = [1.0]

    def mine(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return jnp.full(shape, start[0])

    def model(scope: Scope) -> Any:
        return scope.param("w", jax.tree_util.Partial(mine), (2,))

    first = lazy_init(model)(KEY)["params"]["w"]
    start[0] = 5.0
    second = lazy_init(model)(KEY)["params"]["w"]
    assert (first.tolist(), second.tolist()) == ([1.0, 1.0], [5.0, 5.0])


def test_a_users_function_around_one_of_jax_is_not_taken_for_pure() -> None:
    start = [1.0]

    @functools.wraps(initializers.ones)
    def mine(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return start[0] * initializers.ones(key, shape)

    def model(scope: Scope) -> Any:
        return scope.param("w", mine, (2,))

    first = lazy_init(model)(KEY)["params"]["w"]
    start[0] = 5.0
    second = lazy_init(model)(KEY)["params"]["w"]
    assert (first.tolist(), second.tolist()) == ([1.0, 1.0], [5.0, 5.0])
