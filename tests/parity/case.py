"""One row of the parity tables.

A `Case` says how to build something in either library and how to call it: with `init`, with
`apply`, and compiled with gradients. `ScopeCase` does the same for a plain function of a scope. The
functions `initialize`, `evaluate` and `compile_and_run` run one case in one library.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .libraries import Library


def normal(*shape: int, dtype: Any = np.float32, seed: int = 0) -> jax.Array:
    """Returns fixed standard normal numbers of `shape`."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def integers(*shape: int, below: int, seed: int = 0) -> jax.Array:
    """Returns fixed integers in `[0, below)` of `shape`."""
    return jnp.asarray(np.random.default_rng(seed).integers(0, below, shape), jnp.int32)


def booleans(*shape: int, seed: int = 0) -> jax.Array:
    """Returns a fixed mask of `shape` in which no row is all false."""
    return jnp.asarray(np.random.default_rng(seed).random(shape) < 0.7).at[..., 0].set(True)


X = normal(2, 3)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A module, its inputs and the agreement that is expected.

    Attributes:
        name: id of the case.
        build: makes the module from a library's `nn`.
        args: positional inputs of `init` and `apply`.
        kwargs: keyword inputs of `init` and `apply`.
        rngs: seeds for `init`, one or by stream.
        apply_rngs: seeds for `apply`, by stream.
        key: turns a seed into a key.
        method: name of the method to call instead of `__call__`.
        init_mutable: filter for `init`, None for its default.
        mutable: filter for `apply`.
        around: wraps the pure call `(variables, *args) -> result`, such as with `jax.vmap`.
        gradients: whether the outputs are differentiated.
        x64: whether 64-bit types are enabled.
        ulps: units in the last place by which compiled outputs and collections may differ.
        gradient_ulps: units in the last place by which compiled gradients may differ.
        eager_ulps: units in the last place by which outputs and collections may differ without jit.
        reason: why these tolerances are not zero.
    """

    name: str
    build: Callable[[Any], Any]
    args: tuple[Any, ...] = (X,)
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    rngs: int | Mapping[str, int] = 0
    apply_rngs: Mapping[str, int] | None = None
    key: Callable[[int], Any] = jax.random.key
    method: str | None = None
    init_mutable: Any = None
    mutable: Any = False
    around: Callable[[Callable], Callable] | None = None
    gradients: bool = True
    x64: bool = False
    ulps: int = 0
    gradient_ulps: int = 0
    eager_ulps: int = 0
    reason: str = ""

    def __post_init__(self):
        if any((self.ulps, self.gradient_ulps, self.eager_ulps)) != bool(self.reason):
            raise ValueError(f"{self.name}: a tolerance and its reason come together")

    def make(self, library: Library) -> Any:
        """Returns an object with `init_with_output` and `apply`."""
        return self.build(library.nn)

    def keys(self, seeds: int | Mapping[str, int] | None) -> Any:
        """Turns seeds into what the `rngs` argument takes."""
        if seeds is None:
            return None
        if isinstance(seeds, int):
            return self.key(seeds)
        return {stream: self.key(seed) for stream, seed in seeds.items()}


@dataclass(frozen=True, kw_only=True)
class ScopeCase(Case):
    """A case whose `build` is ignored in favour of a function of a scope."""

    build: Callable[[Any], Any] = lambda nn: None
    function: Callable[..., Any]

    def make(self, library: Library) -> Any:
        """Returns the function with the calling conventions of a module."""
        return FunctionOfScope(library.core, self.function)


@dataclass(frozen=True)
class FunctionOfScope:
    """A function of a scope under the two methods of a module that a case calls."""

    core: Any
    function: Callable[..., Any]

    def init_with_output(self, rngs, *args, mutable=True, **kwargs):
        """Runs `core.init` on the function."""
        return self.core.init(self.function, mutable=mutable)(rngs, *args, **kwargs)

    def apply(self, variables, *args, rngs=None, mutable=False, **kwargs):
        """Runs `core.apply` on the function."""
        return self.core.apply(self.function, mutable=mutable)(
            variables, *args, rngs=rngs, **kwargs
        )


class Table(list[Case]):
    """A list of cases to which decorated builders and scope functions add themselves."""

    def module(self, **fields: Any) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
        """Adds a `Case` with the decorated `build` function, whose name it takes by default."""

        def add(build: Callable[[Any], Any]) -> Callable[[Any], Any]:
            self.append(Case(**{"name": build.__name__, "build": build} | fields))
            return build

        return add

    def scope(self, **fields: Any) -> Callable[[Callable], Callable]:
        """Adds a `ScopeCase` named after the decorated function of a scope."""

        def add(function: Callable) -> Callable:
            self.append(ScopeCase(name=function.__name__, function=function, **fields))
            return function

        return add


def initialize(case: Case, library: Library) -> tuple[Any, Any]:
    """Returns output and variables of `init`."""
    options: dict[str, Any] = {} if case.method is None else {"method": case.method}
    if case.init_mutable is not None:
        options["mutable"] = case.init_mutable
    with jax.enable_x64(case.x64):
        module = case.make(library)
        return module.init_with_output(case.keys(case.rngs), *case.args, **case.kwargs, **options)


def evaluate(case: Case, library: Library, variables: Any) -> Any:
    """Returns the result of `apply`, evaluated eagerly."""
    with jax.enable_x64(case.x64):
        return pure(case, library)(variables, *case.args)


def compile_and_run(case: Case, library: Library, variables: Any) -> tuple[Any, Any]:
    """Returns result and gradients of a compiled `apply`.

    The gradients are those of a smooth scalar of the output, with respect to the parameters and to
    every floating-point input. Leaves of the result that are no arrays are returned as they are.
    """
    others = {name: tree for name, tree in variables.items() if name != "params"}
    params = {"params": variables["params"]} if "params" in variables else {}
    leaves, structure = jax.tree.flatten(case.args)
    inputs = {i: leaf for i, leaf in enumerate(leaves) if is_real(leaf)}
    traced: list[Any] = []

    def loss(params: Any, inputs: Mapping[int, Any]) -> tuple[jax.Array, list[jax.Array]]:
        args = structure.unflatten([inputs.get(i, leaf) for i, leaf in enumerate(leaves)])
        result = pure(case, library)(others | params, *args)
        traced.append(result)
        output = result[0] if case.mutable is not False else result
        parts = [jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(output) if is_real(leaf)]
        arrays = [leaf for leaf in jax.tree.leaves(result) if isinstance(leaf, jax.Array)]
        return sum(parts, jnp.zeros(())), arrays

    with jax.enable_x64(case.x64):
        if case.gradients:
            run = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
            gradients, arrays = run(params, inputs)
        else:
            gradients, arrays = {}, jax.jit(loss)(params, inputs)[1]
    found = iter(arrays)
    known = traced[-1]
    result = jax.tree.map(lambda leaf: next(found) if isinstance(leaf, jax.Array) else leaf, known)
    return result, gradients


def pure(case: Case, library: Library) -> Callable[..., Any]:
    """Returns the case's `apply` as a function of the variables and the positional inputs."""
    module = case.make(library)
    options: dict[str, Any] = {} if case.method is None else {"method": case.method}

    def call(variables: Any, *args: Any) -> Any:
        return module.apply(
            variables,
            *args,
            rngs=case.keys(case.apply_rngs),
            mutable=case.mutable,
            **case.kwargs,
            **options,
        )

    return call if case.around is None else case.around(call)


def is_real(leaf: Any) -> bool:
    """Whether `leaf` is an array of real floating-point numbers."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)
