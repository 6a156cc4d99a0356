"""Turning named scopes on and off."""

from collections.abc import Iterator

import jax
import pytest

from linen_core import Module, compact, disable_named_call, enable_named_call, override_named_call
from linen_core.config import config
from linen_core.errors import ConfigError


class Double(Module):
    @compact
    def __call__(self, x: float) -> jax.Array:
        return 2 * jax.numpy.asarray(x)


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    with config.temporary(profile=config.profile):
        yield


def is_named() -> bool:
    jaxpr = jax.make_jaxpr(lambda x: Double().apply({}, x))(1.0)
    return "Double" in str(jaxpr.eqns[-1].source_info.name_stack)


def test_calls_are_named_or_not() -> None:
    disable_named_call()
    assert not is_named()
    enable_named_call()
    assert is_named()


def test_for_a_while() -> None:
    with override_named_call(False):
        assert not is_named()
        with override_named_call():
            assert is_named()
        assert not is_named()
    assert is_named()


def test_only_booleans() -> None:
    with pytest.raises(ConfigError), override_named_call(1):  # type: ignore[arg-type]
        pass
