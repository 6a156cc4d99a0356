"""What `fit` reads: once or again, as long as needed, padded or not."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linen_train import fit
from linen_train.data import ArrayLoader
from linen_train.errors import (
    LoopArgumentError,
)

from .line import IN_EPOCH, Rows, generated, make_batches, make_loader, make_state, run, train_step


class Again:
    """Data that can be read again, as that of other libraries."""

    def __iter__(self) -> Iterator[Any]:
        return generated()

    def __len__(self) -> int:
        return IN_EPOCH


DATA: dict[str, tuple[Callable[[], Any], dict[str, Any], int]] = {
    "list": (make_batches, {"epochs": 3}, 3 * IN_EPOCH),
    "list_once": (make_batches, {"epochs": 1}, IN_EPOCH),
    "list_by_itself": (make_batches, {}, IN_EPOCH),
    "iterable_by_itself": (Again, {}, IN_EPOCH),
    "list_in_steps": (make_batches, {"num_steps": 8}, 8),
    "generator": (generated, {}, IN_EPOCH),
    "iterable": (Again, {"epochs": 2}, 2 * IN_EPOCH),
    "iterable_in_steps": (Again, {"num_steps": 8}, 8),
    "nothing": (list, {"num_steps": 8}, 0),
}


@pytest.mark.parametrize(("make", "options", "steps"), DATA.values(), ids=DATA)
@pytest.mark.parametrize("prefetch", [0, 2])
def test_data(make: Callable[[], Any], options: dict[str, Any], steps: int, prefetch: int) -> None:
    seen = []

    def step_fn(state: int, batch: Any) -> tuple[int, dict[str, Any]]:
        seen.append(float(batch["y"][0]))
        return state + 1, {}

    result = fit(0, step_fn, make(), prefetch=prefetch, **options)
    assert (result.step, result.state) == (steps, steps)
    once = [float(batch["y"][0]) for batch in make_batches()]
    assert seen == (once * 3)[:steps]


def test_prefetched_batches_have_the_sharding() -> None:
    mesh = jax.make_mesh((4,), ("data",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    seen = []

    def step_fn(state: int, batch: Any) -> tuple[int, dict[str, Any]]:
        seen.append(batch["x"].sharding)
        return state, {}

    fit(0, step_fn, make_batches(), epochs=1, prefetch=1, sharding=sharding)
    assert seen == [sharding] * IN_EPOCH


@pytest.mark.parametrize("data", [7, {"x": np.zeros(3)}, "batches"], ids=["int", "dict", "str"])
def test_data_that_is_none(data: Any) -> None:
    with pytest.raises(LoopArgumentError, match=f"found data of type {type(data).__name__}, exp"):
        run(3, data)


class Positioned(Iterator[Any]):
    """Reads batches once, and tells where it is; as those of grain."""

    def __init__(self) -> None:
        self._position = 0

    def __next__(self) -> Any:
        self._position += 1
        if self._position > IN_EPOCH:
            raise StopIteration
        return make_batches()[self._position - 1]

    def get_state(self) -> int:
        return self._position

    def set_state(self, state: int) -> None:
        self._position = state


class Dataset:
    """What tells its length, and whose iterators tell where they are."""

    def __iter__(self) -> Iterator[Any]:
        return Positioned()

    def __len__(self) -> int:
        return IN_EPOCH


SHORT: dict[str, tuple[Callable[[], Any], str]] = {
    "loader": (
        lambda: make_loader(epochs=2),
        "found 12 batches in ArrayLoader (2 epochs), expected 18, one for each step. Write epochs=None,",
    ),
    "dataset": (
        Dataset,
        "found 6 batches in Dataset, expected 18, one for each step. Write Dataset.",
    ),
}


@pytest.mark.parametrize(("make", "text"), SHORT.values(), ids=SHORT)
@pytest.mark.parametrize("options", [{"epochs": 3}, {"num_steps": 18}], ids=["epochs", "steps"])
def test_data_that_is_too_short(
    make: Callable[[], Any], text: str, options: dict[str, Any]
) -> None:
    with pytest.raises(LoopArgumentError) as caught:
        fit(make_state(), train_step, make(), **options)
    assert text in str(caught.value)
    assert fit(make_state(), train_step, make(), num_steps=6).step == 6


@pytest.mark.parametrize("prefetch", [0, 2])
def test_padding_is_no_example(prefetch: int) -> None:
    rows = Rows()
    values = np.arange(1.0, 11.0, dtype=np.float32)
    loader = ArrayLoader({"x": values}, 4, epochs=1, remainder="pad")
    step_fn = jax.jit(lambda state, batch: (state + 1, {"step": state + 1.0}), donate_argnums=1)
    with warnings.catch_warnings(action="ignore"):  # a batch that is donated is of no use here
        fit(jnp.float32(0), step_fn, loader, log_every=10, writer=rows, prefetch=prefetch)
    assert rows.rows == [(3, {"step": pytest.approx((4 * 1 + 4 * 2 + 2 * 3) / 10)})]
    with pytest.raises(LoopArgumentError, match="does not tell how many batches an epoch has"):
        fit(make_state(), train_step, generated(), epochs=1)
