"""`scan` over scopes and Modules: carries, broadcast values, streams, runs of the body, errors."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linen_core import Module, apply, broadcast, compact, init
from linen_transforms import lift, remat, scan, vmap
from linen_transforms.errors import (
    AxisSizeError,
    CarryMismatchError,
    KeywordArgumentsError,
    LoopInvariantError,
    LoopOutputError,
    SplitRngsError,
)

from .layers import Dense, Recorder

KEY = jax.random.key(0)
CARRY, XS = jnp.ones(3), jnp.arange(12.0).reshape(4, 3) / 12
STACKED: dict[str, Any] = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
SHARED: dict[str, Any] = {"variable_broadcast": "params", "split_rngs": {"params": False}}


class Cell(Module):
    @compact
    def __call__(self, carry: Any, x: Any) -> Any:
        carry = jnp.sin(Dense()(carry)) + x
        return carry, carry.sum()


def entry(tree: Any, i: int, axis: int = 0) -> Any:
    return jax.tree.map(lambda leaf: jnp.take(leaf, i, axis), tree)


def counting(runs: list[Any]) -> type[Module]:
    class Counting(Module):
        @compact
        def __call__(self, carry: Any, x: Any) -> Any:
            runs.append(x.shape)
            return Dense()(carry) + x, None

    return Counting


NESTS: dict[str, tuple[Callable[[Any], Any], Any, Any]] = {
    "scan": (lambda cls: scan(cls, **STACKED), CARRY, XS),
    "scan of broadcast": (lambda cls: scan(cls, **SHARED), CARRY, XS),
    "scan of scan": (lambda cls: scan(scan(cls, **STACKED), **STACKED), CARRY, jnp.stack([XS, XS])),
    "vmap of scan of remat": (
        lambda cls: vmap(scan(remat(cls), **STACKED), **STACKED),
        jnp.stack([CARRY, CARRY]),
        jnp.stack([XS, XS]),
    ),
    "scan of vmap": (
        lambda cls: scan(vmap(cls, **STACKED), **STACKED),
        jnp.stack([CARRY, CARRY]),
        jnp.stack([XS, XS], 1),
    ),
}


@pytest.mark.parametrize("nest", NESTS)
def test_runs_of_the_body(nest: str) -> None:
    runs: list[Any] = []
    lifted, carry, xs = NESTS[nest]
    model = lifted(counting(runs))()
    variables = model.init(KEY, carry, xs)
    assert len(runs) <= 2
    runs.clear()
    model.apply(variables, carry, xs)
    assert runs == [(3,)]
    runs.clear()
    jax.jit(jax.grad(lambda v: model.apply(v, carry, xs)[0].sum()))(variables)
    assert len(runs) == 1


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("reverse", [False, True])
def test_parameters_of_every_iteration(axis: int, reverse: bool) -> None:
    options: dict[str, Any] = STACKED | {"variable_axes": {"params": axis}}
    model = scan(Cell, **options, reverse=reverse)()
    (carry, ys), variables = model.init_with_output(KEY, CARRY, XS)
    expected, results = CARRY, []
    for i in reversed(range(4)) if reverse else range(4):
        expected, y = Cell().apply(entry(variables, i, axis), expected, XS[i])
        results.append(y)
    results = results[::-1] if reverse else results
    chex.assert_trees_all_close((carry, ys), (expected, jnp.stack(results)), rtol=1e-5)


def test_broadcast_parameters() -> None:
    model = scan(Cell, **SHARED)()
    variables = model.init(KEY, CARRY, XS)
    assert variables["params"]["Dense_0"]["kernel"].shape == (3, 3)
    loop = jax.lax.scan(lambda c, x: Cell().apply(variables, c, x), CARRY, XS)
    chex.assert_trees_all_close(model.apply(variables, CARRY, XS), loop, rtol=1e-6)


@pytest.mark.parametrize("is_mutable", [True, False])
def test_carried_collections(is_mutable: bool) -> None:
    def body(scope: Any, carry: Any, x: Any) -> Any:
        count = scope.get_variable("state", "count")
        if is_mutable:
            scope.put_variable("state", "count", count + 1)
        return carry + count, x

    run = lift.scan(body, variable_carry="state")
    mutable = ["state"] if is_mutable else False
    result = apply(run, mutable=mutable)({"state": {"count": 1.0}}, 0.0, jnp.zeros(3))
    if is_mutable:
        (carry, _), updates = result
        assert (carry, updates["state"]["count"]) == (1 + 2 + 3, 4)
    else:
        assert result[0] == 3


def test_collections_and_sown_values_are_stacked() -> None:
    class Step(Module):
        @compact
        def __call__(self, carry: Any, x: Any) -> Any:
            return Recorder()(carry), x

    axes = {"params": 0, "state": 0, "intermediates": 1}
    model = scan(Step, variable_axes=axes, split_rngs={"params": True, "noise": True})()
    rngs = {"params": KEY, "noise": jax.random.key(1)}
    variables = model.init(rngs, CARRY, XS)
    variables = {name: variables[name] for name in ("params", "state")}
    mutable = ["state", "intermediates"]
    _, updates = model.apply(variables, CARRY, XS, rngs=rngs, mutable=mutable)
    chex.assert_trees_all_equal(updates["state"]["Recorder_0"]["calls"], jnp.ones(4))
    assert updates["intermediates"]["Recorder_0"]["y"][0].shape == (3, 4)


@pytest.mark.parametrize("is_split", [True, False])
def test_streams_are_split_or_shared(is_split: bool) -> None:
    def body(scope: Any, carry: Any) -> Any:
        return carry, jax.random.normal(scope.make_rng("noise"))

    run = lift.scan(body, split_rngs={"noise": is_split}, in_axes=(), length=3)
    _, ys = apply(run)({}, None, rngs={"noise": KEY})
    assert len({float(y) for y in ys}) == (3 if is_split else 1)


def test_draws_go_on_counting() -> None:
    def body(scope: Any, carry: Any) -> Any:
        return carry, jax.random.normal(scope.make_rng("noise"))

    def twice(scope: Any) -> Any:
        run = lift.scan(body, split_rngs={"noise": False}, in_axes=(), length=1)
        first, second = run(scope, None)[1], run(scope, None)[1]
        return first[0], second[0], jax.random.normal(scope.make_rng("noise"))

    draws = [float(y) for y in apply(twice)({}, rngs={"noise": KEY})]
    plain = apply(lambda s: [jax.random.normal(s.make_rng("noise")) for _ in range(5)])
    expected = [float(y) for y in plain({}, rngs={"noise": KEY})]
    assert draws == [expected[1], expected[3], expected[4]]


def test_data_can_be_transformed() -> None:
    def body(scope: Any, carry: Any) -> Any:
        return carry + scope.get_variable("params", "w"), None

    def double(variables: Any, keys: Any) -> Any:
        return jax.tree.map(lambda leaf: 2 * leaf, variables), keys

    run = lift.scan(body, {"params": 0}, in_axes=(), data_transform=double)
    (total, _) = apply(run)({"params": {"w": jnp.arange(3.0)}}, 0.0)
    assert total == 6


def test_trees_of_axes() -> None:
    def body(scope: Any, carry: Any, tree: Any) -> Any:
        return carry + tree["a"] * tree["b"], {"a": tree["a"], "c": jnp.ones(2)}

    run = lift.scan(body, in_axes=({"a": 1, "b": broadcast},), out_axes={"a": 1, "c": broadcast})
    total, ys = apply(run)({}, jnp.zeros(3), {"a": XS.T, "b": 2.0})
    chex.assert_trees_all_close(total, 2 * XS.sum(0))
    chex.assert_trees_all_equal(ys, {"a": XS.T, "c": jnp.ones(2)})


def test_the_jaxpr_has_no_copies() -> None:
    model = scan(Cell, **STACKED)()
    variables = model.init(KEY, CARRY, XS)
    jaxpr = jax.make_jaxpr(lambda v: model.apply(v, CARRY, XS))(variables)
    assert [str(eqn.primitive) for eqn in jaxpr.eqns] == ["scan"]
    (eqn,) = jaxpr.eqns
    kinds = ["dot_general", "sin", "add", "reduce_sum"]
    assert [str(inner.primitive) for inner in eqn.params["jaxpr"].eqns] == kinds
    assert len(eqn.outvars) == 2


class Inside(Module):
    """Loops over what it is given, one place down."""

    lifted: Any

    @compact
    def __call__(self, carry: Any, xs: Any) -> Any:
        return self.lifted(name="loop")(carry, xs)


def test_a_carry_that_changes_names_the_module_and_the_leaves() -> None:
    class Bad(Module):
        @compact
        def __call__(self, carry: Any, x: Any) -> Any:
            return {"a": carry["a"], "b": carry["b"][:2].astype(int)}, x

    carry = {"a": CARRY, "b": CARRY}
    with pytest.raises(CarryMismatchError) as caught:
        Inside(scan(Bad)).apply({}, carry, XS)
    assert str(caught.value) == (
        "/loop: the carry of scan must come out of the body as it went in, but these differ (in -> "
        "out):\n  carry['b']: float32[3] -> int32[2]"
    )


def test_a_carried_variable_must_exist() -> None:
    class Bad(Module):
        @compact
        def __call__(self, carry: Any, x: Any) -> Any:
            self.variable("state", "count", lambda: jnp.zeros(()))
            return carry, x

    with pytest.raises(CarryMismatchError) as caught:
        Inside(scan(Bad, variable_carry="state")).init(KEY, CARRY, XS)
    assert str(caught.value) == (
        "/loop: the carry of scan must come out of the body as it went in, but these differ (in -> "
        'out):\n  variable /loop/count of collection "state": nothing -> float32[]\nA carried variable '
        "must exist before the loop: create it outside, or pass it with the variables."
    )


def test_a_broadcast_variable_must_not_depend_on_the_iteration() -> None:
    class Bad(Module):
        @compact
        def __call__(self, carry: Any, x: Any) -> Any:
            self.variable("state", "last", lambda: x)
            return carry, x

    with pytest.raises(LoopInvariantError) as caught:
        Inside(scan(Bad, variable_broadcast="state")).init(KEY, CARRY, XS)
    assert str(caught.value) == (
        '/loop: the variable /loop/last of collection "state" of scan is broadcast, so it must be '
        "the same in every iteration, but it depends on the carry or on what is mapped over. Carry "
        "it, or give it an axis. A new variable is the same everywhere if split_rngs is False for the "
        "stream that it is drawn from."
    )


def test_a_broadcast_result_must_not_depend_on_the_iteration() -> None:
    run = lift.scan(lambda scope, c, x: (c, {"y": x}), out_axes=broadcast)
    with pytest.raises(LoopInvariantError, match=r"/: the result\['y'\] of scan is broadcast"):
        apply(run)({}, CARRY, XS)


def test_broadcast_parameters_of_a_loop_inside() -> None:
    model = scan(scan(Cell, **STACKED), **SHARED)()
    xs = jnp.stack([XS, XS])
    (carry, _), variables = model.init_with_output(KEY, CARRY, xs)
    assert variables["params"]["Dense_0"]["kernel"].shape == (4, 3, 3)
    expected, _ = scan(Cell, **STACKED)().apply(variables, CARRY, XS)
    expected, _ = scan(Cell, **STACKED)().apply(variables, expected, XS)
    chex.assert_trees_all_close(carry, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("output", "found"),
    [
        (lambda c, x: c + x, "float32[3]"),
        (lambda c, x: (c, x, None), "a tuple with [0]: float32[3], [1]: float32[3]"),
        (lambda c, x: None, "a NoneType with nothing"),
    ],
    ids=["one", "three", "nothing"],
)
def test_a_body_must_return_a_pair(output: Any, found: str) -> None:
    class Bad(Module):
        @compact
        def __call__(self, carry: Any, x: Any) -> Any:
            return output(carry, x)

    with pytest.raises(LoopOutputError) as caught:
        Inside(scan(Bad)).apply({}, CARRY, XS)
    assert str(caught.value) == (
        f"/loop: the body of scan must return a pair (carry, y), but returned {found}. Write return "
        "carry, None if there is nothing to stack."
    )


def test_a_collection_without_an_axis() -> None:
    with pytest.raises(AxisSizeError) as caught:
        scan(Cell, variable_axes={"params": None})().init(KEY, CARRY, XS)
    assert str(caught.value) == (
        "scan: variable_axes has None for 'params', which is no axis. Write an integer; "
        "variable_broadcast='params' for variables that all iterations share, and "
        "variable_carry='params' for those that change."
    )


def test_keyword_arguments_are_refused() -> None:
    with pytest.raises(KeywordArgumentsError) as caught:
        scan(Cell, **SHARED)().init(KEY, CARRY, x=XS)
    assert str(caught.value) == (
        "scan does not take keyword arguments, but got x. Pass them by position, or bind those that "
        "are no arrays with functools.partial."
    )


def test_a_stream_that_is_not_named() -> None:
    def body(scope: Any, carry: Any) -> Any:
        return carry, scope.make_rng("noise")

    run = lift.scan(body, in_axes=(), length=2)
    with pytest.raises(
        SplitRngsError, match=r"/ draws from the random stream 'noise' inside of sc"
    ):
        apply(run)({}, None, rngs={"noise": KEY})


@settings(max_examples=8, deadline=None)
@given(
    length=st.integers(1, 4),
    layers=st.integers(1, 2),
    axis=st.integers(0, 2),
    reverse=st.booleans(),
    unroll=st.integers(1, 2),
    wrap=st.sampled_from(["nothing", "remat"]),
)
def test_it_equals_an_unrolled_loop(
    length: int, layers: int, axis: int, reverse: bool, unroll: int, wrap: str
) -> None:
    class Net(Module):
        @compact
        def __call__(self, carry: Any, x: Any) -> Any:
            for _ in range(layers):
                carry = jnp.sin(Dense()(carry))
            return carry + x, carry * x

    body = remat(Net) if wrap == "remat" else Net
    options: dict[str, Any] = STACKED | {"variable_axes": {"params": axis}}
    model = scan(body, **options, reverse=reverse, unroll=unroll)()
    xs = jax.random.normal(KEY, (length, 3))
    variables = model.init(KEY, CARRY, xs)

    def unrolled(variables: Any) -> Any:
        carry, ys = CARRY, []
        for i in reversed(range(length)) if reverse else range(length):
            carry, y = Net().apply(entry(variables, i, axis), carry, xs[i])
            ys.append(y)
        return carry, jnp.stack(ys[::-1] if reverse else ys)

    chex.assert_trees_all_close(
        model.apply(variables, CARRY, xs), unrolled(variables), rtol=1e-5, atol=1e-6
    )
    found = jax.grad(lambda v: model.apply(v, CARRY, xs)[0].sum())(variables)
    expected = jax.grad(lambda v: unrolled(v)[0].sum())(variables)
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=6, deadline=None)
@given(length=st.integers(1, 3), batch=st.integers(1, 3), features=st.integers(1, 3))
def test_vmap_and_scan_commute(length: int, batch: int, features: int) -> None:
    class Net(Module):
        @compact
        def __call__(self, carry: Any, x: Any) -> Any:
            hidden = jnp.sin(Dense(features)(carry))
            return carry + hidden.sum() * x, hidden

    carry = jax.random.normal(KEY, (batch, 3))
    xs = jax.random.normal(jax.random.key(1), (length, batch, 3))
    one = scan(vmap(Net, **STACKED), **STACKED)()
    other = vmap(scan(Net, **STACKED), **STACKED, in_axes=(0, 1), out_axes=(0, 1))()
    variables = one.init(KEY, carry, xs)
    swapped = jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), variables)
    chex.assert_trees_all_close(
        one.apply(variables, carry, xs), other.apply(swapped, carry, xs), rtol=1e-5, atol=1e-6
    )


def test_init_of_functions_of_scopes() -> None:
    def body(scope: Any, carry: Any, x: Any) -> Any:
        w = scope.param("w", jax.nn.initializers.normal(1.0), (3,))
        return carry * w + x, None

    _, variables = init(lift.scan(body, **STACKED))(KEY, CARRY, XS)
    assert variables["params"]["w"].shape == (4, 3)
    assert len({float(row[0]) for row in variables["params"]["w"]}) == 4
