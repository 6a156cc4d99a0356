"""What is on the terminal while a run goes on, and that nothing is where there is no terminal."""

import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rich.console

from linen_train import Checkpointer, Hook, fit
from linen_train.loop._display import Display

BATCHES = [np.zeros((4, 1), np.float32)] * 5


def step_fn(state: Any, batch: Any) -> tuple[Any, dict[str, Any]]:
    return state + 1, {"loss": 1234.5678, "[accuracy]": 0.98765}


def shown(*, terminal: bool = True, **options: Any) -> str:
    """Return the text that a run leaves on a console, without control sequences."""
    output = io.StringIO()
    console = rich.console.Console(file=output, force_terminal=terminal, width=160, no_color=True)
    fit(np.int32(0), step_fn, BATCHES, progress=console, **options)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", output.getvalue())


def last_line(text: str) -> str:
    return [line for line in re.split(r"[\r\n]+", text) if line.strip()][-1]


def test_the_bar() -> None:
    line = last_line(shown(epochs=3, log_every=5))
    assert line.startswith("epoch 3/3  step 15/15 ━")
    assert re.search(
        r" loss 1,235  \[accuracy\] 0\.9877  [\d,.]+ steps/s  [\d,.]+ examples/s ", line
    )
    assert line.rstrip().endswith("ETA 0:00:00")


def test_the_bar_without_epochs() -> None:
    def endless() -> Any:
        yield from BATCHES

    output = io.StringIO()
    console = rich.console.Console(file=output, force_terminal=True, width=160, no_color=True)
    fit(0, step_fn, endless(), progress=console)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", output.getvalue())
    assert re.match(r"step 5 [ ━]+ loss 1,235", last_line(text))  # how long it is, is not known
    assert not re.search(r"ETA \S", text)


def test_a_resumed_run_begins_where_it_was(tmp_path: Path) -> None:
    for steps in (4, 10):
        with Checkpointer(tmp_path, every_steps=100) as checkpointer:
            text = shown(num_steps=steps, checkpointer=checkpointer, resume=True)
    assert "epoch 1/2  step 4/10" in text
    assert last_line(text).startswith("epoch 2/2  step 10/10")


def test_evaluation_is_shown() -> None:
    assert "test_loss 0.25" in last_line(shown(evaluate=lambda state: {"test_loss": 0.25}))


def test_an_interruption_is_told(tmp_path: Path) -> None:
    hook = Hook(1, lambda event: os.kill(os.getpid(), signal.SIGINT) if event.step == 2 else None)
    assert "Stopped by SIGINT after step 3.\n" in shown(hooks=[hook])
    with Checkpointer(tmp_path, every_steps=100) as checkpointer:
        text = shown(hooks=[hook], checkpointer=checkpointer)
    assert "Stopped by SIGINT after step 3, saved step 3.\n" in text


def test_nothing_where_there_is_no_terminal() -> None:
    hook = Hook(1, lambda event: os.kill(os.getpid(), signal.SIGINT) if event.step == 2 else None)
    assert shown(terminal=False, hooks=[hook]) == ""


def test_the_first_process_alone_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jax.process_index", lambda: 1)
    assert shown(num_steps=5) == ""


def test_the_bar_is_redrawn_a_few_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now, moved = [0.0], []
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr(
        Display,
        "show",
        lambda self, step, metrics=None, show=Display.show: (
            moved.append(step),
            show(self, step, metrics),
        ),
    )

    def slow_step(state: Any, batch: Any) -> Any:
        now[0] += 0.03
        return state, {}

    console = rich.console.Console(file=io.StringIO(), force_terminal=True)
    fit(0, slow_step, BATCHES, num_steps=20, log_every=None, progress=console)
    assert moved[:5] == [1, 5, 9, 13, 17]


PROGRAM = """
import jax, jax.numpy as jnp, numpy as np, optax
from linen_train import Checkpointer, TrainState, fit
from linen_train.data import ArrayLoader

@jax.jit
def step_fn(state, batch):
    loss, grads = jax.value_and_grad(lambda p: ((batch @ p) ** 2).mean())(state.params)
    return state.apply_gradients(grads=grads), {{"loss": loss}}

for _ in range(2):
    state = TrainState.create(apply_fn=None, params=jnp.ones(3), tx=optax.adam(0.1))
    loader = ArrayLoader(np.ones((64, 3), np.float32), 8, epochs=None, shuffle_seed=0)
    with Checkpointer({directory!r}, every_steps=5) as checkpointer:
        fit(
            state, step_fn, loader, epochs=2, log_every=3, checkpointer=checkpointer, resume=True,
            evaluate=lambda state: {{"norm": jnp.linalg.norm(state.params)}}, prefetch=2,
        )
"""


def test_a_normal_run_writes_nothing_and_warns_of_nothing(tmp_path: Path) -> None:
    program = PROGRAM.format(directory=str(tmp_path))
    completed = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert (completed.stdout, completed.stderr, completed.returncode) == ("", "", 0)
