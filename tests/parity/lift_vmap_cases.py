"""The arguments of the lifted `vmap`."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from .case import Table, normal

VMAPPED = Table()
BATCH = normal(4, 3, seed=3)
SPLIT: dict[str, Any] = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
SHARED: dict[str, Any] = {"variable_axes": {"params": None}, "split_rngs": {"params": False}}
DRAWS: dict[str, Any] = {"rngs": {"params": 0, "noise": 1}, "apply_rngs": {"noise": 2}}


def noisy(nn):
    class Noisy(nn.Module):
        @nn.compact
        def __call__(self, x):
            noise = jax.random.normal(self.make_rng("noise"), x.shape)
            return nn.Dense(2)(x + noise)

    return Noisy


@VMAPPED.module(args=(BATCH,))
def vmap_over_another_axis_of_params(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return self.param("kernel", nn.initializers.lecun_normal(), (2, 3)) @ x

    return nn.vmap(Net, **SPLIT | {"variable_axes": {"params": 1}})()


@VMAPPED.module(args=(normal(3, 4, seed=4),))
def vmap_over_negative_axes(nn):
    options = SPLIT | {"variable_axes": {"params": -1}}
    return nn.vmap(nn.Dense, in_axes=-1, out_axes=-1, **options)(2)


@VMAPPED.module(args=({"a": BATCH, "b": normal(3, seed=5)}, normal(3, 4, seed=6)))
def vmap_over_a_tree_of_axes(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, tree, y):
            z = nn.Dense(3)(tree["a"] + tree["b"])
            return {"sum": z + y, "pair": (z.sum(), tree["b"])}

    axes = {"in_axes": ({"a": 0, "b": None}, 1), "out_axes": {"sum": 1, "pair": (0, None)}}
    return nn.vmap(Net, **SPLIT | axes)()


@VMAPPED.module(args=(BATCH[0],))
def vmap_over_nothing_but_a_size(nn):
    return nn.vmap(nn.Dense, in_axes=None, axis_size=4, **SPLIT)(2)


@VMAPPED.module(args=(BATCH,))
def vmap_with_an_axis_name(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            y = nn.Dense(3)(x)
            return y - jax.lax.pmean(y, "batch"), jax.lax.axis_index("batch")

    return nn.vmap(Net, axis_name="batch", **SHARED)()


@VMAPPED.module(
    args=(normal(4, 5, 3),),
    mutable=["batch_stats"],
    ulps=4,
    gradient_ulps=4,
    eager_ulps=4,
    reason="the variance is that of another formula",
)
def vmap_of_a_batch_norm_with_an_axis_name(nn):
    options: dict[str, Any] = SHARED | {"variable_axes": {"params": None, "batch_stats": None}}

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            norm = partial(nn.BatchNorm, use_running_average=False, axis_name="batch")
            return nn.vmap(norm_class(nn, norm), axis_name="batch", **options)()(x)

    return Net()


def norm_class(nn, norm):
    class Norm(nn.Module):
        @nn.compact
        def __call__(self, x):
            return norm()(x)

    return Norm


@VMAPPED.module(args=(BATCH,), **DRAWS)
def vmap_that_splits_one_stream(nn):
    options = SHARED | {"split_rngs": {"params": False, "noise": True}}
    return nn.vmap(noisy(nn), **options)()


@VMAPPED.module(args=(BATCH,), **DRAWS)
def vmap_that_broadcasts_a_stream(nn):
    return nn.vmap(noisy(nn), **SPLIT | {"split_rngs": {"params": True, "noise": False}})()


@VMAPPED.module(args=(BATCH,), **DRAWS)
def vmap_with_a_filter_of_all_streams(nn):
    return nn.vmap(noisy(nn), variable_axes={True: 0}, split_rngs={True: True})()


@VMAPPED.module(args=(BATCH,), **DRAWS)
def vmap_with_deny_lists(nn):
    others = nn.DenyList("params")
    axes = {"params": None, others: 0}
    return nn.vmap(noisy(nn), variable_axes=axes, split_rngs={others: True, "params": False})()


@VMAPPED.module(args=(BATCH,), **DRAWS)
def vmap_of_a_module_called_twice(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            layer = nn.vmap(noisy(nn), variable_axes={"params": 0}, split_rngs={True: True})()
            return layer(x), layer(x), jax.random.normal(self.make_rng("noise"))

    return Net()


@VMAPPED.module(args=(BATCH,), mutable=["intermediates"])
def vmap_with_sown_intermediates(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            for _ in range(2):
                x = nn.Dense(3, name=None)(x)
                self.sow("intermediates", "x", x)
            return x

    axes = {"params": 0, "intermediates": 1}
    return nn.vmap(Net, variable_axes=axes, split_rngs={"params": True})()


@VMAPPED.module(args=(BATCH,), mutable=["state"], gradients=False)
def vmap_with_state_that_is_kept_and_state_that_changes(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            count = self.variable("state", "count", jnp.zeros, ())
            count.value += x.sum()
            scale = self.variable("fixed", "scale", lambda: jnp.full((), 2.0))
            return x * scale.value + count.value

    axes = {"state": 0, "fixed": None}
    return nn.vmap(Net, variable_axes=axes, split_rngs={"params": True})()


@VMAPPED.module(args=(BATCH,), mutable=["perturbations"])
def vmap_with_perturbations(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return self.perturb("y", nn.Dense(2)(x)) ** 2

    axes = {"params": None, "perturbations": 0}
    return nn.vmap(Net, variable_axes=axes, split_rngs={"params": False})()


@VMAPPED.module(args=(BATCH, normal(4, 2, seed=7)))
def vmap_with_methods_that_differ(nn):
    class Pair(nn.Module):
        def setup(self):
            self.encoder, self.decoder = nn.Dense(2), nn.Dense(3)

        def encode(self, x):
            return self.encoder(x)

        def decode(self, z, scale):
            return self.decoder(z * scale)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, z):
            methods = {"encode": SPLIT, "decode": SPLIT | {"in_axes": (0, None), "out_axes": 1}}
            pair = nn.vmap(Pair, methods=methods)()
            return pair.decode(pair.encode(x), 2.0), pair.decode(z, 0.5)

    return Net()


@VMAPPED.module(args=(BATCH,))
def vmap_of_a_class_with_methods_that_are_not_lifted(nn):
    class Pair(nn.Module):
        def setup(self):
            self.dense = nn.Dense(3)

        def __call__(self, x):
            return self.dense(x)

        def shape(self, x):
            return x.shape

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            pair = nn.vmap(Pair, **SPLIT)(name="pair")
            return pair(x), pair.shape(x)

    return Net()


@VMAPPED.module(args=(BATCH,))
def vmap_of_a_class_with_fields_that_are_modules(nn):
    class Residual(nn.Module):
        inner: Any
        layers: Any

        @nn.compact
        def __call__(self, x):
            for layer in self.layers:
                x = x + layer(x)
            return x + self.inner(x)

    return nn.vmap(Residual, **SPLIT)(nn.Dense(3), [nn.Dense(3), nn.Dense(3)])


@VMAPPED.module(args=(BATCH,))
def vmap_through_a_method_by_name(nn):
    class Net(nn.Module):
        def setup(self):
            self.dense = nn.Dense(3)

        @partial(nn.vmap, variable_axes={"params": None}, split_rngs={"params": False})
        def each(self, x):
            return self.dense(x) + self.once(x)

        def once(self, x):
            return x.sum()

        def __call__(self, x):
            return self.each(x), self.dense(x)

    return Net()


@VMAPPED.module(args=(BATCH,))
def vmap_of_a_multi_head_projection(nn):
    heads = partial(nn.vmap, in_axes=(None,), out_axes=-1, axis_size=2)
    return heads(nn.Dense, **SPLIT)(5)
