"""`vmap` over scopes and Modules: what is mapped, shared, split, stacked and refused."""

from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.nn import initializers

from linen_core import PARTITION_NAME, Module, Partitioned, apply, bind, compact, init
from linen_core.errors import ScopeCollectionNotFound
from linen_transforms import add_metadata_axis, fold_rngs, lift, map_variables, remat, vmap
from linen_transforms.errors import AxisSizeError, SplitRngsError, WithheldCollectionError

from .layers import Dense, Recorder

KEY = jax.random.key(0)
X = jnp.arange(12.0).reshape(4, 3) / 12
SPLIT: dict[str, Any] = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}


def entry(tree: Any, i: int, axis: int = 0) -> Any:
    return jax.tree.map(lambda leaf: jnp.take(leaf, i, axis), tree)


def test_the_body_runs_once() -> None:
    runs = []

    class Counting(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            runs.append(x.shape)
            return Dense()(x)

    model = vmap(Counting, **SPLIT)()
    variables = model.init(KEY, X)
    assert runs == [(3,)]
    model.apply(variables, X)
    assert runs == [(3,), (3,)]


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_parameters_of_every_entry(axis: int) -> None:
    options: dict[str, Any] = SPLIT | {"variable_axes": {"params": axis}}
    model = vmap(Dense, **options)(2)
    y, variables = model.init_with_output(KEY, X)
    for i in range(4):
        one = Dense(2).apply(entry(variables, i, axis), X[i])
        chex.assert_trees_all_close(y[i], one, rtol=1e-6)


def test_shared_parameters() -> None:
    model = vmap(Dense, variable_axes={"params": None}, split_rngs={"params": False})(2)
    variables = model.init(KEY, X)
    chex.assert_trees_all_equal(variables, Dense(2).init(KEY, X[0]))
    chex.assert_trees_all_close(model.apply(variables, X), Dense(2).apply(variables, X))


@pytest.mark.parametrize("is_split", [True, False])
def test_streams_are_split_or_shared(is_split: bool) -> None:
    def draw(scope: Any, x: Any) -> Any:
        return x + jax.random.normal(scope.make_rng("noise"))

    run = apply(lift.vmap(draw, variable_axes={}, split_rngs={"noise": is_split}))
    y = run({}, jnp.zeros(4), rngs={"noise": KEY})
    assert len({float(value) for value in y}) == (4 if is_split else 1)


def test_collections_change_or_do_not() -> None:
    axes = {"params": 0, "state": 0, "intermediates": 1}
    model = vmap(Recorder, variable_axes=axes, split_rngs={"params": True, "noise": True})()
    rngs = {"params": KEY, "noise": jax.random.key(1)}
    variables = model.init(rngs, X)
    variables = {name: variables[name] for name in ("params", "state")}
    assert model.apply(variables, X, rngs=rngs).shape == (4, 3)
    mutable = ["state", "intermediates"]
    _, updates = model.apply(variables, X, rngs=rngs, mutable=mutable)
    chex.assert_trees_all_equal(updates["state"]["calls"], jnp.ones(4))
    assert updates["intermediates"]["y"][0].shape == (3, 4)


def test_collectives_and_sizes() -> None:
    def center(scope: Any, x: Any) -> Any:
        return x - jax.lax.pmean(x, "batch")

    run = apply(lift.vmap(center, {}, {}, axis_name="batch"))
    chex.assert_trees_all_close(run({}, jnp.arange(4.0)).sum(), 0.0, atol=1e-6)
    run = apply(lift.vmap(lambda scope: jnp.ones(2), {}, {}, in_axes=(), axis_size=3))
    assert run({}).shape == (3, 2)


def test_keyword_arguments_are_mapped() -> None:
    class Scaled(Module):
        @compact
        def __call__(self, x: Any, *, scale: Any) -> Any:
            return Dense(2)(x) * scale

    model = vmap(Scaled, **SPLIT)()
    y, variables = model.init_with_output(KEY, X, scale=jnp.arange(4.0))
    expected = model.apply(variables, X, scale=jnp.ones(4)) * jnp.arange(4.0)[:, None]
    chex.assert_trees_all_close(y, expected, rtol=1e-6)


def test_boxes_gain_and_lose_a_name() -> None:
    seen = []

    def body(scope: Any, x: Any) -> Any:
        def make(key: Any) -> Any:
            return Partitioned(initializers.ones(key, (3, 2)), ("in", "out"))

        box = scope.param("w", make, unbox=False)
        seen.append(box.names)
        return x @ box.value

    params = {PARTITION_NAME: "experts"}
    run = lift.vmap(body, {"params": 1}, {"params": True}, metadata_params=params)
    _, variables = init(run)(KEY, X)
    box = variables["params"]["w"]
    assert (box.names, box.value.shape) == (("in", "experts", "out"), (3, 4, 2))
    apply(run)(variables, X)
    assert seen == [("in", "out"), ("in", "out")]


def test_several_places() -> None:
    def body(scopes: Any, x: Any) -> Any:
        a, b = scopes
        return x * a.get_variable("params", "w") + b.get_variable("params", "w")

    root = bind({"params": {"a": {"w": jnp.arange(4.0)}, "b": {"w": jnp.ones(4)}}})
    run = lift.vmap(body, {"params": 0}, {})
    y = run((root.push("a"), root.push("b")), jnp.full(4, 2.0))
    chex.assert_trees_all_equal(y, 2 * jnp.arange(4.0) + 1)


def test_gradients_are_those_of_a_loop() -> None:
    model = vmap(Dense, **SPLIT)(2)
    variables = model.init(KEY, X)

    def looped(variables: Any) -> Any:
        ys = [Dense(2).apply(entry(variables, i), X[i]) for i in range(4)]
        return jnp.sin(jnp.stack(ys)).sum()

    found = jax.grad(lambda v: jnp.sin(model.apply(v, X)).sum())(variables)
    chex.assert_trees_all_close(found, jax.grad(looped)(variables), rtol=1e-5)


@pytest.mark.parametrize("fallback", [False, True], ids=["named", "fallback to params"])
def test_a_stream_that_is_not_named(fallback: bool) -> None:
    rngs = {"params": KEY} if fallback else {"params": KEY, "noise": KEY}
    split = {} if fallback else {"params": True}
    model = vmap(Recorder, variable_axes={"params": 0, "state": 0}, split_rngs=split)(name="rec")

    class Net(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            return vmap(
                Recorder, variable_axes={"params": 0, "state": 0}, split_rngs=split, in_axes=0
            )(name="rec")(x)

    stream = "params" if fallback else "noise"
    where = "/rec/Dense_0" if fallback else "/rec"
    with pytest.raises(SplitRngsError) as caught:
        Net().init(rngs, X)
    assert str(caught.value) == (
        f"{where} draws from the random stream {stream!r} inside of vmap, whose split_rngs does not "
        f"name it. Write split_rngs={{{stream!r}: True}} for another key in every iteration, or "
        "False for the same one."
    )
    assert model.name == "rec"


def test_a_stream_that_an_outer_lift_does_not_name() -> None:
    inner = lift.vmap(lambda s, x: x + jax.random.uniform(s.make_rng("noise")), {}, {True: True})
    run = apply(lift.vmap(inner, {}, {}))
    with pytest.raises(SplitRngsError):
        run({}, jnp.zeros((2, 2)), rngs={"noise": KEY})


def test_axes_of_different_sizes() -> None:
    model = vmap(Dense, **SPLIT)(2)
    variables = model.init(KEY, X)
    with pytest.raises(AxisSizeError) as caught:
        model.apply(variables, X[:2])
    assert str(caught.value) == (
        "/: vmap: the mapped axes have different sizes:\n  2: argument[0]\n"
        "  4: collection \"params\" of /['kernel']"
    )


@pytest.mark.parametrize(
    "lifted",
    [
        partial(vmap, variable_axes={True: 0}, split_rngs={True: True}),
        fold_rngs,
        partial(map_variables, mapped_collections="params", init=True),
        add_metadata_axis,
    ],
    ids=["vmap", "fold_rngs", "map_variables", "add_metadata_axis"],
)
@pytest.mark.parametrize("name", ["scopes", "cut", "variables", "groups", "keys", "args"])
def test_keyword_arguments_may_have_any_name(lifted: Any, name: str) -> None:
    class Net(Module):
        @compact
        def __call__(self, x: Any, **named: Any) -> Any:
            return Dense(2)(x) * named[name]

    y, _ = lifted(Net)().init_with_output(KEY, X, **{name: jnp.zeros((4, 1))})
    assert y.shape == (4, 2)
    assert not y.any()


SHARES = "depends on the entry, but has None for its axis, which is for what all entries share."
REMEDY = "Give it an axis in out_axes or variable_axes."
WRONG_AXES: dict[str, tuple[dict[str, Any], str]] = {
    "in": ({"in_axes": 2}, "/: vmap: argument[0] has the shape [4, 3], and so no axis 2."),
    "out": ({"out_axes": -3}, "/: vmap: result has the shape [4, 2], and so no axis -3."),
    "structure": (
        {"out_axes": (0, 0)},
        "/: vmap: the axes (0, 0) do not fit the structure of the result, which is PyTreeDef(*). "
        "Give one axis for all of it, or a tree of axes that is a prefix of it.",
    ),
    "variable": (
        {"variable_axes": {"params": 3}},
        "/: vmap: collection \"params\" of /['kernel'] has the shape [4, 3, 2], and so no axis 3.",
    ),
    "text": (
        {"in_axes": "0"},
        "/: vmap: argument[0] has the shape [4, 3], and so no axis 0. Write None for what is not "
        "sliced.",
    ),
    "variable text": (
        {"variable_axes": {"params": "0"}},
        "vmap: variable_axes has '0' for 'params', which is no axis. Write an integer; None for "
        "variables that all entries share.",
    ),
    "shared result": ({"out_axes": None}, f"/: vmap: result {SHARES} {REMEDY}"),
    "shared variable": (
        {"variable_axes": {"params": None}},
        f'/: vmap: variable /kernel of collection "params" {SHARES} {REMEDY} A new variable is the '
        "same everywhere if split_rngs is False for the stream that it is drawn from.",
    ),
}


@pytest.mark.parametrize("what", WRONG_AXES)
def test_wrong_axes(what: str) -> None:
    options, text = WRONG_AXES[what]
    with pytest.raises(AxisSizeError) as caught:
        vmap(Dense, **SPLIT | options)(2).init(KEY, X)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("lifted", "remedy"),
    [
        (
            vmap(Dense),
            "vmap but not inside, since no filter of collections names it. Write variable_axes="
            "{'params': 0}, or None for the axis if all entries share it.",
        ),
        (
            remat(Dense, variables="state"),
            "remat but not inside, since no filter of collections names it. Write a filter that "
            "matches 'params' too.",
        ),
    ],
    ids=["vmap", "remat"],
)
@pytest.mark.parametrize("is_init", [True, False])
def test_a_collection_that_is_not_named(lifted: Any, remedy: str, is_init: bool) -> None:
    model = lifted(2)
    variables = {"params": {"kernel": jnp.ones((4, 3, 2))}}
    call = partial(model.init, KEY) if is_init else partial(model.apply, variables)
    with pytest.raises(WithheldCollectionError) as caught:
        call(X)
    assert str(caught.value) == (
        f'/ needs "kernel" from collection "params", which is there outside of {remedy}'
    )
    assert isinstance(caught.value, ScopeCollectionNotFound)


def test_a_collection_that_is_nowhere() -> None:
    with pytest.raises(ScopeCollectionNotFound, match="Pass what init returned"):
        vmap(Dense, **SPLIT)(2).apply({}, X)


@settings(max_examples=8, deadline=None)
@given(
    size=st.integers(1, 4),
    features=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    axis=st.integers(0, 2),
    in_axis=st.integers(-2, 1),
    out_axis=st.integers(-2, 1),
)
def test_it_equals_a_python_loop(
    size: int, features: list[int], axis: int, in_axis: int, out_axis: int
) -> None:
    class Net(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            for n in features:
                x = jnp.sin(Dense(n)(x))
            return x

    lifted = vmap(
        Net,
        variable_axes={"params": axis},
        split_rngs={"params": True},
        in_axes=in_axis,
        out_axes=out_axis,
    )
    xs = jax.random.normal(KEY, (size, 3))
    ys, variables = lifted().init_with_output(KEY, jnp.moveaxis(xs, 0, in_axis))
    expected = [Net().apply(entry(variables, i, axis), xs[i]) for i in range(size)]
    chex.assert_trees_all_close(ys, jnp.stack(expected, out_axis), rtol=1e-5, atol=1e-6)
