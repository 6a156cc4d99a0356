"""Bindings: which modules a body can reach, and the copies that take their places."""

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import pytest

from linen_core import FrozenDict, Module, Scope, bind, struct
from linen_core.extend import fingerprint
from linen_transforms._bind import (
    Binding,
    Rebinding,
    is_module,
    map_captured,
    modules_in,
    rebound_fields,
    reference,
    resolve,
)


class Holder(Module):
    """Holds anything."""

    value: Any = None
    other: Any = None

    def own(self) -> Any:
        return self


class Other(Holder):
    """Another class of the same fields."""


class Model(Module):
    """Modules that are bound at two places, and one that holds the first of them."""

    def setup(self) -> None:
        self.a = Holder(1)
        self.b = Holder(2)
        self.outer = Holder(self.a, {"b": [self.b]})


MODEL = Model().bind({})
A, B, OUTER = MODEL.a, MODEL.b, MODEL.outer
UNBOUND = Holder(3)


def inside(binding: Binding, **kwargs: Any) -> Rebinding:
    """Start the way back, at places 0, 1, ... of another tree."""
    root = bind({})
    scopes = [root.push(str(number)) for number, _ in enumerate(binding.scopes)]
    return binding.inside(scopes, **kwargs)


class Pair(NamedTuple):
    """A named tuple."""

    number: int
    module: Any


@struct.dataclass
class Struct:
    """A dataclass that is a pytree."""

    module: Any
    label: str = struct.field(pytree_node=False, default="label")


def captured(module: Any) -> Callable[[], Any]:
    return lambda: module


def captured_deeply(module: Any) -> Callable[[], Any]:
    inner = captured(module)
    number = 3
    return lambda: (number, inner())[1]


def captured_twice(module: Any) -> Callable[[], Any]:
    def use() -> Any:
        return module

    return lambda: (use(), module)[0]


def decorated(module: Any) -> Callable[[], Any]:
    return functools.wraps(UNBOUND.own)(lambda: module)


def listed(module: Any) -> Callable[[], Any]:
    modules = {"all": [module]}
    return lambda: modules["all"][0]


class Carrier(NamedTuple):
    """A way to hold a module, and the way to get at it."""

    hold: Callable[[Any], Any]
    get: Callable[[Any], Any]


def by_default(module: Any) -> Callable[[], Any]:
    return lambda module=module: module


def by_named_default(module: Any) -> Callable[[], Any]:
    return lambda *, modules=(module,): modules[0]


def called(value: Callable[[], Any]) -> Any:
    return value()


CARRIERS: dict[str, Carrier] = {
    "nothing": Carrier(lambda module: module, lambda module: module),
    "list": Carrier(lambda module: [0, module], lambda value: value[1]),
    "tuple": Carrier(lambda module: (module,), lambda value: value[0]),
    "named tuple": Carrier(lambda module: Pair(0, module), lambda value: value.module),
    "dict": Carrier(lambda module: {"x": module}, lambda value: value["x"]),
    "frozen dict": Carrier(lambda module: FrozenDict({"x": module}), lambda value: value["x"]),
    "struct": Carrier(Struct, lambda value: value.module),
    "containers": Carrier(lambda m: {"x": [(m, Struct(0))]}, lambda value: value["x"][0][0]),
    "closure": Carrier(captured, called),
    "closure in a closure": Carrier(captured_deeply, called),
    "closure beside another": Carrier(captured_twice, called),
    "containers in a closure": Carrier(listed, called),
    "default": Carrier(by_default, called),
    "default by name": Carrier(by_named_default, called),
    "decorated closure": Carrier(decorated, called),
    "method": Carrier(lambda module: module.own, called),
    "method in a closure": Carrier(lambda module: captured(module.own), lambda value: value()()),
    "partial": Carrier(lambda m: functools.partial(lambda n, m: m, 0, m), called),
    "keyword of a partial": Carrier(lambda m: functools.partial(lambda m: m, m=m), called),
    "function of a partial": Carrier(lambda m: functools.partial(captured(m)), called),
    "method of a partial": Carrier(lambda m: functools.partial(m.own), called),
    "containers in a partial": Carrier(lambda m: functools.partial(lambda x: x[0], [m]), called),
    "partial in a closure": Carrier(lambda m: captured(functools.partial(m.own)), lambda v: v()()),
    "pytree of a partial": Carrier(lambda m: jax.tree_util.Partial(m.own), called),
    "closure in a list": Carrier(lambda m: [captured(m)], lambda value: value[0]()),
    "method in a tuple": Carrier(lambda m: (m.own,), lambda value: value[0]()),
    "partial in a dict": Carrier(lambda m: {"x": functools.partial(m.own)}, lambda v: v["x"]()),
    "closures in a closure": Carrier(lambda m: captured([captured(m)]), lambda v: v()[0]()),
}
carriers = pytest.mark.parametrize("carrier", CARRIERS.values(), ids=CARRIERS)


@carriers
def test_modules_are_found(carrier: Carrier) -> None:
    assert Binding(carrier.hold(A)).scopes == [A.scope]
    assert Binding(carrier.hold(UNBOUND)).scopes == []


@carriers
def test_copies_take_the_places_of_modules(carrier: Carrier) -> None:
    value = carrier.hold(A)
    binding = Binding(value)
    rebinding = inside(binding)
    new = rebinding(value)
    copy = carrier.get(new)
    assert type(new) is type(value)
    assert copy is not A
    assert (type(copy), copy.value, copy.name, copy.path) == (Holder, 1, "a", ("0",))
    assert carrier.get(value) is A  # what was given stays
    assert carrier.get(rebinding(value)) is copy


@carriers
def test_what_holds_no_bound_module_stays_what_it_is(carrier: Carrier) -> None:
    value = carrier.hold(UNBOUND)
    rebinding = inside(Binding(A, value))
    assert rebinding(A) is not A
    if not isinstance(value, types.MethodType):  # which Python makes anew
        assert rebinding(value) is value
    assert carrier.get(rebinding(value)) is UNBOUND


def test_what_was_not_found_stays_what_it_is() -> None:
    rebinding = inside(Binding(A))
    assert rebinding([A, B])[1] is B


def test_the_fields_of_modules_are_looked_into() -> None:
    binding = Binding(OUTER)
    assert binding.scopes == [OUTER.scope, A.scope, B.scope]
    rebinding = inside(binding)
    copy = rebinding(OUTER)
    assert copy.value is rebinding(A)
    assert copy.other["b"][0] is rebinding(B)
    assert [module.path for module in (copy, *map(rebinding, (A, B)))] == [("0",), ("1",), ("2",)]


class Calls(Module):
    """Has a module in the function in its field, which has captured the module itself, too."""

    def setup(self) -> None:
        self.inner = Holder(1)
        self.caller = Holder(lambda: (self.inner, self.caller))


def test_functions_in_fields_are_looked_into() -> None:
    model = Calls().bind({})
    binding = Binding(model.caller)
    assert {scope.path for scope in binding.scopes} == {("caller",), ()}
    copy = inside(binding)(model.caller)
    inner, caller = copy.value()
    assert inner.path == (*binding_path(binding, ()), "inner")
    assert caller.path == (*binding_path(binding, ()), "caller")


def binding_path(binding: Binding, path: tuple[str, ...]) -> tuple[str, ...]:
    """Give where `inside` puts the module of a path."""
    return (str([scope.path for scope in binding.scopes].index(path)),)


# Values in which there is one module, and how to get at it.
WAYS: list[tuple[Any, Callable[[Any], Any]]] = [
    (A, lambda value: value),
    ([A], lambda value: value[0]),
    (captured(A), called),
    (A.own, called),
    (OUTER, lambda value: value.value),
]


@pytest.mark.parametrize("first", range(len(WAYS)))
def test_a_module_that_is_reached_twice_is_one(first: int) -> None:
    ways = WAYS[first:] + WAYS[:first]
    binding = Binding(*(value for value, _ in ways))
    assert {scope.path for scope in binding.scopes} == {("a",), ("b",), ("outer",)}
    assert len(binding.scopes) == 3
    rebinding = inside(binding)
    found = [get(rebinding(value)) for value, get in ways]
    assert found[0] is not A
    assert all(module is found[0] for module in found)


def test_one_value_after_the_other() -> None:
    binding = Binding(B, captured(A), UNBOUND, 3, None, "text", jnp.ones(2), captured(B))
    assert binding.scopes == [B.scope, A.scope]
    assert [binding.index(module) for module in (A, B, OUTER, UNBOUND)] == [1, 0, None, None]
    rebinding = inside(binding)
    assert rebinding.module_at(0) is rebinding(B)
    assert rebinding.module_at(1) is rebinding(A)
    assert rebinding.module(UNBOUND) is UNBOUND


FIRST: dict[str, tuple[Any, Any]] = {
    "module": (A, A),
    "containers": ({"x": [UNBOUND, (B, A)]}, B),
    "unbound": ([UNBOUND], None),
    "nothing": (3, None),
    "function": (captured(A), None),
}


@pytest.mark.parametrize(("value", "expected"), FIRST.values(), ids=FIRST)
def test_the_first_bound_module_of_a_value(value: Any, expected: Any) -> None:
    assert Binding(value).first(value) is expected


def test_there_must_be_a_scope_for_each_module() -> None:
    with pytest.raises(ValueError, match="shorter"):
        Binding(A, B).inside([bind({})])


# Copies


def test_copies_can_be_of_other_classes() -> None:
    binding = Binding(A, B)
    copies = inside(binding, classes={id(A): Other})([A, B])
    assert [type(copy) for copy in copies] == [Other, Holder]
    assert [copy.value for copy in copies] == [1, 2]
    assert [copy.name for copy in copies] == ["a", "b"]


@pytest.mark.parametrize("is_anonymous", [True, False])
def test_copies_need_have_no_name(is_anonymous: bool) -> None:
    binding = Binding(A, B)
    root = bind({})
    rebinding = binding.inside([root, root.push("b")], is_anonymous=is_anonymous)
    assert [copy.name for copy in rebinding([A, B])] == [None if is_anonymous else "a", "b"]


def test_copies_belong_to_the_scopes_that_are_given() -> None:
    scope: Scope = bind({"params": {"w": 5.0}})
    copy = Binding(A).inside([scope])(A)
    assert copy.scope is scope
    assert copy.get_variable("params", "w") == 5.0


# Functions


def documented(module: Any) -> Callable[..., Any]:
    def fn(x: int = 1, *, y: int = 2) -> Any:
        """Say something."""
        return module, x, y

    fn.__dict__["mark"] = "mark"
    return fn


def test_copies_of_functions_are_like_the_functions() -> None:
    fn = documented(A)
    copy = inside(Binding(fn))(fn)
    assert copy is not fn
    assert copy()[1:] == (1, 2)
    assert copy(3, y=4)[1:] == (3, 4)
    assert inspect.signature(copy) == inspect.signature(fn)
    for name in ("__name__", "__qualname__", "__module__", "__doc__", "mark"):
        assert getattr(copy, name) == getattr(fn, name)


def test_copies_of_functions_share_what_else_was_captured() -> None:
    count = 0

    def fn() -> Any:
        nonlocal count
        count += 1
        return A_HERE

    A_HERE = A
    copy = inside(Binding(fn))(fn)
    assert copy() is not A
    assert fn() is A
    assert count == 2


def test_a_name_without_value_gets_it_later() -> None:
    module = A

    def fn() -> Any:
        return module, later

    copy = inside(Binding(fn))(fn)
    later = B
    found, other = copy()
    assert found.path == ("0",)
    assert other is B


def countdown(module: Any) -> Callable[[int], Any]:
    """Give a function that calls itself."""

    def down(number: int) -> list[Any]:
        return [module, *(down(number - 1) if number else [])]

    return down


def back_and_forth(module: Any) -> Callable[[int], Any]:
    """Give one of two functions that call each other; only the other one uses the module."""

    def even(number: int) -> list[Any]:
        return odd(number - 1) if number else []

    def odd(number: int) -> list[Any]:
        return [module, *(even(number - 1) if number else [])]

    return even


def test_functions_in_fields_that_use_their_module() -> None:
    def cyclic() -> Any:
        module = Holder(1, lambda: module)
        return module

    module, again = model_of(cyclic), model_of(cyclic)
    copy = inside(Binding(module))(module)
    assert copy is not module
    assert copy.other() is copy
    assert identity(module) == identity(again)


RECURSIONS: dict[str, Callable[[Any], Callable[[int], Any]]] = {
    "one function": countdown,
    "two functions": back_and_forth,
}


@pytest.mark.parametrize("recursive", RECURSIONS.values(), ids=RECURSIONS)
def test_functions_that_call_each_other(recursive: Callable[[Any], Any]) -> None:
    fn = recursive(A)
    binding = Binding(fn)
    assert binding.scopes == [A.scope]
    rebinding = inside(binding)
    found = rebinding(fn)(4)
    assert len(found) >= 2
    assert all(module is rebinding(A) for module in found)
    assert all(module is A for module in fn(4))


def test_functions_that_have_captured_nothing_stay_what_they_are() -> None:
    seen: list[Any] = []
    for fn in (test_modules_are_found, len, functools.partial(len), jnp.sin, Holder, countdown(3)):
        assert map_captured(seen.append, fn) is fn
    assert seen == []


def test_anything_can_take_the_place_of_a_module() -> None:
    numbers = {id(A): 1, id(UNBOUND): 2, id(B): 3}

    def number(module: Any) -> int:
        return numbers[id(module)]

    assert map_captured(number, [A, {"x": UNBOUND}, 0]) == [1, {"x": 2}, 0]
    assert map_captured(number, captured(B))() == 3
    assert map_captured(number, functools.partial(max, A, B)).args == (1, 3)


# Identities


def identity(*values: Any) -> Any:
    """Give what determines values, as it compares."""
    binding = Binding(*values)
    return fingerprint([binding.identity(value) for value in values])


def model_of(make: Callable[[], Any]) -> Any:
    """Give a module that is bound somewhere."""

    class Place(Module):
        def setup(self) -> None:
            self.module = make()

    return Place().bind({}).module


NAMED, ELSEWHERE, DIFFERENT, SUBCLASS = (
    model_of(make)
    for make in (
        lambda: Holder(1, name="n"),
        lambda: Holder(1),
        lambda: Holder(4),
        lambda: Other(1),
    )
)
NESTED, AGAIN, CHANGED = (
    model_of(lambda value=value: Holder([Holder(value)], {"f": Holder(5)})) for value in (6, 6, 7)
)

# What has the same identity and what has another.
SAME: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "place": ((A,), (ELSEWHERE,)),
    "name": ((A,), (NAMED,)),
    "submodules": ((NESTED,), (AGAIN,)),
    "closures": ((captured(A),), (captured(ELSEWHERE),)),
    "methods": ((A.own,), (ELSEWHERE.own,)),
    "partials": ((functools.partial(dict, [], x=A),), (functools.partial(dict, [], x=NAMED),)),
    "containers": (([A, (UNBOUND,)],), ([NAMED, (Holder(3),)],)),
    "functions in containers": (((captured(A), [A.own]),), ((captured(NAMED), [NAMED.own]),)),
}
UNEQUAL: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "field": ((A,), (DIFFERENT,)),
    "class": ((A,), (SUBCLASS,)),
    "field of a submodule": ((NESTED,), (CHANGED,)),
    "shared or not": ((A, A), (A, ELSEWHERE)),
    "order": ((A, ELSEWHERE, A), (A, ELSEWHERE, ELSEWHERE)),
    "closures": ((captured(A),), (captured(DIFFERENT),)),
    "code": ((captured(A),), (captured_twice(A),)),
    "methods": ((A.own,), (DIFFERENT.own,)),
    "unbound": ((UNBOUND,), (Holder(4),)),
    "bound or not": ((A,), (Holder(1),)),
}


@pytest.mark.parametrize(("values", "others"), SAME.values(), ids=SAME)
def test_identities_are_equal_by_value(values: Any, others: Any) -> None:
    assert identity(*values) == identity(*others)


@pytest.mark.parametrize(("values", "others"), UNEQUAL.values(), ids=UNEQUAL)
def test_identities_that_differ(values: Any, others: Any) -> None:
    assert identity(*values) != identity(*others)


def test_identities_hold_no_bound_module() -> None:
    description = Binding(OUTER).identity([OUTER, UNBOUND])
    (cls, number, fields), unbound = description
    assert (cls, number, list(fields)) == (Holder, 0, ["value", "other"])
    assert fields["value"] == (Holder, 1, {"value": 1, "other": None})
    assert unbound is UNBOUND


# References


def test_references_are_no_leaves() -> None:
    binding = Binding(A, OUTER)
    tree = {"x": [jnp.ones(2), A], "y": (UNBOUND, OUTER, A), "z": Struct(3.0)}
    referring = reference(tree, binding)
    chex.assert_trees_all_equal(jax.tree.leaves(referring), [jnp.ones(2), 3.0])
    doubled = jax.tree.map(lambda leaf: 2 * leaf, referring)
    rebinding = inside(binding)
    found = resolve(doubled, rebinding)
    chex.assert_trees_all_equal(found["x"][0], jnp.full(2, 2.0))
    assert found["x"][1] is found["y"][2] is rebinding(A)
    assert found["y"][1] is rebinding(OUTER)
    assert found["y"][0] is UNBOUND
    assert found["z"] == Struct(6.0)
    assert tree["x"][1] is A


def test_what_holds_no_module_needs_no_reference() -> None:
    tree = {"x": [jnp.ones(2)], "y": None}
    assert reference(tree, Binding()) is tree
    found = resolve(tree, inside(Binding()))
    assert found["x"][0] is tree["x"][0]


def structure(value: Any, *others: Any) -> Any:
    return jax.tree.structure(reference([value], Binding(value, *others)))


def test_references_are_part_of_the_structure() -> None:
    assert structure(A) == structure(ELSEWHERE) == structure(DIFFERENT)
    assert structure(A) != structure(UNBOUND)
    assert structure(UNBOUND) == structure(Holder(3)) != structure(Holder(4))
    binding = Binding(A, B)
    assert jax.tree.structure(reference([A, B], binding)) != jax.tree.structure(
        reference([B, A], binding)
    )


def test_modules_that_hold_arrays_are_compared_all_the_same() -> None:
    assert structure(Holder(jnp.ones(2))) != structure(Holder(jnp.zeros(2)))


# What looks at values


def test_modules_in_containers() -> None:
    value = {"x": [A, UNBOUND, 3], "y": (Struct(B), captured(OUTER), A)}
    assert [id(module) for module in modules_in(value)] == [id(m) for m in (A, UNBOUND, B, A)]
    assert modules_in(3) == []


@pytest.mark.parametrize(
    ("value", "expected"), [(A, True), (UNBOUND, True), (Holder, False), (3, False), ([A], False)]
)
def test_module_instances(value: Any, expected: bool) -> None:
    assert is_module(value) is expected


def test_fields_are_visited() -> None:
    seen: list[Any] = []

    def note(module: Any) -> Any:
        seen.append(module)
        return module

    rebound_fields(OUTER, note)
    assert [id(module) for module in seen[:1]] == [id(A)]
    assert seen[-1] is B
