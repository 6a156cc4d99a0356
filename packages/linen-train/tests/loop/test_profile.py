from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linen_train import Profile, fit
from linen_train.errors import LoopArgumentError

BATCHES = [np.ones((4, 2), np.float32)] * 20


@jax.jit
def step_fn(state: Any, batch: Any) -> tuple[Any, dict[str, Any]]:
    return state + batch.mean(), {}


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Record when the profiler is started and stopped, and which steps are named in between."""
    events: list[Any] = []

    class Annotation:
        def __init__(self, name: str, step_num: int) -> None:
            events.append((name, step_num))

        def __enter__(self) -> None: ...

        def __exit__(self, *args: Any) -> None: ...

    monkeypatch.setattr("jax.profiler.start_trace", lambda directory: events.append(str(directory)))
    monkeypatch.setattr("jax.profiler.stop_trace", lambda: events.append("stop"))
    monkeypatch.setattr("jax.profiler.StepTraceAnnotation", Annotation)
    return events


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (3, 5, ["d", ("train", 3), ("train", 4), ("train", 5), "stop"]),
        (1, 1, ["d", ("train", 1), "stop"]),
        (8, 8, ["d", ("train", 8), "stop"]),
        (7, 20, ["d", ("train", 7), ("train", 8), "stop"]),
    ],
    ids=["middle", "first", "last", "cut_off"],
)
def test_the_window(traced: list[Any], first: int, last: int, expected: list[Any]) -> None:
    fit(jnp.zeros(()), step_fn, BATCHES, num_steps=8, profile=Profile("d", first, last))
    assert traced == expected


def test_an_error_ends_the_trace(traced: list[Any]) -> None:
    def fail(state: int, batch: Any) -> Any:
        if state == 4:
            raise KeyError("batch")
        return state + 1, {}

    with pytest.raises(KeyError):
        fit(0, fail, BATCHES, profile=Profile("d", 4, 9))
    assert traced == ["d", ("train", 4), ("train", 5), "stop"]


def test_an_error_of_a_step_that_donated_its_state(traced: list[Any]) -> None:
    donating = jax.jit(lambda state, batch: (state + 1, {}), donate_argnums=0)

    def fail(state: jax.Array, batch: Any) -> Any:
        donating(state, batch)
        raise KeyError("batch")

    with pytest.raises(KeyError):
        fit(jnp.zeros(8), fail, BATCHES, profile=Profile("d", 1, 9))
    assert traced == ["d", ("train", 1), "stop"]


def test_a_trace_is_written(tmp_path: Path) -> None:
    fit(jnp.zeros(()), step_fn, BATCHES, profile=Profile(tmp_path, 2, 4))
    assert list(tmp_path.rglob("*.xplane.pb"))


@pytest.mark.parametrize(("first", "last"), [(0, 3), (5, 4)])
def test_out_of_range(first: int, last: int) -> None:
    with pytest.raises(LoopArgumentError) as caught:
        Profile("directory", first, last)
    assert str(caught.value) == (
        f"Profile: found first_step={first} and last_step={last}, expected 1 <= first_step <= "
        "last_step."
    )
