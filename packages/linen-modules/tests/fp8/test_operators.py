"""Operators of layers."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linen_modules as nn
from linen_modules.errors import EquationError
from linen_modules.fp8 import OVERWRITE_WITH_GRADIENT

OPERATORS = (
    nn.Fp8DotGeneral,
    nn.Fp8DirectDotGeneralOp,
    nn.Fp8DotGeneralOp,
    nn.NANOOFp8DotGeneralOp,
)
every_operator = pytest.mark.parametrize("operator", OPERATORS, ids=lambda cls: cls.__name__)
X = jax.random.normal(jax.random.key(0), (16, 32))
NAMES = [
    f"{array}_{what}"
    for array in ("input", "kernel", "output_grad")
    for what in ("amax_history", "scale")
]


def short(operator: Any, length: int = 4) -> Any:
    return lambda: operator(amax_history_length=length)


@every_operator
def test_variables(operator: Any) -> None:
    layer = nn.Dense(8, dot_general_cls=operator)
    variables = layer.init(jax.random.key(0), X)
    chex.assert_trees_all_equal(
        variables["params"], nn.Dense(8).init(jax.random.key(0), X)["params"]
    )
    found = variables[OVERWRITE_WITH_GRADIENT][f"{operator.__name__}_0"]
    assert sorted(found) == NAMES
    for name, value in found.items():
        is_scale = name.endswith("scale")
        np.testing.assert_array_equal(value, jnp.ones(1) if is_scale else jnp.zeros(1024))


@every_operator
def test_training_follows_full_precision(operator: Any) -> None:
    layer, exact = nn.Dense(8, dot_general_cls=short(operator)), nn.Dense(8)
    variables = layer.init(jax.random.key(0), X)

    def loss(layer: nn.Dense, variables: Any) -> jax.Array:
        return jnp.mean(jnp.square(layer.apply(variables, 100 * X) - 1))

    for _ in range(3):
        gradients = jax.grad(loss, argnums=1)(layer, variables)
        expected = jax.grad(loss, argnums=1)(exact, {"params": variables["params"]})
        variables = {**variables, OVERWRITE_WITH_GRADIENT: gradients[OVERWRITE_WITH_GRADIENT]}
        found, wanted = gradients["params"]["kernel"], expected["params"]["kernel"]
        assert jnp.linalg.norm(found - wanted) < 0.15 * jnp.linalg.norm(wanted)
    metas = variables[OVERWRITE_WITH_GRADIENT][f"{operator.__name__}_0"]
    largest = 100 * jnp.max(jnp.abs(X))
    expected = [largest, 0, largest, largest]  # the latest, then from the oldest on
    np.testing.assert_allclose(metas["input_amax_history"], expected, rtol=1e-6)
    np.testing.assert_allclose(
        largest / metas["input_scale"],
        240 if operator is nn.NANOOFp8DotGeneralOp else 448,
        rtol=1e-5,
    )


@every_operator
def test_dtypes(operator: Any) -> None:
    numbers = (((1,), (0,)), ((), ()))
    module = operator(amax_history_length=2)
    for dtype in (jnp.bfloat16, jnp.float16, jnp.float32):
        arrays = X, jnp.ones((32, 3), dtype)
        y, variables = module.init_with_output(jax.random.key(0), *arrays, numbers)
        assert y.dtype == dtype
        assert {leaf.dtype.name for leaf in jax.tree.leaves(variables)} == {"float32"}
        y = module.apply(variables, *arrays, numbers, preferred_element_type=jnp.float32)
        assert y.dtype == jnp.float32


@every_operator
def test_one_equation(operator: Any) -> None:
    numbers = (((1,), (0,)), ((), ()))
    module, arrays = operator(amax_history_length=2), (X, X.T)
    variables = module.init(jax.random.key(0), *arrays, numbers)
    jaxpr = jax.make_jaxpr(lambda v: module.apply(v, *arrays, numbers))(variables)
    assert [equation.primitive.name for equation in jaxpr.eqns] in (["jit"], ["pjit"])


def test_dtypes_of_8_bits_are_used() -> None:
    cls = lambda: nn.Fp8DirectDotGeneralOp(  # noqa: E731
        amax_history_length=2, e4m3_dtype=jnp.float8_e5m2, e5m2_dtype=jnp.float8_e4m3fn
    )
    layer = nn.Dense(3, dot_general_cls=cls)
    variables = layer.init(jax.random.key(0), X)
    forwards = str(jax.make_jaxpr(layer.apply)(variables, X))
    assert "f8_e5m2" in forwards
    assert "f8_e4m3fn" not in forwards
    backwards = jax.make_jaxpr(jax.grad(lambda v: layer.apply(v, X).sum()))(variables)
    assert "f8_e4m3fn" in str(backwards)


class Repeated(nn.Module):
    """Calls one layer for inputs of several sizes."""

    operator: Any
    factors: tuple[float, ...]

    def setup(self) -> None:
        self.dense = nn.Dense(32, dot_general_cls=short(self.operator))

    def __call__(self, x: jax.Array) -> jax.Array:
        return sum((jnp.sum(f * self.dense(f * x)) for f in self.factors), jnp.zeros(()))


@every_operator
@pytest.mark.parametrize("is_compiled", [True, False])
def test_next_values_of_several_uses_are_the_largest(operator: Any, is_compiled: bool) -> None:
    def metas(*factors: float) -> Any:
        model = Repeated(operator, factors)
        variables = model.init(jax.random.key(0), X)
        run = jax.grad(lambda v: model.apply(v, X))
        gradients = (jax.jit(run) if is_compiled else run)(variables)
        return gradients[OVERWRITE_WITH_GRADIENT]["dense"][f"{operator.__name__}_0"]

    chex.assert_trees_all_close(metas(1.0, 3.0, 2.0), metas(3.0), rtol=1e-6)


def test_uses_do_not_leave_a_trace() -> None:
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            dense = nn.Dense(32, dot_general_cls=short(nn.Fp8DotGeneral))
            dense(x)
            x = jax.checkpoint(lambda x: dense(x))(x)
            return dense(jax.jit(lambda x: dense(x))(x))

    model = Model()
    variables = model.init(jax.random.key(0), X)
    with jax.checking_leaks():
        gradients = jax.grad(lambda v: model.apply(v, X).sum())(variables)
    chex.assert_tree_all_finite(gradients)


def test_bound_modules_can_be_called_again() -> None:
    model = Repeated(nn.Fp8DotGeneral, (1.0, 2.0))
    bound = model.bind(model.init(jax.random.key(0), X))
    np.testing.assert_allclose(bound(X), bound(X), rtol=1e-6)
    first, second = jax.grad(bound)(X), jax.grad(bound)(X)
    np.testing.assert_allclose(first, second, rtol=1e-6)


@pytest.mark.parametrize(
    ("equation", "lhs_shape", "rhs_shape"),
    [
        ("ab,bc->ac", (2, 3), (3, 4)),
        ("ab,bc->ca", (2, 3), (3, 4)),
        (" ab , bc -> c ", (2, 3), (3, 4)),
        ("...qhd,...khd->...hqk", (2, 3, 2, 4), (2, 5, 2, 4)),
        ("...hqk,...khd->...qhd", (2, 2, 3, 5), (2, 5, 2, 4)),
        ("...a,ab->...b", (7, 6, 2), (2, 3)),
        ("...a,...ab->...b", (6, 2), (1, 2, 3)),
        ("a...,...->...a", (4, 2, 1), (5,)),
        ("ab,ab->", (2, 3), (2, 3)),
    ],
)
def test_einsum(equation: str, lhs_shape: tuple[int, ...], rhs_shape: tuple[int, ...]) -> None:
    # Small integers have no rounding error in 8 bits.
    generator = np.random.default_rng(0)
    lhs, rhs = (
        jnp.asarray(generator.integers(-4, 5, shape), jnp.float32)
        for shape in (lhs_shape, rhs_shape)
    )
    y, variables = nn.Fp8Einsum().init_with_output(jax.random.key(0), equation, lhs, rhs)
    np.testing.assert_allclose(y, jnp.einsum(equation, lhs, rhs), rtol=1e-6)
    assert sorted(variables[OVERWRITE_WITH_GRADIENT]) == NAMES


def test_einsum_in_another_dtype() -> None:
    arrays = jnp.ones((2, 3)), jnp.ones((3, 4), jnp.bfloat16)
    einsum = nn.Fp8Einsum()
    y, variables = einsum.init_with_output(jax.random.key(0), "ab,bc->ac", *arrays)
    assert y.dtype == jnp.bfloat16
    options: dict[str, Any] = {"precision": "highest", "preferred_element_type": jnp.float32}
    assert einsum.apply(variables, "ab,bc->ac", *arrays, **options).dtype == jnp.float32


@pytest.mark.parametrize(
    ("equation", "text"),
    [
        ("ab,bc", "Fp8Einsum at /: found the equation 'ab,bc'; expected two arrays and a result"),
        ("ab->a", "found the equation 'ab->a'"),
        ("aa,bc->c", "with letters that are different in each"),
        ("a1,bc->c", "found the equation 'a1,bc->c'"),
        (
            "abc,bc->ac",
            r"found an array of shape \(2, 3\) for 'abc' in the equation 'abc,bc->ac'; expected 3 "
            "axes. Write one letter for each axis",
        ),
        ("a,bc->ac", r"found an array of shape \(2, 3\) for 'a' .* expected 1 axes"),
    ],
)
def test_equations_without_meaning(equation: str, text: str) -> None:
    with pytest.raises(EquationError, match=text):
        nn.Fp8Einsum().init(jax.random.key(0), equation, jnp.ones((2, 3)), jnp.ones((3, 4)))


def test_attention_in_8_bits() -> None:
    fields: dict[str, Any] = {
        "qkv_dot_general_cls": nn.Fp8DotGeneral,
        "out_dot_general_cls": nn.Fp8DotGeneral,
        "qk_attn_weights_einsum_cls": nn.Fp8Einsum,
        "attn_weights_value_einsum_cls": nn.Fp8Einsum,
    }
    x = jax.random.normal(jax.random.key(1), (2, 5, 8))
    layer = nn.MultiHeadDotProductAttention(num_heads=2, **fields)
    y, variables = layer.init_with_output(jax.random.key(0), x)
    exact = nn.MultiHeadDotProductAttention(num_heads=2).apply({"params": variables["params"]}, x)
    assert jnp.linalg.norm(y - exact) < 0.15 * jnp.linalg.norm(exact)
