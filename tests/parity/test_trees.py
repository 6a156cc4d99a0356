"""Functions over trees, filters and keys: what flax returns for a value is what is returned here.

A case is a function of a `Toolbox`, which holds the same names from either side.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest

from .comparison import differences

KEY = jax.random.key(0)
NESTED = {"a": {"b": 1, "c": [1, {"x": 2}]}, "d": 2, "e": {}}
PARAMS = {"Dense_0": {"kernel": jnp.ones((2, 2)), "bias": jnp.zeros(2)}, "head": {"bias": 3.0}}


class Toolbox:
    """The names of several modules, the first of which that has a name gives it."""

    def __init__(self, *modules: str) -> None:
        self._modules = [import_module(name) for name in modules]

    def __getattr__(self, name: str) -> Any:
        return next(getattr(m, name) for m in self._modules if hasattr(m, name))


PEER = Toolbox(
    "flax.cursor", "flax.core", "flax.core.scope", "flax.traverse_util", "flax.serialization",
    "flax.struct",
)  # fmt: skip
SUBJECT = Toolbox(
    "linen_core.cursor", "linen_core", "linen_core.traverse_util", "linen_core.state_dict",
    "linen_core.struct",
)  # fmt: skip


class Point(NamedTuple):
    """A named tuple with a container in it."""

    x: Any
    y: Any


def every_filter(box: Any) -> list[Any]:
    """Returns filters of every kind."""
    deny = box.DenyList
    plain = [True, False, "a", ["a", "b"], ("b",), {"a"}, []]
    return [*plain, deny("a"), deny(["a", "b"]), deny([]), deny(True), deny(False)]


def pairwise(function: str) -> Callable[[Any], Any]:
    """Returns a case: which names the results of a function of two filters match."""

    def case(box: Any) -> Any:
        results = [
            getattr(box, function)(a, b) for a in every_filter(box) for b in every_filter(box)
        ]
        return [[box.in_filter(result, name) for name in "abc"] for result in results]

    return case


def state(box: Any) -> Any:
    """Returns a struct of a library."""

    class State(box.PyTreeNode):
        step: int
        params: Any
        name: str = box.field(pytree_node=False, default="run")

    return State(0, {"w": [1, 2]})


def opened(struct: Any) -> dict[str, Any]:
    """Returns the fields of a struct."""
    return dict(vars(struct))


def iterated(box: Any) -> Any:
    """Changes all parts of containers by iterating over cursors."""
    cursor = box.cursor({"a": [1, 2], "b": Point(3, (4, 5))})
    for item in cursor["a"]:
        item.set(item * 10)
    for number, part in enumerate(cursor["b"].y):
        cursor["b"].y[number] = part + 1
    return cursor.build()


def collected(box: Any) -> Any:
    """Makes several changes to one container."""
    cursor = box.cursor(NESTED)
    cursor["a"]["c"][0] += 1
    cursor["a"]["c"][1]["x"] *= 3
    cursor["d"] = (1, 2)
    cursor["new"] = {"y": 1}
    return cursor["a"].build(), cursor.build()


def visited(box: Any) -> Any:
    """Records what an update is asked about, and leaves out what is below a change."""
    seen = []

    def update(path: str, value: Any) -> Any:
        seen.append(path)
        return 0 if path in ("a/0", "s/params") else value

    built = box.cursor({"a": [{"x": 1}, 2], "p": Point(1, 2), "s": state(box)}).apply_update(update)
    changed = built.build()
    return seen, changed["a"], opened(changed["s"])


def found(box: Any) -> Any:
    """Changes what searches find."""
    cursor = box.cursor(PARAMS)
    cursor.find(lambda path, value: path == "head")["bias"] += 1
    for bias in cursor.find_all(lambda path, value: path.endswith("bias")):
        bias.set(bias * 2)
    return cursor.build()


def traversed(box: Any) -> Any:
    """Reads and changes parameters by name."""
    traversal = box.ModelParamTraversal(lambda path, value: path.endswith("/bias"))
    return list(traversal.iterate(PARAMS)), traversal.update(lambda leaf: leaf + 5, PARAMS)


def popped(box: Any) -> Any:
    """Pops from every kind of dict."""
    return [box.pop(kind(NESTED), "a") for kind in (dict, box.FrozenDict)]


def child_names(box: Any) -> Any:
    """Names children in all the ways there are."""

    def leaf(scope: Any) -> Any:
        return scope.name

    def model(scope: Any) -> Any:
        partial = jax.tree_util.Partial(leaf)
        kinds: list[Mapping[str, Any]] = [{}, {"name": "n"}, {"prefix": "p"}, {}]
        names = [scope.child(leaf, **kind)() for kind in kinds]
        return [
            *names,
            scope.child(partial, "given")(),
            scope.push().name,
            scope.push(prefix="p").name,
        ]

    return box.apply(model)({})


def temporary_child(box: Any) -> Any:
    """Ends a pushed scope before its parent."""
    root = box.bind({})
    with root.push("a").temporary() as child:
        before = child.invalid
    return before, child.invalid, root.invalid


CASES: dict[str, Callable[[Any], Any]] = {
    "in_filter": lambda t: [[t.in_filter(f, name) for name in "abc"] for f in every_filter(t)],
    "is_filter_empty": lambda t: [t.is_filter_empty(f) for f in (True, False, "a", [], ["a"])],
    "union_filters": pairwise("union_filters"),
    "subtract_filters": pairwise("subtract_filters"),
    "intersect_filters": pairwise("intersect_filters"),
    "group_collections": lambda t: list(
        t.group_collections({"a": 1, "b": 2, "c": 3}, ["a", t.DenyList("b"), True])
    ),
    "lazy keys": lambda t: t.LazyRng.create(t.LazyRng.create(KEY, "a"), "b", 300).as_jax_rng(),
    "cleared lazy keys": lambda t: t.LazyRng.create(KEY, "a").clear_suffix().as_jax_rng(),
    "child names": child_names,
    "temporary child": temporary_child,
    "freeze and unfreeze": lambda t: [t.freeze(NESTED), t.unfreeze(t.freeze(NESTED))],
    "frozen items": lambda t: [(k, type(v).__name__) for k, v in t.FrozenDict(NESTED).items()],
    "frozen equality": lambda t: [
        t.FrozenDict(NESTED) == NESTED,
        t.FrozenDict([("a", 1)]) == t.FrozenDict(a=1),
        t.FrozenDict({"a": 1}, a=2),
    ],
    "frozen text": lambda t: [repr(t.FrozenDict(NESTED)), t.FrozenDict(NESTED).pretty_repr(2)],
    "text": lambda t: [t.pretty_repr(x) for x in (NESTED, {}, 3, "x")],
    "copy": lambda t: [t.copy(kind(NESTED), {"d": {"z": 1}}) for kind in (dict, t.FrozenDict)],
    "pop": popped,
    "frozen paths": lambda t: [
        jax.tree_util.keystr(path)
        for path, _ in jax.tree_util.tree_flatten_with_path(t.FrozenDict(NESTED))[0]
    ],
    "flatten": lambda t: [list(t.flatten_dict(NESTED).items()), t.flatten_dict(NESTED, sep="/")],
    "flatten empty": lambda t: list(t.flatten_dict(NESTED, keep_empty_nodes=True, sep="/")),
    "flatten leaves": lambda t: t.flatten_dict(
        NESTED, is_leaf=lambda path, _: len(path) == 1, sep="."
    ),
    "unflatten": lambda t: t.unflatten_dict(t.flatten_dict(NESTED, keep_empty_nodes=True)),
    "path_aware_map": lambda t: t.path_aware_map(lambda path, leaf: (path, leaf), NESTED),
    "traversal": traversed,
    "state dict": lambda t: t.to_state_dict(
        {"s": state(t), "p": Point(1, [2]), "f": t.FrozenDict(a=1)}
    ),
    "from state dict": lambda t: opened(
        t.from_state_dict(state(t), {"step": 4, "params": {"w": {"0": 5, "1": 6}}})
    ),
    "ordered state dict": lambda t: t.to_state_dict(OrderedDict(a=(1,))),
    "struct leaves": lambda t: jax.tree.leaves(state(t)),
    "struct replace": lambda t: opened(state(t).replace(step=3, name="other")),
    "struct map": lambda t: opened(jax.tree.map(lambda leaf: leaf + 1, state(t))),
    "cursor set": lambda t: t.cursor(NESTED)["a"]["c"][1]["x"].set(5),
    "cursor set twice": lambda t: (lambda c: (c["d"].set(1), c["a"]["b"].set(2)))(t.cursor(NESTED)),
    "cursor set root": lambda t: t.cursor(NESTED).set(3),
    "cursor tuple": lambda t: t.cursor((1, (2, Point(3, 4))))[1][1].y.set(5),
    "cursor named tuple by index": lambda t: t.cursor(Point(1, 2))[1].set(5),
    "cursor struct": lambda t: opened(t.cursor(state(t)).params["w"][0].set(7)),
    "cursor frozen": lambda t: t.cursor(t.FrozenDict(NESTED))["a"]["b"].set(7),
    "cursor changes": collected,
    "cursor iteration": iterated,
    "cursor update": visited,
    "cursor search": found,
    "cursor operators": lambda t: (
        lambda c: [
            c["x"] + 1,
            2 - c["x"],
            c["x"] < 9,
            -c["x"],
            c["x"] == 7,
            divmod(c["x"], 2),
            len(c),
        ]
    )(t.cursor({"x": 7})),
}


@pytest.mark.filterwarnings("ignore:.*Traversal:DeprecationWarning")
@pytest.mark.parametrize("name", CASES)
def test_results(name: str) -> None:
    assert list(differences(CASES[name](SUBJECT), CASES[name](PEER))) == []
