"""Setup and attributes: when `setup` runs, what it may set, what is frozen, what is missing."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest

from linen_core import Module, compact, compact_name_scope
from linen_core.errors import (
    CallSetupUnboundModuleError,
    DescriptorAttributeError,
    LinenError,
    MissingAttributeError,
    SetAttributeFrozenModuleError,
    SetAttributeInModuleSetupError,
)

KEY = jax.random.key(0)


class Leaf(Module):
    value: float = 1.0

    @compact
    def __call__(self, x: float = 0.0) -> float:
        return x + self.param("w", lambda key: self.value)


def params(module: Module, *args: Any, **kwargs: Any) -> Any:
    return module.init(KEY, *args, **kwargs)["params"]


class Lazy(Module):
    log: Any = None
    fail: bool = False

    def setup(self) -> None:
        self.log.append("setup")
        self.w = self.param("w", lambda key: 1.0)
        self.leaf = Leaf()
        if self.fail:
            raise KeyError("mine")

    def __call__(self) -> float:
        return self.leaf(self.w)

    @property
    def double(self) -> float:
        return 2 * self.w

    @property
    def broken(self) -> float:
        return self.w.nothing  # type: ignore[attr-defined]


class Log:
    def __init__(self) -> None:
        self.entries: list[str] = []
        self.append = self.entries.append


VARIABLES = {"params": {"w": 1.0, "leaf": {"w": 2.0}}}


@pytest.mark.parametrize(
    "use",
    [
        lambda m: m(),
        lambda m: m.w,
        lambda m: m.leaf(1.0),
        lambda m: m.double,
        lambda m: (m(), m.leaf, m()),
    ],
    ids=["call", "attribute", "submodule", "property", "several"],
)
def test_setup_runs_once_on_first_need(use: Any) -> None:
    log = Log()
    bound = Lazy(log).bind(VARIABLES)
    assert log.entries == []
    use(bound)
    use(bound)
    assert log.entries == ["setup"]


def test_what_needs_no_setup_does_not_run_it() -> None:
    log = Log()
    bound = Lazy(log).bind(VARIABLES)
    assert (bound.fail, bound.path, bound.name) == (False, (), None)
    assert bound.variables == VARIABLES
    repr(bound)
    assert bound.unbind() == (Lazy(log), VARIABLES)
    assert not hasattr(bound, "__missing__")
    assert log.entries == []


def test_a_failing_setup_fails_again() -> None:
    log = Log()
    bound = Lazy(log, fail=True).bind(VARIABLES)
    for _ in range(2):
        with pytest.raises(KeyError, match="mine"):
            bound()
    assert log.entries == ["setup"] * 2


def test_an_attribute_error_in_a_property_is_the_users() -> None:
    with pytest.raises(DescriptorAttributeError) as caught:
        _ = Lazy(Log()).bind(VARIABLES).broken
    assert isinstance(caught.value, AttributeError)
    assert str(caught.value) == (
        f"The property 'broken' of Lazy raised {type(caught.value.__cause__).__name__}: "
        f"{caught.value.__cause__} Only what setup() or the class defines can be used in a property."
    )


def test_setup_is_not_called_by_hand() -> None:
    with pytest.raises(CallSetupUnboundModuleError) as caught:
        Lazy(Log()).setup()
    assert str(caught.value) == (
        "Lazy is not bound to variables, so setup() cannot be called (it is called for you, when it "
        "is needed). Write model.apply(variables, ...), or bound = model.bind(variables) and use "
        "that."
    )


def test_setup_may_call_super() -> None:
    class Base(Module):
        def setup(self) -> None:
            self.first = Leaf(1.0)

    class Derived(Base):
        def setup(self) -> None:
            super().setup()
            self.second = Leaf(2.0)

        def __call__(self) -> float:
            return self.first() + self.second()

    assert params(Derived()) == {"first": {"w": 1.0}, "second": {"w": 2.0}}


def test_setup_and_compact_in_one_class() -> None:
    class Both(Module):
        def setup(self) -> None:
            self.first = Leaf(1.0)

        @compact
        def __call__(self) -> float:
            return self.first() + Leaf(2.0)()

    assert params(Both()) == {"first": {"w": 1.0}, "Leaf_0": {"w": 2.0}}


@pytest.mark.parametrize("name", ["value", "name", "parent"])
def test_fields_are_not_set_in_setup(name: str) -> None:
    class Net(Module):
        value: int = 1

        def setup(self) -> None:
            setattr(self, name, 2)

        def __call__(self) -> None:
            pass

    with pytest.raises(SetAttributeInModuleSetupError) as caught:
        Net().apply({})
    assert isinstance(caught.value, LinenError)
    assert isinstance(caught.value, TypeError)
    assert str(caught.value) == (
        f"Net.setup() sets {name!r}, which is a field given to the constructor. Fields do not "
        f"change: store the result under another name, for example self.{name}_ = ..."
    )


def test_the_scope_is_not_set_in_setup() -> None:
    class Net(Module):
        def setup(self) -> None:
            self.scope = 3  # type: ignore[misc]

        def __call__(self) -> None:
            pass

    with pytest.raises(LinenError, match="scope"):
        Net().apply({})


def test_attributes_are_frozen() -> None:
    class Net(Module):
        value: int = 1

        def __call__(self) -> None:
            self.state = 3

    for use in (lambda: Net().apply({}), lambda: setattr(Net(), "state", 3)):
        with pytest.raises(SetAttributeFrozenModuleError) as caught:
            use()
        assert isinstance(caught.value, LinenError)
        assert isinstance(caught.value, TypeError)
        assert str(caught.value) == (
            "Net is frozen outside setup(), so 'state' cannot be set. Set it in setup(), or make a "
            "changed copy: module.clone(state=...). State that changes belongs in a variable: "
            'self.variable("state", ...).'
        )


@pytest.mark.parametrize(
    "change",
    [lambda m: delattr(m, "value"), lambda m: setattr(m, "parent", Leaf())],
    ids=["delete", "parent"],
)
def test_nothing_of_a_frozen_module_changes(change: Any) -> None:
    module = Leaf(3.0)
    with pytest.raises(SetAttributeFrozenModuleError):
        change(module)
    assert module == Leaf(3.0)


@pytest.mark.parametrize(
    ("use", "text"),
    [
        (
            lambda: Lazy(Log()).leaf,
            "Lazy has no attribute 'leaf'. If it is created in setup(), it exists only in a bound "
            "module: use model.bind(variables).leaf.",
        ),
        (lambda: Lazy(Log()).doubl, "Lazy has no attribute 'doubl'. Did you mean 'double'?"),  # type: ignore[attr-defined]
        (
            lambda: Lazy(Log()).bind(VARIABLES).leav,  # type: ignore[attr-defined]
            "Lazy has no attribute 'leav'. Did you mean 'leaf'?",
        ),
        (
            lambda: Lazy(Log()).bind(VARIABLES).nothing_like_it,  # type: ignore[attr-defined]
            "Lazy has no attribute 'nothing_like_it'.",
        ),
    ],
    ids=["unbound", "unbound typo", "bound typo", "bound"],
)
def test_missing_attributes(use: Any, text: str) -> None:
    with pytest.raises(MissingAttributeError) as caught:
        use()
    assert isinstance(caught.value, LinenError)
    assert isinstance(caught.value, AttributeError)
    assert str(caught.value) == text


def test_reading_an_attribute_in_setup_before_it_is_set() -> None:
    class Net(Module):
        def setup(self) -> None:
            self.b = self.a  # type: ignore[has-type]
            self.a = 1

        def __call__(self) -> None:
            pass

    with pytest.raises(MissingAttributeError, match=r"^Net has no attribute 'a'"):
        Net().apply({})


def test_a_failed_setup_leaves_nothing_behind() -> None:
    class Failing(Module):
        def setup(self) -> None:
            self.leaf = Leaf(1.0)
            raise KeyError("mine")

    bound = Failing().bind({})
    for _ in range(2):
        with pytest.raises(KeyError, match="mine"):
            _ = bound.leaf


# In a JAX trace that began after the module was bound.


class Scaled(Module):
    def setup(self) -> None:
        self.doubled = 2 * self.param("w", lambda key: jnp.ones(()))
        self.made = [Leaf(1.0)]

    def __call__(self, x: jax.Array) -> jax.Array:
        return x * self.doubled + self.made[0]()

    @compact_name_scope
    def scoped(self, x: jax.Array) -> jax.Array:
        return Leaf(1.0)() * x + self(x)


class Deep(Module):
    def setup(self) -> None:
        self.inner = Scaled()

    def __call__(self, x: jax.Array) -> jax.Array:
        raw = jax.checkpoint(lambda x: self.inner(x))(x)
        return raw + self.inner(x) + self.inner.doubled


TRACED = {
    "call": lambda m, x: m(x),
    "attribute": lambda m, x: m.inner.doubled * x,
    "submodule": lambda m, x: m.inner(x),
    "name scope": lambda m, x: m.inner.scoped(x),
    "twice": lambda m, x: m(m.inner(x)),
}


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap, jax.checkpoint], ids=lambda f: f.__name__)
@pytest.mark.parametrize("use", TRACED.values(), ids=TRACED)
def test_nothing_of_a_foreign_trace_is_kept(use: Any, transform: Any) -> None:
    x = jnp.arange(3.0)
    variables = Deep().init(KEY, x, method=lambda m, x: m.inner.scoped(x))
    expected = Deep().apply(variables, x, method=use)
    bound = Deep().bind(variables)
    with jax.checking_leaks():
        chex.assert_trees_all_close(transform(lambda x: use(bound, x))(x), expected)
    chex.assert_trees_all_close(use(bound, x), expected)
    assert bound.inner.doubled == 2.0
    assert bound.inner is bound.inner


def test_a_module_that_was_set_up_before_stays_so() -> None:
    bound = Scaled().bind({"params": {"w": jnp.ones(()), "made_0": {"w": 1.0}}})
    made = bound.made[0]
    jax.jit(lambda x: bound(x))(1.0)
    assert bound.made[0] is made


def test_setup_runs_once_in_a_call_of_a_foreign_trace() -> None:
    runs = []

    class Counts(Module):
        def setup(self) -> None:
            runs.append(1)

        def helper(self, x: Any) -> Any:
            return x

        def __call__(self, x: Any) -> Any:
            return self.helper(self.helper(x))

    bound = Counts().bind({})
    jax.jit(lambda x: bound(x))(1.0)
    assert len(runs) == 1
    bound(1.0)
    bound(1.0)
    assert len(runs) == 2
