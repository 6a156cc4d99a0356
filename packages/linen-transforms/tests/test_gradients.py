"""`value_and_grad`, `vjp` and `jvp` over functions of scopes, against JAX on pure functions."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest

from linen_core import apply, init
from linen_transforms import lift
from linen_transforms.errors import (
    AuxiliaryOutputError,
    NotAScopeError,
    ScalarOutputError,
    TangentError,
    UnsupportedArgumentError,
)

KEY = jax.random.key(0)
W, X = jnp.array([0.5, -1.0, 2.0]), jnp.array([1.0, 2.0, 3.0])
VARIABLES = {"params": {"w": W}, "state": {"n": jnp.array(2.0)}}


def energy(w: Any, n: Any, x: Any) -> Any:
    return jnp.sum(jnp.sin(w * x)) * n


def body(scope: Any, x: Any) -> Any:
    """Computes `energy`, and adds one to its state where that is allowed."""
    w, n = scope.get_variable("params", "w"), scope.get_variable("state", "n")
    if scope.is_mutable_collection("state"):
        scope.put_variable("state", "n", n + 1)
    return energy(w, n, x)


def paired(scope: Any, x: Any) -> Any:
    return body(scope, x), {"twice": 2 * x, "name": 7}


def test_value_and_grad() -> None:
    y, gradients = apply(lambda scope, x: lift.value_and_grad(body, scope, x))(VARIABLES, X)
    expected = jax.value_and_grad(energy, argnums=2)(W, 2.0, X)
    chex.assert_trees_all_close((y, *gradients), expected)


def test_gradients_are_a_tuple_of_all_arguments() -> None:
    def model(scope: Any, x: Any) -> Any:
        def product(scope: Any, tree: Any, y: Any) -> Any:
            return body(scope, tree["x"]) * y

        return lift.value_and_grad(product, scope, {"x": x}, 3.0)[1]

    tree, factor = apply(model)(VARIABLES, X)
    chex.assert_trees_all_close(tree, {"x": 3 * jax.grad(energy, 2)(W, 2.0, X)})
    chex.assert_trees_all_close(factor, energy(W, 2.0, X))


def test_no_arguments_have_no_gradients() -> None:
    y, gradients = apply(lambda s, x: lift.value_and_grad(lambda s: body(s, x), s))(VARIABLES, X)
    assert gradients == ()
    chex.assert_trees_all_close(y, energy(W, 2.0, X))


def test_integers_have_no_gradient() -> None:
    model = lambda s, x: lift.value_and_grad(lambda s, i: body(s, x) * i, s, 3)[1]  # noqa: E731
    (gradient,) = apply(model)(VARIABLES, X)
    assert gradient.dtype == jax.dtypes.float0


def test_auxiliary_output() -> None:
    model = lambda s, x: lift.value_and_grad(paired, s, x, has_aux=True)  # noqa: E731
    (y, aux), gradients = apply(model)(VARIABLES, X)
    expected = jax.value_and_grad(energy, argnums=2)(W, 2.0, X)
    chex.assert_trees_all_close((y, *gradients), expected)
    chex.assert_trees_all_close(aux, {"twice": 2 * X, "name": 7})


@pytest.mark.parametrize("mutable", [False, ["state"], True])
def test_changes_are_put_back(mutable: Any) -> None:
    def model(scope: Any, x: Any) -> Any:
        y, _ = lift.value_and_grad(body, scope, x)
        return y, lift.vjp(body, scope, x)[0], lift.jvp(body, scope, (x,), (x,), {})[0]

    result = apply(model, mutable=mutable)(VARIABLES, X)
    if mutable is False:
        chex.assert_trees_all_close(result, (energy(W, 2.0, X),) * 3)
    else:
        chex.assert_trees_all_close(result[0], tuple(energy(W, n, X) for n in (2.0, 3.0, 4.0)))
        assert result[1]["state"]["n"] == 5


@pytest.mark.parametrize(
    ("vjp_variables", "expected"),
    [
        ("params", ["params"]),
        ("state", ["state"]),
        (["params", "state"], ["params", "state"]),
        (True, ["params", "state"]),
        (False, []),
        ("nothing", []),
    ],
)
@pytest.mark.parametrize("mutable", [False, ["state"]])
def test_vjp_variables(vjp_variables: Any, expected: Any, mutable: Any) -> None:
    def model(scope: Any, x: Any) -> Any:
        y, backward = lift.vjp(body, scope, x, vjp_variables=vjp_variables)
        return y, backward(jnp.array(2.0))

    result = apply(model, mutable=mutable)(VARIABLES, X)
    y, (gradients, slope) = result[0] if mutable else result
    w, n, x = (2 * g for g in jax.grad(energy, argnums=(0, 1, 2))(W, 2.0, X))
    own = {"params": {"w": w}, "state": {"n": n}}
    chex.assert_trees_all_close(y, energy(W, 2.0, X))
    chex.assert_trees_all_close(gradients, {col: own[col] for col in expected})
    chex.assert_trees_all_close(slope, x)


def test_vjp_with_auxiliary_output() -> None:
    def model(scope: Any, x: Any) -> Any:
        _, backward, aux = lift.vjp(paired, scope, x, has_aux=True)
        return backward(1.0)[1], aux

    slope, aux = apply(model)(VARIABLES, X)
    chex.assert_trees_all_close(slope, jax.grad(energy, 2)(W, 2.0, X))
    chex.assert_trees_all_close(aux, {"twice": 2 * X, "name": 7})


def test_gradients_by_scope() -> None:
    def model(scope: Any, x: Any) -> Any:
        def both(scopes: Any, x: Any) -> Any:
            return body(scopes["u"], x) + 2 * body(scopes["v"], x)

        scopes = {"v": scope.push("b"), "u": scope.push("a")}
        return lift.vjp(both, scopes, x)[1](1.0)

    variables = {col: {"a": tree, "b": tree} for col, tree in VARIABLES.items()}
    gradients, _ = apply(model)(variables, X)
    w = jax.grad(energy)(W, 2.0, X)
    expected = {"u": {"params": {"w": w}}, "v": {"params": {"w": 2 * w}}}
    chex.assert_trees_all_close(gradients, expected)


def test_new_variables_have_no_gradient() -> None:
    def model(scope: Any, x: Any) -> Any:
        def create(scope: Any, x: Any) -> Any:
            return jnp.sum(scope.param("w", jax.nn.initializers.ones, (3,)) * x)

        return lift.vjp(create, scope, x)[1](1.0)

    (gradients, slope), variables = init(model)(KEY, X)
    assert gradients == {}
    chex.assert_trees_all_close(slope, jnp.ones(3))
    chex.assert_trees_all_close(variables, {"params": {"w": jnp.ones(3)}})


def test_collections_that_are_filtered_out_are_not_there() -> None:
    def model(scope: Any, x: Any) -> Any:
        def look(scope: Any, x: Any) -> Any:
            return x.sum(), (scope.has_variable("state", "n"), scope.has_rng("noise"))

        options: Any = {"has_aux": True, "variables": "params", "rngs": "other"}
        return lift.vjp(look, scope, x, **options)[2]

    assert apply(model)(VARIABLES, X, rngs={"noise": KEY}) == (False, False)


TANGENTS: dict[str, Any] = {
    "none": {},
    "empty": {"params": {}},
    "params": {"params": {"w": jnp.cos(W)}},
    "state": {"state": {"n": jnp.array(3.0)}},
    "both": {"params": {"w": jnp.cos(W)}, "state": {"n": jnp.array(3.0)}},
}


@pytest.mark.parametrize(
    ("name", "variables"),
    [(name, True) for name in TANGENTS]
    + [("params", "state"), ("state", "params"), ("both", "params"), ("both", False)],
)
def test_jvp(name: str, variables: Any) -> None:
    tangents = TANGENTS[name]
    model = lambda s, x: lift.jvp(body, s, (x,), [x], tangents, variables=variables)  # noqa: E731
    w = tangents.get("params", {}).get("w", 0 * W)
    n = tangents.get("state", {}).get("n", 0.0)
    expected = jax.jvp(energy, (W, 2.0, X), (w, n, X))
    chex.assert_trees_all_close(apply(model)(VARIABLES, X), expected)


def test_tangents_by_scope() -> None:
    def model(scope: Any, x: Any) -> Any:
        def both(scopes: Any, x: Any) -> Any:
            return body(scopes[0], x) + body(scopes[1], x)

        scopes = (scope.push("a"), scope.push("b"))
        return lift.jvp(both, scopes, (x,), (0 * x,), ({}, {"params": {"w": W}}))[1]

    variables = {col: {"a": tree, "b": tree} for col, tree in VARIABLES.items()}
    expected = jax.jvp(lambda w: energy(w, 2.0, X), (W,), (W,))[1]
    chex.assert_trees_all_close(apply(model)(variables, X), expected)


def test_draws_go_on_counting() -> None:
    def noisy(scope: Any, x: Any) -> Any:
        return x * jax.random.normal(scope.make_rng("noise"))

    def plain(scope: Any, x: Any) -> Any:
        return noisy(scope, x), noisy(scope, x), noisy(scope, x), noisy(scope, x)

    def model(scope: Any, x: Any) -> Any:
        first = noisy(scope, x)
        second, _ = lift.value_and_grad(noisy, scope, x)
        return first, second, lift.jvp(noisy, scope, (x,), (x,), {})[0], noisy(scope, x)

    rngs = {"noise": KEY}
    chex.assert_trees_all_equal(apply(model)({}, 1.0, rngs=rngs), apply(plain)({}, 1.0, rngs=rngs))


@pytest.mark.parametrize(
    ("output", "found"),
    [
        (lambda x: x, "float32[3]"),
        (lambda x: x[:1], "float32[1]"),
        (lambda x: x.sum().astype(int), "int32[]"),
        (lambda x: (x.sum(), 1.0), "a tuple with [0]: float32[], [1]: 1.0"),
        (lambda x: None, "a NoneType with nothing"),
    ],
)
def test_a_gradient_needs_a_scalar(output: Any, found: str) -> None:
    model = lambda s, x: lift.value_and_grad(lambda s, x: output(x), s, x)  # noqa: E731
    with pytest.raises(ScalarOutputError) as info:
        apply(model)({}, X)
    assert str(info.value) == (
        "value_and_grad needs a function that returns a floating-point scalar, but this one returns "
        f"{found}. Use vjp for other outputs, and has_aux=True to return more than the scalar."
    )


@pytest.mark.parametrize("transformation", [lift.value_and_grad, lift.vjp])
def test_auxiliary_output_needs_a_pair(transformation: Any) -> None:
    model = lambda s, x: transformation(lambda s, x: x.sum(), s, x, has_aux=True)  # noqa: E731
    with pytest.raises(AuxiliaryOutputError) as info:
        apply(model)({}, X)
    assert str(info.value) == (
        f"{transformation.__name__}: with has_aux=True the function must return a tuple (y, aux), "
        "but it returned float32[]."
    )


@pytest.mark.parametrize("transformation", [lift.value_and_grad, lift.vjp])
def test_reduce_axes_is_refused(transformation: Any) -> None:
    with pytest.raises(UnsupportedArgumentError) as info:
        apply(lambda s, x: transformation(body, s, x, reduce_axes=("batch",)))(VARIABLES, X)
    assert str(info.value) == (
        "The argument 'reduce_axes' is not supported: JAX removed it; use jax.lax.psum on the "
        "gradients instead."
    )


def test_there_must_be_scopes() -> None:
    with pytest.raises(NotAScopeError):
        lift.vjp(body, X, X)


@pytest.mark.parametrize(
    ("tangents", "text"),
    [
        (
            {"params": {"w": W, "b": W}, "other": {"v": W}},
            "`variable_tangents` must fit the variables of each of their collections at /, but "
            "these differ:\n  ['other']['v']: shape (3,) instead of nothing\n  "
            "['params']['b']: shape (3,) instead of nothing",
        ),
        (
            {"params": {"w": W[:2]}},
            "`variable_tangents` must fit the variables of each of their collections at /, but "
            "these differ:\n  ['params']['w']: shape (2,) instead of shape (3,)",
        ),
        (
            3,
            "`variable_tangents` must have a dict from collections to tangents in the place of "
            "each dict in {}, but is 3.",
        ),
    ],
)
def test_tangents_of_variables_must_fit(tangents: Any, text: str) -> None:
    with pytest.raises(TangentError) as info:
        apply(lambda s, x: lift.jvp(body, s, (x,), (x,), tangents))(VARIABLES, X)
    assert str(info.value) == f"jvp: {text}"


@pytest.mark.parametrize(
    ("primals", "tangents", "text"),
    [
        (3.0, (3.0,), "`primals` must be a tuple or list, one entry for each, but is 3.0."),
        ((3.0,), 3.0, "`tangents` must be a tuple or list, one entry for each, but is 3.0."),
        ((3.0,), (), "there are 1 primals, but 0 tangents."),
    ],
)
def test_primals_and_tangents_must_fit(primals: Any, tangents: Any, text: str) -> None:
    with pytest.raises(TangentError) as info:
        apply(lambda s: lift.jvp(body, s, primals, tangents, {}))(VARIABLES)
    assert str(info.value) == f"jvp: {text}"
