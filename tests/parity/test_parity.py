"""Every case of the tables, aspect by aspect, against flax.linen."""

import os
from functools import cache
from typing import Any

import pytest

from .attention_cases import ATTENTION
from .case import compile_and_run, evaluate, initialize
from .compact_cases import COMPACT
from .comparison import differences
from .fp8_cases import FP8
from .function_cases import FUNCTIONS
from .functional_cases import FUNCTIONAL
from .layer_cases import LAYERS
from .libraries import PEER, SUBJECT, Library
from .life_cases import LIFE
from .lift_cases import LIFTED
from .lift_control_cases import CONTROLLED
from .lift_gradient_cases import GRADIENTS
from .lift_nested_cases import NESTED
from .lift_scan_cases import SCANNED
from .lift_variables_cases import MAPPED
from .lift_vmap_cases import VMAPPED
from .linear_cases import LINEAR
from .method_cases import METHODS
from .norm_cases import NORMS
from .place_cases import PLACES
from .recurrent_cases import RECURRENT
from .scope_cases import SCOPES
from .setup_cases import SETUP
from .sharing_cases import SHARING
from .stream_cases import STREAMED
from .variable_cases import VARIABLES

TABLES = (
    LAYERS,
    NORMS,
    FP8,
    ATTENTION,
    FUNCTIONS,
    FUNCTIONAL,
    COMPACT,
    SETUP,
    SHARING,
    METHODS,
    VARIABLES,
    STREAMED,
    SCOPES,
    LIFE,
    PLACES,
    LIFTED,
    VMAPPED,
    SCANNED,
    NESTED,
    CONTROLLED,
    MAPPED,
    GRADIENTS,
    LINEAR,
    RECURRENT,
)
ROWS = [case for table in TABLES for case in table]
CASES = {case.name: case for case in ROWS}
# All cases take half an hour on two cores, so as a rule every fourth of each table is run;
# `nox -s parity_all` runs all of them.
STEP = 1 if os.environ.get("LINEN_PARITY") == "all" else 4
CHOSEN = [case.name for table in TABLES for case in table[::STEP]]
# In the scope of the module, so that the tests of a case follow each other and share what is cached.
every_case = pytest.mark.parametrize("name", CHOSEN, scope="module")


def test_names_are_unique() -> None:
    assert [case.name for case in ROWS] == list(CASES)


@cache
def initialized(name: str, library: Library) -> tuple[Any, Any]:
    """Returns output and variables of `init`."""
    return initialize(CASES[name], library)


def assert_same(found: Any, expected: Any, ulps: int = 0) -> None:
    """Fails with every difference of two trees."""
    lines = list(differences(found, expected, ulps))
    assert not lines, "\n".join(["differs from flax.linen:", *lines])


@every_case
def test_initial_variables(name: str) -> None:
    assert_same(initialized(name, SUBJECT)[1], initialized(name, PEER)[1])


@every_case
def test_eager_results(name: str) -> None:
    case, (output, variables) = CASES[name], initialized(name, PEER)
    assert_same(initialized(name, SUBJECT)[0], output, case.eager_ulps)
    expected = evaluate(case, PEER, variables)
    assert_same(evaluate(case, SUBJECT, variables), expected, case.eager_ulps)


@every_case
def test_compiled_results(name: str) -> None:
    case, variables = CASES[name], initialized(name, PEER)[1]
    result, gradients = compile_and_run(case, SUBJECT, variables)
    peer_result, peer_gradients = compile_and_run(case, PEER, variables)
    assert_same(result, peer_result, case.ulps)
    assert_same(gradients, peer_gradients, case.gradient_ulps)
