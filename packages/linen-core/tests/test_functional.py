"""The functional core: `init`, `apply`, `lazy_init` and `bind` over functions of a scope."""

import concurrent.futures
import copy
from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest

from linen_core import DenyList, FrozenDict, Scope, apply, bind, freeze, init, lazy_init, unfreeze
from linen_core.config import config
from linen_core.errors import (
    ApplyScopeInvalidVariablesStructureError,
    ApplyScopeInvalidVariablesTypeError,
    InvalidFilterError,
    InvalidRngError,
    InvalidScopeError,
    LinenError,
    ModifyScopeVariableError,
    ScopeParamShapeError,
)

KEY = jax.random.key(0)
normal = jax.nn.initializers.normal()


def dense(scope: Scope, x: jax.Array, features: int = 3) -> jax.Array:
    return x @ scope.param("kernel", normal, (x.shape[-1], features))


def counting(scope: Scope, x: jax.Array) -> jax.Array:
    count = scope.variable("state", "count", lambda: jnp.zeros((), int))
    count.value += 1
    return scope.child(dense, "out")(x)


X = jnp.ones((2, 4))
VARIABLES = {
    "params": {"out": {"kernel": jnp.ones((4, 3))}},
    "state": {"count": jnp.array(2), "nested": {"a": {"b": jnp.array(1)}}},
}


def test_init_gives_the_output_and_the_variables() -> None:
    y, variables = init(counting)(KEY, X)
    chex.assert_trees_all_equal(y, X @ variables["params"]["out"]["kernel"])
    assert jax.tree.map(jnp.shape, variables) == {
        "params": {"out": {"kernel": (4, 3)}},
        "state": {"count": ()},
    }
    assert variables["state"]["count"] == 1


@pytest.mark.parametrize(
    ("mutable", "collections"),
    [
        (True, {"params", "state"}),
        (DenyList("state"), {"params"}),
        (["params"], {"params"}),
    ],
    ids=["all", "deny", "names"],
)
def test_init_creates_what_is_mutable(mutable: Any, collections: set[str]) -> None:
    def both(scope: Scope) -> None:
        scope.param("w", normal, (1,))
        if scope.is_mutable_collection("state"):
            scope.variable("state", "s", int)

    assert init(both, mutable)(KEY)[1].keys() == collections
    assert lazy_init(both, mutable)(KEY).keys() == collections


def test_init_of_nothing_mutable_gives_no_variables() -> None:
    assert init(lambda scope: 3, mutable=False)(KEY) == (3, {})
    assert lazy_init(lambda scope: 3, mutable=False)(KEY) == {}


def test_init_sets_a_flag() -> None:
    def flags(scope: Scope) -> Any:
        return dict(scope.flags)

    assert init(flags, flags={"a": 1})(KEY)[0] == {"initializing": True, "a": 1}
    assert apply(flags, flags={"a": 1})({}) == {"a": 1}


def test_lazy_init_equals_init() -> None:
    chex.assert_trees_all_equal(lazy_init(counting)(KEY, X), init(counting)(KEY, X)[1])


def test_apply_gives_the_output() -> None:
    y = apply(dense)({"params": {"kernel": jnp.ones((4, 3))}}, X)
    chex.assert_trees_all_equal(y, jnp.full((2, 3), 4.0))


def test_keyword_arguments_reach_the_function() -> None:
    variables = lazy_init(dense)(KEY, X, features=5)
    assert variables["params"]["kernel"].shape == (4, 5)
    assert apply(dense)(variables, X, features=5).shape == (2, 5)


@pytest.mark.parametrize("name", ["fn", "name", "index", "method", "args", "path", "mutable"])
def test_a_keyword_argument_may_have_any_name(name: str) -> None:
    def model(scope: Scope, x: jax.Array, **options: Any) -> Any:
        dense(scope, x)
        return options

    variables = lazy_init(model)(KEY, X, **{name: "given"})
    assert apply(model)(variables, X, **{name: "given"}) == {name: "given"}


@pytest.mark.parametrize(
    ("mutable", "collections"),
    [
        (["state"], {"state"}),
        ("state", {"state"}),
        (True, {"params", "state"}),
        (DenyList("params"), {"state"}),
        (["state", "cache"], {"state"}),
    ],
    ids=["names", "name", "all", "deny", "names that are not there"],
)
def test_apply_returns_the_mutable_collections(mutable: Any, collections: set[str]) -> None:
    y, updates = apply(counting, mutable)(VARIABLES, X)
    assert y.shape == (2, 3)
    assert updates.keys() == collections
    assert updates["state"]["count"] == 3


def test_an_empty_filter_still_gives_a_pair() -> None:
    variables = {"params": {"kernel": jnp.ones((4, 3))}}
    y, updates = apply(dense, mutable=[])(variables, X)
    assert (y.shape, updates) == ((2, 3), {})


@pytest.mark.parametrize("frozen", [False, True], ids=["dict", "FrozenDict"])
@pytest.mark.parametrize("mutable", [["state"], True], ids=repr)
def test_what_the_caller_passes_is_never_changed(frozen: bool, mutable: Any) -> None:
    given: Any = freeze(VARIABLES) if frozen else copy.deepcopy(VARIABLES)

    def change(scope: Scope, x: jax.Array) -> None:
        counting(scope, x)
        inner = scope.push("nested").push("a")
        inner.put_variable("state", "b", 5)
        inner.put_variable("state", "new", 6)
        inner.get_variable("state", "missing", {})["x"] = 1

    before = jax.tree.map(lambda leaf: leaf, given)
    _, updates = apply(change, mutable)(given, X)
    chex.assert_trees_all_equal(unfreeze(given), unfreeze(before))
    assert updates["state"]["nested"] == {"a": {"b": 5, "new": 6}}


def test_what_comes_back_is_no_alias_of_what_was_passed() -> None:
    given = copy.deepcopy(VARIABLES)
    _, updates = apply(counting, mutable=True)(given, X)
    updates["state"]["nested"]["a"]["b"] = 0
    updates["params"]["out"].clear()
    chex.assert_trees_all_equal(given, VARIABLES)


def test_arrays_are_not_copied() -> None:
    _, updates = apply(counting, mutable=True)(VARIABLES, X)
    assert updates["params"]["out"]["kernel"] is VARIABLES["params"]["out"]["kernel"]


def test_immutable_collections_do_not_change() -> None:
    with pytest.raises(ModifyScopeVariableError) as caught:
        apply(counting)(VARIABLES, X)
    assert str(caught.value) == (
        'The top-level module changes "count" in collection "state", which is immutable here. '
        'Write y, updates = model.apply(variables, ..., mutable=["state"]) and merge updates into '
        "the variables."
    )


def test_frozen_dicts_come_back_on_request() -> None:
    with config.temporary(return_frozendict=True):
        for variables in (
            init(counting)(KEY, X)[1],
            lazy_init(counting)(KEY, X),
            apply(counting, mutable=True)(VARIABLES, X)[1],
        ):
            assert isinstance(variables, FrozenDict)
            assert apply(counting, mutable=["state"])(variables, X)[0].shape == (2, 3)


@pytest.mark.parametrize("return_frozendict", [False, True])
def test_the_order_of_keys_is_that_of_creation(return_frozendict: bool) -> None:
    def model(scope: Scope) -> None:
        for name in "cab":
            scope.push(name).param("w", normal, (1,))

    with config.temporary(return_frozendict=return_frozendict):
        assert list(init(model)(KEY)[1]["params"]) == ["c", "a", "b"]
        assert list(lazy_init(model)(KEY)["params"]) == ["c", "a", "b"]


@pytest.mark.parametrize(
    "rngs",
    [KEY, {"params": KEY}, jax.random.PRNGKey(0), {"params": jax.random.PRNGKey(0), "other": KEY}],
    ids=["key", "dict", "raw key", "raw and typed"],
)
def test_keys_of_every_kind_give_the_same_values(rngs: Any) -> None:
    chex.assert_trees_all_equal(lazy_init(dense)(rngs, X), lazy_init(dense)(KEY, X))


def test_apply_takes_rngs() -> None:
    def noise(scope: Scope) -> jax.Array:
        return jax.random.normal(scope.make_rng("noise"), (3,))

    chex.assert_trees_all_equal(apply(noise)({}, rngs={"noise": KEY}), apply(noise)({}, rngs=KEY))


@pytest.mark.parametrize("bad", [0, {"params": 0}, "key"], ids=repr)
def test_init_refuses_what_is_no_key(bad: Any) -> None:
    for make in (init, lazy_init):
        with pytest.raises(InvalidRngError, match=r"^The first argument of init must be a key"):
            make(dense)(bad, X)
    with pytest.raises(InvalidRngError, match=r"^rngs must be a key"):
        apply(dense)({}, X, rngs=bad)
    with pytest.raises(InvalidRngError, match=r"^rngs must be a key"):
        bind({}, bad)


@pytest.mark.parametrize("use", [lambda m: bind({}, mutable=m), lambda m: init(dense, m)(KEY, X)])
def test_a_bad_filter_is_refused_at_once(use: Any) -> None:
    with pytest.raises(InvalidFilterError, match="3 is no filter"):
        use(3)


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        (None, "but got None."),
        ([1, 2], "but got [1, 2]."),
        (jnp.ones(2), "but got an array of shape (2,) and dtype float32."),
        (
            {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)},
            "but got keys ['kernel', 'bias'], where 'kernel' is an array of shape (4, 3) and dtype "
            'float32. If these are the parameters, did you mean {"params": ...}?',
        ),
    ],
    ids=["none", "list", "array", "parameters"],
)
def test_variables_of_the_wrong_type(variables: Any, found: str) -> None:
    for use in (lambda v: apply(dense)(v, X), bind):
        with pytest.raises(ApplyScopeInvalidVariablesTypeError) as caught:
            use(variables)
        assert isinstance(caught.value, LinenError)
        assert isinstance(caught.value, TypeError)
        assert str(caught.value) == (
            "The variables must be a dict from collection names to nested dicts, such as "
            f'{{"params": {{...}}, "batch_stats": {{...}}}}, {found}'
        )


@pytest.mark.parametrize("wrap", [dict, freeze], ids=["dict", "FrozenDict"])
def test_variables_with_a_layer_too_many(wrap: Any) -> None:
    variables = wrap({"params": {"params": {"kernel": jnp.ones((4, 3))}}})
    with pytest.raises(ApplyScopeInvalidVariablesStructureError) as caught:
        apply(dense)(variables, X)
    assert str(caught.value) == (
        'The variables are {"params": {"params": ...}}, with one layer too many. If you wrote '
        '{"params": variables}, pass the variables themselves, or {"params": variables["params"]}.'
    )


def test_a_parameter_may_be_called_params() -> None:
    value = apply(lambda scope: scope.param("params", normal, (2,)))(
        {"params": {"params": X[0, :2]}}
    )
    assert value.shape == (2,)


@pytest.mark.parametrize("fails", [False, True])
def test_scopes_end_with_the_call(fails: bool) -> None:
    scopes = []

    def keep(scope: Scope) -> None:
        scopes.append(scope.push("inner"))
        if fails:
            raise KeyError("mine")

    if fails:
        with pytest.raises(KeyError, match="mine"):
            apply(keep)({})
    else:
        apply(keep)({})
    with pytest.raises(InvalidScopeError, match='The module "inner" is used after'):
        scopes[0].get_variable("params", "w")


def test_a_bound_scope_does_not_end() -> None:
    scope = bind({"params": {"w": 1}}, mutable=True)
    scope.put_variable("params", "w", 2)
    assert scope.variables() == {"params": {"w": 2}}


def test_apply_is_pure_under_transformations() -> None:
    variables = {"params": {"kernel": jnp.ones((4, 3))}}
    loss = lambda v, x: apply(dense)(v, x).sum()  # noqa: E731
    chex.assert_trees_all_close(jax.jit(loss)(variables, X), loss(variables, X))
    grads = jax.grad(loss)(variables, X)
    chex.assert_trees_all_equal(grads, {"params": {"kernel": jnp.full((4, 3), 2.0)}})
    assert jax.vmap(apply(dense), (None, 0))(variables, X).shape == (2, 3)
    _, updates = jax.jit(apply(counting, mutable=["state"]))(VARIABLES, X)
    assert updates["state"]["count"] == 3


def test_wrappers_are_named_after_the_function() -> None:
    for make in (init, apply, lazy_init):
        assert make(dense).__name__ == "dense"


def test_threads_do_not_disturb_each_other() -> None:
    run = apply(counting, mutable=["state"])

    def use(number: int) -> Any:
        variables = {**VARIABLES, "state": {"count": jnp.array(number)}}
        return [int(run(variables, X)[1]["state"]["count"]) for _ in range(5)]

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert list(pool.map(use, range(4))) == [[n + 1] * 5 for n in range(4)]


def test_a_mismatch_in_an_apply_inside_of_another_is_its_own() -> None:
    def inner(scope: Scope, x: jax.Array) -> Any:
        return x @ scope.param("kernel", jax.nn.initializers.ones, (x.shape[-1], 2))

    def outer(scope: Scope, x: jax.Array) -> Any:
        return apply(inner)({"params": {"kernel": jnp.ones((5, 2))}}, x)

    for variables in ({}, {"params": {"kernel": jnp.ones(1)}}):
        with pytest.raises(ScopeParamShapeError) as caught:
            apply(outer)(variables, jnp.ones((1, 3)))
        (mismatch,) = caught.value.mismatches
        assert mismatch == ((), "kernel", "shape (3, 2)", "shape (5, 2)")


def test_values_that_are_put_are_not_aliases() -> None:
    mine = {"x": 1}

    def model(scope: Scope) -> None:
        scope.put_variable("state", "below", mine)
        scope.push("below").put_variable("state", "x", 2)

    assert apply(model, mutable=True)({})[1] == {"state": {"below": {"x": 2}}}
    assert mine == {"x": 1}


def test_parameters_in_their_boxes_are_not_aliases_either() -> None:
    variables = {"params": {"w": {"a": 1}}}

    def model(scope: Scope) -> None:
        scope.param("w", lambda key: {"a": 1}, unbox=False)["a"] = 2

    apply(model)(variables)
    assert variables == {"params": {"w": {"a": 1}}}
