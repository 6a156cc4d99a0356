"""What the scopes of one tree share: mutability, flags, validity, the trace, warnings."""

import warnings

import jax
import jax.numpy as jnp
import pytest

from linen_core import DenyList
from linen_core._tree import Tree
from linen_core.errors import InvalidFilterError, InvalidScopeError, JaxTransformError


@pytest.mark.parametrize(
    ("mutable", "expected"),
    [(True, True), (False, False), ("state", True), (DenyList("state"), False), (["a"], False)],
    ids=repr,
)
def test_the_filter_decides_what_is_mutable(mutable: bool, expected: bool) -> None:
    tree = Tree(mutable, {})
    assert [tree.is_mutable_collection("state") for _ in range(2)] == [expected] * 2
    assert tree.mutable is mutable


def test_what_is_no_filter_is_refused() -> None:
    with pytest.raises(InvalidFilterError, match="3 is no filter"):
        Tree(3, {}).is_mutable_collection("state")  # type: ignore[arg-type]


def test_flags_are_copied() -> None:
    flags = {"initializing": True}
    tree = Tree(False, flags)
    flags.clear()
    assert tree.flags == {"initializing": True}
    assert not hasattr(tree.flags, "clear")


def test_an_ended_tree_is_refused() -> None:
    tree = Tree(False, {})
    tree.check_valid(("a",))
    tree.is_valid = False
    with pytest.raises(InvalidScopeError, match='The module "a/b" is used after its init or apply'):
        tree.check_valid(("a", "b"))


@pytest.mark.parametrize(
    "transform",
    [
        lambda f: jax.jit(f)(1.0),
        lambda f: jax.vmap(f)(jnp.ones(2)),
        lambda f: jax.grad(f)(1.0),
        lambda f: jax.jvp(f, (1.0,), (1.0,)),
        lambda f: jax.checkpoint(f)(1.0),
        lambda f: jax.make_jaxpr(f)(1.0),
        lambda f: jax.eval_shape(f, 1.0),
        lambda f: jax.lax.scan(lambda c, x: (f(c), x), 1.0, jnp.ones(2)),
        lambda f: jax.lax.fori_loop(0, 2, lambda i, c: f(c), 1.0),
        lambda f: jax.lax.while_loop(lambda c: c < 1, f, 1.0),
        lambda f: jax.lax.cond(True, f, f, 1.0),
        lambda f: jax.lax.map(f, jnp.ones(2)),
    ],
    ids="jit vmap grad jvp checkpoint make_jaxpr eval_shape scan fori_loop while cond map".split(),
)
def test_a_later_transformation_is_another_trace(transform: object) -> None:
    tree = Tree(False, {})

    def change(x: jax.Array) -> jax.Array:
        tree.check_trace(("a",), "changes it")
        return x

    with pytest.raises(JaxTransformError, match=r'^The module "a" changes it inside a JAX'):
        transform(change)  # type: ignore[operator]
    tree.check_trace((), "changes it")


def test_the_trace_of_a_tree_is_the_one_that_it_was_made_in() -> None:
    own: list[bool] = []

    def inside(x: jax.Array) -> jax.Array:
        tree = Tree(False, {})
        assert tree.is_own_trace()
        jax.jit(lambda y: own.append(tree.is_own_trace()) or y)(1.0)
        return x

    jax.jit(inside)(1.0)
    jax.vmap(inside)(jnp.ones(2))
    assert own == [False, False]


def test_a_named_scope_and_settings_begin_no_trace() -> None:
    tree = Tree(False, {})
    with (
        jax.named_scope("a"),
        jax.default_matmul_precision("highest"),
        jax.numpy_dtype_promotion("strict"),
    ):
        assert tree.is_own_trace()


def test_a_warning_is_given_once_at_the_line_outside_the_package() -> None:
    tree = Tree(False, {})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tree.warn_once("a")
        tree.warn_once("a")
        tree.warn_once("b")
    assert [str(w.message) for w in caught] == ["a", "b"]
    assert {w.filename for w in caught} == {__file__}
