from typing import Any

import numpy as np
import pytest

from linen_train.data import ArrayLoader, CheckpointableIterator, prefetch_to_device


class Complete:
    def __iter__(self) -> "Complete":
        return self

    def __next__(self) -> int:
        return 0

    def get_state(self) -> Any:
        return 0

    def set_state(self, state: Any) -> None:
        pass


class WithoutSetState:
    def __next__(self) -> int:
        return 0

    def __iter__(self) -> "WithoutSetState":
        return self

    def get_state(self) -> Any:
        return 0


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (Complete, True),
        (WithoutSetState, False),
        (lambda: iter([1]), False),
        (lambda: iter(ArrayLoader(np.arange(4), 2, epochs=1)), True),
    ],
    ids=["complete", "without", "list", "loader"],
)
def test_who_is_checkpointable(make: Any, expected: bool) -> None:
    assert isinstance(make(), CheckpointableIterator) is expected


def test_a_function_may_ask_for_one() -> None:
    def saved(batches: CheckpointableIterator[Any]) -> Any:
        return batches.get_state()

    with prefetch_to_device(iter(ArrayLoader(np.arange(4), 2, epochs=1))) as batches:
        assert saved(batches)["position"] == 0
