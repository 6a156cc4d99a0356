"""Rows: calls and the variables that belong to them."""

import dataclasses
from typing import Any

import pytest

from linen_core._summary.calls import Call
from linen_core._summary.rows import SummaryRow, make_rows

from .models import MLP, Dense, spec

VARIABLES: dict[str, Any] = {
    "params": {
        "w": spec(2),
        "a": {"w": spec(3), "inner": {"w": spec(5)}},
        "uncalled": {"w": spec(7), "called": {"w": spec(11)}},
        "tree": {"x": spec(13)},
    },
    "state": {"a": {"inner": {"n": 0, "sown": (spec(2), spec(3))}}},
}
CALLED = [(), ("a",), ("a", "inner"), ("uncalled", "called")]


def rows(
    paths: list[tuple[str, ...]], variables: Any = VARIABLES, called: Any = CALLED
) -> list[SummaryRow]:
    calls = [Call(path, Dense(), "__call__", spec(1), spec(2)) for path in paths]
    return list(make_rows(calls, set(called), variables))


def test_variables_are_in_the_row_of_their_module() -> None:
    whole, a, inner, called = rows(CALLED)
    assert whole.variables == {
        "params": {"w": spec(2), "uncalled": {"w": spec(7)}, "tree": {"x": spec(13)}}
    }
    assert a.variables == {"params": {"w": spec(3)}}
    assert inner.variables["params"] == {"w": spec(5)}
    assert inner.variables["state"]["sown"] == (spec(2), spec(3))
    assert inner.variables["state"]["n"].dtype == "int32"
    assert called.variables == {"params": {"w": spec(11)}}


@pytest.mark.parametrize(
    ("shown", "params", "state"),
    [
        (CALLED, [22, 3, 5, 11], [0, 0, 6, 0]),
        ([(), ("a",)], [33, 8], [0, 6]),
        ([()], [41], [6]),
        ([(), ("a", "inner")], [25 + 11, 5], [0, 6]),
        ([(), ("a",), ("a",)], [33, 8, 0], [0, 6, 0]),
    ],
    ids=["all", "first level", "top", "without one between", "repeated"],
)
def test_rows_add_up(shown: list[tuple[str, ...]], params: list[int], state: list[int]) -> None:
    found = rows(shown)
    assert [row.counts for row in found] == [
        {"params": p, "state": s} for p, s in zip(params, state, strict=True)
    ]
    assert sum(row.bytes["params"] for row in found) == 4 * 41


def test_variables_that_are_shown_are_the_own_ones_whatever_is_counted() -> None:
    (whole,) = rows([()])
    assert whole.variables == rows(CALLED)[0].variables


def test_a_repeated_call_has_no_variables() -> None:
    assert rows([(), (), ()])[2].variables == {}


def test_a_model_without_variables() -> None:
    (row,) = rows([()], variables={}, called=[()])
    assert (row.variables, row.counts, row.bytes) == ({}, {}, {})


def test_rows_name_path_class_and_method() -> None:
    call = Call(("a", "b"), MLP(), "encode", None, None)
    *_, row = make_rows([Call((), MLP(), "", 0, 0), call], {(), ("a", "b")}, {})
    assert (row.path, row.class_name, row.method) == ("a/b", "MLP", "encode")


def test_rows_as_plain_data() -> None:
    row = SummaryRow(
        "a/b", "MLP", "encode", (spec(3), {"train": True}), None,
        {"params": {"w": spec(2)}}, {"params": 2, "state": 0}, {"params": 8, "state": 0}, 5,
    )  # fmt: skip
    assert row.flat() == {
        "path": "a/b",
        "module": "MLP",
        "method": "encode",
        "inputs": "- float32[3]\n- train: True",
        "outputs": "None",
        "flops": 5,
        "vjp_flops": None,
        "params": 2,
        "params_bytes": 8,
        "state": 0,
        "state_bytes": 0,
    }
    assert dataclasses.asdict(row)["variables"] == {"params": {"w": spec(2)}}
