"""The cache behind arithmetic functions."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from linen_modules._cached_jit import cached_jit, choose_operator

traces: list[Any] = []


def default_operator(x: Any) -> Any:
    return 2 * x


@cached_jit("flag")
def arithmetic(
    x: Any, flag: Any = None, *, power: Any = 1, operator: Any = default_operator
) -> Any:
    traces.append((flag, power))
    return operator(x**power)


@pytest.fixture(autouse=True)
def fresh_cache() -> Iterator[None]:
    jax.clear_caches()
    traces.clear()
    yield
    traces.clear()


def test_one_trace_for_each_configuration() -> None:
    for _ in range(3):
        jax.jit(lambda x: arithmetic(arithmetic(x)))(jnp.ones(2))
        arithmetic(jnp.ones(2))
        arithmetic(jnp.ones(2), power=2)
        arithmetic(jnp.ones(2), "a", power=2)
        assert traces == [(None, 1), (None, 2), ("a", 2)]


@pytest.mark.parametrize(
    "configuration",
    [{"power": jnp.float32(2)}, {"flag": [1]}, {"operator": lambda x: 2 * x}],
    ids=["array", "list", "operator"],
)
def test_plain_path(configuration: dict[str, Any]) -> None:
    for calls in (1, 2):
        y = arithmetic(jnp.full(2, 3.0), **configuration)
        assert y.tolist() == ([18.0, 18.0] if "power" in configuration else [6.0, 6.0])
        assert len(traces) == calls


def test_traced_configuration_takes_the_plain_path() -> None:
    y = jax.jit(lambda p: arithmetic(jnp.full(2, 3.0), power=p))(2.0)
    assert y.tolist() == [18.0, 18.0]


def test_default_operator_given_by_name_is_cached() -> None:
    for _ in range(2):
        arithmetic(jnp.ones(2), operator=default_operator)
    assert len(traces) == 1


@pytest.mark.parametrize("error", [ValueError, TypeError])
def test_errors_of_the_function_come_through_once(error: type[Exception]) -> None:
    @cached_jit()
    def fails(x: Any, *, flag: int = 0) -> Any:
        traces.append(flag)
        raise error("from within")

    with pytest.raises(error, match="from within"):
        fails(jnp.ones(2))
    assert traces == [0]


def test_wrong_arguments_are_type_errors() -> None:
    with pytest.raises(TypeError, match="unknown"):
        arithmetic(jnp.ones(2), unknown=1)  # pyright: ignore[reportCallIssue]


def test_the_plain_function_is_kept() -> None:
    assert arithmetic.__name__ == "arithmetic"
    plain = vars(arithmetic)["__wrapped__"]
    assert len(jax.make_jaxpr(plain)(jnp.ones(2)).eqns) == 2


def test_choose_operator() -> None:
    assert choose_operator(None, None, "default") == "default"
    assert choose_operator(None, "given", "default") == "given"
    assert choose_operator(lambda: "made", "given", "default") == "made"
