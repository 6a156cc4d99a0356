"""What is not finite is named, and the last good state is on the disk."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from linen_train import Checkpointer, TrainState, fit
from linen_train.errors import NonFiniteError
from linen_train.loop._finite import FiniteCheck
from linen_train.metrics import Mean

STATES: dict[str, tuple[Any, tuple[str, str] | None]] = {
    "fine": ({"params": {"w": jnp.ones(3)}}, None),
    "nan": ({"params": {"a": jnp.ones(1), "w": jnp.array([1.0, jnp.nan])}}, ("params/w", "nan")),
    "inf": ({"params": {"w": jnp.array(-jnp.inf)}}, ("params/w", "inf")),
    "both": ({"params": {"w": jnp.array([jnp.inf, jnp.nan])}}, ("params/w", "nan")),
    "first": ({"params": [jnp.array(jnp.inf), jnp.array(jnp.nan)]}, ("params/0", "inf")),
    "others": ({"params": {}, "best": jnp.array(jnp.inf)}, None),
    "statistics": ({"params": {}, "mean": jnp.full(2, jnp.nan)}, ("mean", "nan")),
    "integers": ({"params": {"w": jnp.array(3)}}, None),
    "bfloat16": ({"params": {"w": jnp.array(jnp.nan, jnp.bfloat16)}}, ("params/w", "nan")),
    "numpy": ({"params": {"w": np.array([np.nan], np.float32)}}, ("params/w", "nan")),
    "number": ({"params": {"w": float("inf")}}, ("params/w", "inf")),
    "keys": ({"params": {"k": jax.random.key(0)}}, None),
    "no_params": ([jnp.ones(1), jnp.array(jnp.nan)], ("state/1", "nan")),
    "one_array": (jnp.array(jnp.nan), ("state", "nan")),
}


@pytest.mark.parametrize(("state", "expected"), STATES.values(), ids=STATES)
def test_first_bad_leaf(state: Any, expected: tuple[str, str] | None) -> None:
    fine = jax.tree.map(lambda leaf: leaf if is_key(leaf) else jnp.zeros_like(leaf), state)
    assert FiniteCheck(fine).first_bad_leaf(state) == expected


def is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def test_what_is_infinite_from_the_beginning_may_be() -> None:
    mask = jnp.array([0.0, -jnp.inf])
    state = {"params": {"w": jnp.ones(2)}, "masks": mask, "nu": jnp.zeros(2)}
    check = FiniteCheck(state)
    assert check.first_bad_leaf(state) is None
    assert check.first_bad_leaf({**state, "nu": mask}) == ("nu", "inf")
    bad = {**state, "params": {"w": mask}}
    assert check.first_bad_leaf({**bad, "nu": mask}) == ("params/w", "inf")  # parameters first
    assert FiniteCheck(bad).first_bad_leaf(bad) == ("params/w", "inf")


def test_a_bad_optimizer_state_is_not_saved(tmp_path: Path) -> None:
    def train_step(state: TrainState, batch: Any) -> tuple[TrainState, dict[str, Any]]:
        large = jnp.where(state.step == 6, 1e30, 1e-3)  # its square overflows
        return state.apply_gradients(grads={"w": jnp.full(3, large)}), {"loss": 1.0}

    state = TrainState.create(
        apply_fn=lambda variables: None, params={"w": jnp.zeros(3)}, tx=optax.adam(0.1)
    )
    with Checkpointer(tmp_path, every_steps=2) as checkpointer:
        with pytest.raises(
            NonFiniteError, match="found inf in opt_state/0/nu/w at step 8, or at one"
        ):
            fit(state, train_step, [np.zeros(1)] * 20, checkpointer=checkpointer)
        assert checkpointer.latest_step() == 6


def make_state() -> Any:
    return {"params": {"bias": jnp.zeros(2), "kernel": jnp.zeros(2)}}


def make_step(bad: int, where: str, donate: bool = False) -> Any:
    """Return a step that goes wrong at the given step."""

    def train_step(state: Any, batch: Any) -> tuple[Any, dict[str, Any]]:
        kernel = state["params"]["kernel"] + 1
        step = kernel[0].astype(jnp.int32)
        wrong = jnp.where(step >= bad, jnp.nan, 0.0)
        params = {
            "bias": state["params"]["bias"],
            "kernel": kernel + (wrong if "params" in where else 0.0),
        }
        loss = 1.0 + (wrong if "metrics" in where else 0.0)
        metrics = {"loss": Mean.from_batch(loss) if "merging" in where else loss}
        return {"params": params}, metrics

    return jax.jit(train_step, donate_argnums=0 if donate else ())


def failed(
    step_fn: Any, directory: Path | None = None, every_steps: int = 6, **options: Any
) -> NonFiniteError:
    batches = [np.zeros((4, 1), np.float32)] * 10
    arguments: dict[str, Any] = {"num_steps": 45, "log_every": 5, **options}
    if directory is None:
        with pytest.raises(NonFiniteError) as caught:
            fit(make_state(), step_fn, batches, **arguments)
        return caught.value
    with Checkpointer(directory, every_steps=every_steps, keep_last=None) as checkpointer:
        arguments["checkpointer"] = checkpointer
        with pytest.raises(NonFiniteError) as caught:
            fit(make_state(), step_fn, batches, **arguments)
    return caught.value


@pytest.mark.parametrize("where", ["metrics", "metrics merging", "metrics params"])
@pytest.mark.parametrize("bad", [1, 12, 15, 43])
def test_the_very_step_is_named(bad: int, where: str) -> None:
    log_every = 100 if bad == 43 else 5
    error = failed(make_step(bad, where), log_every=log_every)
    assert (error.step, error.batch, error.path) == (bad, bad, "metrics/loss")
    epoch, batch = divmod(bad - 1, 10)
    also = " The first leaf of the state that is not finite is params/kernel." * ("params" in where)
    assert str(error) == (
        f"fit: found nan in metrics/loss at step {bad}, batch {bad} (batch {batch + 1} of epoch "
        f"{epoch + 1}), expected finite numbers.{also} No state is saved: give fit a checkpointer. "
        "Lower the learning rate or clip gradients, "
        "optax.chain(optax.clip_by_global_norm(1.0), optimizer); check_finite='step' finds the very "
        "step, and check_finite=None goes on regardless."
    )


def test_parameters_alone_are_bad_since_the_last_check() -> None:
    error = failed(make_step(13, "params"))
    assert (error.step, error.path, error.good_step) == (15, "params/kernel", 10)
    assert "found nan in params/kernel at step 15, or at one of the 4 steps before it" in str(error)


def test_each_step_is_checked_on_request() -> None:
    error = failed(make_step(13, "params"), check_finite="step")
    assert (error.step, error.path, error.good_step) == (13, "params/kernel", 12)
    assert "at step 13, batch 13" in str(error)
    assert "optimizer); check_finite=None goes on regardless." in str(error)


def test_no_step_was_due_to_be_saved(tmp_path: Path) -> None:
    error = failed(make_step(3, "metrics params", donate=True), tmp_path, every_steps=40)
    assert error.saved_step is None
    assert "No state is saved, because none was due before: lower every_steps." in str(error)


@pytest.mark.parametrize(
    ("check", "donate", "good"),
    [("log", False, 20), ("log", True, 18), ("step", False, 22), ("step", True, 18)],
    ids=["log", "log_donated", "step", "step_donated"],
)
def test_the_last_good_state_is_saved(tmp_path: Path, check: Any, donate: bool, good: int) -> None:
    error = failed(make_step(23, "metrics params", donate), tmp_path, check_finite=check)
    assert error.saved_step == good
    assert f"The last good state that is saved is step {good}, in {tmp_path}." in str(error)
    with Checkpointer(tmp_path) as checkpointer:
        assert checkpointer.latest_step() == good
        state = checkpointer.restore(make_state())
        assert state["params"]["kernel"].tolist() == [good, good]
        assert checkpointer.data_state()["position"] == good
        result = fit(
            make_state(),
            make_step(10**6, "nowhere"),
            [np.zeros((4, 1), np.float32)] * 10,
            num_steps=25,
            checkpointer=checkpointer,
            resume=True,
        )
    assert result.state["params"]["kernel"].tolist() == [25, 25]


def test_what_is_not_finite_is_never_saved(tmp_path: Path) -> None:
    error = failed(make_step(5, "params"), tmp_path, every_steps=1, log_every=None)
    assert (error.step, error.saved_step) == (5, 4)
    with Checkpointer(tmp_path) as checkpointer:
        assert checkpointer.steps() == [1, 2, 3, 4]


@pytest.mark.parametrize("where", ["metrics", "params"])
def test_no_check(where: str) -> None:
    result = fit(
        make_state(), make_step(3, where), [np.zeros((4, 1))] * 10, num_steps=6, check_finite=None
    )
    assert result.step == 6


def test_evaluation_may_find_nan() -> None:
    result = fit(
        make_state(),
        make_step(100, ""),
        [np.zeros((4, 1))] * 3,
        evaluate=lambda state: {"test": jnp.nan},
    )
    assert np.isnan(result.history[0]["test"])


def test_no_step_waits_for_the_device_when_nothing_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []
    original = np.asarray
    monkeypatch.setattr(
        np, "asarray", lambda *args, **kwargs: fetched.append(1) or original(*args, **kwargs)
    )
    counts = {}
    for steps in (31, 200):
        fetched.clear()
        batches = [{"x": jnp.zeros((4, 1))}] * steps
        fit(make_state(), partial(make_step(10**6, "")), batches, epochs=1, log_every=None)
        counts[steps] = len(fetched)
    # What is fetched is fetched in the end, a block of 32 steps at a time.
    assert counts[200] <= counts[31]
