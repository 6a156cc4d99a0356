"""`while_loop`, `cond` and `switch`: values, variables, streams and errors."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest
from jax.nn import initializers

from linen_core import Module, apply, compact
from linen_core.errors import ModifyScopeVariableError
from linen_transforms import cond, lift, scan, switch, vmap, while_loop
from linen_transforms.errors import (
    BranchMismatchError,
    CarryMismatchError,
    NotAModuleError,
    NotAScopeError,
    PredicateError,
    SplitRngsError,
)

KEY = jax.random.key(0)
X = jnp.arange(1.0, 4.0)


class Dense(Module):
    """A square layer that remembers its last output."""

    @compact
    def __call__(self, x: Any) -> Any:
        y = x @ self.param("kernel", initializers.normal(1.0), (x.shape[-1], x.shape[-1]))
        last = self.variable("state", "last", jnp.zeros, y.shape)
        if self.is_mutable_collection("state"):
            last.value = y
        return y


class Function(Module):
    """A module whose call is given."""

    call: Any

    @compact
    def __call__(self, *args: Any) -> Any:
        return self.call(self, *args)


def run(call: Any, *args: Any, mutable: Any = False, **variables: Any) -> Any:
    return Function(call).apply(variables, *args, mutable=mutable, rngs={"noise": KEY})


def text(error: type[Exception], call: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(error) as found:
        run(call, *args, **kwargs)
    return str(found.value)


# Branches.


def two_layers(mdl: Any, x: Any, choose: Any) -> Any:
    layers = [Dense(), Dense()]
    if mdl.is_initializing():
        for layer in layers:
            layer(x)
    return choose([lambda mdl, x: layers[0](x), lambda mdl, x: layers[1](x)], mdl, x)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("is_cond", [True, False], ids=["cond", "switch"])
def test_the_branch_that_is_chosen_acts(number: int, is_cond: bool) -> None:
    def call(mdl: Any, x: Any, number: Any) -> Any:
        def choose(fns: Any, *args: Any) -> Any:
            return cond(number == 0, *fns, *args) if is_cond else switch(number, fns, *args)

        return two_layers(mdl, x, choose)

    model = Function(call)
    variables = model.init(KEY, X, 0)
    _, before = model.apply(variables, X, number, mutable=[])
    y, state = jax.jit(lambda v, n: model.apply(v, 2 * X, n, mutable="state"))(variables, number)
    assert before == {}
    kernels = [variables["params"][f"Dense_{i}"]["kernel"] for i in range(2)]
    chex.assert_trees_all_close(y, 2 * X @ kernels[number], rtol=1e-6)
    last = [state["state"][f"Dense_{i}"]["last"] for i in range(2)]
    chex.assert_trees_all_equal(last[number], y)
    kept = variables["state"][f"Dense_{1 - number}"]["last"]
    chex.assert_trees_all_equal(last[1 - number], kept)


def test_gradients_flow_through_the_branch_that_is_chosen() -> None:
    def call(mdl: Any, x: Any, number: Any) -> Any:
        return two_layers(mdl, x, lambda *args: switch(number, *args))

    model = Function(call)
    variables = model.init(KEY, X, 0)

    def loss(params: Any) -> Any:
        return model.apply({**variables, "params": params}, X, 1).sum()

    gradients = jax.grad(loss)(variables["params"])
    assert not gradients["Dense_0"]["kernel"].any()
    chex.assert_trees_all_close(
        gradients["Dense_1"]["kernel"], jnp.broadcast_to(X[:, None], (3, 3))
    )


def test_each_branch_runs_once() -> None:
    runs = []

    def branch(name: str) -> Any:
        return lambda mdl, x: runs.append(name) or x

    run(lambda mdl, x: cond(True, branch("a"), branch("b"), mdl, x), X)
    run(lambda mdl, x: switch(2, [branch("c"), branch("d"), branch("e")], mdl, x), X)
    assert runs == ["a", "b", "c", "d", "e"]


def test_branches_create_layers_of_the_same_names() -> None:
    def call(mdl: Any, x: Any) -> Any:
        x = cond(x[0] > 0, lambda mdl, x: Dense()(x), lambda mdl, x: -Dense()(x), mdl, x)
        return Dense()(x)

    variables = Function(call).init(KEY, X)
    assert sorted(variables["params"]) == ["Dense_0", "Dense_1"]


def test_modules_at_several_places() -> None:
    def call(mdl: Any, x: Any) -> Any:
        layers = {"a": Dense(), "b": Dense()}
        for layer in layers.values():
            layer(x)
        return cond(x[0] > 0, lambda m, x: m["b"](x), lambda m, x: m["a"](x), layers, x)

    model = Function(call)
    variables = model.init(KEY, X)
    expected = X @ variables["params"]["Dense_1"]["kernel"]
    chex.assert_trees_all_close(model.apply(variables, X), expected, rtol=1e-6)


def test_streams_and_collections_can_be_withheld() -> None:
    def look(mdl: Any) -> Any:
        return jnp.array([mdl.has_rng("noise"), mdl.has_variable("state", "x")])

    def call(mdl: Any) -> Any:
        return [
            cond(True, look, look, mdl),
            cond(True, look, look, mdl, rngs=False),
            switch(0, [look], mdl, variables="params"),
        ]

    found = [x.tolist() for x in run(call, state={"x": 1})]
    assert found == [[True, True], [False, True], [True, False]]


def test_an_index_out_of_bounds_stands_for_the_nearest() -> None:
    branches = [lambda mdl, i=i: jnp.array(i) for i in range(3)]
    found = [run(lambda mdl, n=n: switch(n, branches, mdl)).item() for n in (-5, 1, 9)]
    assert found == [0, 1, 2]


def test_branches_inside_of_other_lifts() -> None:
    class Step(Module):
        @compact
        def __call__(self, carry: Any, x: Any) -> Any:
            draw = lambda mdl, x: x + jax.random.normal(mdl.make_rng("noise"))  # noqa: E731
            return carry, cond(x > 0, draw, lambda mdl, x: x, self, x)

    xs = jnp.array([1.0, -1.0, 1.0])
    axes: dict[str, Any] = {"split_rngs": {"noise": True}}
    _, scanned = scan(Step, **axes)().apply({}, 0.0, xs, rngs={"noise": KEY})
    mapped = vmap(Step, **axes, in_axes=(None, 0))().apply({}, 0.0, xs, rngs={"noise": KEY})[1]
    for ys in (scanned, mapped):
        assert ys[1] == -1
        assert len({*(ys - xs).tolist()}) == 3


TRUTHS: dict[str, tuple[Any, str]] = {
    "vector": (jnp.array([True, False]), "bool[2]"),
    "no array": ("yes", "'yes'"),
    "nothing": (None, "None"),
}


@pytest.mark.parametrize(("pred", "found"), TRUTHS.values(), ids=TRUTHS)
def test_a_predicate_that_is_none(pred: Any, found: str) -> None:
    same = lambda mdl: 1  # noqa: E731
    assert text(PredicateError, lambda mdl: cond(pred, same, same, mdl)) == (
        f"/: the predicate of cond must be one bool, but is {found}. "
        "Write x.any() or x.all(), or jax.numpy.where(x, y, z) per element."
    )


def test_an_index_that_is_none() -> None:
    assert text(PredicateError, lambda mdl: switch(1.0, [lambda mdl: 1], mdl)) == (
        "/: the index of switch must be one integer, but is float32[]. "
        "Convert it, for example with .astype(int)."
    )


def test_results_of_different_forms() -> None:
    def call(mdl: Any, x: Any) -> Any:
        fns = [lambda mdl, x: {"a": x, "b": x}, lambda mdl, x: {"a": x.astype(int), "c": x}]
        return cond(True, *fns, mdl, x)

    assert text(BranchMismatchError, call, X) == (
        "/: the branches of cond must give results and variables of the same forms, but these "
        "differ (branch 0, branch 1):\n"
        "  result['a']: float32[3], int32[3]\n"
        "  result['b']: float32[3], nothing\n"
        "  result['c']: nothing, float32[3]"
    )


def test_variables_of_different_forms() -> None:
    def branch(name: str) -> Any:
        return lambda mdl: mdl.variable("state", name, lambda: 1).value

    class Outer(Module):
        @compact
        def __call__(self) -> Any:
            fns = [branch("a"), branch("a"), branch("b")]
            return Function(lambda mdl: switch(0, fns, mdl), name="inner")()

    with pytest.raises(BranchMismatchError) as found:
        Outer().init(KEY)
    assert str(found.value) == (
        "/inner: the branches of switch must give results and variables of the same forms, but "
        "these differ (branch 0, branch 2):\n"
        "  variables of /inner: ['state']['a']: int32[], nothing\n"
        "  variables of /inner: ['state']['b']: nothing, int32[]\n"
        "A variable that only some branches create must exist before: create it outside, for "
        "example by calling what all branches need if self.is_initializing()."
    )


def test_no_branches() -> None:
    assert text(BranchMismatchError, lambda mdl: switch(0, [], mdl)) == (
        "/: switch got no branches. Pass at least one function."
    )


def test_not_in_a_module() -> None:
    with pytest.raises(NotAModuleError, match="lifted by cond"):
        cond(True, lambda mdl: 1, lambda mdl: 2, Dense())
    with pytest.raises(NotAScopeError):
        lift.cond(True, lambda scope: 1, lambda scope: 2, 3)


# Loops.


def below(limit: int) -> Any:
    return lambda mdl, carry: carry[0] < limit


def test_a_loop_carries_and_shares_variables() -> None:
    def call(mdl: Any, x: Any) -> Any:
        def condition(mdl: Any, x: Any) -> Any:
            return mdl.get_variable("state", "steps") < 5

        def body(mdl: Any, x: Any) -> Any:
            mdl.put_variable("state", "steps", mdl.get_variable("state", "steps") + 1)
            return x * mdl.get_variable("params", "scale")

        return while_loop(condition, body, mdl, x, carry_variables="state")

    scale = jnp.array([1.0, 2.0, 3.0])
    y, state = run(call, X, mutable="state", params={"scale": scale}, state={"steps": 2})
    chex.assert_trees_all_close(y, X * scale**3)
    assert state["state"]["steps"].item() == 5


def test_a_loop_runs_its_functions_once() -> None:
    runs = []

    def call(mdl: Any) -> Any:
        return while_loop(
            lambda mdl, n: runs.append("condition") or n < 7,
            lambda mdl, n: runs.append("body") or n + 1,
            mdl,
            0,
        )

    assert run(call).item() == 7
    assert runs == ["condition", "body"]


@pytest.mark.parametrize("is_split", [True, False])
def test_streams_are_split_or_shared(is_split: bool) -> None:
    def call(mdl: Any) -> Any:
        def body(mdl: Any, carry: Any) -> Any:
            number, draws = carry
            draw = jax.random.uniform(mdl.make_rng("noise"))
            return number + 1, draws.at[number].set(draw)

        init = (0, jnp.zeros(4))
        return while_loop(below(4), body, mdl, init, split_rngs={"noise": is_split})[1]

    assert len({*run(call).tolist()}) == (4 if is_split else 1)


def test_a_draw_from_a_stream_that_is_not_named() -> None:
    def call(mdl: Any) -> Any:
        body = lambda mdl, x: x + jax.random.uniform(mdl.make_rng("noise"))  # noqa: E731
        return while_loop(lambda mdl, x: x < 3, body, mdl, 0.0)

    assert text(SplitRngsError, call).startswith(
        "/ draws from the random stream 'noise' inside of while_loop, whose split_rngs"
    )


def test_keys_are_folded_with_the_number_of_the_iteration() -> None:
    def body(scope: Any, carry: Any) -> Any:
        number, keys = carry
        return number + 1, keys.at[number].set(scope.rngs["noise"])

    keys = jnp.stack([KEY] * 3)
    found = apply(
        lambda scope: lift.while_loop(below(3), body, scope, (0, keys), split_rngs={"noise": True})
    )({}, rngs={"noise": KEY})[1]
    expected = jnp.stack([jax.random.fold_in(KEY, i) for i in range(3)])
    chex.assert_trees_all_equal(jax.random.key_data(found), jax.random.key_data(expected))


def test_a_loop_has_no_counter_unless_a_stream_is_split() -> None:
    def call(mdl: Any, x: Any) -> Any:
        return while_loop(lambda mdl, x: x < 9, lambda mdl, x: 2 * x, mdl, x)

    jaxpr = jax.make_jaxpr(lambda x: run(call, x))(1.0)
    (loop,) = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == "while"]
    assert len(loop.outvars) == 1


def test_immutable_carried_variables_are_constants() -> None:
    def call(mdl: Any, x: Any) -> Any:
        def body(mdl: Any, carry: Any) -> Any:
            return carry[0] + 1, carry[1] + mdl.get_variable("state", "step")

        return while_loop(below(3), body, mdl, (0, x), carry_variables=True)[1]

    assert run(call, 1.0, state={"step": 2.0}).item() == 7


def test_weak_types_take_the_dtype_that_comes_out() -> None:
    def call(mdl: Any) -> Any:
        body = lambda mdl, carry: (carry[0] + 1, carry[1] + X.sum())  # noqa: E731
        return while_loop(below(3), body, mdl, (0, 1))[1]

    y = run(call)
    assert (y.item(), y.dtype) == (19, jnp.float32)


CARRIES: dict[str, tuple[Any, str]] = {
    "dtype": (lambda x: x.astype(jnp.bfloat16), "carry[1]: float32[3] -> bfloat16[3]"),
    "shape": (lambda x: x[:2], "carry[1]: float32[3] -> float32[2]"),
    "structure": (
        lambda x: (x,),
        "carry[1]: float32[3] -> nothing\n  carry[1][0]: nothing -> float32[3]",
    ),
}


@pytest.mark.parametrize(("change", "rows"), CARRIES.values(), ids=CARRIES)
def test_a_carry_that_changes(change: Any, rows: str) -> None:
    def call(mdl: Any, x: Any) -> Any:
        return while_loop(below(3), lambda mdl, c: (c[0] + 1, change(c[1])), mdl, (0, x))

    assert text(CarryMismatchError, call, X) == (
        "/: the carry of while_loop must come out of the body as it went in, but these differ "
        f"(in -> out):\n  {rows}"
    )


def test_carried_variables_that_change() -> None:
    def call(mdl: Any) -> Any:
        def body(mdl: Any, carry: Any) -> Any:
            mdl.put_variable("state", "x", jnp.ones(2))
            mdl.variable("state", "y", lambda: 1)
            return (carry[0] + 1,)

        return while_loop(below(3), body, mdl, (0,), carry_variables="state")

    assert text(CarryMismatchError, call, mutable="state", state={"x": X}) == (
        "/: the carry of while_loop must come out of the body as it went in, but these differ "
        "(in -> out):\n"
        "  variables of /: ['state']['x']: float32[3] -> float32[2]\n"
        "  variables of /: ['state']['y']: nothing -> int32[]\n"
        "A carried variable must exist before the loop: create it outside, or pass it with the "
        "variables."
    )


def test_a_condition_that_is_no_bool() -> None:
    call = lambda mdl, x: while_loop(lambda mdl, x: x, lambda mdl, x: x, mdl, x)  # noqa: E731
    assert text(PredicateError, call, X) == (
        "/: the result of cond_fn of while_loop must be one bool, but is float32[3]. "
        "Write x.any() or x.all(), or jax.numpy.where(x, y, z) per element."
    )


WRITES: dict[str, tuple[Any, Any, Any]] = {
    "in the condition": (
        lambda mdl, x: mdl.put_variable("state", "x", x) or x < 0,
        lambda mdl, x: x,
        "state",
    ),
    "to what is shared": (
        lambda mdl, x: x < 0,
        lambda mdl, x: mdl.put_variable("state", "x", x) or x,
        False,
    ),
}


@pytest.mark.parametrize(("condition", "body", "carried"), WRITES.values(), ids=WRITES)
def test_what_cannot_be_changed(condition: Any, body: Any, carried: Any) -> None:
    call = lambda mdl, x: while_loop(condition, body, mdl, x, carry_variables=carried)  # noqa: E731
    with pytest.raises(ModifyScopeVariableError):
        run(call, 1.0, mutable="state", state={"x": 0.0})
