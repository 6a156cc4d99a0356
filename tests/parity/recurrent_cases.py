"""Cases of recurrent layers.

A product for the whole sequence or for several gates adds its terms in another order than one for
each step and gate. Over the steps of a loop such differences add up to a few ulps.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .case import Case, Table, normal

RECURRENT = Table()

STEP = normal(2, 3)
SEQUENCES = normal(2, 6, 3)
TIME_MAJOR = normal(6, 2, 3)
VIDEO = normal(2, 4, 6, 5, 3)
LENGTHS = jnp.asarray([6, 2])
BRAIN = jnp.bfloat16

FUSED: dict[str, Any] = {
    "ulps": 4,
    "gradient_ulps": 16,
    "eager_ulps": 8,
    "reason": "products of several gates or steps at once add in another order",
}
LOW: dict[str, Any] = {
    **dict.fromkeys(("ulps", "gradient_ulps", "eager_ulps"), 4 * 2**16),
    "reason": "four ulps of bfloat16, the dtype of the products; the results are float32",
}
NORMAL = jax.nn.initializers.normal(0.3)

CELLS: dict[str, tuple[str, dict[str, Any]]] = {
    "LSTM": ("LSTMCell", {}),
    "LSTM, normal biases": ("LSTMCell", {"bias_init": NORMAL}),
    "LSTM, own activations": (
        "LSTMCell",
        {"gate_fn": jax.nn.hard_sigmoid, "activation_fn": jnp.sin},
    ),
    "LSTM, own initializers": (
        "LSTMCell",
        {"kernel_init": NORMAL, "recurrent_kernel_init": NORMAL},
    ),
    "LSTM, lambda": ("LSTMCell", {"activation_fn": lambda x: jnp.tanh(2 * x)}),
    "LSTM, named": ("LSTMCell", {"name": "memory"}),
    "optimized LSTM": ("OptimizedLSTMCell", {"bias_init": NORMAL}),
    "GRU": ("GRUCell", {}),
    "GRU, normal biases": ("GRUCell", {"bias_init": NORMAL}),
    "GRU, relu": ("GRUCell", {"activation_fn": jax.nn.relu}),
    "MGU": ("MGUCell", {}),
    "MGU, normal biases": (
        "MGUCell",
        {"forget_bias_init": NORMAL, "activation_bias_init": NORMAL},
    ),
    "MGU without reset": ("MGUCell", {"reset_gate": False, "activation_bias_init": NORMAL}),
    "simple": ("SimpleCell", {"bias_init": NORMAL}),
    "simple, residual": ("SimpleCell", {"residual": True}),
    "simple, relu": ("SimpleCell", {"activation_fn": jax.nn.relu}),
    "LSTM, normal carry": ("LSTMCell", {"carry_init": NORMAL}),
    "optimized LSTM, normal carry": ("OptimizedLSTMCell", {"carry_init": NORMAL}),
    "GRU, normal carry": ("GRUCell", {"carry_init": NORMAL}),
    "MGU, normal carry": ("MGUCell", {"carry_init": NORMAL}),
    "simple, normal carry": ("SimpleCell", {"carry_init": NORMAL}),
}
HALVES: dict[str, tuple[str, dict[str, Any]]] = {
    f"{cell}, bfloat16 products": (cell, {"dtype": BRAIN})
    for cell in ("LSTMCell", "OptimizedLSTMCell", "GRUCell", "MGUCell")
}


def alone(cell: str, options: dict[str, Any]) -> Callable[[Any], Any]:
    """Returns a builder of a module that makes a carry and does one step."""

    def build(nn: Any) -> Any:
        class Once(nn.Module):
            @nn.compact
            def __call__(self, x):
                made = getattr(nn, cell)(4, **options)
                return made(made.initialize_carry(jax.random.key(7), x.shape), x)

        return Once()

    return build


def looped(cell: str, options: dict[str, Any], **fields: Any) -> Callable[[Any], Any]:
    """Returns a builder of an RNN."""
    return lambda nn: nn.RNN(getattr(nn, cell)(4, **options), **fields)


RECURRENT += [
    Case(name=f"{name} cell", build=alone(*cell), args=(STEP,), **FUSED)
    for name, cell in CELLS.items()
]
RECURRENT += [
    Case(
        name=f"RNN of {name}",
        build=looped(*cell, return_carry=True),
        args=(SEQUENCES,),
        **FUSED,
    )
    for name, cell in CELLS.items()
]
RECURRENT += [
    Case(name=f"{name}: {title}", build=make(*cell), args=(x,), **LOW)
    for name, cell in HALVES.items()
    for title, make, x in [("cell", alone, STEP), ("RNN", looped, SEQUENCES)]
]
RECURRENT += [
    Case(
        name=f"{title} cell, float64",
        build=alone(cell, {"param_dtype": jnp.float64}),
        x64=True,
        args=(STEP,),
        **FUSED,
    )
    for title, cell in [("LSTM", "LSTMCell"), ("GRU", "GRUCell")]
]

CONVOLUTIONS = {
    "plain": {},
    "without bias": {"use_bias": False},
    "bias": {"padding": ((1, 1), (1, 1))},
    "CIRCULAR": {"padding": "CIRCULAR"},
    "normal carry": {"carry_init": NORMAL},
}
for name, options in CONVOLUTIONS.items():
    RECURRENT += [
        Case(
            name=f"ConvLSTM cell, {name}",
            build=alone("ConvLSTMCell", {"kernel_size": (3, 3)} | options),
            args=(VIDEO[:, 0],),
            **FUSED,
        ),
        Case(
            name=f"RNN of ConvLSTM, {name}",
            build=looped("ConvLSTMCell", {"kernel_size": (3, 3)} | options, return_carry=True),
            args=(VIDEO,),
            **FUSED,
        ),
    ]
RECURRENT.append(
    Case(
        name="RNN of ConvLSTM, one spatial dimension",
        build=looped("ConvLSTMCell", {"kernel_size": (3,)}),
        args=(VIDEO[0],),
        **FUSED,
    )
)

OPTIONS: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "time major": (TIME_MAJOR, {"time_major": True, "return_carry": True}, {}),
    "no batch": (SEQUENCES[0], {"return_carry": True}, {}),
    "two batch dimensions": (SEQUENCES[None], {"return_carry": True}, {}),
    "unrolled": (SEQUENCES, {"unroll": 4}, {}),
    "reverse": (SEQUENCES, {"reverse": True, "return_carry": True}, {}),
    "reverse, keep order": (SEQUENCES, {"reverse": True, "keep_order": True}, {}),
    "keep order alone": (SEQUENCES, {"keep_order": True}, {}),
    "lengths": (SEQUENCES, {}, {"seq_lengths": LENGTHS}),
    "lengths and carry": (SEQUENCES, {"return_carry": True}, {"seq_lengths": LENGTHS}),
    "lengths, reverse": (
        SEQUENCES,
        {"reverse": True, "return_carry": True},
        {"seq_lengths": LENGTHS},
    ),
    "lengths, reverse, keep order": (
        SEQUENCES,
        {"reverse": True, "keep_order": True, "return_carry": True},
        {"seq_lengths": LENGTHS},
    ),
    "lengths, time major": (
        TIME_MAJOR,
        {"time_major": True, "reverse": True, "return_carry": True},
        {"seq_lengths": LENGTHS},
    ),
    "lengths beyond the end": (
        SEQUENCES,
        {"return_carry": True},
        {"seq_lengths": jnp.asarray([9, 1])},
    ),
    "lengths without batch": (
        SEQUENCES[0],
        {"return_carry": True, "reverse": True},
        {"seq_lengths": jnp.asarray(3)},
    ),
    "options of the call": (
        TIME_MAJOR,
        {"keep_order": True},
        {"return_carry": True, "time_major": True, "reverse": True, "keep_order": False},
    ),
    "initial carry": (SEQUENCES, {"return_carry": True}, {"initial_carry": normal(2, 4, seed=3)}),
    "initial key": (SEQUENCES, {}, {"init_key": jax.random.key(5)}),
}
RECURRENT += [
    Case(
        name=f"RNN, {name}",
        build=looped("GRUCell", {"carry_init": NORMAL}, **fields),
        args=(x,),
        kwargs=kwargs,
        # The peer's gradient of a last carry beyond the end is zero.
        gradients=name != "lengths beyond the end",
        **FUSED,
    )
    for name, (x, fields, kwargs) in OPTIONS.items()
]

SETTINGS: dict[str, dict[str, Any]] = {
    "all broadcast": {"variable_broadcast": True},
    "parameters by step": {
        "variable_axes": {"params": 0},
        "variable_broadcast": False,
        "split_rngs": {"params": True},
    },
    "parameters by step, reversed": {
        "variable_axes": {"params": 0},
        "variable_broadcast": False,
        "split_rngs": {"params": True},
        "reverse": True,
        "keep_order": True,
    },
    "split parameters' keys": {"split_rngs": {"params": False, "dropout": True}},
}
RECURRENT += [
    Case(
        name=f"RNN, {name}",
        build=looped("LSTMCell", {}, **fields),
        args=(SEQUENCES,),
        **FUSED,
    )
    for name, fields in SETTINGS.items()
]

BIDIRECTIONAL: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "plain": (SEQUENCES, {}, {}),
    "carry": (SEQUENCES, {"return_carry": True}, {}),
    "time major": (TIME_MAJOR, {"time_major": True}, {}),
    "lengths": (SEQUENCES, {"return_carry": True}, {"seq_lengths": LENGTHS}),
    "sum": (SEQUENCES, {"merge_fn": lambda a, b: a + b}, {}),
    "initial carry": (
        SEQUENCES,
        {},
        {"initial_carry": (normal(2, 4, seed=1), normal(2, 4, seed=2)), "return_carry": True},
    ),
    "initial key": (SEQUENCES, {}, {"init_key": jax.random.key(5)}),
}


def both_ways(fields: dict[str, Any]) -> Callable[[Any], Any]:
    """Returns a builder of a Bidirectional layer."""

    def build(nn: Any) -> Any:
        make = [nn.RNN(nn.GRUCell(4, carry_init=NORMAL)) for _ in range(2)]
        return nn.Bidirectional(*make, **fields)

    return build


RECURRENT += [
    Case(name=f"Bidirectional, {name}", build=both_ways(fields), args=(x,), kwargs=kwargs, **FUSED)
    for name, (x, fields, kwargs) in BIDIRECTIONAL.items()
]


@RECURRENT.module(args=(SEQUENCES,), **FUSED)
def stacked_recurrent_layers(nn):
    class Stack(nn.Module):
        @nn.compact
        def __call__(self, x):
            for _ in range(2):
                x = nn.RNN(nn.LSTMCell(4))(x)
            return nn.Bidirectional(nn.RNN(nn.GRUCell(3)), nn.RNN(nn.SimpleCell(2)))(x)

    return Stack()


@RECURRENT.module(args=(SEQUENCES,), **FUSED)
def a_cell_shared_by_two_layers(nn):
    class Shared(nn.Module):
        def setup(self):
            self.cell = nn.GRUCell(3)
            self.first, self.second = nn.RNN(self.cell), nn.RNN(self.cell, reverse=True)

        def __call__(self, x):
            return self.second(self.first(x))

    return Shared()


@RECURRENT.module(args=(SEQUENCES,), **FUSED)
def a_loop_in_python(nn):
    class Loop(nn.Module):
        @nn.compact
        def __call__(self, x):
            cell = nn.LSTMCell(4)
            carry = cell.initialize_carry(jax.random.key(0), x[:, 0].shape)
            for step in range(x.shape[1]):
                carry, _ = cell(carry, x[:, step])
            return carry

    return Loop()


@RECURRENT.module(args=(SEQUENCES,), **FUSED)
def a_loop_of_rematerialised_cells(nn):
    return nn.RNN(nn.remat(nn.LSTMCell)(4))


@RECURRENT.module(
    args=(SEQUENCES,), rngs={"params": 0, "dropout": 1}, apply_rngs={"dropout": 2}, **FUSED
)
def a_cell_with_dropout(nn):
    class Dropped(nn.RNNCellBase):
        features: int

        @nn.compact
        def __call__(self, carry, x):
            x = nn.Dropout(0.5, deterministic=False)(nn.Dense(self.features)(x))
            carry = nn.tanh(nn.Dense(self.features, use_bias=False)(carry) + x)
            return carry, {"twice": 2 * carry, "once": carry}

        @nn.nowrap
        def initialize_carry(self, rng, input_shape):
            return jax.random.normal(rng, (*input_shape[:-1], self.features))

        @property
        def num_feature_axes(self):
            return 1

    return nn.RNN(
        Dropped(4), split_rngs={"params": False, "dropout": True}, reverse=True, keep_order=True
    )


@RECURRENT.module(args=(STEP,), mutable=["intermediates"], gradients=False, **FUSED)
def layers_of_a_cell_are_captured(nn):
    class Captured(nn.Module):
        @nn.compact
        def __call__(self, x):
            for cell in (nn.LSTMCell(4), nn.GRUCell(4), nn.MGUCell(4), nn.SimpleCell(4)):
                x = cell(cell.initialize_carry(jax.random.key(0), x.shape), x)[1]
            return x

    class Capturing:
        def __init__(self, module):
            self.module = module
            self.init_with_output = module.init_with_output

        def apply(self, *args, **kwargs):
            return self.module.apply(*args, capture_intermediates=True, **kwargs)

    return Capturing(Captured())
