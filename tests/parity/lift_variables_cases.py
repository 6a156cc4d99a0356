"""Lifts that change what a body sees: mapped variables, folded streams, metadata and names."""

from typing import Any

import jax
import jax.numpy as jnp

from .case import Case, Table, normal
from .lift_control_cases import DRAWS, STREAMS, X, dense, layer, lift_of

MAPPED, METADATA = Table(), Table()


# Mapped variables.


def doubled(variables: Any) -> Any:
    return jax.tree.map(lambda x: 2 * x, variables)


def halved(variables: Any) -> Any:
    return jax.tree.map(lambda x: x / 2, variables)


def transposed(variables: Any) -> Any:
    return jax.tree.map(lambda x: x.T, variables)


def signs(variables: Any) -> Any:
    return jax.tree.map(jnp.sign, variables)


MAPS: dict[str, dict[str, Any]] = {
    "init": {"init": True},
    "mutable": {"mutable": True},
    "both": {"init": True, "mutable": True},
}
FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "halves": (doubled, halved),
    "signs": (signs,),
    "transposed": (transposed, transposed),
}


def mapped_class(nn: Any, *functions: Any, **options: Any) -> Any:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            options["init"] = options.get("init", False) and self.is_initializing()
            return nn.map_variables(layer(nn), "params", *functions, **options)()(nn.Dense(3)(x))

    return Net()


def mapped_method(nn: Any, *functions: Any, **options: Any) -> Any:
    class Net(nn.Module):
        def setup(self):
            is_open = options.get("init", False) and self.is_initializing()
            lifted = nn.map_variables(
                layer(nn), "params", *functions, **options | {"init": is_open}, methods=["other"]
            )
            self.layer = lifted()

        def __call__(self, x):
            return self.layer.other(x)

    return Net()


def mapped_function(nn: Any, *functions: Any, **options: Any) -> Any:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            options["init"] = options.get("init", False) and self.is_initializing()
            call = nn.map_variables(lambda mdl, x: mdl(x), "params", *functions, **options)
            return call(layer(nn)(), x), call(layer(nn)(), -x)

    return Net()


for form in (mapped_class, mapped_method, mapped_function):
    for functions_name, functions in FUNCTIONS.items():
        for options_name, options in MAPS.items():
            MAPPED.append(
                Case(
                    name=f"{form.__name__}_with_{functions_name}_{options_name}",
                    build=lambda nn, form=form, functions=functions, options=options: form(
                        nn, *functions, **options
                    ),
                    args=(X,),
                    **DRAWS,
                )
            )


@MAPPED.module(args=(X,), **DRAWS)
def mapped_weights_are_masked(nn):
    class Causal(nn.Module):
        def mask(self, variables):
            return variables if self.is_initializing() else jax.tree.map(jnp.triu, variables)

        def setup(self):
            masked = nn.map_variables(nn.Dense, "params", self.mask, init=self.is_initializing())
            self.dense = masked(3, use_bias=False)

        def __call__(self, x):
            return self.dense(x)

    return Causal()


@MAPPED.module(args=(X,), **DRAWS)
def mapped_weights_are_tied(nn):
    class Autoencoder(nn.Module):
        def setup(self):
            self.encoder = nn.Dense(2, use_bias=False)

        def __call__(self, x):
            def decode(mdl, z):
                return z @ mdl.variables["params"]["kernel"]

            return nn.map_variables(decode, "params", transposed)(self.encoder, self.encoder(x))

    return Autoencoder()


@MAPPED.module(args=(X,), **DRAWS)
def mapped_state(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            options = {"init": self.is_initializing(), "mutable": True}
            return nn.map_variables(layer(nn), "state", doubled, lambda v: v, **options)()(x)

    return Net()


@MAPPED.module(args=(X,), **DRAWS)
def mapped_without_some_collections_and_streams(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.param("w", nn.initializers.normal(), (3,))
            self.variable("state", "total", jnp.zeros, (3,))

            def look(mdl):
                seen = [mdl.has_variable("params", "w"), mdl.has_variable("state", "total")]
                return [*seen, mdl.has_rng("noise"), mdl.has_rng("params")]

            return x, [
                nn.map_variables(look, "params", doubled)(self),
                nn.map_variables(look, "params", doubled, variables=False)(self),
                nn.map_variables(look, "params", doubled, rngs="noise")(self),
            ]

    return Net()


@MAPPED.module(args=(normal(4, 3),), **DRAWS)
def mapped_inside_of_vmap(nn):
    lifted = nn.map_variables(layer(nn), "params", doubled, halved, mutable=True)
    axes = {"params": 0, "state": 0, "sown": 0}
    return nn.vmap(lifted, variable_axes=axes, split_rngs={"params": True, "noise": True})()


@MAPPED.module(args=(X,), **DRAWS)
def mapped_inside_of_remat(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            options = {"init": self.is_initializing()}
            lifted = nn.map_variables(layer(nn), "params", doubled, halved, **options)
            return nn.remat(lifted)()(x)

    return Net()


# Folded streams, metadata and names.


@MAPPED.module(args=(X,), **DRAWS)
def fold_rngs_of_a_class(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            one = nn.fold_rngs(layer(nn))()
            return one(x), one(x), layer(nn)()(x), self.make_rng("noise")

    return Net()


@MAPPED.module(args=(X,), **DRAWS)
def fold_rngs_of_a_function(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            one = layer(nn)()

            def call(mdl, x):
                return layer(nn)()(x), mdl.make_rng("noise")

            y = nn.fold_rngs(lambda mdl, x: mdl(x) * 2)(one, x), one(x)
            return y, nn.fold_rngs(call)(self, x), self.make_rng("noise")

    return Net()


@MAPPED.module(args=(X,), **DRAWS)
def fold_rngs_in_fold_rngs(nn):
    class Net(nn.Module):
        def setup(self):
            self.layer = nn.fold_rngs(nn.fold_rngs(layer(nn)))()

        def __call__(self, x):
            return self.layer(x), self.layer.other(x)

    return Net()


@MAPPED.module(args=(X, normal(4, 3)), **DRAWS)
def fold_rngs_inside_of_scan(nn):
    class Step(nn.Module):
        @nn.compact
        def __call__(self, carry, x):
            return nn.fold_rngs(layer(nn))()(carry) + x, self.make_rng("noise")

    return nn.scan(
        Step,
        variable_axes={"params": 0, "state": 0, "sown": 0},
        split_rngs={"noise": True, "params": True},
    )()


@MAPPED.module(args=(X,), gradients=False, **DRAWS)
def fold_rngs_without_some_collections_and_streams(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.param("w", nn.initializers.normal(), (3,))

            def look(mdl):
                return [
                    mdl.has_variable("params", "w"),
                    mdl.has_rng("noise"),
                    mdl.has_rng("params"),
                ]

            return [
                nn.fold_rngs(look)(self),
                nn.fold_rngs(look, variables=False)(self),
                nn.fold_rngs(look, rngs="noise")(self),
            ]

    return Net()


def boxed(nn: Any) -> Any:
    """Returns a module with boxes in two collections."""

    class Boxed(nn.Module):
        @nn.compact
        def __call__(self, x):
            init = nn.with_partitioning(nn.initializers.normal(), ("in", "out"))
            kernel = self.param("kernel", init, (3, 2))
            mean = self.variable("state", "mean", nn.with_partitioning(jnp.zeros, ("out",)), (2,))
            names = self.scope.get_variable("params", "kernel").names
            return x @ kernel + mean.value, names

    return Boxed


AXES: dict[str, Any] = {
    "of_nothing": {},
    "first": {"params": 0},
    "last_of_all_collections": {"params": 2, "state": 1},
    "by_a_filter": {True: 0},
}
for axes_name, variable_axes in AXES.items():
    METADATA.append(
        Case(
            name=f"metadata_axis_{axes_name}",
            build=lambda nn, axes=variable_axes: nn.add_metadata_axis(
                boxed(nn), axes, {nn.PARTITION_NAME: "layers"}
            )(),
            args=(X,),
            **DRAWS,
        )
    )


@METADATA.module(args=(X,), **DRAWS)
def metadata_axis_of_a_function_and_a_named_class(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            arguments = {"params": 1}, {nn.PARTITION_NAME: "layers"}
            one = nn.add_metadata_axis(lambda mdl, x: mdl(x), *arguments)(boxed(nn)(), x)
            two = nn.add_metadata_axis(boxed(nn), *arguments)()(x)
            return one, two, nn.add_metadata_axis(boxed(nn), *arguments)(name="three")(x)

    return Net()


@MAPPED.module(args=(X,), **DRAWS)
def named_call_of_methods_and_functions(nn):
    class Net(nn.Module):
        @nn.named_call
        @nn.compact
        def __call__(self, x):
            x = nn.named_call(lambda mdl, x: layer(nn)()(x))(self, x)
            return nn.named_call(type(self).other, force=False)(self, x)

        def other(self, x):
            return x + 1

    return Net()


# Over scopes.


@MAPPED.scope(args=(X,), **DRAWS)
def lifted_map_variables_over_scopes(scope, x):
    lift = lift_of(scope)
    is_open = scope.is_mutable_collection("params")
    call = lift.map_variables(dense, "params", doubled, halved, init=is_open)
    return call(scope.push("a"), x), scope.make_rng("noise")


@MAPPED.scope(args=(X,), rngs=STREAMS, apply_rngs={"noise": 2}, mutable=True)
def lifted_swap_collection_over_scopes(scope, x):
    lift = lift_of(scope)
    y = dense(scope.push("a"), x)
    return lift.swap_collection(dense, "params", "state")(scope.push("b"), x) + y


@MAPPED.scope(args=(X,), rngs=STREAMS, gradients=False)
def lifted_swap_collection_of_what_is_not_there(scope, x):
    lift = lift_of(scope)
    return lift.swap_collection(lambda s: s.has_variable("a", "x"), "a", "b")(scope)
