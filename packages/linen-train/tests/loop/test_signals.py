"""Signals end a run after the step, save, and are handled as before afterwards."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from linen_train import Checkpointer, Event, Hook, fit
from linen_train.loop._signals import Interruption

BATCHES = [np.zeros((4, 1), np.float32)] * 5


def step_fn(state: Any, batch: Any) -> tuple[Any, dict[str, Any]]:
    return state + 1, {"loss": 1.0}


def kill(step: int, number: int) -> Hook:
    return Hook(1, lambda event: os.kill(os.getpid(), number) if event.step == step else None)


@pytest.mark.parametrize(
    ("number", "name", "code"),
    [(signal.SIGINT, "SIGINT", 130), (signal.SIGTERM, "SIGTERM", 143)],
    ids=["SIGINT", "SIGTERM"],
)
def test_a_signal_ends_the_run_after_the_step(
    tmp_path: Path, number: int, name: str, code: int
) -> None:
    before = signal.getsignal(number)
    with Checkpointer(tmp_path, every_steps=100) as checkpointer:
        result = fit(
            jnp.int32(0),
            step_fn,
            BATCHES,
            num_steps=20,
            checkpointer=checkpointer,
            hooks=[kill(3, number)],
        )
        assert checkpointer.steps() == [4]
        assert checkpointer.restore(jnp.int32(0)) == 4
    assert (result.step, result.stopped_by, result.exit_code) == (4, name, code)
    assert result.saved_step == 4
    assert signal.getsignal(number) is before


def test_nothing_is_evaluated_or_logged_on_the_way_out() -> None:
    result = fit(
        0,
        step_fn,
        BATCHES,
        num_steps=20,
        log_every=4,
        evaluate=lambda state: {"state": state},
        evaluate_every=4,
        hooks=[kill(2, signal.SIGTERM)],
    )
    assert (result.step, result.history, dict(result.metrics)) == (3, [], {})


def test_the_second_ctrl_c_stops_at_once() -> None:
    def twice(event: Event) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        assert event.step == 2  # the first one lets it go on
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(0, step_fn, BATCHES, num_steps=20, hooks=[Hook(2, twice)])
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_sigterm_says_nothing_new(tmp_path: Path) -> None:
    def thrice(event: Event) -> None:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)

    with Checkpointer(tmp_path, every_steps=100) as checkpointer:
        result = fit(
            0, step_fn, BATCHES, num_steps=20, hooks=[Hook(2, thrice)], checkpointer=checkpointer
        )
    assert (result.step, result.saved_step, result.exit_code) == (3, 3, 143)


def test_handlers_come_back_after_an_error() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    def fail(state: Any, batch: Any) -> Any:
        raise KeyError("batch")

    with pytest.raises(KeyError):
        fit(0, fail, BATCHES)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_signals_are_left_alone_on_request() -> None:
    seen: list[Any] = []
    fit(
        0,
        step_fn,
        BATCHES,
        handle_signals=False,
        hooks=[Hook(1, lambda event: seen.append(signal.getsignal(signal.SIGINT)))],
    )
    assert set(seen) == {signal.getsignal(signal.SIGINT)}


def test_outside_the_main_thread_there_are_no_handlers() -> None:
    seen: list[Any] = []

    def run() -> None:
        hook = Hook(5, lambda event: seen.append(signal.getsignal(signal.SIGTERM)))
        seen.append(fit(0, step_fn, BATCHES, hooks=[hook]).step)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM), 5]


def test_a_handler_that_python_did_not_install_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    installed: list[int] = []
    monkeypatch.setattr("signal.getsignal", lambda number: None)
    monkeypatch.setattr("signal.signal", lambda number, handler: installed.append(number))
    with Interruption():
        pass
    assert installed == []


@pytest.fixture
def one_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is one of two, which JAX lets stop after step 7."""
    monkeypatch.setattr("jax.process_count", lambda: 2)
    monkeypatch.setattr(
        "jax.experimental.multihost_utils.reached_preemption_sync_point", lambda step: step == 7
    )


@pytest.mark.usefixtures("one_of_two")
def test_jax_tells_all_processes_of_a_preemption() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interruption() as interruption:
        assert signal.getsignal(signal.SIGTERM) is before
        assert [interruption.poll(step) for step in (6, 7)] == [None, signal.SIGTERM]


@pytest.mark.usefixtures("one_of_two")
def test_ctrl_c_is_passed_on_to_jax() -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        with Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGINT)
            assert received == [signal.SIGTERM]
            assert interruption.poll(6) is None  # the other one would make one more step
            assert interruption.poll(7) is signal.SIGINT
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
        assert received == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("one_of_two")
@pytest.mark.parametrize(("active", "watches"), [(True, False), (False, True)])
def test_signals_to_several_processes_that_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, active: bool, watches: bool
) -> None:
    monkeypatch.setattr("linen_train.loop._signals._jax_watches_for_preemption", lambda: watches)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Interruption(active) as interruption:
        assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
        assert interruption.poll(7) is None


PROGRAM = """
import signal, sys, time
import numpy as np
from linen_train import Checkpointer, Hook, fit

def step_fn(state, batch):
    time.sleep(0.01)
    return state + 1, {{"loss": 1.0}}

with Checkpointer({directory!r}, every_steps=1000) as checkpointer:
    result = fit(
        np.int32(0), step_fn, [np.zeros(4)], num_steps=100_000, checkpointer=checkpointer,
        hooks=[Hook(20, lambda event: print("running", flush=True) if event.step == 20 else None)],
    )
sys.exit(result.exit_code)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_program_exits_with_a_code_that_says_so(tmp_path: Path, number: int, code: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM.format(directory=str(tmp_path / "steps"))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert (output, errors) == ("", "")  # not a terminal: nothing but what the program prints
    assert process.returncode == code
    with Checkpointer(tmp_path / "steps") as checkpointer:
        step = checkpointer.latest_step()
        assert step is not None
        assert step >= 20
        assert checkpointer.restore(np.int32(0)) == step
        assert checkpointer.data_state()["position"] == step
