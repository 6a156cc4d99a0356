"""The layers of the table of linen-modules against flax.linen: variables, and outputs about equal."""

import importlib.util
import sys
from typing import Any

import chex
import numpy as np
import pytest
from repository import load_packages

from .comparison import differences
from .libraries import PEER, SUBJECT


def descriptors() -> Any:
    """Returns the module of the table, which is among the tests of its package."""
    path = load_packages()["linen-modules"].folder / "tests/descriptors.py"
    spec = importlib.util.spec_from_file_location("descriptors", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look for it there
    spec.loader.exec_module(module)
    return module


LAYERS = {name: row for name, row in descriptors().LAYERS.items() if row.has_peer}


@pytest.mark.filterwarnings("ignore:SelfAttention will be deprecated")  # in the peer
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str) -> None:
    outputs, variables = LAYERS[name].init_with_output(SUBJECT.nn)
    peer_outputs, peer_variables = LAYERS[name].init_with_output(PEER.nn)
    assert list(differences(variables, peer_variables)) == []
    # How close is what the tables of cases say.
    chex.assert_trees_all_close(outputs, np.asarray(peer_outputs), rtol=1e-5, atol=1e-5)
