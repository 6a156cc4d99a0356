"""Carries must come out of a body as they went in."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax.tree_util import keystr

from linen_transforms._carry import check_carry, differing_forms
from linen_transforms.errors import CarryMismatchError

X = jnp.ones(2)


def check(before: Any, after: Any) -> None:
    check_carry("scan", ("a", "b"), before, after, lambda path: f"carry{keystr(tuple(path))}")


@pytest.mark.parametrize(
    "after", [{"x": X, "y": (X,)}, {"x": jax.ShapeDtypeStruct((2,), "float32"), "y": (X + 1,)}]
)
def test_equal_forms_pass(after: Any) -> None:
    check({"x": X, "y": (X,)}, after)


@pytest.mark.parametrize(
    ("after", "rows"),
    [
        ({"x": X.astype(int), "y": (X,)}, ["carry['x']: float32[2] -> int32[2]"]),
        (
            {"x": X[0], "y": (X, X)},
            ["carry['x']: float32[2] -> float32[]", "carry['y'][1]: nothing -> float32[2]"],
        ),
        ({"y": (X,)}, ["carry['x']: float32[2] -> nothing"]),
        (
            {"x": X, "y": [X]},
            ["structure: PyTreeDef({'x': *, 'y': (*,)}) -> PyTreeDef({'x': *, 'y': [*]})"],
        ),
    ],
    ids=["dtype", "several", "missing", "container"],
)
def test_only_what_differs_is_shown(after: Any, rows: list[str]) -> None:
    with pytest.raises(CarryMismatchError) as caught:
        check({"x": X, "y": (X,)}, after)
    head = (
        "/a/b: the carry of scan must come out of the body as it went in, but these differ "
        "(in -> out):"
    )
    assert str(caught.value) == "\n  ".join([head, *rows])


def test_trees_can_have_a_name() -> None:
    found = differing_forms([X], [X[0]], "result")
    assert found == {"result[0]": ("float32[2]", "float32[]")}
