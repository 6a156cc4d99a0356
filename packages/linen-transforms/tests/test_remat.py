"""`remat` and `remat_scan`: the same values and gradients, computed again."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest
from jax.nn import initializers

from linen_core import Module, compact
from linen_transforms import checkpoint, lift, remat, remat_scan
from linen_transforms.errors import (
    AxisSizeError,
    CarryMismatchError,
    StaticArgumentError,
    TransformTargetError,
    UnsupportedArgumentError,
)

KEY = jax.random.key(0)
X = jnp.arange(6.0).reshape(2, 3) / 6


class Block(Module):
    """A nonlinear layer with noise and a static choice."""

    @compact
    def __call__(self, x: Any, negate: bool = False) -> Any:
        kernel = self.param("kernel", initializers.normal(1.0), (3, 3))
        noise = jax.random.normal(self.make_rng("noise"), x.shape) if self.has_rng("noise") else 0
        y = jnp.sin(jnp.sin(x @ kernel) + noise)
        return -y if negate else y


class Layers(Module):
    """Three layers that are lifted in one way."""

    block: Any

    @compact
    def __call__(self, x: Any) -> Any:
        for i in range(3):
            x = self.block(name=f"layer_{i}")(x)
        return x


def loss(model: Module, variables: Any, **kwargs: Any) -> Any:
    return (model.apply(variables, X, **kwargs) ** 2).sum()


@pytest.mark.parametrize("rngs", [{}, {"noise": jax.random.key(1)}], ids=["plain", "noise"])
def test_values_and_gradients_stay_what_they_are(rngs: Any) -> None:
    plain, light = Layers(Block), Layers(remat(Block))
    variables = plain.init({"params": KEY, **rngs}, X)
    chex.assert_trees_all_equal(light.init({"params": KEY, **rngs}, X), variables)
    expected = jax.value_and_grad(lambda v: loss(plain, v, rngs=rngs))(variables)
    found = jax.value_and_grad(lambda v: loss(light, v, rngs=rngs))(variables)
    chex.assert_trees_all_close(found, expected, rtol=1e-5)


def residuals(model: Module, variables: Any) -> int:
    _, pullback = jax.vjp(lambda v: loss(model, v), variables)
    return sum(x.size for x in jax.tree.leaves(pullback) if isinstance(x, jax.Array))


def test_less_is_kept_for_the_gradient() -> None:
    variables = Layers(Block).init(KEY, X)
    kept = {
        name: residuals(Layers(block), variables)
        for name, block in {
            "everything": Block,
            "nothing": remat(Block),
            "all": remat(Block, policy=jax.checkpoint_policies.everything_saveable),
        }.items()
    }
    assert kept["nothing"] < min(kept["everything"], kept["all"])


@pytest.mark.parametrize("options", [{"static_argnums": 1}, {"static_argnames": "negate"}])
def test_static_arguments_are_counted_as_the_call_is_written(options: Any) -> None:
    light = remat(Block, **options)()
    variables = light.init(KEY, X, True)
    chex.assert_trees_all_equal(light.apply(variables, X, True), -light.apply(variables, X, False))
    chex.assert_trees_all_equal(light.apply(variables, X, negate=True), -light.apply(variables, X))


def test_counting_self_is_explained() -> None:
    with pytest.raises(StaticArgumentError, match="Did you mean 1, the argument 'negate'"):
        remat(Block, static_argnums=2)().init(KEY, X, True)


def test_without_variables_or_streams() -> None:
    class Model(Module):
        def __call__(self, x: Any) -> Any:
            return remat(lambda mdl, x: x * (1 + len(mdl.variables)), variables=False)(self, x)

    variables = {"state": {"a": 1.0}}
    chex.assert_trees_all_equal(Model().apply(variables, X), X)


def test_checkpoint_is_remat() -> None:
    assert checkpoint is remat
    assert lift.checkpoint is lift.remat


def test_concrete_is_refused() -> None:
    with pytest.raises(UnsupportedArgumentError) as caught:
        remat(Block, concrete=True)().init(KEY, X)
    assert str(caught.value) == (
        "The argument 'concrete' is not supported: JAX removed it; use static_argnums instead."
    )


def test_an_instance_is_no_target() -> None:
    with pytest.raises(TransformTargetError, match="lifts a Module class, a method, or a function"):
        remat(Block())


# remat_scan


def test_nested_loops() -> None:
    lengths = (2, 3)
    looped = remat_scan(Block, lengths=lengths)()
    variables = looped.init(KEY, X)
    chex.assert_shape(variables["params"]["kernel"], (*lengths, 3, 3))

    def unrolled(variables: Any) -> Any:
        x = X
        for i in range(lengths[0]):
            for j in range(lengths[1]):
                x = Block().apply(jax.tree.map(lambda leaf, i=i, j=j: leaf[i, j], variables), x)
        return (x**2).sum()

    expected = jax.value_and_grad(unrolled)(variables)
    found = jax.value_and_grad(lambda v: loss(looped, v))(variables)
    chex.assert_trees_all_close(found, expected, rtol=1e-4)


def test_noise_differs_between_the_iterations() -> None:
    class Noise(Module):
        def __call__(self, x: Any) -> Any:
            return x + jax.random.normal(self.make_rng("noise"))

    one = remat_scan(Noise, lengths=(1, 1))().apply({}, 0.0, rngs={"noise": KEY})
    many = remat_scan(Noise, lengths=(2, 2))().apply({}, 0.0, rngs={"noise": KEY})
    assert abs(many - 4 * one) > 1e-3


def test_a_value_must_keep_its_form() -> None:
    class Wider(Module):
        def __call__(self, x: Any) -> Any:
            return jnp.concatenate([x, x])

    with pytest.raises(CarryMismatchError, match=r"carry: float32\[2, 3\] -> float32\[4, 3\]"):
        remat_scan(Wider, lengths=(2,))().apply({}, X)


def test_what_is_sown_into_other_collections_gets_out() -> None:
    class Sows(Module):
        def __call__(self, x: Any) -> Any:
            self.sow("notes", "x", x)
            return x

    y, notes = remat(Sows, variables="params")().apply({}, X, mutable=["notes"])
    chex.assert_trees_all_equal(notes, {"notes": {"x": (y,)}})


@pytest.mark.parametrize("lengths", [(), 3, ("a",), (2.0,), (-1,)])
def test_lengths_that_are_none(lengths: Any) -> None:
    with pytest.raises(
        AxisSizeError, match="remat_scan: lengths must be a sequence of at least one"
    ):
        remat_scan(Block, lengths)().init(KEY, X)
