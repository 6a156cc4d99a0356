"""The sentinel of lifted scans."""

import copy
import pickle
from typing import Any

import jax
import pytest

from linen_core import broadcast


@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_there_is_one(again: Any) -> None:
    assert again(broadcast) is broadcast
    assert repr(broadcast) == "broadcast"


def test_it_is_a_leaf_among_axes() -> None:
    axes = {"x": 0, "weights": broadcast}
    assert jax.tree.map(lambda axis: axis is broadcast, axes) == {"x": False, "weights": True}
