"""Scopes at places of trees, for the tests of the engine."""

import functools
from typing import Any

import jax

from linen_core import Module, Scope, bind
from linen_transforms._pack import Cut

KEY = jax.random.key(0)
STREAMS = {"params": KEY, "noise": jax.random.key(1), "dropout": jax.random.key(2)}
EVERYTHING = (True,)


def tree(mutable: Any = False) -> Scope:
    """Bind variables at /a, /a/c and /ab, in collections of which one is empty at /a."""
    variables = {
        "params": {"a": {"w": 1.0, "c": {"w": 2.0}}, "ab": {"w": 3.0}},
        "state": {"a": {"n": 4.0}, "ab": {"n": 5.0}},
        "cache": {"a": {"x": 6.0}},
        "other": {"ab": {"x": 7.0}, "a": {}},
    }
    return bind(variables, STREAMS, mutable=mutable)


def at(root: Scope, *path: str) -> Scope:
    """Give the scope at a path."""
    return functools.reduce(lambda scope, name: scope.push(name, reuse=True), path, root)


def entered(cut: Cut, *args: Any, **kwargs: Any) -> Any:
    """Enter with everything that there is."""
    return cut.enter(cut.variables(EVERYTHING), cut.keys(EVERYTHING), *args, **kwargs)


def sow(scope: Scope, *values: float) -> bool:
    """Sow values as a module does, and say whether somebody wants them."""
    are_wanted = [Module(parent=scope).sow("sums", "y", value) for value in values]
    return all(are_wanted)


ROOT, BESIDE = tree(), tree()
A, C, AB = at(ROOT, "a"), at(ROOT, "a", "c"), at(ROOT, "ab")
