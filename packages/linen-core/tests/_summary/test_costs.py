"""What equations cost, against XLA's own analysis and by hand."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from linen_core._summary.costs import Cost, cost_of

X = jax.ShapeDtypeStruct((8, 16), "float32")
W = jax.ShapeDtypeStruct((16, 4), "float32")
SQUARE = jax.ShapeDtypeStruct((16, 16), "float32")
IMAGE = jax.ShapeDtypeStruct((2, 9, 8, 4), "float32")
INTEGERS = jax.ShapeDtypeStruct((8, 16), "int32")


def cost(fn: Callable[..., Any], *specs: Any) -> Cost:
    return cost_of(jax.make_jaxpr(fn)(*specs).jaxpr.eqns)


def convolve(kernel: tuple[int, ...], groups: int = 1, **options: Any) -> Callable[..., Any]:
    weights = jnp.ones((*kernel, 4 // groups, 8))

    def run(x: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            x,
            weights,
            **{"window_strides": (1, 1), "padding": "SAME"} | options,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    return run


def pooled(x: jax.Array) -> jax.Array:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")


LIKE_XLA: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "matrix product": (jnp.matmul, (X, W)),
    "batched product": (
        lambda x: jnp.einsum("bij,bkj->bik", x, x),
        (IMAGE.update(shape=(3, 4, 5)),),
    ),
    "addition": (lambda x: x + x, (X,)),
    "transcendental functions": (lambda x: jnp.tanh(jnp.exp(x)), (X,)),
    "comparison and choice": (lambda x: jnp.where(x > 0, x, 2 * x), (X,)),
    "conversion": (lambda x: x.astype(jnp.bfloat16), (X,)),
    "sum": (lambda x: x.sum(0), (X,)),
    "maximum": (lambda x: x.max(1), (X,)),
    "mean": (lambda x: x.mean(), (X,)),
    "softmax": (lambda x: jax.nn.softmax(x), (X,)),
    "data movement": (lambda x: jnp.concatenate([x.T[::-1], x.reshape(16, 8)]), (X,)),
    "maximum pooling": (pooled, (IMAGE,)),
    "inside of jit": (lambda x: jax.jit(jnp.tanh)(x) + jax.jit(jnp.tanh)(x), (X,)),
    "custom derivative": (jax.nn.relu, (X,)),
    "checkpoint": (jax.checkpoint(jnp.tanh), (X,)),
    "convolution": (convolve((3, 3)), (IMAGE,)),
    "strided convolution": (convolve((3, 2), window_strides=(2, 3)), (IMAGE,)),
    "padded convolution": (convolve((5, 3), padding=((4, 1), (0, 3))), (IMAGE,)),
    "unpadded convolution": (convolve((3, 3), padding="VALID"), (IMAGE,)),
    "dilated kernel": (convolve((3, 3), rhs_dilation=(2, 3)), (IMAGE,)),
    "dilated input": (convolve((3, 3), lhs_dilation=(2, 3), padding=((1, 2), (3, 0))), (IMAGE,)),
    "grouped convolution": (convolve((3, 3), groups=2), (IMAGE,)),
    "gradient of a product": (jax.value_and_grad(lambda x, w: (x @ w).sum(), (0, 1)), (X, W)),
}


@pytest.mark.parametrize("name", LIKE_XLA)
def test_costs_are_those_of_xla(name: str) -> None:
    fn, specs = LIKE_XLA[name]
    analysis: Any = jax.jit(fn).lower(*specs).cost_analysis()
    expected = analysis.get("flops", 0) + analysis.get("transcendentals", 0)
    assert cost(fn, *specs) == Cost(expected)


@pytest.mark.parametrize(
    ("fn", "spec", "flops"),
    [
        pytest.param(lambda x: x * x + x, INTEGERS, 0, id="integers"),
        pytest.param(lambda x: x[INDICES], X, 0, id="look-up"),
        pytest.param(lambda x: jax.random.bits(jax.random.key(0), (9,)), X, 0, id="random bits"),
        pytest.param(lambda x: jnp.sort(x, axis=1), X, 8 * 16 * 4, id="sort"),
        pytest.param(lambda x: lax.cond(True, dear, cheap, x), SQUARE, 4 * 16**3, id="branches"),
        pytest.param(lambda x: lax.top_k(x, 3)[0], X, 8 * 16 * 4, id="largest"),
        pytest.param(lambda x: jnp.cumsum(x, axis=1), X, 8 * 15, id="cumulative sum"),
        pytest.param(lambda x: x.at[INDICES].add(1.0), X, 3 * 16, id="scattered sum"),
        pytest.param(lambda x: jnp.fft.fft(x), X, 8 * 5 * 16 * 4 + 128, id="Fourier transform"),
        pytest.param(lambda x: lax.scan(step, x, length=7)[0], X, 7 * 128, id="scan"),
        pytest.param(lambda x: lax.fori_loop(0, 5, lambda i, x: 2 * x, x), X, 640, id="for loop"),
        pytest.param(lambda x: lax.fori_loop(0, x[0, 0], count, 0), INTEGERS, 0, id="integer loop"),
        pytest.param(lambda x: jax.debug.print("{}", x.sum()), X, 127, id="debug print"),
        pytest.param(jax.grad(lambda x: pooled(x).sum()), IMAGE, 2879, id="pooling backward"),
    ],
)
def test_costs(fn: Callable[..., Any], spec: Any, flops: int) -> None:
    assert cost(fn, spec) == Cost(flops)


INDICES = jnp.array([0, 2, 5])


def dear(x: Any) -> Any:
    return x @ x @ x


def cheap(x: Any) -> Any:
    return 2 * x


def step(x: Any, _: Any) -> Any:
    return 2 * x, None


def count(i: Any, n: Any) -> Any:
    return n + 1


def callback(x: Any) -> Any:
    return jax.pure_callback(lambda x: x, x, x)


@pytest.mark.parametrize(
    ("fn", "name"),
    [
        pytest.param(lambda x: lax.while_loop(lambda x: x.sum() < 9, jnp.exp, x), "while", id="while"),
        pytest.param(callback, "pure_callback", id="callback"),
        pytest.param(lambda x: lax.scan(lambda x, _: (callback(x), None), x, length=2)[0],
                     "pure_callback", id="callback in a loop"),
        pytest.param(lambda x: jax.jit(callback)(x), "pure_callback", id="callback in a call"),
        pytest.param(lambda x: jnp.linalg.eigh(x)[0], "eigh", id="decomposition"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_named(fn: Callable[..., Any], name: str) -> None:
    assert cost(fn, SQUARE).uncounted == {name}


def test_costs_add_up() -> None:
    total = Cost(2) + Cost(3, frozenset({"while"})) + Cost(0, frozenset({"eigh"}))
    assert total == Cost(5, frozenset({"while", "eigh"}))
