"""Einsum."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linen_modules as nn
from linen_core.errors import MergeParamError
from linen_modules.errors import EquationError, InexactDtypeError

X = np.random.default_rng(0).normal(size=(2, 7, 4)).astype(np.float32)

# equation, shape of the kernel -> shape of the bias, and the shape in which it is added
REFERENCES: dict[str, tuple[str, tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    "dense": ("abc,cd->abd", (4, 5), (5,), (1, 1, 5)),
    "ellipsis": ("...c,cd->...d", (4, 5), (5,), (1, 1, 5)),
    "ellipsis in the middle": ("a...c,cd->d...a", (4, 5), (5,), (5, 1, 1)),
    "ellipsis in the kernel": ("abc,c...->ab...", (4, 5, 6), (5, 6), (1, 1, 5, 6)),
    "ellipsis in both": ("...c,...cd->...d", (7, 4, 5), (7, 5), (1, 7, 5)),
    "ellipsis of one": ("...c,...cd->...d", (1, 4, 5), (1, 5), (1, 1, 5)),
    "longer ellipsis in the kernel": ("a...,...b->a...b", (7, 4, 5), (7, 4, 5), (1, 7, 4, 5)),
    "outputs in between": ("abc,cde->aebd", (4, 5, 6), (6, 5), (1, 6, 1, 5)),
    "batch": ("abc,acd->abd", (2, 4, 5), (2, 5), (2, 1, 5)),
    "nothing left of the kernel": ("abc,cd->ab", (4, 5), (), (1, 1)),
    "a scalar": ("abc,bc->", (7, 4), (), ()),
}


@pytest.mark.parametrize("case", REFERENCES.values(), ids=REFERENCES.keys())
def test_reference(case: Any) -> None:
    equation, shape, bias_shape, added = case
    layer = nn.Einsum(shape, equation, bias_init=nn.initializers.normal())
    y, variables = layer.init_with_output(jax.random.key(0), jnp.asarray(X))
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
    assert bias.shape == bias_shape
    expected = np.einsum(equation, X, np.asarray(kernel)) + np.asarray(bias).reshape(added)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def test_equation_at_the_call() -> None:
    layer, x = nn.Einsum((4, 5)), jnp.asarray(X)
    y, variables = layer.init_with_output(jax.random.key(0), x, "... a, a b -> ... b")
    expected = nn.Einsum([4, 5], "...a,ab->...b").apply(variables, x)
    np.testing.assert_array_equal(y, expected)


def test_without_bias() -> None:
    variables = nn.Einsum((4, 5), "abc,cd->abd", use_bias=False).init(
        jax.random.key(0), jnp.asarray(X)
    )
    assert jax.tree.map(jnp.shape, variables) == {"params": {"kernel": (4, 5)}}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "float32"),
        ({"dtype": "bfloat16"}, "bfloat16"),
        ({"dtype": "bfloat16", "preferred_element_type": "float32"}, "float32"),
        ({"param_dtype": "float16"}, "float32"),
        ({"promote_dtype": lambda *a, dtype: [v.astype(jnp.float16) for v in a]}, "float16"),
    ],
    ids=lambda fields: " ".join(fields) if isinstance(fields, dict) else fields,
)
def test_dtypes(fields: dict[str, Any], expected: str) -> None:
    y, _ = nn.Einsum((4, 5), "abc,cd->abd", **fields).init_with_output(
        jax.random.key(0), jnp.asarray(X)
    )
    assert y.dtype == expected


def test_precision_reaches_the_product() -> None:
    layer = nn.Einsum((4, 5), "abc,cd->abd", precision="highest")
    variables = layer.init(jax.random.key(0), jnp.asarray(X))
    assert "HIGHEST" in str(jax.make_jaxpr(layer.apply)(variables, jnp.asarray(X)))


@pytest.mark.parametrize(
    ("in_constructor", "in_call", "text"),
    [
        (None, None, "'einsum_str' was given nowhere"),
        ("abc,cd->abd", "abc,cd->abd", "'einsum_str' was given both"),
    ],
)
def test_equation_twice_or_never(in_constructor: Any, in_call: Any, text: str) -> None:
    with pytest.raises(MergeParamError, match=text):
        nn.Einsum((4, 5), in_constructor).init(jax.random.key(0), jnp.asarray(X), in_call)


ERRORS: dict[str, tuple[str, tuple[int, ...], str]] = {
    "no output": (
        "abc,cd",
        (4, 5),
        r"Einsum at /: found einsum_str='abc,cd'; expected two operands and an output, as "
        r'"inputs,kernel->outputs", .* Write for example einsum_str="...a,ab->...b".',
    ),
    "two outputs": ("abc,cd->abd->a", (4, 5), "expected two operands and an output"),
    "one operand": ("abc->a", (4, 5), "expected two operands and an output"),
    "three operands": ("abc,cd,d->a", (4, 5), "expected two operands and an output"),
    "two dots": ("ab..,cd->abd", (4, 5), "expected two operands and an output"),
    "digits": ("ab1,1d->abd", (4, 5), "expected two operands and an output"),
    "unknown output": (
        "abc,cd->abx",
        (4, 5),
        "found the output 'abx' in einsum_str='abc,cd->abx'; expected letters of the operands, "
        "each once. Write",
    ),
    "output twice": ("abc,cd->abdd", (4, 5), "found the output 'abdd'"),
    "rank of the input": (
        "ab,bd->ad",
        (7, 5),
        r"found an input of shape \(2, 7, 4\) for 'ab' in the equation; expected 2 axes. Write one "
        r"letter for each axis, or \"...\"",
    ),
    "rank below the ellipsis": ("...abcd,de->...abce", (4, 5), "expected at least 4 axes"),
    "rank of the kernel": (
        "abc,cd->abd",
        (4, 5, 6),
        r"found a kernel of shape \(4, 5, 6\) for 'cd' in the equation; expected 2 axes",
    ),
    "sizes": (
        "abc,cd->abd",
        (3, 5),
        "found 4 in the input and 3 in the kernel for label 'c' of einsum_str='abc,cd->abd'; "
        "expected one size. Write 4 in its place in shape.",
    ),
    "sizes of the ellipsis": (
        "...c,...cd->...d",
        (3, 4, 5),
        "found 7 in the input and 3 in the kernel for axis -1 of the ellipsis",
    ),
}


@pytest.mark.parametrize("case", ERRORS.values(), ids=ERRORS.keys())
def test_errors(case: Any) -> None:
    equation, shape, text = case
    with pytest.raises(EquationError, match=text):
        nn.Einsum(shape, equation).init(jax.random.key(0), jnp.asarray(X))


def test_integer_dtype() -> None:
    with pytest.raises(InexactDtypeError, match="dtype=int32: the computation needs"):
        nn.Einsum((4, 5), "abc,cd->abd", dtype=jnp.int32).init(jax.random.key(0), jnp.asarray(X))
