"""Sequential."""

import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linen_modules as nn
from linen_modules.errors import LayerSequenceError

X = jnp.arange(6.0).reshape(2, 3)


def both(x: Any) -> tuple[Any, Any]:
    return x, 2 * x


def by_name(x: Any) -> dict[str, Any]:
    return {"b": x, "a": 2 * x}


def subtract(a: Any, b: Any) -> Any:
    return a - b


def test_parameters() -> None:
    model = nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(2)])
    y, variables = model.init_with_output(jax.random.key(0), X)
    assert jax.tree.map(jnp.shape, variables["params"]) == {
        "layers_0": {"kernel": (3, 4), "bias": (4,)},
        "layers_2": {"kernel": (4, 2), "bias": (2,)},
    }
    params = variables["params"]
    hidden = nn.relu(nn.Dense(4).apply({"params": params["layers_0"]}, X))
    expected = nn.Dense(2).apply({"params": params["layers_2"]}, hidden)
    np.testing.assert_allclose(y, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("layers", "args", "kwargs", "expected"),
    [
        ([both, subtract], (X,), {}, -X),
        ([by_name, subtract], (X,), {}, X),
        ([subtract, both], (), {"a": X, "b": X}, (0 * X, 0 * X)),
        ((subtract, both, subtract), (X, 2 * X), {}, X),
        ([lambda x: [x, x], len], (X,), {}, 2),
        ([lambda: 3], (), {}, 3),
        ([by_name], (1,), {}, {"a": 2, "b": 1}),
    ],
    ids=[
        "tuple",
        "dict",
        "keywords of the first",
        "tuple of layers",
        "list",
        "no argument",
        "last",
    ],
)
def test_what_is_passed_on(layers: Any, args: Any, kwargs: Any, expected: Any) -> None:
    y = nn.Sequential(layers).apply({}, *args, **kwargs)
    jax.tree.map(np.testing.assert_array_equal, y, expected)


def test_a_layer_twice_has_one_set_of_parameters() -> None:
    shared = nn.Dense(3)
    variables = nn.Sequential([shared, nn.relu, shared]).init(jax.random.key(0), X)
    assert list(variables["params"]) == ["layers_0"]


def test_pickle() -> None:
    model = nn.Sequential([nn.Dense(4), nn.relu])
    assert pickle.loads(pickle.dumps(model)) == model


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        (
            nn.Dense(3),
            r"Sequential: found layers of type Dense; expected a sequence of callables. Write "
            r"nn.Sequential\(\[first, second\]\).",
        ),
        ((layer for layer in [nn.relu]), "found layers of type generator; expected a sequence"),
        ({"a": nn.relu}, "found layers of type dict; expected a sequence"),
        (nn.relu, "found layers of type .*; expected a sequence"),
        (
            [nn.relu, 3],
            r"Sequential: found 3 in layers\[1\]; expected a module or another callable. Write",
        ),
        ("ab", r"found 'a' in layers\[0\]"),
        (
            [nn.Dense],
            r"found the class Dense in layers\[0\]; expected a layer. Write Dense\(...\)",
        ),
    ],
    ids=["module", "generator", "dict", "function", "number", "string", "class"],
)
def test_layers_that_cannot_be_called(layers: Any, text: str) -> None:
    with pytest.raises(LayerSequenceError, match=text):
        nn.Sequential(layers)


def test_no_layers() -> None:
    with pytest.raises(
        LayerSequenceError, match=r"Sequential at /: found no layers; expected at least one. Write"
    ):
        nn.Sequential([]).init(jax.random.key(0), X)
