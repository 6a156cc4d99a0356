"""Several uses of an operator's variables in one step.

The gradient of a variable that is used twice is the sum of two; next values are no gradients, and
their sum has no meaning. Therefore a later use is not given the variables but what the use before
it returned in their place, so that JAX sees one chain of uses, along which the largest value goes
back.

The chain is as long as one `init` or `apply`, or one body of a lifted transformation: all scopes of
one of those have the same root. Uses inside of a raw JAX transformation are left out of it, since
values must not leave a trace; the trace of the chain is that of the first use.
"""

from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import jax

from linen_core import Module, Scope
from linen_modules.fp8.scaled_products import Metas

__all__ = [
    "Chain",
    "latest",
    "record",
]


@dataclass
class Chain:
    """The uses of all operators under one root.

    Attributes:
        trace: which JAX trace they belong to.
        last: from the path of an operator to its variables and to what its last use returned.
    """

    trace: Any
    last: dict[tuple[str, ...], tuple[Metas, Metas]] = field(default_factory=dict)


_CHAINS: WeakKeyDictionary[Scope, Chain] = WeakKeyDictionary()


def latest(operator: Module, stored: Metas) -> Metas:
    """Gives what an operator's last use returned, or what is stored if this is the first one."""
    last = _last(operator)
    known, returned = last.get(operator.path, (None, stored))
    pairs = zip(jax.tree.leaves(known), jax.tree.leaves(stored), strict=False)
    return returned if all(a is b for a, b in pairs) else stored  # if none was changed in between


def record(operator: Module, stored: Metas, returned: Metas) -> None:
    """Remembers what a use of an operator returned."""
    _last(operator)[operator.path] = stored, returned


def _last(operator: Module) -> dict[tuple[str, ...], tuple[Metas, Metas]]:
    scope = operator.scope
    assert scope is not None  # operators are called in bound modules
    trace = _current_trace()
    chain = _CHAINS.setdefault(scope.root, Chain(trace))
    return chain.last if chain.trace == trace else {}


def _current_trace() -> Any:
    # Here, since importing jax.extend takes long.
    try:
        from jax.extend.core import get_opaque_trace_state
    except ImportError:  # before JAX 0.10 it was public under another name
        from jax.core import get_opaque_trace_state  # type: ignore[attr-defined,no-redef]
    return get_opaque_trace_state(convention="flax")
