"""Lifted control flow: branches and loops, over modules and over scopes."""

# Options are collected in dicts of any values.
# pyright: reportArgumentType=false, reportCallIssue=false

from collections.abc import Callable
from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp

from .case import Case, Table, normal

CONTROLLED = Table()

X = normal(3, seed=1)
STREAMS = {"params": 0, "noise": 1}
DRAWS: dict[str, Any] = {"rngs": STREAMS, "apply_rngs": {"noise": 2}, "mutable": ["state", "sown"]}


def lift_of(scope: Any) -> Any:
    """Returns the lifted transformations over scopes of the library that a scope belongs to."""
    is_ours = type(scope).__module__.startswith("linen")
    return import_module("linen_transforms.lift" if is_ours else "flax.core.lift")


def layer(nn: Any, sows: bool = True) -> Any:
    """Returns a layer that makes parameters, draws, counts and sows."""

    class Layer(nn.Module):
        factor: float = 1.0

        @nn.compact
        def __call__(self, x):
            y = jnp.tanh(nn.Dense(3, name="dense")(x)) * self.factor
            if sows:
                self.sow("sown", "y", y)
            count = self.variable("state", "count", lambda: jnp.zeros((), jnp.int32))
            if not self.is_initializing():
                count.value += 1
            return y + 0.1 * jax.random.normal(self.make_rng("noise"), y.shape)

        def other(self, x):
            return 2 * self(x)

    return Layer


def dense(scope, x):
    """A layer of a scope that draws and counts."""
    kernel = scope.param("kernel", jax.nn.initializers.normal(), (3, 3))
    count = scope.variable("state", "count", lambda: jnp.zeros(()))
    if scope.is_mutable_collection("state"):
        count.value += 1
    return jnp.tanh(x @ kernel) + 0.1 * jax.random.normal(scope.make_rng("noise"), x.shape)


# Branches.


def choose_cond(nn: Any, chosen: int, fns: list[Callable], *args: Any) -> Any:
    """Calls one of two functions."""
    return nn.cond(jnp.asarray(bool(1 - chosen)), *fns, *args)


def choose_switch(nn: Any, chosen: int, fns: list[Callable], *args: Any) -> Any:
    """Calls one of several functions."""
    return nn.switch(jnp.asarray(chosen), fns, *args)


def branches_that_make_layers(nn: Any, choose: Callable) -> Any:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = layer(nn)()(x)
            fns = [lambda m, x, i=i: layer(nn)(i + 1.0)(x) for i in range(2)]
            x = choose(nn, fns, self, x)
            return layer(nn)()(choose(nn, fns, self, x))

    return Net()


def branches_of_layers_in_setup(nn: Any, choose: Callable) -> Any:
    class Net(nn.Module):
        def setup(self):
            quiet = layer(nn, sows=False)
            self.layers = [quiet(), quiet(2.0)]

        def __call__(self, x):
            if self.is_initializing():
                for one in self.layers:
                    one(x)
            fns = [lambda m, x, i=i: m.layers[i](x) for i in range(2)]
            return choose(nn, fns, self, x), choose(nn, fns, self, -x), self.make_rng("noise")

    return Net()


def branches_that_close_over_layers(nn: Any, choose: Callable) -> Any:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            layers = [nn.Dense(3), nn.Dense(3)]
            if self.is_initializing():
                for one in layers:
                    one(x)
            fns = [lambda m, x, one=one: one(x) for one in layers[:1]]
            second = layers[1]
            fns.append(lambda m, x: second(x) * 2)
            first = layers[0]
            fns[0] = lambda m, x: first(x) + 1
            return choose(nn, fns, self, x)

    return Net()


def branches_that_are_methods(nn: Any, choose: Callable) -> Any:
    class Net(nn.Module):
        def setup(self):
            self.dense = nn.Dense(3)

        def one(self, x, y):
            return self.dense(x) + y

        def two(self, x, y):
            return self.dense(y) - x

        def __call__(self, x):
            bound = choose(nn, [self.one, self.two], self, x, -x)
            return bound, choose(nn, [type(self).one, type(self).two], self, x, x)

    return Net()


def branches_of_a_submodule(nn: Any, choose: Callable) -> Any:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            one = layer(nn)()
            fns = [lambda m, x: m(x), lambda m, x: m.other(x)]
            return choose(nn, fns, one, x), one(x), choose(nn, fns, one, x)

    return Net()


def branches_that_change_state(nn: Any, choose: Callable) -> Any:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            total = self.variable("state", "total", jnp.zeros, (3,))

            def add(mdl, x):
                mdl.put_variable("state", "total", mdl.get_variable("state", "total") + x)
                return x

            return choose(nn, [add, lambda mdl, x: 2 * x], self, x), total.value

    return Net()


def branches_without_some_collections_and_streams(nn: Any, choose: Callable) -> Any:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.param("w", nn.initializers.normal(), (3,))
            self.variable("state", "total", jnp.zeros, (3,))

            def look(mdl, x):
                seen = [mdl.has_variable("params", "w"), mdl.has_variable("state", "total")]
                return x + sum(seen), [mdl.has_rng("noise"), mdl.has_rng("params")]

            fns = [look, look]
            return [
                choose(nn, fns, self, x, variables="params"),
                choose(nn, fns, self, x, rngs="noise"),
                choose(nn, fns, self, x, variables=False, rngs=False),
            ]

    return Net()


BRANCHINGS = (
    branches_that_make_layers,
    branches_of_layers_in_setup,
    branches_that_close_over_layers,
    branches_that_are_methods,
    branches_of_a_submodule,
    branches_that_change_state,
)
for build in BRANCHINGS:
    for kind, choose in (("cond", choose_cond), ("switch", choose_switch)):
        for chosen in (0, 1):
            CONTROLLED.append(
                Case(
                    name=f"{kind}_{chosen}_of_{build.__name__}",
                    build=lambda nn, build=build, choose=choose, chosen=chosen: build(
                        nn, lambda nn, fns, *args: choose(nn, chosen, fns, *args)
                    ),
                    args=(X,),
                    **DRAWS,
                )
            )


@CONTROLLED.module(args=(X,), gradients=False, **DRAWS)
def cond_without_some_collections_and_streams(nn):
    return branches_without_some_collections_and_streams(
        nn, lambda nn, fns, *args, **kw: nn.cond(True, *fns, *args, **kw)
    )


@CONTROLLED.module(args=(X,), gradients=False, **DRAWS)
def switch_without_some_collections_and_streams(nn):
    return branches_without_some_collections_and_streams(
        nn, lambda nn, fns, *args, **kw: nn.switch(1, fns, *args, **kw)
    )


@CONTROLLED.module(args=(X,), **DRAWS)
def switch_of_one_branch_and_of_an_index_out_of_bounds(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.switch(0, [lambda m, x: layer(nn)()(x)], self, x)
            return nn.switch(7, [lambda m, x, i=i: layer(nn)(i)(x) for i in range(3)], self, x)

    return Net()


@CONTROLLED.module(args=(X,), **DRAWS)
def cond_inside_of_cond(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            def inner(mdl, x):
                return nn.cond(
                    x[0] > 0, lambda m, x: layer(nn)()(x), lambda m, x: layer(nn)()(-x), mdl, x
                )

            return nn.cond(x[0] < 5, inner, lambda m, x: 2 * inner(m, x), self, x)

    return Net()


@CONTROLLED.module(args=(normal(4, 3),), **DRAWS)
def cond_inside_of_vmap(nn):
    class Step(nn.Module):
        @nn.compact
        def __call__(self, x):
            fns = [lambda m, x: layer(nn)()(x), lambda m, x: layer(nn)(3.0)(x)]
            return nn.cond(x[0] > 0, *fns, self, x), self.make_rng("noise")

    return nn.vmap(
        Step,
        variable_axes={"params": 0, "state": 0, "sown": 0},
        split_rngs={"noise": True, "params": True},
    )()


@CONTROLLED.module(args=(X, normal(4, 3)), **DRAWS)
def cond_inside_of_scan(nn):
    class Step(nn.Module):
        @nn.compact
        def __call__(self, carry, x):
            fns = [lambda m, x: layer(nn)()(x), lambda m, x: layer(nn)(3.0)(x)]
            return nn.cond(x[0] > 0, *fns, self, carry), self.make_rng("noise")

    return nn.scan(
        Step,
        variable_axes={"params": 0, "state": 0, "sown": 0},
        split_rngs={"noise": True, "params": True},
    )()


# Loops.


def below(limit: int) -> Callable:
    """Returns a condition on the first part of a carry."""
    return lambda mdl, carry: carry[0] < limit


def step(call: Callable) -> Callable:
    """Returns a body that counts in the first part of a carry and calls on the second."""
    return lambda mdl, carry: (carry[0] + 1, call(mdl, carry[1]))


LOOP: dict[str, Any] = {"args": (X,), "gradients": False, **DRAWS}


@CONTROLLED.module(**LOOP)
def while_loop_with_shared_parameters(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.Dense(3)
            dense(x)
            return nn.while_loop(below(3), step(lambda m, x: jnp.tanh(dense(x))), self, (0, x))

    return Net()


@CONTROLLED.module(**LOOP)
def while_loop_that_carries_state(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            total = self.variable("state", "total", lambda: jnp.ones(()))
            self.variable("state", "steps", lambda: 0)

            def condition(mdl, x):
                return mdl.get_variable("state", "total") < 20

            def body(mdl, x):
                mdl.put_variable("state", "total", 2 * mdl.get_variable("state", "total"))
                mdl.put_variable("state", "steps", mdl.get_variable("state", "steps") + 1)
                return x + 1

            return nn.while_loop(condition, body, self, x, carry_variables="state"), total.value

    return Net()


@CONTROLLED.module(**LOOP)
def while_loop_of_methods_in_setup(nn):
    class Net(nn.Module):
        def setup(self):
            self.layer = layer(nn)()

        def is_small(self, carry):
            return jnp.abs(carry[1]).sum() + carry[0] < 5

        def body(self, carry):
            return carry[0] + 1, self.layer(carry[1])

        def __call__(self, x):
            self.layer(x)
            return nn.while_loop(
                type(self).is_small,
                type(self).body,
                self,
                (0.0, x),
                carry_variables="state",
                split_rngs={"noise": True},
            )

    return Net()


@CONTROLLED.module(**LOOP)
def while_loop_of_a_submodule(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            one = layer(nn)()
            one(x)
            loop = step(lambda m, x: m(x))
            carried = {"carry_variables": "state", "broadcast_variables": "params"}
            y = nn.while_loop(below(2), loop, one, (0, x), **carried, split_rngs={"noise": False})
            return y, one(x)

    return Net()


def drawing_loop(**split_rngs: bool) -> Callable[[Any], Any]:
    """Returns what builds a module that draws in a loop."""

    def build(nn):
        class Net(nn.Module):
            @nn.compact
            def __call__(self, x):
                def draw(mdl, x):
                    return x + jax.random.normal(mdl.make_rng("noise"), x.shape)

                def condition(mdl, carry):
                    return jnp.logical_and(
                        carry[0] < 4, jax.random.uniform(mdl.make_rng("noise")) >= 0
                    )

                options = {"split_rngs": split_rngs}
                one = nn.while_loop(below(3), step(draw), self, (0, x), **options)
                other = nn.while_loop(condition, step(draw), self, one, **options)
                return one, other, self.make_rng("noise")

        return Net()

    return build


CONTROLLED.module(name="while_loop_with_split_streams", **LOOP)(drawing_loop(noise=True))
CONTROLLED.module(name="while_loop_with_shared_streams", **LOOP)(
    drawing_loop(noise=False, params=True)
)


@CONTROLLED.module(**LOOP)
def while_loop_of_weak_types(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            body = lambda mdl, carry: (carry[0] + 1, carry[1] + x.sum())  # noqa: E731
            return nn.while_loop(below(3), body, self, (0, 1)), nn.while_loop(
                lambda mdl, x: x < 9, lambda mdl, x: 2 * x, self, 1.0
            )

    return Net()


@CONTROLLED.module(args=(X, normal(4, 3)), gradients=False, **DRAWS)
def while_loop_inside_of_scan(nn):
    class Step(nn.Module):
        @nn.compact
        def __call__(self, carry, x):
            def draw(mdl, x):
                return x + jax.random.normal(mdl.make_rng("noise"), x.shape)

            loop = nn.while_loop(below(3), step(draw), self, (0, carry), split_rngs={"noise": True})
            return loop[1], (x, self.make_rng("noise"))

    return nn.scan(Step, split_rngs={"noise": True})()


# Over scopes.


@CONTROLLED.scope(args=(X,), **DRAWS)
def lifted_cond_over_scopes(scope, x):
    lift = lift_of(scope)
    fns = [lambda s, x: dense(s, x), lambda s, x: dense(s, -x)]
    return lift.cond(x[0] > 0, *fns, scope.push("a"), x), scope.make_rng("noise")


@CONTROLLED.scope(args=(X,), **DRAWS)
def lifted_switch_over_scopes(scope, x):
    fns = [lambda s, x, i=i: dense(s, i * x) for i in range(3)]
    return lift_of(scope).switch(1, fns, scope.push("a"), x), scope.make_rng("noise")


@CONTROLLED.scope(args=(X,), gradients=False, **DRAWS)
def lifted_while_loop_over_scopes(scope, x):
    below_limit, body = below(3), step(lambda s, x: dense(s.rewound(), x))
    inner = scope.push("a")
    dense(inner, x)
    return lift_of(scope).while_loop(
        below_limit, body, inner, (0, x), carry_variables="state", split_rngs={"noise": True}
    ), scope.make_rng("noise")
