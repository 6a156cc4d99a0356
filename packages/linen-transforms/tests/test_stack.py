"""`Stack`: equal to a Python loop over blocks, and to a scan."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import initializers

import linen_transforms
from linen_core import PARTITION_NAME, Module, Partitioned, compact, with_partitioning
from linen_transforms import Stack, stack_blocks, unstack_blocks
from linen_transforms.errors import (
    CarryMismatchError,
    LiftedMethodError,
    StackError,
    TransformTargetError,
)
from linen_transforms.partitioning import param_with_axes

KEY = jax.random.key(0)
X = jnp.arange(6.0).reshape(2, 3) / 6
STREAMS = {"params": KEY, "noise": jax.random.key(1)}


class Block(Module):
    """A residual block with parameters, state, noise and something sown."""

    rate: float = 0.1

    @compact
    def __call__(self, x: Any, bias: Any = 0.0, *, is_noisy: bool = False) -> Any:
        kernel = self.param("kernel", initializers.normal(), (x.shape[-1], x.shape[-1]))
        calls = self.variable("state", "calls", lambda: jnp.zeros((), jnp.int32))
        if self.is_mutable_collection("state") and not self.is_initializing():
            calls.value += 1
        y = jnp.sin(x @ kernel) + bias
        if is_noisy:
            y = y + self.rate * jax.random.normal(self.make_rng("noise"), y.shape)
        self.sow("intermediates", "y", y)
        return x + y

    def shifted(self, x: Any) -> Any:
        return x + self.get_variable("params", "kernel")[:1]


class Loop(Module):
    """Four separate blocks."""

    @compact
    def __call__(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        for _ in range(4):
            x = Block()(x, *args, **kwargs)
        return x


class InSetup(Module):
    """A stack that is made in setup."""

    def setup(self) -> None:
        self.layers = Stack(Block, 4)()

    def __call__(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        return self.layers(x, *args, **kwargs)


class InCompact(Module):
    """A stack that is made where it is called."""

    @compact
    def __call__(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        return Stack(Block, 4, remat=True)(name="layers")(x, *args, **kwargs)


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "remat": {"remat": True},
    "policy": {"remat": jax.checkpoint_policies.dots_saveable},
    "unrolled": {"unroll": 2},
    "unrolled_whole_remat": {"unroll": True, "remat": True},
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def applied(model: Any, variables: Any, **kwargs: Any) -> Any:
    mutable = ["state", "intermediates"]
    rngs = {"noise": jax.random.key(1)}
    return model.apply(variables, X, 0.5, **kwargs, rngs=rngs, mutable=mutable)


@every_option
def test_equals_a_loop_over_blocks(options: dict[str, Any]) -> None:
    separate = Loop().init(KEY, X)
    variables = {col: tree["Stack"] for col, tree in stack_blocks(separate, "Stack").items()}
    y, changed = applied(Stack(Block, 4, **options)(), variables)
    expected, changed_blocks = applied(Loop(), separate)
    chex.assert_trees_all_close(y, expected, rtol=1e-6)
    changed = unstack_blocks({col: {"Stack": tree} for col, tree in changed.items()}, "Stack")
    chex.assert_trees_all_close(changed, changed_blocks, rtol=1e-6)


@every_option
def test_gradients_equal_those_of_a_loop(options: dict[str, Any]) -> None:
    separate = Loop().init(KEY, X)

    def loss(model: Any, variables: Any) -> Any:
        return jnp.sum(model.apply(variables, X) ** 2)

    stacked = {col: tree["Stack"] for col, tree in stack_blocks(separate, "Stack").items()}
    stack = Stack(Block, 4, **options)()
    found = jax.jit(jax.grad(lambda p: loss(stack, stacked | {"params": p})))(stacked["params"])
    expected = jax.grad(lambda p: loss(Loop(), separate | {"params": p}))(separate["params"])
    chex.assert_trees_all_close(found, stack_blocks(expected, "Stack")["Stack"], rtol=1e-5)


@every_option
def test_gives_the_numbers_of_a_scan(options: dict[str, Any]) -> None:
    class Step(Block):
        @compact
        def __call__(self, x: Any, bias: Any = 0.0, *, is_noisy: bool = True) -> Any:
            return super().__call__(x, bias, is_noisy=is_noisy), None

    scan = linen_transforms.scan(
        Step,
        variable_axes={True: 0},
        split_rngs={"params": True, "noise": True},
        length=4,
    )()
    stack = Stack(Block, 4, **options)()
    (expected, _), variables = scan.init_with_output(STREAMS, X)
    found = stack.init_with_output(STREAMS, X, is_noisy=True)
    chex.assert_trees_all_equal(found, (expected, variables))


@pytest.mark.parametrize("model", [InSetup(), InCompact()], ids=["setup", "compact"])
def test_is_one_name_in_a_model(model: Module) -> None:
    variables = model.init(KEY, X)
    chex.assert_tree_all_finite(variables)
    shapes = jax.tree.map(jnp.shape, variables)
    assert shapes == {
        "params": {"layers": {"kernel": (4, 3, 3)}},
        "state": {"layers": {"calls": (4,)}},
    }
    y, changed = applied(model, variables)
    assert y.shape == X.shape
    assert changed["state"]["layers"]["calls"].tolist() == [1] * 4
    assert jax.tree.map(jnp.shape, changed["intermediates"]) == {"layers": {"y": ((4, 2, 3),)}}


def test_blocks_draw_other_numbers() -> None:
    stack = Stack(Block, 4, remat=True)()
    variables = stack.init(KEY, X)
    kernels = variables["params"]["kernel"]
    assert len({float(kernel[0, 0]) for kernel in kernels}) == 4
    zero = jax.tree.map(jnp.zeros_like, variables)
    _, changed = applied(stack, zero, is_noisy=True)
    (noise,) = changed["intermediates"]["y"]
    assert len({float(y[0, 0]) for y in noise}) == 4


def test_arguments_need_not_be_arrays() -> None:
    stack = Stack(Block, 2, remat=True)()
    variables = stack.init(STREAMS, X, bias=jnp.ones((1, 3)), is_noisy=True)
    with_noise = stack.apply(variables, X, is_noisy=True, rngs=STREAMS)
    without = stack.apply(variables, X, is_noisy=False)
    assert not jnp.allclose(with_noise, without)
    gradient = jax.grad(lambda bias: stack.apply(variables, X, bias).sum())(jnp.ones((1, 3)))
    assert gradient.shape == (1, 3)


def test_the_carry_may_be_a_tree() -> None:
    class Pair(Module):
        @compact
        def __call__(self, pair: Any) -> Any:
            scale = self.param("scale", initializers.ones, ())
            return {"a": pair["b"] * scale, "b": pair["a"] + 1}

    y, _ = Stack(Pair, 3)().init_with_output(KEY, {"a": jnp.zeros(()), "b": jnp.ones(())})
    chex.assert_trees_all_equal(y, {"a": jnp.array(2.0), "b": jnp.array(2.0)})


def test_other_methods() -> None:
    stack = Stack(Block, 2, methods=["__call__", "shifted"])()
    variables = stack.init(KEY, X)
    y = stack.apply(variables, X, method="shifted")
    chex.assert_trees_all_close(y, X + variables["params"]["kernel"][:, :1].sum(0))


@pytest.mark.parametrize("name", [None, "layers"])
def test_axis_name(name: str | None) -> None:
    class Named(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            init = with_partitioning(initializers.ones, ("a",))
            bias = param_with_axes("bias", initializers.ones, (3,), axes=("b",))
            return x * self.param("scale", init, (3,))[None] + bias[None]

    variables = Stack(Named, 2, axis_name=name)().init(KEY, X)
    box = variables["params"]["scale"]
    assert isinstance(box, Partitioned)
    assert box.names == (name, "a")
    assert variables["params_axes"]["bias_axes"].names == (name, "b")
    assert Stack(Named, 2, axis_name=name)().apply(variables, X).shape == X.shape
    separate = unstack_blocks({"S": variables["params"]}, "S", axis_name=name)
    assert separate["Block_1"]["scale"].names == ("a",)
    assert PARTITION_NAME == "partition_name"


def test_blocks_run_once() -> None:
    runs = []

    class Counted(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            runs.append(1)
            return x * self.param("scale", initializers.ones, ())

    stack = Stack(Counted, 24, remat=True)()
    variables = stack.init(KEY, X)
    runs.clear()
    stack.apply(variables, X)
    assert len(runs) == 1


def test_remat_keeps_less() -> None:
    stacks = [Stack(Block, 24, remat=remat)() for remat in (False, True)]
    x = jnp.ones((256, 64))
    variables = jax.eval_shape(stacks[0].init, KEY, x)

    def temporary(stack: Module) -> int:
        run = jax.jit(jax.grad(lambda p, v: stack.apply(v | {"params": p}, x).sum()))
        others = {col: tree for col, tree in variables.items() if col != "params"}
        compiled = run.lower(variables["params"], others).compile()
        analysis = compiled.memory_analysis()
        assert analysis is not None
        return analysis.temp_size_in_bytes

    assert temporary(stacks[1]) < temporary(stacks[0])


def test_not_a_class() -> None:
    with pytest.raises(TransformTargetError, match="Stack lifts a Module class"):
        Stack(Block(), 2)  # type: ignore[type-var]


@pytest.mark.parametrize("n", [0, -1, 2.0, True, "2"])
def test_not_a_number(n: Any) -> None:
    with pytest.raises(
        StackError, match="n must be the number of blocks, an integer of at least 1"
    ):
        Stack(Block, n)


def test_not_a_method() -> None:
    with pytest.raises(LiftedMethodError):
        Stack(Block, 2, methods="call")


def test_blocks_that_change_the_shape() -> None:
    class Wider(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            return jnp.concatenate([x, x], -1)

    with pytest.raises(CarryMismatchError, match=r"carry: float32\[2, 3\] -> float32\[2, 6\]"):
        Stack(Wider, 2)().apply({}, X)


def test_modules_from_outside() -> None:
    class Calls(Module):
        inner: Block

        @compact
        def __call__(self, x: Any) -> Any:
            return self.inner(x)

    class Model(Module):
        @compact
        def __call__(self, x: Any) -> Any:
            outside = Block(name="outside")
            return Stack(Calls, 2)(outside, name="layers")(outside(x))

    text = "/layers: the blocks of a Stack use the module at /outside, which is not inside"
    with pytest.raises(StackError, match=text):
        Model().init(KEY, X)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"unroll": 0}, "unroll must be the number of blocks in one step of the loop"),
        ({"unroll": "all"}, "at least 1, or True for all, but is 'all'"),
        ({"remat": "dots"}, "remat must be True, False, or a policy"),
        ({"remat": None}, "but is None"),
    ],
)
def test_options_that_mean_nothing(options: Any, text: str) -> None:
    with pytest.raises(StackError, match=text):
        Stack(Block, 2, **options)


def test_the_carry_may_be_passed_by_name() -> None:
    stack = Stack(Block, np.int64(2))()  # type: ignore[arg-type]
    variables = stack.init(KEY, x=X)
    found = stack.apply(variables, bias=0.5, x=X)
    chex.assert_trees_all_equal(found, stack.apply(variables, X, 0.5))
    with pytest.raises(
        StackError, match="/: a Stack is called without the argument 'x' of its first"
    ):
        stack.apply(variables, bias=0.5)
