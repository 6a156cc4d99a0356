"""What the loop has counted, as JSON and back."""

import json
import math
from typing import Any

import pytest

from linen_train.errors import LoopResumeError
from linen_train.loop._counters import KEY, Counters

COUNTERS = Counters(
    data_step=2,
    examples=96,
    history=[{"step": 3, "loss": math.nan}],
    log={"loss": (math.inf, 32.0)},
)


def test_counters_come_back() -> None:
    metadata = {KEY: json.loads(json.dumps(COUNTERS.to_json(), allow_nan=False))}
    restored = Counters.from_json(metadata, "step 3")
    assert restored.to_json() == COUNTERS.to_json()
    assert math.isnan(restored.history[0]["loss"])
    assert tuple(restored.log["loss"]) == (math.inf, 32.0)


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({}, "holds no counters of fit"),
    "other kind": ({KEY: 3}, "holds no counters of fit"),
    "newer": ({KEY: {"format": 99}}, "holds format 99 of fit"),
    "no format": ({KEY: {}}, "holds format None of fit"),
    "incomplete": (
        {KEY: {k: v for k, v in COUNTERS.to_json().items() if k != "examples"}},
        "holds no ['examples'] among the counters of fit",
    ),
}


@pytest.mark.parametrize(("metadata", "found"), OTHERS.values(), ids=OTHERS.keys())
def test_counters_of_others(metadata: dict[str, Any], found: str) -> None:
    with pytest.raises(LoopResumeError) as caught:
        Counters.from_json(metadata, "step 3")
    assert str(caught.value).startswith(f"fit: step 3 {found}, expected")
