"""Prints what lifted transformations cost: body runs, traces, compiled steps and memory.

python tests/benchmarks/transforms.py
"""

import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from rich.console import Console
from rich.table import Table

from handwritten import COMPACT, attend, dense, layer_norm
from measure import LIBRARIES
from models import BLOCKS, WIDTH
from models import attend as attend_in
from timing import interleave

SPLIT = {"variable_axes": {"params": 0}, "split_rngs": {"params": True, "dropout": True}}
KEYS = {"params": jax.random.key(0), "dropout": jax.random.key(1)}


class Counter:
    """Counts how often the Python body of a module runs."""

    runs = 0

    def take(self) -> int:
        """Returns the count, and starts again."""
        runs, self.runs = self.runs, 0
        return runs


def counted_block(nn: Any, counter: Counter) -> Any:
    """Makes a block with dropout whose runs are counted."""

    class Block(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            counter.runs += 1
            y = nn.Dropout(0.5, deterministic=not train)(nn.Dense(WIDTH)(x))
            return x + nn.relu(y)

    return Block


def nestings(nn: Any, counter: Counter) -> dict[str, Any]:
    """Makes the nested transformations whose body runs are counted."""
    block = counted_block(nn, counter)

    class Step(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return block(name="block")(x), None

    scan = partial(nn.scan, **SPLIT, length=3)
    return {
        "scan": scan(Step)(),
        "scan of scan": scan(scan(Step))(),
        "vmap of scan of remat": nn.vmap(scan(nn.remat(Step)), in_axes=(0, None), **SPLIT)(),
    }


def body_runs(nn: Any) -> Iterator[tuple[str, int]]:
    """Yields how often bodies run, by what is traced."""
    counter = Counter()
    x = jnp.ones((2, 4, WIDTH))
    for title, model in nestings(nn, counter).items():
        variables = jax.eval_shape(model.init, KEYS, x, None)
        yield f"{title}: body runs, init", counter.take()
        jax.eval_shape(model.apply, variables, x, None)
        yield f"{title}: body runs, apply", counter.take()


def equal_blocks(nn: Any) -> Iterator[tuple[str, int]]:
    """Yields how often equal blocks under `jit` are traced, and how many functions are lowered."""
    counter = Counter()
    lifted = nn.jit(
        counted_block(nn, counter), static_argnums=1 if nn.__name__ == "linen_modules" else 2
    )

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            for _ in range(BLOCKS):
                x = lifted()(x, train)
            return x

    model, x = Model(), jnp.ones((4, WIDTH))
    variables = model.init(KEYS, x)
    yield f"{BLOCKS} blocks under jit: body runs, init", counter.take()
    rngs = {"dropout": KEYS["dropout"]}
    for title, train in {"apply": False, "apply with dropout": True}.items():
        apply = jax.jit(lambda v, x, t=train: model.apply(v, x, t, rngs=rngs))
        text = apply.lower(variables, x).as_text()
        yield f"{BLOCKS} blocks under jit: body runs, {title}", counter.take()
        products = re.findall("call @dense", text) or re.findall(r"stablehlo\.dot", text)
        yield f"{BLOCKS} blocks under jit: matrix products in StableHLO, {title}", len(products)


def transformer_block(nn: Any) -> Any:
    """Makes the class of a transformer block."""

    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            y = nn.LayerNorm()(x)
            query, key, value = (nn.Dense(WIDTH)(y) for _ in range(3))
            x = x + nn.Dense(WIDTH)(attend_in(nn, query, key, value))
            y = nn.Dense(4 * WIDTH)(nn.LayerNorm()(x))
            return x + nn.Dense(WIDTH)(nn.gelu(y))

    return Block


def scanned_transformer(nn: Any) -> Any:
    """Makes a transformer as a scan over rematerialised blocks."""

    class Step(transformer_block(nn)):
        @nn.compact
        def __call__(self, x, _):
            return super().__call__(x), None

    step = nn.remat(Step, prevent_cse=False)
    return nn.scan(step, variable_axes={"params": 0}, split_rngs={"params": True}, length=BLOCKS)()


def handwritten_block(x: jax.Array, params: Any) -> tuple[jax.Array, None]:
    """The same block in plain `jax.numpy`, as the body of a loop."""
    norm, query, key, value, out, mlp_norm, up, down = COMPACT
    y = layer_norm(params[norm], x)
    y = attend(dense(params[query], y), dense(params[key], y), dense(params[value], y))
    x = x + dense(params[out], y)
    y = dense(params[up], layer_norm(params[mlp_norm], x))
    return x + dense(params[down], jax.nn.gelu(y)), None


def handwritten_scan(variables: Any, x: jax.Array, checkpoint: bool = True) -> jax.Array:
    """The loop in plain `jax.numpy`."""

    def block(x: jax.Array, params: Any) -> tuple[jax.Array, None]:  # a new one is traced anew
        return handwritten_block(x, params)

    body = jax.checkpoint(block, prevent_cse=False) if checkpoint else block
    return lax.scan(body, x, variables["params"])[0]


def remat_scanned(nn: Any, variables: Any, x: jax.Array) -> dict[str, Callable[..., Any]]:
    """Returns the same blocks as nested loops, of a library and by hand."""
    outer = 4
    inner = BLOCKS // outer
    block = transformer_block(nn)

    class Blocks(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.remat_scan(block, lengths=(outer, inner))(name="blocks")(x)

    def nested(variables: Any, x: jax.Array) -> jax.Array:
        def loops(x: jax.Array, params: Any) -> tuple[jax.Array, None]:
            step = jax.checkpoint(handwritten_block, prevent_cse=False)
            return lax.scan(step, x, params)[0], None

        return lax.scan(jax.checkpoint(loops, prevent_cse=False), x, folded(variables))[0]

    def folded(variables: Any) -> Any:
        return jax.tree.map(lambda p: p.reshape(outer, inner, *p.shape[1:]), variables["params"])

    model = Blocks()
    return {
        "lifted": lambda v, x: model.apply({"params": {"blocks": folded(v)}}, x),
        "hand": nested,
    }


def compiled_memory(function: Callable[..., Any], *args: Any) -> int:
    """Returns the bytes of temporaries of a compiled gradient."""
    gradient = jax.grad(lambda v, x: jnp.sum(function(v, x)))
    analysis: Any = jax.jit(gradient).lower(*args).compile().memory_analysis()
    return analysis.temp_size_in_bytes


def scanned(libraries: dict[str, Any]) -> Iterator[tuple[str, dict[str, float]]]:
    """Yields milliseconds and bytes of the scanned transformer, by contestant."""
    x = jnp.ones((2, 32, WIDTH))
    models = {name: scanned_transformer(nn) for name, nn in libraries.items()}
    variables = models["linen"].init(jax.random.key(0), x, None)
    functions: dict[str, Callable[..., Any]] = {
        name: lambda v, x, m=model: m.apply(v, x, None)[0] for name, model in models.items()
    }
    functions["hand"] = handwritten_scan

    def fresh(function: Callable[..., Any]) -> Any:
        return jax.jit(lambda *args: function(*args))

    def step(function: Callable[..., Any]) -> Any:
        return jax.jit(jax.grad(lambda v, x: jnp.sum(function(v, x)))).lower(variables, x)

    stages: dict[str, Callable[[Any], Callable[[], Callable[[], Any]]]] = {
        "trace apply": lambda f: lambda: partial(fresh(f).trace, variables, x),
        "compile the gradient": lambda f: lambda: partial(step(lambda v, x: f(v, x)).compile),
    }
    for title, prepare in stages.items():
        timings = interleave({n: prepare(f) for n, f in functions.items()}, repeats=5)
        yield (
            f"scan(remat) transformer: {title} [ms]",
            {name: 1e3 * median(timings.seconds[name]) for name in functions},
        )
    steps = {name: step(function).compile() for name, function in functions.items()}
    run = {
        n: (lambda s=s: lambda: jax.block_until_ready(s(variables, x))) for n, s in steps.items()
    }
    timings = interleave(run, repeats=9)
    yield (
        "scan(remat) transformer: gradient step [ms]",
        {name: 1e3 * median(timings.seconds[name]) for name in steps},
    )
    yield (
        "scan(remat) transformer: temporaries of the gradient [MB]",
        {
            name: compiled_memory(function, variables, x) / 1e6
            for name, function in functions.items()
        },
    )
    yield (
        "the same without remat [MB]",
        {"hand": compiled_memory(partial(handwritten_scan, checkpoint=False), variables, x) / 1e6},
    )
    nested = {name: remat_scanned(nn, variables, x) for name, nn in libraries.items()}
    loops = {name: found["lifted"] for name, found in nested.items()}
    loops["hand"] = nested["linen"]["hand"]
    yield (
        "remat_scan transformer: temporaries of the gradient [MB]",
        {name: compiled_memory(loop, variables, x) / 1e6 for name, loop in loops.items()},
    )


def main() -> None:
    """Measures and prints."""
    libraries = {name: import_module(module) for name, module in LIBRARIES.items()}
    table = Table("", "linen", "flax", "hand", title="Lifted transformations")
    for count in (body_runs, equal_blocks):
        found = {name: dict(count(nn)) for name, nn in libraries.items()}
        for title in found["linen"]:
            table.add_row(title, *(str(rows.get(title, "-")) for rows in found.values()), "-")
    for title, row in scanned(libraries):
        names = ("linen", "flax", "hand")
        table.add_row(title, *(f"{row[n]:,.2f}" if n in row else "-" for n in names))
    Console(width=None if sys.stdout.isatty() else 110).print(table)


if __name__ == "__main__":
    main()
