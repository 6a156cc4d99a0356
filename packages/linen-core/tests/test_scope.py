"""Scopes: descending, names, variables, parameters, flags."""

import functools
import gc
import weakref
from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest

from linen_core import Scope, Variable, apply, bind, init
from linen_core.errors import (
    FlagNotFoundError,
    InvalidNameError,
    InvalidRngError,
    InvalidScopeError,
    JaxTransformError,
    NameInUseError,
    ScopeCollectionNotFound,
    ScopeParamNotFoundError,
    ScopeVariableNotFoundError,
)

KEY = jax.random.key(0)
ones = jax.nn.initializers.ones


def dense(scope: Scope, x: jax.Array, features: int = 3) -> jax.Array:
    return x @ scope.param("kernel", ones, (x.shape[-1], features))


# Descending.


def test_push_descends() -> None:
    root = bind({})
    inner = root.push("a").push("b")
    assert (root.path, root.path_text, root.name, root.parent) == ((), "/", None, None)
    assert (inner.path, inner.path_text, inner.name) == (("a", "b"), "/a/b", "b")
    assert inner.root is root
    assert inner.is_same_tree(root)
    assert not inner.is_same_tree(bind({}))


def test_automatic_names_count() -> None:
    root = bind({})
    names = [root.push(prefix=p).name for p in ("Dense_", "Dense_", "Conv_")]
    assert names == ["Dense_0", "Dense_1", "Conv_0"]
    assert root.default_name("Dense_") == "Dense_2"


def test_messages_show_the_debug_path() -> None:
    scope = Scope({}, path=("a",), debug_path=("vmap", "a")).push("b")
    assert (scope.path, scope.debug_path) == (("a", "b"), ("vmap", "a", "b"))
    assert scope.path_text == "/vmap/a/b"


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [({}, "dense_0"), ({"name": "out"}, "out"), ({"prefix": "layer"}, "layer0")],
    ids=["function name", "name", "prefix"],
)
def test_a_child_has_a_scope_of_its_own(kwargs: Any, expected: str) -> None:
    def model(scope: Scope, x: jax.Array) -> jax.Array:
        child = scope.child(dense, features=4, **kwargs)
        return child(child(x))

    y, variables = init(model)(KEY, jnp.ones((1, 4)))
    chex.assert_trees_all_equal(y, jnp.full((1, 4), 16.0))
    assert jax.tree.map(jnp.shape, variables) == {"params": {expected: {"kernel": (4, 4)}}}


def test_a_call_may_give_another_value_for_a_bound_argument() -> None:
    scope = bind({}, KEY, mutable=True)
    assert scope.child(dense, features=4)(jnp.ones((1, 2)), features=5).shape == (1, 5)


def test_a_function_without_a_name_has_a_number() -> None:
    scope = bind({})
    assert scope.child(functools.partial(lambda scope: scope.name))() == "0"


@pytest.mark.parametrize(
    "use",
    [
        lambda scope: scope.push(3),
        lambda scope: scope.param(3, ones, ()),
        lambda scope: scope.variable("state", 3, int),
        lambda scope: scope.put_variable("state", 3, 1),
    ],
    ids=["push", "param", "variable", "put_variable"],
)
def test_names_are_strings(use: Any) -> None:
    scope = bind({}, KEY, mutable=True).push("a")
    with pytest.raises(InvalidNameError) as caught:
        use(scope)
    assert str(caught.value) == (
        "The module \"a\" names a submodule or variable 3, but names are strings. Write '3'."
    )
    assert isinstance(caught.value, TypeError)


def test_children_of_one_function_are_numbered() -> None:
    def model(scope: Scope, x: jax.Array) -> jax.Array:
        first, second = scope.child(dense), scope.child(dense, features=4)
        return second(first(x))

    variables = init(model)(KEY, jnp.ones((1, 2)))[1]
    assert jax.tree.map(jnp.shape, variables["params"]) == {
        "dense_0": {"kernel": (2, 3)},
        "dense_1": {"kernel": (3, 4)},
    }


@pytest.mark.parametrize("named_call", [True, False])
def test_a_child_opens_a_named_scope(named_call: bool) -> None:
    def model(scope: Scope, x: jax.Array) -> jax.Array:
        return scope.child(dense, "out", named_call=named_call)(x)

    run = jax.jit(apply(model))
    variables = {"params": {"out": {"kernel": jnp.ones((2, 3))}}}
    text = run.lower(variables, jnp.ones((1, 2))).as_text(debug_info=True)
    assert ("out/dot_general" in text) is named_call


def test_rewound_frees_names_and_shares_variables() -> None:
    scope = bind({}, KEY, mutable=True)
    scope.param("a", ones, ())
    again = scope.rewound()
    assert not again.name_reserved("a")
    assert again.get_variable("params", "a") == 1
    assert scope.name_reserved("a")


# Names.


@pytest.mark.parametrize(
    ("first", "second", "clashes"),
    [
        ("params", "params", True),
        ("params", "state", False),
        ("params", None, True),
        (None, "params", True),
        (None, None, True),
    ],
)
def test_what_names_can_be_shared(first: Any, second: Any, clashes: bool) -> None:
    scope = bind({}).push("encoder")
    scope.reserve("a", first)
    assert scope.name_reserved("a", second) is clashes
    assert not scope.name_reserved("b", second)
    if clashes:
        with pytest.raises(NameInUseError, match='already has something named "a"'):
            scope.reserve("a", second)
    else:
        scope.reserve("a", second)


def test_name_clashes_name_both_sides() -> None:
    scope = bind({}).push("encoder")
    scope.push("a")
    with pytest.raises(NameInUseError) as caught:
        scope.reserve("a", "state")
    assert (caught.value.kind, caught.value.name, caught.value.path) == (
        "variable",
        "a",
        ("encoder",),
    )
    assert str(caught.value) == (
        'The module "encoder" (function) already has something named "a", so it cannot have a '
        "variable of that name. Give one of them another name; a submodule that is meant to be "
        "shared is made once and called twice."
    )
    assert scope.push("a", reuse=True).path == ("encoder", "a")


def test_reservations_come_back() -> None:
    scope = bind({})
    scope.reserve("a", "params")
    before = scope.reservations()
    scope.reserve("a", "state")
    scope.reserve("b")
    assert before == {"a": {"params": "param"}}
    scope.restore_reservations(before)
    assert scope.reservations() == {"a": {"params": "param"}}


# Variables.


def test_variable_creates_once() -> None:
    scope = bind({}, mutable=["state"])
    made = scope.variable("state", "x", lambda a, b: a + b, 1, b=2)
    assert isinstance(made, Variable)
    assert made.value == 3
    assert scope.rewound().variable("state", "x", lambda: 9).value == 3
    assert made.is_mutable()
    assert repr(made) == "Variable(state/x)"


def test_assigning_changes_the_variable() -> None:
    scope = bind({"state": {"a": {"x": 1}}}, mutable=["state"]).push("a")
    variable = scope.variable("state", "x")
    variable.value += 4
    assert scope.get_variable("state", "x") == variable.value == 5
    assert repr(variable) == "Variable(state/a/x)"


def test_variable_needs_no_init_if_it_exists() -> None:
    variable = bind({"state": {"x": 1}}).variable("state", "x")
    assert variable.value == 1
    assert not variable.is_mutable()


@pytest.mark.parametrize(
    ("variables", "mutable", "init_fn", "error", "text"),
    [
        (
            {"state": {"scal": 1}},
            False,
            lambda: 1,
            ScopeVariableNotFoundError,
            'The top-level module needs the variable "scale" in collection "state", but found '
            "only ['scal'] there. Did you mean 'scal'? Pass variables that contain it, or "
            'mutable=["state"] to have it created.',
        ),
        (
            {"state": {"x": 1}},
            True,
            None,
            ScopeVariableNotFoundError,
            'The top-level module needs the variable "scale" in collection "state", but found '
            'only [\'x\'] there. Say how to create it: variable("state", "scale", init_fn).',
        ),
        (
            {"params": {"x": 1}},
            False,
            lambda: 1,
            ScopeCollectionNotFound,
            'The top-level module needs "scale" from collection "state", but there is nothing in '
            "that collection at all; got keys ['params']. Pass it with the variables, or "
            'mutable=["state"] to have it created.',
        ),
    ],
    ids=["immutable", "no init", "no collection"],
)
def test_missing_variables(
    variables: Any, mutable: Any, init_fn: Any, error: Any, text: str
) -> None:
    with pytest.raises(error) as caught:
        bind(variables, mutable=mutable).variable("state", "scale", init_fn)
    assert type(caught.value) is error
    assert str(caught.value) == text
    assert isinstance(caught.value, KeyError)


# Parameters.


def test_param_creates_from_a_key() -> None:
    scope = bind({}, KEY, mutable=True)
    value = scope.param("w", jax.nn.initializers.normal(), (2,))
    expected = jax.nn.initializers.normal()(bind({}, KEY).make_rng(), (2,))
    chex.assert_trees_all_equal(value, expected)
    chex.assert_trees_all_equal(scope.get_variable("params", "w"), expected)


def test_param_reads_what_exists() -> None:
    scope = bind({"params": {"w": jnp.zeros(2)}})
    chex.assert_trees_all_equal(scope.param("w", ones, (2,)), jnp.zeros(2))


def test_a_param_that_is_a_dict_is_a_copy() -> None:
    params = {"w": {"a": 1.0}}
    value = bind({"params": params}).param("w", lambda key: {"a": 1.0})
    value["a"] = 2.0
    assert params == {"w": {"a": 1.0}}


def test_creating_needs_a_key() -> None:
    with pytest.raises(InvalidRngError, match='draws from the random stream "params"'):
        bind({}, {"dropout": KEY}, mutable=True).param("w", ones, ())


@pytest.mark.parametrize(
    ("params", "error", "text"),
    [
        (
            {"encoder": {"kernl": 1.0}},
            ScopeParamNotFoundError,
            'The module "encoder" needs the parameter "kernel" in collection "params", but found '
            "only ['kernl'] there. Did you mean 'kernl'? The parameters are of another model, or "
            "of this one before it changed: compare them with model.init(...).",
        ),
        (
            {"encoder": {}},
            ScopeCollectionNotFound,
            'The module "encoder" needs "kernel" from collection "params", but there is nothing '
            "in that collection here. Pass what init returned",
        ),
    ],
    ids=["parameter", "everything"],
)
def test_missing_parameters(params: Any, error: Any, text: str) -> None:
    with pytest.raises(error) as caught:
        bind({"params": params}).push("encoder").param("kernel", ones, ())
    assert str(caught.value).startswith(text)
    assert (caught.value.path, caught.value.collection, caught.value.name) == (
        ("encoder",),
        "params",
        "kernel",
    )


@pytest.mark.parametrize(
    ("use", "text"),
    [
        (lambda s: s.param("w", ones, ()), 'creates the parameter "w"'),
        (lambda s: s.variable("state", "w", int), 'creates the variable "w" of collection "state"'),
        (
            lambda s: s.put_variable("state", "x", 1),
            'changes the variable "x" of collection "state"',
        ),
    ],
    ids=["param", "variable", "put"],
)
def test_variables_do_not_change_in_a_later_transformation(use: Any, text: str) -> None:
    scope = bind({"state": {"x": 1}}, KEY, mutable=True).push("inner")

    def body(x: jax.Array) -> jax.Array:
        use(scope)
        return x

    with pytest.raises(JaxTransformError) as caught:
        jax.vmap(body)(jnp.ones(2))
    assert str(caught.value).startswith(
        f'The module "inner" {text} inside a JAX transformation that began after the module was '
        "bound, where the result would be lost or leak a tracer."
    )


def test_variables_can_be_read_in_a_later_transformation() -> None:
    scope = bind({"params": {"w": jnp.ones(3)}, "state": {"x": jnp.ones(3)}}, mutable=["state"])

    def body(x: jax.Array) -> jax.Array:
        inner = scope.rewound()
        return x * inner.param("w", ones, (3,)) + inner.variable("state", "x").value

    chex.assert_trees_all_equal(jax.vmap(body)(jnp.ones((2, 3))), jnp.full((2, 3), 2.0))


# Flags and the end.


def test_flags() -> None:
    scope = bind({}, flags={"deterministic": True}).push("a")
    assert scope.has_flag("deterministic")
    assert not scope.has_flag("initializing")
    assert scope.get_flag("deterministic") is True
    assert scope.get_flag("initializing", False) is False
    assert scope.get_flag("initializing", None) is None
    with pytest.raises(FlagNotFoundError) as caught:
        scope.get_flag("initializing")
    assert str(caught.value) == (
        'The module "a" asks for the flag "initializing"; the flags given are [\'deterministic\']. '
        'Write get_flag("initializing", default), or pass flags={"initializing": ...} to init, apply '
        "or bind."
    )
    assert isinstance(caught.value, (KeyError, ValueError))
    assert dict(scope.flags) == {"deterministic": True}
    with pytest.raises(TypeError):
        scope.flags["deterministic"] = False  # type: ignore[index]


def test_temporary_ends_the_whole_tree() -> None:
    with bind({}).temporary() as root:
        inner = root.push("a")
        assert not inner.invalid
    assert inner.invalid
    assert root.invalid


def test_temporary_ends_a_child_alone() -> None:
    root = bind({"state": {"a": {"x": 1}}})
    before = root.push("a")
    with root.push("a", reuse=True).temporary() as child:
        assert child.get_variable("state", "x") == 1
    assert (child.invalid, before.invalid, root.invalid) == (True, False, False)
    with pytest.raises(InvalidScopeError):
        child.get_variable("state", "x")
    assert before.get_variable("state", "x") == 1


def test_has_rng_and_rngs() -> None:
    scope = bind({}, {"dropout": KEY}).push("a")
    assert scope.has_rng("dropout")
    assert not scope.has_rng("params")
    assert list(scope.rngs) == ["dropout"]


def test_a_scope_can_have_streams_of_its_own() -> None:
    outer = bind({}, KEY)
    scope = Scope({}, jax.random.key(1), name="a", parent=outer, path=("a",))
    assert list(scope.rngs) == ["params"]
    assert (scope.make_rng() != outer.push("b").make_rng()).all()
    with pytest.raises(InvalidRngError, match="rngs must be a key"):
        Scope({}, 3)  # type: ignore[arg-type]


def test_scopes_are_freed_at_once() -> None:
    gc.collect()
    gc.disable()
    try:
        root = bind({}, KEY, mutable=True)
        root.push("a").param("w", ones, ())
        root.push("b").make_rng()
        freed = weakref.ref(root)
        del root
        assert freed() is None
    finally:
        gc.enable()
