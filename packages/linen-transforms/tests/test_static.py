"""Static arguments: counted as the call is written, and explained where they are not."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from linen_core import Module
from linen_transforms import jit, remat
from linen_transforms._static import StaticArguments
from linen_transforms.errors import DonatedArgumentError, StaticArgumentError


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


def test_donated_arguments_are_found_among_those_that_are_left() -> None:
    static = StaticArguments("jit", call, (1,))
    assert static.donated((), (X, True), {}) == ((), ())
    assert static.donated((0, -1), (X, True, X), {}) == ((0, 1), ())
    assert static.donated(2, (X, True, X), {}) == ((1,), ())
    assert static.donated(0, (), {"x": X}) == ((), ("x",))
    assert static.donated(0, (), {}) == ((), ())


@pytest.mark.parametrize(
    ("number", "hit"),
    [(1, "static"), (7, "no argument of the call"), (-3, "no argument of the call")],
)
def test_arguments_that_cannot_be_donated(number: int, hit: str) -> None:
    static = StaticArguments("jit", call, (1,))
    with pytest.raises(DonatedArgumentError) as caught:
        static.donated(number, (X, True), {})
    assert str(caught.value) == (
        f"jit: donate_argnums has {number}, which is {hit}. Arguments are counted as in the call, "
        "from 0, without self or the module; this call has 0: 'x', 1: 'train'."
    )


@pytest.mark.parametrize(
    ("numbers", "args", "text"),
    [
        (
            2,
            (X, True),
            "remat: static_argnums has 2, which is no argument of the call, which has 0: 'x', 1: "
            "'train'. Arguments are counted as in the call, from 0, without self or the module. Did "
            "you mean 1, the argument 'train' (True)?",
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
            "remat: static_argnums has -3, which is no argument of the call, which has 0: 'x', 1: "
            "'train'. Arguments are counted as in the call, from 0, without self or the module.",
        ),
        (
            -2,
            (X, True),
            "remat: static_argnums has -2, which is the argument 'x' (an array of shape (2, 3)). "
            "Arguments are counted as in the call, from 0, without self or the module. Did you mean "
            "1, the argument 'train' (True)?",
        ),
    ],
)
def test_a_wrong_index_is_explained(numbers: int, args: Any, text: str) -> None:
    with pytest.raises(StaticArgumentError) as caught:
        split(numbers, (), *args)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("numbers", "names", "args", "kwargs", "text"),
    [
        (
            1,
            (),
            (X, [1]),
            {},
            "static_argnums has 1, which is the argument 'train' ([1]), a list that does not hash, so "
            "it cannot be static; pass a tuple. Arguments",
        ),
        (
            (),
            "mode",
            (X,),
            {"mode": X},
            "the static argument 'mode' is an array, and arrays cannot",
        ),
        (
            (),
            "mode",
            (X,),
            {"mode": {}},
            "a dict that does not hash, so it cannot be static; pass a",
        ),
        (
            (),
            ("trian",),
            (X,),
            {},
            "static_argnames has 'trian', but the arguments are called 'x', 'train', 'mode'. Did you "
            "mean 'train'?",
        ),
        (
            (),
            (),
            (X, "b"),
            {},
            "the argument 'train' ('b') has something in it that is no array, so it must be static. "
            'Write static_argnums=1 or static_argnames="train".',
        ),
        ((), (), (X,), {"mode": "b"}, 'be static. Write static_argnames="mode".'),
        ((), (), (X, jnp.sin), {}, "Write static_argnums=1"),
    ],
)
def test_values_that_cannot_be_or_must_be_static(
    numbers: Any, names: Any, args: Any, kwargs: Any, text: str
) -> None:
    with pytest.raises(StaticArgumentError) as caught:
        split(numbers, names, *args, **kwargs)
    assert text in str(caught.value)


@pytest.mark.parametrize("lifted", [jit, remat])
def test_a_choice_that_is_not_static_is_explained(lifted: Any) -> None:
    class Layer(Module):
        def __call__(self, x: Any, train: bool = False, mode: Any = None) -> Any:
            return x + 1 if train or mode else x

    # Counted with self, as elsewhere: it is another argument that is there, so no error by itself.
    layer = lifted(Layer, static_argnums=2)()
    with pytest.raises(jax.errors.TracerBoolConversionError) as caught:
        layer.apply({}, X, True)
    name = "jit" if lifted is jit else "remat"
    note = (
        f"/: {name}: the argument 'train' (True) is traced in the body, like every argument that is "
        "not static. If it decides what the body does, write static_argnums=1 or "
        'static_argnames="train".'
    )
    assert note in caught.value.__notes__
