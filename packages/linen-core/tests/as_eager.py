"""`init` against an ordinary call: the same values, types and order of keys."""

from typing import Any

import chex
import jax

from linen_core import Module

KEY = jax.random.key(0)


def check_as_eager(model: Module, *args: Any, rngs: Any = KEY, **kwargs: Any) -> Any:
    """Compare `init` with evaluation without a trace: values, types and the order of keys."""
    lazy = model.init(rngs, *args, **kwargs)
    eager = model.init_with_output(rngs, *args, **kwargs)[1]
    chex.assert_trees_all_equal(lazy, eager, strict=True)
    check_same_kind(lazy, eager)
    return lazy


def check_same_kind(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            check_same_kind(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        for item_a, item_b in zip(a, b, strict=True):
            check_same_kind(item_a, item_b)
    elif isinstance(a, jax.Array):
        assert a.dtype == b.dtype
        assert getattr(a, "weak_type", False) == getattr(b, "weak_type", False)
