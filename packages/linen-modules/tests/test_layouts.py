"""Which variables the layers have stays what it is: trees that were saved can be loaded."""

import json
import os
from pathlib import Path
from typing import Any

import jax
import pytest

from .descriptors import LAYERS

GOLDEN = Path(__file__).with_name("layouts.json")


def layout(variables: Any) -> dict[str, str]:
    """Returns the dtype and the shape of every variable, by path."""
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in leaves
    }


def found(name: str) -> dict[str, str]:
    return layout(LAYERS[name].init_with_output()[1])


if os.environ.get("LINEN_WRITE_LAYOUTS"):
    GOLDEN.write_text(json.dumps({name: found(name) for name in LAYERS}, indent=2) + "\n")
EXPECTED: dict[str, dict[str, str]] = json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("name", LAYERS)
def test_the_layout_of_a_layer(name: str) -> None:
    assert found(name) == EXPECTED.get(name), (
        "the variables of this layer differ from layouts.json, so trees that were saved before cannot "
        "be loaded; if that is meant, run `nox -s layouts`"
    )


def test_there_are_no_other_layouts() -> None:
    assert sorted(EXPECTED) == sorted(LAYERS)
