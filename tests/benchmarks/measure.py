"""One process of the benchmark: some contestants, one model, some metrics, JSON on the last line.

A *contestant* is a library or the hand-written function. Each timed trace gets a function that was
never seen before, so that no cache of the traced function as a whole is hit; JAX's own caches, and
those of functions inside, stay warm as they do in a training script.

`init`, `apply` and `gradient` are traced, `lower` also turns the traced gradient into StableHLO, `compile`
compiles it, `step` runs it, `memory` is the bytes it needs beside arguments and results. `eager` runs
`apply` operation by operation. `cold` runs `init` for the first time in this process.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import handwritten
from models import MODELS, Model
from timing import interleave, timed

LIBRARIES = {"linen": "linen_modules", "flax": "flax.linen"}
KEY_SEED = 0


@dataclass(frozen=True)
class Contestant:
    """A model as two functions.

    Attributes:
        init: makes variables from a key and an input.
        apply: computes outputs, and updates where the model has any.
    """

    init: Callable[[jax.Array, jax.Array], Any]
    apply: Callable[[Any, jax.Array], Any]


def contestant(name: str, key: str) -> Contestant:
    """Returns a model in one library, or as it was written by hand."""
    model = MODELS[key]
    if name == "hand":
        shapes = jax.eval_shape(
            library_model("linen", model).init, jax.random.key(0), input_of(model)
        )
        return Contestant(
            lambda rng, _: handwritten.initialize(rng, shapes), handwritten.APPLY[key]
        )
    return library_model(name, model)


def library_model(name: str, model: Model) -> Contestant:
    """Returns a model in one library."""
    module = model.build(import_module(LIBRARIES[name]))
    options = {"mutable": list(model.mutable)} if model.mutable else {}
    return Contestant(module.init, partial(module.apply, **options))


def input_of(model: Model) -> jax.Array:
    """Returns random numbers of the shape of the model's input."""
    numbers = np.random.default_rng(0).standard_normal(model.input_shape)
    return jnp.asarray(numbers, jnp.float32)


def loss_of(apply: Callable[[Any, jax.Array], Any], variables: Any, x: jax.Array) -> jax.Array:
    """Returns the sum of the outputs."""
    return sum((jnp.sum(leaf) for leaf in jax.tree.leaves(apply(variables, x))), jnp.zeros(()))


def preparations(
    metric: str, subject: Contestant, variables: Any, x: jax.Array
) -> Callable[[], Callable[[], Any]]:
    """Returns what prepares one timed call of a metric."""
    rng = jax.random.key(KEY_SEED)
    gradient = jax.grad(lambda v, x: loss_of(subject.apply, v, x))

    def fresh(function: Callable[..., Any]) -> Any:
        return jax.jit(lambda *args: function(*args))

    match metric:
        case "init":
            return lambda: partial(fresh(subject.init).trace, rng, x)
        case "apply":
            return lambda: partial(fresh(subject.apply).trace, variables, x)
        case "gradient":
            return lambda: partial(fresh(gradient).trace, variables, x)
        case "lower":
            return lambda: lambda: fresh(gradient).trace(variables, x).lower()
        case "compile":
            return lambda: fresh(gradient).lower(variables, x).compile
        case "step":
            compiled = fresh(gradient).lower(variables, x).compile()
            return lambda: lambda: jax.block_until_ready(compiled(variables, x))
        case _:
            return lambda: lambda: jax.block_until_ready(subject.apply(variables, x))


def temporary_bytes(subject: Contestant, variables: Any, x: jax.Array) -> int:
    """Returns the bytes that the compiled gradient needs beside its arguments and results."""
    gradient = jax.grad(lambda v, x: loss_of(subject.apply, v, x))
    analysis = jax.jit(gradient).lower(variables, x).compile().memory_analysis()
    assert analysis is not None
    return analysis.temp_size_in_bytes


def assert_agreement(subjects: dict[str, Contestant], variables: Any, x: jax.Array) -> None:
    """Fails if the contestants do not compute the same."""
    results = [jax.jit(subject.apply)(variables, x) for subject in subjects.values()]
    reference = results[0]
    for result in results[1:]:
        assert jax.tree.structure(result) == jax.tree.structure(reference)
        for one, two in zip(jax.tree.leaves(result), jax.tree.leaves(reference), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-3 * float(jnp.abs(two).max()))


def measure(model: str, names: list[str], metrics: list[str], repeats: int) -> dict[str, Any]:
    """Returns seconds, or bytes, by metric and contestant."""
    x = input_of(MODELS[model])
    subjects = {name: contestant(name, model) for name in names}
    shapes = jax.eval_shape(subjects[names[0]].init, jax.random.key(KEY_SEED), x)
    variables = jax.block_until_ready(handwritten.initialize(jax.random.key(1), shapes))
    assert_agreement(subjects, variables, x)
    found = {}
    for metric in metrics:
        if metric == "memory":
            sizes = {name: temporary_bytes(one, variables, x) for name, one in subjects.items()}
            found[metric] = {name: [size] * repeats for name, size in sizes.items()}
            continue
        calls = {
            name: preparations(metric, subject, variables, x) for name, subject in subjects.items()
        }
        found[metric] = interleave(calls, repeats).seconds
    return found


def measure_cold(model: str, name: str, compiled: bool) -> float:
    """Returns the seconds of the first `init` in this process, compilation included."""
    x = jax.block_until_ready(input_of(MODELS[model]))
    rng = jax.block_until_ready(jax.random.key(KEY_SEED))
    subject = contestant(name, model)
    init = jax.jit(subject.init) if compiled else subject.init
    return timed(lambda: jax.block_until_ready(init(rng, x)))


def main() -> None:
    """Measures what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("contestants", nargs="+", choices=[*LIBRARIES, "hand"])
    parser.add_argument("--metrics", nargs="+", required=True)
    parser.add_argument("--repeats", type=int, required=True)
    options = parser.parse_args()
    if options.metrics[0].startswith("cold"):
        compiled = options.metrics[0] == "cold-jit"
        result: Any = measure_cold(options.model, options.contestants[0], compiled)
    else:
        result = measure(options.model, options.contestants, options.metrics, options.repeats)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
