"""The arguments of the lifted `scan`."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from .case import Table, normal

SCANNED = Table()
CARRY, XS = normal(3, seed=1), normal(4, 3, seed=2)
STACKED: dict[str, Any] = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
SHARED: dict[str, Any] = {"variable_broadcast": "params", "split_rngs": {"params": False}}
DRAWS: dict[str, Any] = {"rngs": {"params": 0, "noise": 1}, "apply_rngs": {"noise": 2}}


def cell(nn):
    class Cell(nn.Module):
        @nn.compact
        def __call__(self, carry, x):
            carry = jnp.tanh(nn.Dense(3)(carry) + x)
            return carry, carry[:2]

    return Cell


def counter(nn):
    class Counter(nn.Module):
        @nn.compact
        def __call__(self, carry, x):
            count = self.variable("state", "count", jnp.zeros, ())
            count.value += x.sum()
            return carry + count.value, count.value

    return Counter


@SCANNED.module(args=(CARRY, XS))
def scan_in_reverse(nn):
    return nn.scan(cell(nn), reverse=True, **STACKED)()


@SCANNED.module(args=(CARRY, XS))
def scan_unrolled(nn):
    return nn.scan(cell(nn), unroll=2, **SHARED)()


@SCANNED.module(args=(CARRY, normal(3, 4, seed=3)))
def scan_over_other_axes(nn):
    options = STACKED | {"variable_axes": {"params": -1}}
    return nn.scan(cell(nn), in_axes=1, out_axes=-1, **options)()


@SCANNED.module(args=(CARRY, None))
def scan_over_nothing_but_a_length(nn):
    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return x + nn.Dense(3)(x), None

    return nn.scan(Layer, length=3, **STACKED)()


@SCANNED.module(args=(CARRY, {"x": XS, "y": normal(3, seed=4)}, normal(3, 4, seed=5)))
def scan_over_a_tree_of_axes(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, carry, tree, z):
            carry = nn.Dense(3)(carry) + tree["x"] * tree["y"] + z
            return carry, {"a": carry, "b": (tree["y"], z.sum())}

    axes = ({"x": 0, "y": nn.broadcast}, 1)
    return nn.scan(Net, in_axes=axes, out_axes={"a": 1, "b": (nn.broadcast, 0)}, **STACKED)()


@SCANNED.module(args=({"h": CARRY, "n": jnp.zeros((), jnp.int32)}, XS), gradients=False)
def scan_with_a_tree_as_carry(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, carry, x):
            h = nn.Dense(3)(carry["h"]) * x
            return {"h": h, "n": carry["n"] + 1}, (h, carry["n"])

    return nn.scan(Net, **SHARED)()


@SCANNED.module(args=(0.0, XS))
def scan_with_a_python_scalar_as_carry(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, total, x):
            return total + nn.Dense(2)(x).sum(), total

    return nn.scan(Net, **SHARED)()


@SCANNED.module(args=(CARRY, XS), mutable=["state"], gradients=False)
def scan_that_carries_a_collection(nn):
    class Net(nn.Module):
        def setup(self):
            self.counter = counter(nn)()

        def __call__(self, carry, xs):
            first = self.counter(carry, xs[0])  # creates what is carried
            loop = nn.scan(lambda mdl, c, x: mdl(c, x), variable_carry="state")
            return first, loop(self.counter, carry, xs), self.counter(carry, xs[0])

    return Net()


@SCANNED.module(args=(CARRY, XS), **DRAWS)
def scan_that_broadcasts_a_stream(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, carry, x):
            noise = jax.random.normal(self.make_rng("noise"))
            return nn.Dense(3)(carry) + noise, noise

    options = STACKED | {"split_rngs": {"params": True, "noise": False}}
    return nn.scan(Net, **options)()


@SCANNED.module(args=(CARRY, XS), **DRAWS)
def scan_with_dropout_called_twice(nn):
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            x = nn.Dropout(0.5, deterministic=False, rng_collection="noise")(nn.Dense(3)(x))
            return nn.Dropout(0.5, deterministic=False, rng_collection="noise")(x), None

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, xs):
            blocks = nn.scan(
                Block, variable_axes={"params": 0}, split_rngs={True: True}, length=4
            )()
            return blocks(x, None), blocks(x, None), jax.random.normal(self.make_rng("noise"))

    return Net()


@SCANNED.module(args=(CARRY, XS), mutable=["intermediates"])
def scan_with_sown_intermediates(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, carry, x):
            carry = nn.Dense(3)(carry) + x
            self.sow("intermediates", "carry", carry)
            self.sow("intermediates", "carry", carry * 2)
            return carry, ()

    axes = {"params": 0, "intermediates": 1}
    return nn.scan(Net, variable_axes=axes, split_rngs={"params": True})()


@SCANNED.module(args=(CARRY, XS), mutable=["perturbations"])
def scan_with_perturbations(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, carry, x):
            carry = self.perturb("carry", nn.Dense(3)(carry) + x)
            return carry, jnp.sin(carry)

    axes = {"params": 0, "perturbations": 0}
    return nn.scan(Net, variable_axes=axes, split_rngs={"params": True})()


@SCANNED.module(args=(CARRY, XS), gradients=False)
def scan_with_constants_that_the_body_makes(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, carry, x):
            table = self.variable("constants", "table", lambda: jnp.arange(3.0))
            return carry + table.value + x, carry

    broadcast = ["params", "constants"]
    return nn.scan(Net, variable_broadcast=broadcast, split_rngs={"params": False})()


@SCANNED.module(args=(CARRY, XS), mutable=["state"], gradients=False)
def scan_that_keeps_the_last_of_a_broadcast_variable(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, carry, x):
            last = self.variable("state", "last", jnp.zeros, (3,))
            last.value = jnp.ones(3)
            return carry + x, last.value.sum()

    return nn.scan(Net, variable_broadcast="state")()


@SCANNED.module(args=(CARRY, XS))
def scan_with_a_transform_of_the_data(nn):
    def double(variables, rngs):
        return jax.tree.map(lambda leaf: leaf * 2, variables), rngs

    class Net(nn.Module):
        @nn.compact
        def __call__(self, carry, x):
            shift = self.variable("params", "shift", jnp.ones, (3,))
            return carry + x * shift.value, None

    return nn.scan(Net, data_transform=double, **STACKED)()


@SCANNED.module(args=(CARRY, XS))
def scan_with_methods_that_differ(nn):
    class Cell(nn.Module):
        def setup(self):
            self.dense = nn.Dense(3)

        def __call__(self, carry, x):
            carry = self.dense(carry) + x
            return carry, carry

        def backwards(self, carry, x):
            carry = self.dense(carry) - x
            return carry, carry.sum()

    class Net(nn.Module):
        @nn.compact
        def __call__(self, carry, xs):
            methods = {"__call__": SHARED, "backwards": SHARED | {"reverse": True}}
            loop = nn.scan(Cell, methods=methods)()
            return loop(carry, xs), loop.backwards(carry, xs)

    return Net()


@SCANNED.module(args=(CARRY, XS))
def scan_without_the_check_of_constants(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, carry, x):
            carry = nn.Dense(3)(carry) + x
            return carry, carry

    return nn.scan(Net, check_constancy_invariants=False, **STACKED)()


@SCANNED.module(args=(CARRY, XS))
def scan_with_split_transpose(nn):
    return nn.scan(cell(nn), _split_transpose=True, **STACKED)()


@SCANNED.module(args=(normal(4, 3), normal(5, 4, 3)))
def scan_of_a_recurrent_cell_over_time(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, state, xs):
            cells = partial(nn.scan, variable_broadcast="params", split_rngs={"params": False})
            return cells(cell_of_gates(nn), in_axes=1, out_axes=1)()(state, xs.swapaxes(0, 1))

    return Net()


def cell_of_gates(nn):
    class Gated(nn.Module):
        @nn.compact
        def __call__(self, state, x):
            gate = nn.sigmoid(nn.Dense(3, name="gate")(x) + nn.Dense(3, name="state")(state))
            state = gate * state + (1 - gate) * jnp.tanh(x)
            return state, state.sum(-1)

    return Gated


@SCANNED.module(args=(0, XS), **DRAWS)
def scan_with_a_scalar_that_takes_another_dtype_and_draws(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, total, x):
            noise = jax.random.normal(self.make_rng("noise"))
            return total + nn.Dense(2)(x).sum() + noise, total

    class Twice(nn.Module):
        @nn.compact
        def __call__(self, total, xs):
            loop = nn.scan(Net, **SHARED | {"split_rngs": {"params": False, "noise": True}})()
            return loop(total, xs), loop(total, xs), self.make_rng("noise")

    return Twice()


@SCANNED.module(args=(0.0, XS), **DRAWS)
def scan_of_a_function_with_a_scalar_that_takes_another_dtype(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, total, xs):
            def step(mdl, total, x):
                noise = jax.random.normal(mdl.make_rng("noise"))
                return total + nn.Dense(2)(x).sum() + noise, total

            options = SHARED | {"split_rngs": {"params": False, "noise": True}}
            result = nn.scan(step, **options)(self, total, xs)
            return result, nn.Dense(2)(xs), self.make_rng("noise")

    return Net()


@SCANNED.module(args=(CARRY, normal(2, 4, 3, seed=5)))
def scan_that_broadcasts_what_a_loop_inside_stacks(nn):
    return nn.scan(nn.scan(cell(nn), **STACKED), **SHARED)()


@SCANNED.module(args=(CARRY, XS))
def scan_that_broadcasts_what_is_made_beside_a_callback(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, carry, x):
            jax.debug.callback(lambda _: None, x)
            return nn.Dense(3)(carry) + x, carry

    return nn.scan(Net, **SHARED)()


@SCANNED.module(args=(CARRY, XS))
def scan_that_broadcasts_what_a_branch_makes(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, carry, x):
            def layer(mdl, carry):
                return nn.Dense(3, name="layer")(carry)

            def twice(mdl, carry):
                return nn.Dense(3, name="layer")(2 * carry)

            return nn.cond(True, layer, twice, self, carry) + x, None

    return nn.scan(Net, **SHARED)()


@SCANNED.module(args=(CARRY, XS))
def scan_that_broadcasts_folded_layers(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, carry, x):
            return nn.fold_rngs(nn.Dense)(3)(nn.jit(nn.Dense)(3)(carry)) + x, carry

    return nn.scan(Net, **SHARED)()


@SCANNED.module(args=(1.0, normal(4)), gradients=False)
def scan_that_broadcasts_a_python_scalar(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, carry, x):
            return carry * self.param("scale", lambda key: 2.0) + x, None

    return nn.scan(Net, **SHARED)()


@SCANNED.module(args=(CARRY, normal(0, 3)), gradients=False)
def scan_over_nothing(nn):
    return nn.scan(cell(nn), **SHARED)()


@SCANNED.module(args=(CARRY, jax.random.split(jax.random.key(0), (2, 5))), gradients=False)
def scan_over_typed_keys(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, carry, keys):
            return carry + jax.random.normal(keys[0], (3,)), jax.random.bits(keys[1])

    return nn.scan(Net, in_axes=1)()
