import io

import jax.numpy as jnp
import pytest
import rich.console

from linen_train import TrainingProgress
from linen_train.errors import ProgressError


def shown(*, terminal: bool, epochs: int = 2, first_step: int = 0) -> str:
    """Run the epochs, each of two steps, and return everything that was written."""
    output = io.StringIO()
    console = rich.console.Console(file=output, force_terminal=terminal, width=60)
    with TrainingProgress(
        epochs=epochs, steps_per_epoch=2, first_step=first_step, console=console
    ) as progress:
        for _ in range(first_step // 2, epochs):
            progress.update(examples=3, loss=jnp.array(1.0), accuracy=0.5)
            progress.update(examples=1, loss=jnp.array(2.0), accuracy=1.0)
            means = progress.end_epoch(test_loss=0.25)
            assert means == {"loss": 1.25, "accuracy": 0.625}
    return output.getvalue()


def test_one_plain_line_per_epoch_where_there_is_no_terminal() -> None:
    lines = shown(terminal=False).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1/2  loss 1.2500  accuracy 0.6250  test_loss 0.2500  ")
    assert lines[1].startswith("epoch 2/2  ")
    assert all(line.endswith(" examples/s") for line in lines)
    assert "\x1b" not in "".join(lines)


def test_a_bar_on_a_terminal() -> None:
    output = shown(terminal=True)
    assert "\x1b" in output
    assert "━" in output
    assert "ETA" in output
    assert "epoch 2/2  loss 1.2500" in output


def test_a_resumed_run_begins_where_it_was() -> None:
    lines = shown(terminal=False, epochs=10, first_step=16).splitlines()
    assert [line[:12] for line in lines] == ["epoch  9/10 ", "epoch 10/10 "]


def test_metrics_of_single_steps_only() -> None:
    output = io.StringIO()
    console = rich.console.Console(file=output, force_terminal=False, width=60)
    with TrainingProgress(epochs=1, steps_per_epoch=2, console=console) as progress:
        progress.update(examples=2, loss=1.0)
        progress.update(examples=2, loss=3.0, norm=5.0)
        assert progress.end_epoch() == {"loss": 2.0, "norm": 5.0}


def test_brackets_are_text() -> None:
    output = io.StringIO()
    with TrainingProgress(
        epochs=1, steps_per_epoch=1, console=rich.console.Console(file=output)
    ) as progress:
        progress.print("[bold] step [0]")
    assert output.getvalue() == "[bold] step [0]\n"


def test_use_outside_the_run() -> None:
    progress = TrainingProgress(
        epochs=1, steps_per_epoch=1, console=rich.console.Console(file=io.StringIO())
    )
    with pytest.raises(ProgressError, match="Use it inside its `with` block"):
        progress.update(examples=1)
    with progress:
        progress.update(examples=1, loss=0.0)
        progress.end_epoch()
        with pytest.raises(ProgressError, match="epoch 2/1 is not running"):
            progress.update(examples=1)
    with pytest.raises(ProgressError, match="for as many epochs as it was made for"):
        progress.end_epoch()
