"""Perturbations: created by init, added where they are given."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest

from linen_core import Module, compact
from linen_core.errors import (
    JaxTransformError,
    LinenError,
    NameInUseError,
    PerturbationMismatchError,
    ScopeVariableNotFoundError,
    UnboundModuleError,
)

KEY = jax.random.key(0)
X = jnp.arange(3.0)


class Square(Module):
    collection: str = "perturbations"

    def __call__(self, x: Any) -> Any:
        y = self.perturb("x", x, self.collection)
        return jax.tree.map(lambda leaf: leaf**2, y)


@pytest.mark.parametrize(
    "value", [X, {"a": X, "b": (X, 2)}, 3.0, []], ids="array tree number empty".split()
)
def test_init_creates_zeros(value: Any) -> None:
    y, variables = Square().init_with_output(KEY, value)
    expected = jax.tree.map(jnp.zeros_like, value)
    chex.assert_trees_all_equal(variables, {"perturbations": {"x": expected}})
    chex.assert_trees_all_equal(y, jax.tree.map(lambda leaf: leaf**2, value))
    chex.assert_trees_all_equal(Square().init(KEY, value), variables)


def test_the_gradient_by_the_perturbation_is_that_by_the_value() -> None:
    def loss(perturbations: Any) -> jax.Array:
        return Square().apply({"perturbations": perturbations}, X).sum()

    chex.assert_trees_all_equal(jax.grad(loss)({"x": jnp.zeros(3)}), {"x": 2 * X})


@pytest.mark.parametrize(
    ("variables", "mutable", "expected", "updates"),
    [
        ({}, False, X**2, None),
        ({"perturbations": {}}, False, X**2, None),
        ({"perturbations": {"x": 1.0}}, False, (X + 1) ** 2, None),
        ({"perturbations": {"x": 1.0}}, "perturbations", (X + 1) ** 2, {"x": 1.0}),
        ({}, "perturbations", X**2, {"x": jnp.zeros(3)}),
        ({}, "state", X**2, None),
    ],
    ids=["absent", "empty", "given", "mutable", "created", "other"],
)
def test_apply(variables: Any, mutable: Any, expected: Any, updates: Any) -> None:
    result = Square().apply(variables, X, mutable=mutable)
    y, found = result if mutable else (result, {})
    chex.assert_trees_all_equal(y, expected)
    chex.assert_trees_all_equal(found, {} if updates is None else {"perturbations": updates})


def test_init_creates_what_is_mutable() -> None:
    assert Square().init(KEY, X, mutable="params") == {}
    assert Square("deltas").init(KEY, X).keys() == {"deltas"}


def test_a_name_may_be_used_again() -> None:
    class Twice(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            return self.perturb("x", self.perturb("x", x))

    chex.assert_trees_all_equal(Twice().apply({"perturbations": {"x": 1.0}}, X), X + 2)


def test_a_submodule_has_another_name() -> None:
    class Clash(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            return self.perturb("x", Square(name="x")(x))

    with pytest.raises(NameInUseError, match='already has something named "x"'):
        Clash().init(KEY, X)


def test_it_needs_variables() -> None:
    with pytest.raises(UnboundModuleError, match="Square is not bound to variables, so it has no"):
        Square().perturb("x", X)


def test_a_perturbation_that_is_missing() -> None:
    with pytest.raises(ScopeVariableNotFoundError, match=r"found only \['y'\] there"):
        Square().apply({"perturbations": {"y": X}}, X)


@pytest.mark.parametrize("found", [jnp.ones((2, 5)), {"a": X}], ids=["shape", "structure"])
def test_a_perturbation_that_does_not_fit(found: Any) -> None:
    with pytest.raises(PerturbationMismatchError) as caught:
        Square().apply({"perturbations": {"x": found}}, X)
    assert isinstance(caught.value, LinenError)
    assert isinstance(caught.value, ValueError)
    shape = jax.tree.map(jnp.shape, found)
    assert str(caught.value) == (
        'The top-level module adds the perturbation "x" of collection "perturbations" to a value '
        f"of shape (3,), but found shape {shape}. Create the perturbations with inputs of the same "
        'shapes: model.init(key, x)["perturbations"].'
    )


def test_none_is_created_inside_a_raw_transformation() -> None:
    bound = Square().bind({}, mutable=True)
    with pytest.raises(JaxTransformError):
        jax.vmap(lambda x: bound(x))(X)
