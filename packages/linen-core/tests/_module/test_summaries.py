"""`tabulate`, `summary_rows` and `module_paths` of modules."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from linen_core import Module, SummaryRow, compact
from linen_core.errors import (
    ApplyModuleInvalidMethodError,
    InvalidFilterError,
    InvalidInstanceModuleError,
    InvalidRngError,
    SummaryDepthError,
)

KEY = jax.random.key(0)
X = jnp.ones((8, 3))
CONSOLE: dict[str, Any] = {"width": 200, "force_terminal": False}


class Dense(Module):
    features: int

    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (x.shape[-1], self.features)
        return x @ self.param("kernel", jax.nn.initializers.lecun_normal(), shape)


class Net(Module):
    def setup(self) -> None:
        self.layers = [Dense(4), Dense(3)]

    def first(self, x: jax.Array) -> jax.Array:
        return self.layers[0](x)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.layers[1](self.layers[1](self.layers[1](self.first(x)[:, :3])))


def test_tabulate() -> None:
    text = Net().tabulate(KEY, X, console_kwargs=CONSOLE)
    assert text.splitlines()[0].strip() == "Net Summary"
    for word in ("layers_0", "float32[8,4]", "kernel: float32[3,4]", "12 (48 B)", "21 (84 B)"):
        assert word in text
    assert "flops" not in text


def test_tabulate_with_flops() -> None:
    text = Net().tabulate(
        KEY, X, compute_flops=True, compute_vjp_flops=True, console_kwargs=CONSOLE
    )
    assert f"{2 * 8 * 3 * 4}" in text
    assert f"{3 * 2 * 8 * 3 * 4}" in text


def test_module_paths() -> None:
    assert Net().module_paths(KEY, X) == {
        "": Net(),
        "layers_0": Dense(4),
        "layers_1": Dense(3),
    }
    assert list(Net().module_paths(KEY, X, method="first")) == ["", "layers_0"]
    assert list(Net().module_paths(KEY, X, show_repeated=True)) == ["", "layers_0", "layers_1"]


def test_module_paths_gives_modules_that_work() -> None:
    layer = Net().module_paths(KEY, X)["layers_0"]
    assert layer.scope is None
    assert layer.init(KEY, X)["params"]["kernel"].shape == (3, 4)


def test_the_model_is_not_changed() -> None:
    model = Net()
    model.tabulate(KEY, X)
    assert model == Net()
    assert model.scope is None


@pytest.mark.parametrize(
    "spec", [X, jax.ShapeDtypeStruct((8, 3), "float32")], ids=["array", "spec"]
)
@pytest.mark.parametrize("rngs", [KEY, {"params": KEY}, jax.random.PRNGKey(0)])
def test_arguments(rngs: Any, spec: Any) -> None:
    rows = Net().summary_rows(rngs, spec)
    assert [row.counts["params"] for row in rows] == [0, 12, 9]


def test_a_bound_module_is_summarized_as_the_module_that_it_is_a_copy_of() -> None:
    bound = Net().bind(Net().init(KEY, X))
    assert bound.summary_rows(KEY, X) == Net().summary_rows(KEY, X)
    (row,) = bound.layers[0].summary_rows(KEY, X)
    assert (row.path, row.class_name, row.counts) == ("", "Dense", {"params": 12})


def test_a_model_may_summarize_another_one_while_it_runs() -> None:
    found: list[list[SummaryRow]] = []

    class Outer(Module):
        @compact
        def __call__(self, x: jax.Array) -> jax.Array:
            found.append(Dense(7, parent=None).summary_rows(KEY, X))
            return Dense(2)(x)

    rows = Outer().summary_rows(KEY, X)
    assert [row.path for row in rows] == ["", "Dense_0"]
    assert [row.counts["params"] for row in found[0]] == [21]


def test_captured_intermediates_are_a_collection() -> None:
    rows = Dense(2).summary_rows(KEY, X, capture_intermediates=True)
    assert rows[0].variables["intermediates"]["__call__"][0].shape == (8, 2)
    assert "intermediates" in Dense(2).tabulate(KEY, X, capture_intermediates=True)
    assert list(Dense(2).module_paths(KEY, X, capture_intermediates=True)) == [""]


@pytest.mark.parametrize("name", ["tabulate", "summary_rows", "module_paths"])
@pytest.mark.parametrize(
    ("args", "options", "error"),
    [
        ((None, X), {}, InvalidRngError),
        ((KEY, X), {"mutable": 3}, InvalidFilterError),
        ((KEY, X), {"method": "third"}, Exception),
        ((KEY, X), {"method": 3}, ApplyModuleInvalidMethodError),
    ],
)
def test_errors_are_those_of_init(name: str, args: Any, options: Any, error: Any) -> None:
    with pytest.raises(error):
        getattr(Net(), name)(*args, **options)
    with pytest.raises(InvalidInstanceModuleError, match=rf"^{name} needs an instance"):
        getattr(Net, name)(KEY, X)


@pytest.mark.parametrize("name", ["tabulate", "summary_rows"])
def test_depth(name: str) -> None:
    with pytest.raises(SummaryDepthError, match=r"but got -1\. Write for example depth=1\.$"):
        getattr(Net(), name)(KEY, X, depth=-1)


def test_what_the_model_raises_is_raised() -> None:
    class Fails(Module):
        def __call__(self, x: jax.Array) -> jax.Array:
            raise KeyError("here")

    with pytest.raises(KeyError, match="here"):
        Fails().tabulate(KEY, X)
