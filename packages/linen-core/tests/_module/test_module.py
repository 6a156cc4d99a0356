"""Modules as pure functions: init, apply, bind, clone; and properties over random models."""

import concurrent.futures
import copy
from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linen_core import DenyList, FrozenDict, Module, compact, freeze
from linen_core.config import config
from linen_core.errors import (
    BindArgumentsError,
    InvalidFilterError,
    InvalidInstanceModuleError,
    InvalidRngError,
    InvalidScopeError,
    LinenError,
    ScopeCollectionNotFound,
    ScopeParamNotFoundError,
)

KEY = jax.random.key(0)
X = jnp.ones((2, 3))


class Dense(Module):
    features: int

    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (x.shape[-1], self.features)
        return x @ self.param("kernel", jax.nn.initializers.lecun_normal(), shape)


class Net(Module):
    widths: tuple[int, ...] = (4, 2)

    def setup(self) -> None:
        self.layers = [Dense(width) for width in self.widths]
        self.calls = self.variable("state", "calls", lambda: 0)

    def __call__(self, x: jax.Array, *, negate: bool = False) -> jax.Array:
        if self.is_mutable_collection("state"):
            self.calls.value += 1
        for layer in self.layers:
            x = layer(x)
        self.sow("intermediates", "y", x)
        return -x if negate else x


VARIABLES = Net().init(KEY, X)


def test_init_creates_all_but_intermediates() -> None:
    assert jax.tree.map(jnp.shape, VARIABLES) == {
        "params": {"layers_0": {"kernel": (3, 4)}, "layers_1": {"kernel": (4, 2)}},
        "state": {"calls": ()},
    }


@pytest.mark.parametrize(
    ("mutable", "collections"),
    [
        (True, {"params", "state", "intermediates"}),
        (DenyList(["intermediates"]), {"params", "state"}),
        (["params", "state"], {"params", "state"}),
    ],
    ids=["all", "deny", "names"],
)
def test_init_creates_what_is_mutable(mutable: Any, collections: set[str]) -> None:
    assert Net().init(KEY, X, mutable=mutable).keys() == collections
    assert Net().lazy_init(KEY, X, mutable=mutable).keys() == collections
    assert Net().init_with_output(KEY, X, mutable=mutable)[1].keys() == collections


def test_apply_returns_what_the_method_returns() -> None:
    params = VARIABLES["params"]
    expected = X @ params["layers_0"]["kernel"] @ params["layers_1"]["kernel"]
    chex.assert_trees_all_close(Net().apply(VARIABLES, X), expected)
    chex.assert_trees_all_close(Net().apply(VARIABLES, X, negate=True), -expected)


def test_apply_returns_updates_if_something_is_mutable() -> None:
    y, updates = Net().apply(VARIABLES, X, mutable=["state", "intermediates"])
    chex.assert_trees_all_equal(updates, {"state": {"calls": 2}, "intermediates": {"y": (y,)}})


@pytest.mark.parametrize("wrap", [dict, freeze], ids=["dict", "FrozenDict"])
def test_variables_are_never_changed(wrap: Any) -> None:
    given_ = wrap(copy.deepcopy(VARIABLES))
    Net().apply(given_, X, mutable=True)
    bound = Net().bind(given_, mutable=True)
    bound(X)
    bound.put_variable("params", "new", 1)
    chex.assert_trees_all_equal(dict(given_), dict(wrap(VARIABLES)))


def test_frozen_dicts_on_request() -> None:
    with config.temporary(return_frozendict=True):
        assert isinstance(Net().init(KEY, X), FrozenDict)
        assert isinstance(Net().apply(VARIABLES, X, mutable=["state"])[1], FrozenDict)
        assert isinstance(Net().init_with_output(KEY, X)[1], FrozenDict)


def test_modules_work_under_jit_and_grad() -> None:
    loss = lambda params: Net().apply({**VARIABLES, "params": params}, X).sum()  # noqa: E731
    grads = jax.jit(jax.grad(loss))(VARIABLES["params"])
    chex.assert_trees_all_equal_shapes(grads, VARIABLES["params"])


def test_a_module_is_a_static_argument() -> None:
    traces = []

    def run(model: Module, variables: Any, x: jax.Array) -> jax.Array:
        traces.append(model)
        return model.apply(variables, x)

    compiled = jax.jit(run, static_argnums=0)
    for _ in range(3):
        compiled(Net((4, 2)), VARIABLES, X)
    assert len(traces) == 1


def test_two_threads_apply_one_module() -> None:
    model = Net()
    expected = model.apply(VARIABLES, X)

    def run(_: int) -> Any:
        return [model.apply(VARIABLES, X, mutable=["state"]) for _ in range(5)]

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for results in pool.map(run, range(4)):
            for y, updates in results:
                chex.assert_trees_all_equal(y, expected)
                assert updates["state"]["calls"] == 2


@pytest.mark.parametrize("name", ["fn", "scope", "module", "args", "path", "caller"])
def test_a_keyword_argument_may_have_any_name(name: str) -> None:
    class Open(Module):
        def __call__(self, **options: Any) -> Any:
            if self.is_initializing():
                self.put_variable("state", "seen", options[name])
            return options

    given_: Any = {name: 3}
    assert Open().apply({}, **given_) == given_
    assert Open().init_with_output(KEY, **given_)[0] == given_
    assert Open().init(KEY, **given_) == {"state": {"seen": 3}}


def test_bound_modules() -> None:
    bound = Net().bind(VARIABLES)
    chex.assert_trees_all_close(bound(X), Net().apply(VARIABLES, X))
    chex.assert_trees_all_close(bound.layers[0](X), X @ VARIABLES["params"]["layers_0"]["kernel"])
    chex.assert_trees_all_equal(
        bound.layers[1].variables["params"], VARIABLES["params"]["layers_1"]
    )


def test_bind_takes_no_more_arguments() -> None:
    with pytest.raises(BindArgumentsError) as caught:
        Net().bind(VARIABLES, X)
    assert str(caught.value) == (
        "bind takes the variables only, but got 1 more positional arguments. Call the bound module "
        "with them: model.bind(variables)(x)."
    )


def test_clone() -> None:
    model = Net((1,), name="a")
    assert model.clone() == model
    assert model.clone(widths=(2,), name=None) == Net((2,))
    assert model == Net((1,), name="a")
    with pytest.raises(TypeError, match="width"):
        model.clone(width=(2,))


def test_clone_inside_a_parent() -> None:
    class Twice(Module):
        @compact
        def __call__(self, x: jax.Array) -> jax.Array:
            first = Dense(3, name="first")
            return first.clone(parent=self, name="second")(first(x))

    assert list(Twice().init(KEY, X)["params"]) == ["first", "second"]


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("init", (KEY, X)),
        ("init_with_output", (KEY, X)),
        ("lazy_init", (KEY, X)),
        ("apply", (VARIABLES, X)),
        ("bind", (VARIABLES, KEY)),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_a_class_is_no_instance(method: str, args: Any) -> None:
    with pytest.raises(InvalidInstanceModuleError) as caught:
        getattr(Net, method)(*args)
    assert isinstance(caught.value, LinenError)
    assert isinstance(caught.value, TypeError)
    assert str(caught.value) == (
        f"{method} needs an instance of a module, but was called on a class. Construct the module "
        f"first: MyModule(...).{method}(...)."
    )


@pytest.mark.parametrize(
    "use",
    [
        lambda m: Net().init(KEY, X, mutable=m),
        lambda m: Net().apply(VARIABLES, X, mutable=m),
        lambda m: Net().bind(VARIABLES, mutable=m),
    ],
    ids=["init", "apply", "bind"],
)
def test_bad_filters(use: Any) -> None:
    with pytest.raises(InvalidFilterError, match=r"^3 is no filter"):
        use(3)


def test_init_names_the_stream_that_is_missing() -> None:
    with pytest.raises(InvalidRngError) as caught:
        Net().init({"dropout": KEY}, X)
    assert 'The module "layers_0" draws from the random stream "params"' in str(caught.value)
    assert "in the call of apply" not in str(caught.value)


def test_missing_parameters_of_a_submodule() -> None:
    params = {"layers_0": VARIABLES["params"]["layers_0"]}
    with pytest.raises(ScopeCollectionNotFound) as missing:
        Net().apply({**VARIABLES, "params": params}, X)
    assert str(missing.value).startswith(
        'The module "layers_1" needs "kernel" from collection "params", but there is nothing in '
        "that collection here"
    )
    with pytest.raises(ScopeParamNotFoundError) as misnamed:
        Dense(2).apply({"params": {"kernal": 1}}, X)
    assert "Did you mean 'kernal'?" in str(misnamed.value)


@pytest.mark.parametrize("of", ["module", "submodule"])
def test_a_module_is_of_no_use_after_the_end(of: str) -> None:
    class Leaks(Module):
        @compact
        def __call__(self) -> Any:
            inner = Dense(2, name="inner")
            inner(X)
            return self if of == "module" else inner

    leaked, variables = Leaks().init_with_output(KEY)
    assert variables["params"].keys() == {"inner"}
    place = "The top-level module" if of == "module" else 'The module "inner"'
    with pytest.raises(InvalidScopeError) as caught:
        leaked() if of == "module" else leaked(X)
    # What a module does first, making a submodule or reading a parameter, says so.
    assert str(caught.value).startswith(f"{place} is used after its init or apply has ended.")


# Random models.

values = st.integers(0, 9)
nested = st.dictionaries(
    st.text("abc", min_size=1, max_size=2),
    st.recursive(values, lambda t: st.dictionaries(st.text("abc", min_size=1), t, max_size=3)),
    max_size=3,
)
random_variables = st.dictionaries(st.sampled_from(["params", "state", "cache"]), nested).filter(
    lambda v: list(v.get("params", {})) != ["params"]
)


@given(random_variables, st.booleans(), st.booleans())
def test_variables_survive_bind_and_unbind(variables: Any, mutable: bool, frozen: bool) -> None:
    before = copy.deepcopy(variables)
    bound = Module().bind(freeze(variables) if frozen else variables, mutable=mutable)
    module, after = bound.unbind()
    assert after == before == variables
    assert module == Module()
    assert all(type(tree) is dict for tree in (after, *after.values()))
    for tree in after.values():
        tree["new"] = 1
    assert variables == before


@given(random_variables, st.sampled_from(["params", "state", "cache"]))
def test_only_what_is_mutable_comes_back(variables: Any, mutable: str) -> None:
    class Touch(Module):
        def __call__(self) -> None:
            self.put_variable(mutable, "touched", 1)

    _, updates = Touch().apply(variables, mutable=[mutable])
    assert updates == {mutable: {**variables.get(mutable, {}), "touched": 1}}
