"""Summaries have the rows, sizes, paths and FLOPs that those of flax.linen have."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from .case import Case, ScopeCase, integers, normal
from .compact_cases import COMPACT
from .layer_cases import LAYERS
from .libraries import PEER, SUBJECT, Library
from .method_cases import METHODS
from .setup_cases import SETUP
from .sharing_cases import SHARING
from .stream_cases import STREAMED
from .variable_cases import VARIABLES

# What its table is drawn from; the text itself wraps and has no structure to compare.
peer_table = import_module("flax.linen.summary")._get_module_table

TABLES = (COMPACT, SETUP, SHARING, METHODS, VARIABLES, STREAMED, LAYERS)
CASES = {case.name: case for table in TABLES for case in table if not isinstance(case, ScopeCase)}
every_case = pytest.mark.parametrize("name", CASES)


@dataclass(frozen=True)
class Row:
    """What a row says of a call, in either library."""

    path: str
    module: str
    method: str
    inputs: list[Any]
    outputs: list[Any]
    sizes: dict[str, tuple[int, int]]


def options_of_init(case: Case) -> dict[str, Any]:
    """Returns the keyword arguments of `init`."""
    options: dict[str, Any] = {} if case.method is None else {"method": case.method}
    if case.init_mutable is not None:
        options["mutable"] = case.init_mutable
    return {**case.kwargs, **options}


def leaves(tree: Any) -> list[Any]:
    """Returns shapes and dtypes, the names of modules, and other leaves as they are."""
    return [plain(leaf) for leaf in jax.tree.leaves(tree, is_leaf=lambda leaf: leaf is None)]


def plain(leaf: Any) -> Any:
    leaf = getattr(leaf, "obj", leaf)
    if hasattr(leaf, "shape") and hasattr(leaf, "dtype"):
        return tuple(leaf.shape), str(leaf.dtype)
    return type(leaf).__name__ if isinstance(leaf, PEER.nn.Module) else leaf


def peer_rows(case: Case, depth: int | None = None, show_repeated: bool = False) -> list[Row]:
    table_of = peer_table(case.make(PEER), depth, show_repeated, False, False)
    table = table_of(case.keys(case.rngs), *case.args, **options_of_init(case))
    return [
        Row(
            "/".join(row.path),
            type(row.module_copy).__name__,
            row.method,
            leaves(row.inputs),
            leaves(row.outputs),
            {col: size for col, size in row.size_and_bytes(table.collections).items() if any(size)},
        )
        for row in table
    ]


def own_rows(case: Case, **options: Any) -> list[Row]:
    rows_of = case.make(SUBJECT).summary_rows
    return [
        Row(
            row.path,
            row.class_name,
            row.method,
            leaves(row.inputs),
            leaves(row.outputs),
            {col: (count, row.bytes[col]) for col, count in row.counts.items() if count},
        )
        for row in rows_of(case.keys(case.rngs), *case.args, **options_of_init(case), **options)
    ]


@every_case
@pytest.mark.parametrize(
    "options", [{}, {"depth": 1}, {"show_repeated": True}], ids=["all", "depth", "repeated"]
)
def test_rows(name: str, options: dict[str, Any]) -> None:
    case = CASES[name]
    with jax.enable_x64(case.x64):
        assert own_rows(case, **options) == peer_rows(case, **options)


def paths(case: Case, library: Library) -> dict[str, Any]:
    modules = case.make(library).module_paths(
        case.keys(case.rngs), *case.args, **options_of_init(case)
    )
    return {path: (type(m).__name__, m.name, m.scope) for path, m in modules.items()}


@every_case
def test_module_paths(name: str) -> None:
    case = CASES[name]
    with jax.enable_x64(case.x64):
        assert paths(case, SUBJECT) == paths(case, PEER)


# FLOPs. XLA, which the peer asks, leaves transcendental functions out and counts integers.

X = normal(4, 6)
IMAGE = normal(2, 9, 8, 3)


def dense(nn: Any) -> Any:
    return nn.Dense(5)


def dense_without_bias(nn: Any) -> Any:
    return nn.Dense(5, use_bias=False)


def dense_in_bfloat16(nn: Any) -> Any:
    return nn.Dense(5, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)


def convolution(nn: Any) -> Any:
    return nn.Conv(4, (3, 3))


def strided_convolution(nn: Any) -> Any:
    return nn.Conv(4, (3, 2), strides=(2, 1), padding="VALID")


def dilated_convolution(nn: Any) -> Any:
    return nn.Conv(4, (3, 3), kernel_dilation=2)


def grouped_convolution(nn: Any) -> Any:
    return nn.Conv(6, (3, 3), feature_group_count=3)


def multilayer_perceptron(nn: Any) -> Any:
    class MLP(nn.Module):
        @nn.compact
        def __call__(self, x):
            for width in (8, 7, 6):
                x = jax.nn.relu(nn.Dense(width)(x))
            return x

    return MLP()


def residual_blocks(nn: Any) -> Any:
    class Block(nn.Module):
        def setup(self):
            self.inner = [nn.Dense(9), nn.Dense(6)]

        def __call__(self, x):
            return x + self.inner[1](jax.nn.relu(self.inner[0](x)))

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Block()(Block()(x))

    return Net()


def shared_layer(nn: Any) -> Any:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            layer = nn.Dense(6)
            return layer(layer(x))

    return Net()


def convolutional_network(nn: Any) -> Any:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = jax.nn.relu(nn.Conv(4, (3, 3))(x))
            x = jax.nn.relu(nn.Conv(4, (3, 3), strides=2)(x))
            return nn.Dense(10)(x.reshape((x.shape[0], -1)))

    return Net()


def attention_scores(nn: Any) -> Any:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            query, key, value = (nn.Dense(4)(x) for _ in range(3))
            return (query @ key.T) @ value

    return Net()


COMPARABLE: list[tuple[Callable[[Any], Any], Any]] = [
    (dense, X),
    (dense_without_bias, X),
    (dense_in_bfloat16, X),
    (convolution, IMAGE),
    (strided_convolution, IMAGE),
    (dilated_convolution, IMAGE),
    (grouped_convolution, IMAGE),
    (multilayer_perceptron, X),
    (residual_blocks, X),
    (shared_layer, X),
    (convolutional_network, IMAGE),
    (attention_scores, X),
]
every_model = pytest.mark.parametrize(
    ("build", "x"), COMPARABLE, ids=[build.__name__ for build, _ in COMPARABLE]
)


def flops(build: Callable[[Any], Any], x: Any, vjp: bool) -> tuple[dict[str, int], dict[str, int]]:
    """Returns the FLOPs of each module in both libraries."""
    key = jax.random.key(0)
    name = "vjp_flops" if vjp else "flops"
    peer = peer_table(build(PEER.nn), None, False, not vjp, vjp)(key, x)
    own = build(SUBJECT.nn).summary_rows(key, x, **{f"compute_{name}": True})
    return {row.path: getattr(row, name) for row in own}, {
        "/".join(row.path): getattr(row, name) for row in peer
    }


@every_model
def test_flops(build: Callable[[Any], Any], x: Any) -> None:
    found, expected = flops(build, x, vjp=False)
    assert found == expected


@every_model
def test_vjp_flops(build: Callable[[Any], Any], x: Any) -> None:
    found, expected = flops(build, x, vjp=True)
    # The peer also adds up two gradients of each parameter: `apply` returns the parameters, which are
    # mutable in it, and they count among what is differentiated.
    sizes = {
        path: sum(row.counts["params"] for row in own if row.path.startswith(path))
        for own in [build(SUBJECT.nn).summary_rows(jax.random.key(0), x)]
        for path in found
    }
    assert {path: count + sizes[path] for path, count in found.items()} == expected


def test_transcendental_functions_count_and_integers_do_not() -> None:
    def build(nn: Any) -> Any:
        class Net(nn.Module):
            @nn.compact
            def __call__(self, tokens):
                return jnp.tanh(nn.Embed(9, 4)(tokens))

        return Net()

    found, expected = flops(build, integers(2, 3, below=9), vjp=False)
    # A tanh is an operation, and comparing indices is none of floating-point numbers.
    assert found == {"": 24, "Embed_0": 0}
    assert expected[""] == expected["Embed_0"] != 0
