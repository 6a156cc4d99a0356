"""Arguments of `fit` that are refused before anything happens."""

from pathlib import Path
from typing import Any

import jax
import pytest

from linen_train import Checkpointer, Hook, Profile, fit
from linen_train.errors import (
    LoopArgumentError,
)

from .line import Patience, Rows, evaluate, make_loader, make_state, run, train_step

ARGUMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "both": ({"num_steps": 1, "epochs": 1}, "expected one of the two"),
    "negative": ({"num_steps": -1}, "found num_steps=-1, expected at least 0"),
    "no_epoch": ({"epochs": 0}, "found epochs=0, expected at least 1"),
    "fraction": ({"num_steps": 1.5}, "found num_steps=1.5, expected a whole number"),
    "bool": ({"epochs": True}, "found epochs=True, expected a whole number"),
    "log": ({"log_every": 0}, "found steps=0, expected 1 or more"),
    "nothing_to_evaluate": ({"evaluate_every": 3}, "found evaluate_every=3 without evaluate"),
    "nothing_to_resume": ({"resume": True}, "found resume=True without a checkpointer"),
    "metadata": ({"metadata": {"a": 1}}, "found metadata={'a': 1} without a checkpointer"),
    "sharding": (
        {"sharding": jax.sharding.SingleDeviceSharding(jax.devices()[0])},
        "found sharding without prefetch. Write prefetch=2",
    ),
    "monitor": ({"monitor": "loss"}, "found monitor='loss', but nothing that looks at it"),
    "never_seen": (
        {"early_stopping": Patience(), "monitor": "loss", "log_every": None},
        "so that it never sees a metric. Write log_every=100",
    ),
    "late_profile": (
        {"profile": Profile("traces", 30, 35), "num_steps": 20},
        "but the run ends at step 20, expected steps before. Write Profile(directory, 19, 20)",
    ),
    "writers": ({"writer": [Rows(), Rows()]}, "or MultiWriter(one, other) for several"),
    "hook": ({"hooks": Hook(3, print)}, "Write hooks=[Hook(100, function)]"),
    "hook_function": ({"hooks": [print]}, "Write hooks=[Hook(100, function)]"),
    "directory": ({"profile": "traces"}, "expected a Profile. Write profile=Profile(directory, "),
    "stopper": (
        {"early_stopping": object(), "monitor": "loss"},
        "expected an object with update and should_stop",
    ),
    "progress": ({"progress": "yes"}, "found progress='yes', expected True, False or"),
    "log_text": ({"log_every": "a"}, "found log_every='a', expected a number of steps"),
    "no_monitor": ({"early_stopping": Patience()}, "found early_stopping without monitor"),
    "finite": ({"check_finite": "always"}, "found check_finite='always'"),
    "prefetch": ({"prefetch": -1}, "found prefetch=-1"),
}


@pytest.mark.parametrize(("options", "text"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_arguments(options: dict[str, Any], text: str) -> None:
    with pytest.raises(LoopArgumentError) as caught:
        fit(make_state(), train_step, make_loader(), **options)
    assert text in str(caught.value)


def test_arguments_beside_a_checkpointer(tmp_path: Path) -> None:
    with Checkpointer(tmp_path, best_metric="distance") as checkpointer:
        with pytest.raises(LoopArgumentError, match="found 'fit' in metadata, where the loop"):
            run(3, checkpointer=checkpointer, metadata={"fit": 1})
        with pytest.raises(LoopArgumentError, match="Write monitor='distance'"):
            run(3, checkpointer=checkpointer, monitor="loss")
        run(3, checkpointer=checkpointer, evaluate=evaluate)  # by default it is the best metric
        assert checkpointer.metrics().keys() >= {"loss", "distance"}
