"""Random trees of modules give the same variables and values in both libraries.

A `Plan` describes a module that maps vectors of one width to vectors of the same width: its style,
the shape in which it keeps each group of children, which of them it calls, and in which order. One
class per library turns any plan into a module.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal

import jax
from hypothesis import given, settings
from hypothesis import strategies as st

from .case import Case, evaluate, initialize, normal
from .comparison import differences
from .libraries import PEER, SUBJECT

WIDTH = 3
INPUT = normal(2, WIDTH)


@dataclass(frozen=True)
class Leaf:
    """A layer by its name: "Dense", "Noise" or "Counter"."""

    layer: str


@dataclass(frozen=True)
class Group:
    """Children that a module keeps together.

    Attributes:
        shape: how they are kept.
        children: what they are.
    """

    shape: Literal["one", "list", "tuple", "dict", "nested"]
    children: tuple["Leaf | Plan", ...]


@dataclass(frozen=True)
class Plan:
    """What a module contains and does.

    Attributes:
        style: where its children are made: in `setup`, in a compact method, or by its parent, which
            passes them as a dataclass field.
        groups: its own children.
        named: which groups have explicit names.
        calls: indices into all children, in order; an index is taken modulo their number.
        alias: whether a second attribute refers to the first child.
    """

    style: Literal["setup", "compact", "field"]
    groups: tuple[Group, ...]
    named: tuple[bool, ...]
    calls: tuple[int, ...]
    alias: bool


def flatten(value: Any) -> Iterator[Any]:
    """Yields the modules of nested containers in order."""
    if isinstance(value, Mapping):
        value = [value[key] for key in sorted(value)]
    if isinstance(value, list | tuple):
        for item in value:
            yield from flatten(item)
    else:
        yield value


def arranged(shape: str, modules: list[Any]) -> Any:
    """Returns modules in a container of the given shape."""
    match shape:
        case "one":
            return modules[0]
        case "list":
            return modules
        case "tuple":
            return tuple(modules)
        case "dict":
            return {f"key{i}": module for i, module in enumerate(modules)}
        case _:
            return {"head": modules[0], "tail": [tuple(modules[1:])]}


def leaf_layers(nn: Any) -> dict[str, Any]:
    """Returns the layers that stand at the leaves, by name."""

    class Noise(nn.Module):
        @nn.compact
        def __call__(self, x):
            bias = self.param("bias", nn.initializers.normal(), (1, WIDTH))
            return x + bias + jax.random.normal(self.make_rng("noise"), x.shape)

    class Counter(nn.Module):
        @nn.compact
        def __call__(self, x):
            total = self.variable("state", "total", lambda: x * 0)
            total.value = total.value + x
            self.sow("seen", "total", total.value)
            return x - 0.1 * total.value

    return {"Noise": Noise, "Counter": Counter, "Dense": partial(nn.Dense, WIDTH)}


@cache
def builder(nn: Any) -> Callable[..., Any]:
    """Returns the function that turns a plan into a module of one library."""
    layers = leaf_layers(nn)

    def build(plan: Leaf | Plan, name: str | None = None) -> Any:
        if isinstance(plan, Leaf):
            return layers[plan.layer](name=name)
        if plan.style == "field":
            return Held(plan, [group(g, False, i) for i, g in enumerate(plan.groups)], name=name)
        return {"setup": Setup, "compact": Compact}[plan.style](plan, name=name)

    def group(group: Group, named: bool, index: int) -> Any:
        names = [f"group{index}_{i}" if named else None for i in range(len(group.children))]
        children = [build(*pair) for pair in zip(group.children, names, strict=True)]
        return arranged(group.shape, children)

    def run(plan: Plan, children: list[Any], x: Any) -> Any:
        for call in plan.calls:
            x = children[call % len(children)](x)
        return x

    class Setup(nn.Module):
        plan: Plan

        def setup(self):
            for i, (g, named) in enumerate(zip(self.plan.groups, self.plan.named, strict=True)):
                setattr(self, f"attribute{i}", group(g, named, i))
            if self.plan.alias:
                self.alias = next(flatten(self.attribute0))

        def __call__(self, x):
            kept = [getattr(self, f"attribute{i}") for i in range(len(self.plan.groups))]
            return run(self.plan, list(flatten(kept)), self.alias(x) if self.plan.alias else x)

    class Compact(nn.Module):
        plan: Plan

        @nn.compact
        def __call__(self, x):
            pairs = zip(self.plan.groups, self.plan.named, strict=True)
            children = list(flatten([group(g, named, i) for i, (g, named) in enumerate(pairs)]))
            return run(self.plan, children, children[0](x) if self.plan.alias else x)

    class Held(nn.Module):
        plan: Plan
        children: Any

        @nn.compact
        def __call__(self, x):
            return run(self.plan, list(flatten(self.children)), nn.Dense(WIDTH)(x))

    return build


LEAVES = st.sampled_from(["Dense", "Noise", "Counter"]).map(Leaf)


def plans(children: st.SearchStrategy) -> st.SearchStrategy:
    """Returns a strategy for plans with the given children."""
    shapes = st.sampled_from(["one", "list", "tuple", "dict", "nested"])
    groups = st.builds(Group, shapes, st.lists(children, min_size=1, max_size=3).map(tuple))

    @st.composite
    def plan(draw: st.DrawFn) -> Plan:
        kept = draw(st.lists(groups, min_size=1, max_size=3).map(tuple))
        return Plan(
            style=draw(st.sampled_from(["setup", "compact", "field"])),
            groups=kept,
            named=tuple(draw(st.booleans()) for _ in kept),
            calls=draw(st.lists(st.integers(0, 8), min_size=1, max_size=5).map(tuple)),
            alias=draw(st.booleans()),
        )

    return plan()


MODULES = plans(st.recursive(LEAVES, plans, max_leaves=8))
STREAMS = {"params": 0, "noise": 1}


@settings(max_examples=100)
@given(plan=MODULES)
def test_random_module(plan: Plan) -> None:
    case = Case(
        name="random",
        build=lambda nn: builder(nn)(plan),
        args=(INPUT,),
        rngs=STREAMS,
        apply_rngs={"noise": 2},
        mutable=["state", "seen"],
    )
    output, variables = initialize(case, PEER)
    found = initialize(case, SUBJECT)
    assert not list(differences(found[1], variables))
    assert not list(differences(found[0], output))
    found = evaluate(case, SUBJECT, variables)
    assert not list(differences(found, evaluate(case, PEER, variables)))
