"""Trees that one library saves are read by the other."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from .case import Case, evaluate, initialize
from .comparison import differences
from .libraries import PEER, SUBJECT, Library
from .scope_cases import SCOPES
from .setup_cases import SETUP
from .sharing_cases import SHARING
from .stream_cases import STREAMED
from .variable_cases import VARIABLES

EXCHANGED = {
    "convolutional_network_trains",
    "dropout_in_nested_modules",
    "setup_containers_in_containers",
    "shared_between_siblings",
    "several_collections",
    "param_of_python_scalars",
    "scope_parameter_trees",
}
TABLES = (SETUP, SHARING, VARIABLES, STREAMED, SCOPES)
CASES = [case for table in TABLES for case in table if case.name in EXCHANGED]
both_ways = pytest.mark.parametrize(
    ("writer", "reader"), [(PEER, SUBJECT), (SUBJECT, PEER)], ids=["from peer", "to peer"]
)
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


class Point(NamedTuple):
    """A named tuple, as optimizers keep their state in."""

    x: Any
    y: Any


TREES: dict[str, Any] = {
    "dicts": {"a": {"b": jnp.ones(2), "c": np.zeros(3)}, "d": 1.0},
    "lists": [jnp.ones(2), [1, 2], []],
    "tuples": (jnp.ones(2), (3, ()), None),
    "named tuples": Point(jnp.ones(2), {"z": Point(1, 2)}),
    "scalars": {"i": 1, "f": 1.5, "b": True, "s": "text", "n": None},
    "keys": {"key": jax.random.key(0), "raw": jax.random.PRNGKey(1)},
    "types": [jnp.ones(2, jnp.bfloat16), np.float16(3), jnp.arange(3, dtype=jnp.uint8)],
    "a leaf": jnp.ones(2),
}


@both_ways
@each_case
def test_variables_move(case: Case, writer: Library, reader: Library) -> None:
    variables = initialize(case, writer)[1]
    target = jax.tree.map(lambda leaf: leaf * 0, initialize(case, reader)[1])
    restored = reader.trees.from_state_dict(target, writer.trees.to_state_dict(variables))
    assert not list(differences(restored, variables))
    found, expected = evaluate(case, reader, restored), evaluate(case, writer, variables)
    assert not list(differences(found, expected, case.eager_ulps))


@pytest.mark.parametrize("maker", [PEER, SUBJECT], ids=["of peer", "own"])
@each_case
def test_frozen_variables_are_accepted(case: Case, maker: Library) -> None:
    variables = initialize(case, PEER)[1]
    found = evaluate(case, SUBJECT, maker.core.freeze(variables))
    assert not list(differences(found, evaluate(case, PEER, variables), case.eager_ulps))


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_state_dicts_agree(tree: Any) -> None:
    found, expected = SUBJECT.trees.to_state_dict(tree), PEER.trees.to_state_dict(tree)
    assert not list(differences(found, expected))
    restored = SUBJECT.trees.from_state_dict(tree, expected)
    assert not list(differences(restored, PEER.trees.from_state_dict(tree, found)))


@pytest.mark.parametrize("name", ["freeze", "unfreeze", "copy", "pop", "pretty_repr"])
def test_dict_functions_agree(name: str) -> None:
    tree = {"b": {"x": 1, "y": {}}, "a": (1.5, {"z": None})}
    options: Mapping[str, tuple[Any, ...]] = {"copy": ({"b": 2},), "pop": ("b",)}

    def run(library: Library, form: Callable[[Any], Any]) -> Any:
        return getattr(library.core, name)(form(tree), *options.get(name, ()))

    assert not list(differences(run(SUBJECT, dict), run(PEER, dict)))
    assert not list(differences(run(SUBJECT, SUBJECT.core.freeze), run(PEER, PEER.core.freeze)))
