"""`named_call`: names of operations in lowered programs."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from linen_core import Module, compact, override_named_call
from linen_transforms import named_call
from linen_transforms.errors import TransformTargetError

X = jnp.ones(3)


class Layer(Module):
    @compact
    def __call__(self, x: Any) -> Any:
        return x * self.param("w", jax.nn.initializers.ones, (3,))


class Model(Module):
    """Calls something in one of several ways."""

    kind: str
    force: bool = True

    @compact
    def __call__(self, x: Any) -> Any:
        if self.kind == "class":
            return named_call(Layer, self.force)(name="layer")(x)
        if self.kind == "method":
            return named_call(Model.double, self.force)(self, x)
        if self.kind == "bound method":
            return named_call(self.double, self.force)(x)
        if self.kind == "no module":
            return named_call(plain, self.force)(x)
        return named_call(function, self.force)(self, x)

    def double(self, x: Any) -> Any:
        return x + x


def function(mdl: Any, x: Any) -> Any:
    return x + x


def plain(x: Any) -> Any:
    return x + x


NAMES = {
    "class": "layer.__call__",
    "method": "Model.double",
    "bound method": "Model.double",
    "function": "Model.function",
    "no module": "plain",
}


def lowered(kind: str, force: bool) -> str:
    model, variables = Model(kind, force), {"params": {"layer": {"w": X}}}
    return jax.jit(lambda x: model.apply(variables, x)).lower(X).as_text(debug_info=True)


@pytest.mark.parametrize("kind", NAMES)
def test_operations_are_named(kind: str) -> None:
    for is_on in (True, False):
        for force in (True, False):
            with override_named_call(is_on):
                text = lowered(kind, force)
            assert (f"{NAMES[kind]}/" in text) == (is_on or force)


def test_classes_keep_their_names_and_variables() -> None:
    named = named_call(Layer)
    assert issubclass(named, Layer)
    assert named.__name__ == "Layer"

    class Outer(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            return named()(x)

    assert list(Outer().init(jax.random.key(0), X)["params"]) == ["Layer_0"]


def test_methods_can_be_decorated() -> None:
    class Decorated(Module):
        @named_call
        @compact
        def __call__(self, x: Any) -> Any:
            return Layer()(x)

    assert list(Decorated().init(jax.random.key(0), X)["params"]) == ["Layer_0"]


@pytest.mark.parametrize("target", [3, int, Layer()], ids=["number", "class", "instance"])
def test_what_cannot_be_named(target: Any) -> None:
    with pytest.raises(TransformTargetError, match="named_call"):
        named_call(target)
