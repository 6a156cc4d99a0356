"""Cases of the functional core: functions of a scope, with no modules at all."""

import jax
import jax.numpy as jnp
from jax.nn import initializers

from .case import Table, X

SCOPES = Table()
KERNEL = initializers.lecun_normal()
RANDOM = {"params": 0, "noise": 1}


def dense(scope, x, features=4):
    """A matrix product and a bias."""
    kernel = scope.param("kernel", KERNEL, (x.shape[-1], features))
    return x @ kernel + scope.param("bias", initializers.normal(), (1, features))


@SCOPES.scope()
def scope_param(scope, x):
    return dense(scope, x)


@SCOPES.scope()
def scope_param_takes_keyword_arguments(scope, x):
    return x + scope.param("bias", initializers.normal(), shape=(1, 3), dtype=jnp.float32)


@SCOPES.scope()
def scope_child_named(scope, x):
    return scope.child(dense, "hidden")(x)


@SCOPES.scope()
def scope_child_named_after_its_function(scope, x):
    return scope.child(dense)(scope.child(dense)(x))


@SCOPES.scope()
def scope_child_with_prefix(scope, x):
    return scope.child(dense, prefix="layer_")(scope.child(dense, prefix="layer_")(x))


@SCOPES.scope()
def scope_child_with_bound_arguments(scope, x):
    return scope.child(dense, "wide", features=7)(x)


@SCOPES.scope()
def scope_children_of_children(scope, x):
    def block(scope, x):
        return scope.child(dense, "inner")(x) + scope.param("gain", initializers.normal(), (1, 4))

    return scope.child(block, "first")(x), scope.child(block, "second")(x)


@SCOPES.scope()
def scope_push(scope, x):
    child = scope.push("hidden")
    return dense(child, x)


@SCOPES.scope()
def scope_push_automatically(scope, x):
    return dense(scope.push(prefix="part"), x) + dense(scope.push(prefix="part"), x)


@SCOPES.scope()
def scope_push_and_reuse(scope, x):
    def shift(child, x):
        return x + child.param("shift", initializers.normal(), (1, 3))

    first = shift(scope.push("shared"), x)
    return first + scope.push("shared", reuse=True).get_variable("params", "shift")


@SCOPES.scope(mutable=["state"])
def scope_variable(scope, x):
    count = scope.variable("state", "count", lambda: jnp.zeros((), jnp.int32))
    count.value += 1
    return x * count.value


@SCOPES.scope(mutable=["state", "cache"])
def scope_several_collections(scope, x):
    mean = scope.variable("state", "mean", jnp.zeros, (1, 3))
    last = scope.variable("cache", "last", jnp.zeros, x.shape)
    previous, last.value = last.value, x
    mean.value = 0.9 * mean.value + 0.1 * x.mean(0, keepdims=True)
    return dense(scope, previous - mean.value)


@SCOPES.scope(mutable=True)
def scope_put_variable(scope, x):
    scope.put_variable("outputs", "doubled", 2 * x)
    return scope.get_variable("outputs", "doubled")


@SCOPES.scope()
def scope_missing_variables(scope, x):
    absent = scope.get_variable("params", "absent"), scope.get_variable("params", "absent", 3)
    return absent, scope.has_variable("params", "absent"), scope.has_variable("nowhere", "a")


@SCOPES.scope(rngs=RANDOM, apply_rngs={"noise": 4}, gradients=False)
def scope_make_rng(scope, x):
    keys = [scope.make_rng("noise") for _ in range(3)]
    return [jax.random.normal(key, (2,)) for key in keys]


@SCOPES.scope(rngs=RANDOM, apply_rngs={"noise": 4})
def scope_make_rng_in_children(scope, x):
    def noisy(scope, x):
        return x + jax.random.normal(scope.make_rng("noise"), x.shape)

    x = scope.child(noisy, "a")(x)
    x = scope.child(noisy, "b")(noisy(scope, x))
    return scope.child(noisy)(x)


@SCOPES.scope(rngs=RANDOM, apply_rngs={"params": 2})
def scope_make_rng_falls_back_to_params(scope, x):
    return jax.random.normal(scope.make_rng("unknown"), (2,)), jax.random.normal(scope.make_rng())


@SCOPES.scope(rngs=RANDOM, apply_rngs={"noise": 4})
def scope_has_rng(scope, x):
    return scope.has_rng("noise"), scope.has_rng("dropout")


@SCOPES.scope(rngs=RANDOM, apply_rngs={"noise": 4}, key=jax.random.PRNGKey)
def scope_raw_keys(scope, x):
    return dense(scope, x) + jax.random.normal(scope.make_rng("noise"), (2, 4))


@SCOPES.scope(mutable=["state"])
def scope_mutability(scope, x):
    return scope.is_mutable_collection("params"), scope.is_mutable_collection("state")


@SCOPES.scope()
def scope_path(scope, x):
    def paths(scope):
        return "/".join(scope.path), scope.name

    return paths(scope), scope.child(paths, "a")(), scope.push("b").path


@SCOPES.scope()
def scope_parameters_of_python_scalars(scope, x):
    return x * scope.param("scale", lambda key: 2.0) + scope.param("offset", lambda key: -0.5)


@SCOPES.scope(gradients=False)
def scope_parameters_of_python_integers(scope, x):
    return x * scope.param("scale", lambda key: 2)


@SCOPES.scope()
def scope_parameter_trees(scope, x):
    def pair(key, shape):
        return {"w": jax.random.normal(key, shape), "b": (jnp.zeros(shape), jnp.ones(shape))}

    tree = scope.param("pair", pair, (1, 3))
    return x * tree["w"] + tree["b"][1]


@SCOPES.scope(init_mutable=["params"])
def scope_initial_filter(scope, x):
    if scope.is_mutable_collection("state"):
        scope.put_variable("state", "seen", x)
    return dense(scope, x)


@SCOPES.scope()
def scope_order_of_creation_does_not_matter(scope, x):
    last = scope.param("z", initializers.normal(), (1, 3))
    return x * last + scope.param("a", initializers.normal(), (1, 3))


@SCOPES.scope(args=({"left": X, "right": [X, 2 * X]},))
def scope_tree_inputs(scope, tree):
    return {"sum": dense(scope, tree["left"] + tree["right"][1]), "same": tree["right"]}
