"""Initializers."""

import copy
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linen_modules import initializers
from linen_modules.conv import Conv
from linen_modules.embed import Embed
from linen_modules.linear import Dense

FACTORIES: dict[str, tuple[Any, ...]] = {
    "constant": (0.3,),
    "delta_orthogonal": (),
    "glorot_normal": (),
    "glorot_uniform": (),
    "he_normal": (),
    "he_uniform": (),
    "kaiming_normal": (),
    "kaiming_uniform": (),
    "lecun_normal": (-2, -1, ()),
    "lecun_uniform": (),
    "normal": (0.02,),
    "orthogonal": (2.0,),
    "truncated_normal": (0.02, "float32", -1.0, 1.0),
    "uniform": (),
    "variance_scaling": (2.0, "fan_avg", "uniform", [-2], [-1]),
    "xavier_normal": (),
    "xavier_uniform": (),
}
factories = pytest.mark.parametrize("name", FACTORIES)


def make(name: str) -> Any:
    return getattr(initializers, name)(*FACTORIES[name])


def test_nothing_of_jax_is_missing() -> None:
    public = {name for name in dir(jax.nn.initializers) if not name.startswith("_")}
    assert public <= set(initializers.__all__)
    assert set(FACTORIES) == public - {"Initializer", "ones", "zeros"}


@factories
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_values_are_those_of_jax(name: str, dtype: str) -> None:
    if dtype == "bfloat16" and "orthogonal" in name:
        pytest.skip("JAX has no QR decomposition in bfloat16")
    expected = getattr(jax.nn.initializers, name)(*FACTORIES[name])
    arguments = jax.random.key(3), (3, 4, 5), dtype
    np.testing.assert_array_equal(make(name)(*arguments), expected(*arguments))


@factories
def test_initializers_are_values(name: str) -> None:
    one, other = make(name), make(name)
    assert one == other
    assert hash(one) == hash(other)
    assert pickle.loads(pickle.dumps(one)) == one
    assert copy.deepcopy(one) == one
    assert eval(repr(other), dict(vars(initializers))) == one


def test_different_initializers_differ() -> None:
    made = [make(name) for name in FACTORIES if name[:6] not in ("kaimin", "xavier")]
    made += [initializers.normal(0.03), initializers.lecun_normal(in_axis=0), "normal"]
    assert len(set(made)) == len(made)


def test_arguments_that_cannot_be_hashed() -> None:
    value = jnp.arange(3.0)
    one, other = initializers.constant(value), initializers.constant(value)
    assert one == other
    assert hash(one) == hash(other)
    assert one != initializers.constant(jnp.arange(3.0))
    np.testing.assert_array_equal(one(jax.random.key(0), (2, 3)), [[0.0, 1.0, 2.0]] * 2)


def test_wrong_arguments_are_reported_at_once() -> None:
    with pytest.raises(TypeError, match="stdev"):
        initializers.normal(stdev=0.1)  # pyright: ignore[reportCallIssue]


def test_ones_and_zeros() -> None:
    assert initializers.ones_init() is initializers.ones
    assert initializers.zeros_init() is initializers.zeros
    assert pickle.loads(pickle.dumps(initializers.zeros)) is initializers.zeros


def test_defaults_of_layers() -> None:
    assert Dense(3).kernel_init == initializers.lecun_normal()
    assert Conv(3, (2,)).kernel_init == initializers.lecun_normal()
    assert Embed(3, 2).embedding_init == initializers.variance_scaling(
        1.0, "fan_in", "normal", out_axis=0
    )
    assert Dense(3).bias_init is initializers.zeros
