"""Static arguments: counted as the call is written, and explained where they are not."""

from typing import Any

import jax.numpy as jnp
import pytest

from linen_transforms._static import StaticArguments
from linen_transforms.errors import StaticArgumentError


def call(self: Any, x: Any, train: bool = False, *, mode: str = "a") -> Any:
    return self, x, train, mode


X = jnp.ones((2, 3))


def split(numbers: Any, names: Any, *args: Any, **kwargs: Any) -> Any:
    rest, others, taken = StaticArguments("remat", call, numbers, names).split(args, kwargs)
    joined, named = taken.joined(rest, others)
    assert all(a is b for a, b in zip(joined, args, strict=True))
    assert named == kwargs
    return rest, others


@pytest.mark.parametrize(
    ("numbers", "names", "args", "kwargs", "rest", "others"),
    [
        ((), (), (X, True), {}, 2, ()),
        (1, (), (X, True), {}, 1, ()),
        ((1,), (), (X, True), {}, 1, ()),
        ((-1,), (), (X, True), {}, 1, ()),
        ((1,), (), (X,), {}, 1, ()),
        ((1,), (), (X,), {"train": True}, 1, ()),
        ((), "train", (X, True), {}, 1, ()),
        ((), ("train", "mode"), (X,), {"train": True, "mode": "b"}, 1, ()),
        ((), ("mode",), (X,), {"train": True, "mode": "b"}, 1, ("train",)),
    ],
)
def test_static_arguments_are_taken_out_and_put_back(
    numbers: Any, names: Any, args: Any, kwargs: Any, rest: int, others: Any
) -> None:
    found_rest, found_others = split(numbers, names, *args, **kwargs)
    assert len(found_rest) == rest
    assert tuple(found_others) == others


def test_the_key_tells_calls_apart() -> None:
    static = StaticArguments("jit", call, (1,))
    keys = [static.split((X, train), {})[2].key for train in (True, True, False)]
    assert keys[0] == keys[1] != keys[2]


def test_positions_among_the_arguments_that_are_left() -> None:
    static = StaticArguments("jit", call, (1,))
    assert static.positions((0, 1, -1), (X, True, X)) == (0, 1)
    assert static.positions(2, (X, True, X)) == (1,)


@pytest.mark.parametrize(
    ("numbers", "args", "text"),
    [
        (
            2,
            (X, True),
            "remat: static_argnums has 2, which is no argument of the call. Arguments are counted "
            "as in the call, from 0, without self or the module. Did you mean 1, the argument "
            "'train' (True)?",
        ),
        (
            0,
            (X, True),
            "remat: static_argnums has 0, which is the argument 'x' (an array of shape (2, 3)). "
            "Arguments are counted as in the call, from 0, without self or the module. Did you mean "
            "1, the argument 'train' (True)?",
        ),
        (
            0,
            (X,),
            "remat: static_argnums has 0, which is the argument 'x' (an array of shape (2, 3)). "
            "Arguments are counted as in the call, from 0, without self or the module.",
        ),
        (
            -3,
            (X, X),
            "remat: static_argnums has -3, which is no argument of the call. Arguments are counted "
            "as in the call, from 0, without self or the module.",
        ),
    ],
)
def test_a_wrong_index_is_explained(numbers: int, args: Any, text: str) -> None:
    with pytest.raises(StaticArgumentError) as caught:
        split(numbers, (), *args)
    assert str(caught.value) == text


def test_values_that_do_not_hash_are_refused() -> None:
    with pytest.raises(StaticArgumentError, match=r"'train' \(\[1\]\)"):
        split(1, (), X, [1])
