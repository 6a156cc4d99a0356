"""The state of a data iterator in a checkpoint."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linen_train import Checkpointer
from linen_train.data import ArrayLoader
from linen_train.errors import CheckpointDataStateError

STATES: dict[str, Any] = {
    "none": None,
    "text": "here",
    "number": 17,
    "bytes": b"\x00\xffstate",
    "dict": {"position": 3, "nested": {"": [1, 2.5, None, True]}},
    "tuple": (1, (), [b"x"]),
    "array": np.arange(6, dtype=">i2").reshape(2, 3),
    "numpy_number": np.uint64(2**63),
    "not_a_tree": {"n": float("inf"), "m": 2**100},
}


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_states(tmp_path: Path, state: Any) -> None:
    with Checkpointer(tmp_path, asynchronous=False) as checkpointer:
        checkpointer.save(1, {"x": 1}, data=state)
        restored = checkpointer.data_state()
    assert type(restored) is type(state)
    np.testing.assert_equal(restored, state)
    if isinstance(state, np.ndarray):
        assert restored.flags.writeable


def test_an_iterator_is_asked_when_it_is_saved(tmp_path: Path) -> None:
    loader = ArrayLoader(np.arange(12), batch_size=3, epochs=2, shuffle_seed=4)
    batches = iter(loader)
    uninterrupted = [batch.tolist() for batch in loader]
    with Checkpointer(tmp_path) as checkpointer:
        for _ in range(5):
            next(batches)
        checkpointer.save(5, {"x": 1}, data=batches)
        next(batches)
        resumed = iter(loader)
        resumed.set_state(checkpointer.data_state())
    assert [batch.tolist() for batch in resumed] == uninterrupted[5:]


WRONG: dict[str, tuple[Any, str]] = {
    "object": (object(), "data: found <object object at"),
    "inside": ({"a": [1, {2}]}, "data['a'][1]: found {2} of type set"),
    "key": ({"a": {1: 2}}, "data['a']: found {1: 2} of type dict"),
    "escape": ({"%bytes": "x"}, "data: found {'%bytes': 'x'}"),
    "objects": (np.array([None]), "data: found array([None], dtype=object)"),
}


@pytest.mark.parametrize(("state", "message"), WRONG.values(), ids=WRONG)
def test_states_that_cannot_be_saved(tmp_path: Path, state: Any, message: str) -> None:
    with Checkpointer(tmp_path) as checkpointer:
        with pytest.raises(CheckpointDataStateError, match=f"^{re.escape(message)}"):
            checkpointer.save(1, {"x": 1}, data=state)
        assert checkpointer.steps() == []


def test_states_of_another_number_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Checkpointer(tmp_path, asynchronous=False) as checkpointer:
        checkpointer.save(1, {"x": 1}, data={"position": 3})
        monkeypatch.setattr("jax.process_count", lambda: 2)
        assert checkpointer.data_state() == {"position": 3}
