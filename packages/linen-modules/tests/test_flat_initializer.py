"""Initializers that see several axes as one."""

import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linen_modules as nn
from linen_core.extend import PureInitializer, WrappingInitializer
from linen_modules._flat_initializer import flat_initializer, flat_shape

LECUN = nn.initializers.lecun_normal()


def of_a_user(key: jax.Array, shape: Any, dtype: Any = jnp.float32) -> jax.Array:
    return jax.random.normal(key, shape, dtype) * len(shape)


def in_a_box(key: jax.Array, shape: Any, dtype: Any = jnp.float32) -> nn.Partitioned:
    return nn.Partitioned(of_a_user(key, shape, dtype), names=("a", "b", "c"))


@pytest.mark.parametrize(
    ("shape", "groups", "expected"),
    [
        ((2, 3, 5), (2, 1), (6, 5)),
        ((2, 3, 5), (3,), (30,)),
        ((2, 3, 5), (0, 3), (1, 30)),
        ((2, 3), (2, 0), (6, 1)),
        ((), (0,), (1,)),
    ],
)
def test_flat_shape(shape: Any, groups: Any, expected: Any) -> None:
    assert flat_shape(shape, groups) == expected


@pytest.mark.parametrize("groups", [(1, 1), (1,)])
def test_nothing_to_merge(groups: Any) -> None:
    assert flat_initializer(LECUN, groups) is LECUN


def test_equal_by_value_and_pure_if_the_other_is() -> None:
    flat = flat_initializer(LECUN, (2, 1))
    assert flat == flat_initializer(nn.initializers.lecun_normal(), (2, 1))
    assert hash(flat) == hash(flat_initializer(nn.initializers.lecun_normal(), (2, 1)))
    assert flat != flat_initializer(LECUN, (1, 2))
    assert isinstance(flat, PureInitializer)
    assert not isinstance(flat_initializer(of_a_user, (2, 1)), PureInitializer)
    assert pickle.loads(pickle.dumps(flat)) == flat


def test_boxes_of_a_users_own() -> None:
    box: Any = flat_initializer(in_a_box, (2, 1))(jax.random.key(0), (2, 3, 5), jnp.float32)
    assert box.names == ("a", "b", "c")
    expected = of_a_user(jax.random.key(0), (6, 5)).reshape(2, 3, 5)
    np.testing.assert_array_equal(box.value, expected)


def test_boxes_see_the_whole_shape() -> None:
    boxed = nn.with_partitioning(LECUN, ("a", None, "b"))
    flat = flat_initializer(boxed, (2, 1))
    box = flat(jax.random.key(0), (2, 3, 5), jnp.float32)
    assert box.names == ("a", None, "b")
    expected = LECUN(jax.random.key(0), (6, 5), jnp.float32).reshape(2, 3, 5)
    np.testing.assert_array_equal(box.value, expected)
    assert isinstance(flat, WrappingInitializer)
    assert isinstance(flat.fn, PureInitializer)


def test_initializers_of_equal_kernels_share_one_trace() -> None:
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            for _ in range(3):
                x = nn.DenseGeneral((4, 3), (-2, -1), use_bias=False)(x)
            return x

    jaxpr = jax.make_jaxpr(Model().init)(jax.random.key(0), jnp.ones((2, 4, 3)))
    made = [
        equation.params["jaxpr"]
        for equation in jaxpr.eqns
        if equation.params.get("name") == "linen_core.initialize_parameter"
    ]
    assert len(made) == 3
    assert len({id(inner.jaxpr) for inner in made}) == 1
