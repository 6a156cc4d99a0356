"""The errors: the tree that the docstring shows, and texts that lead from a mistake to its repair."""

import inspect
import pickle
import re
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from linen_core import Module, compact, errors
from linen_core.errors import LinenError, ParameterMismatch, ScopeParamShapeError

KEY = jax.random.key(0)
X = jnp.ones((1, 3))

CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if inspect.isclass(value) and issubclass(value, LinenError)
}


def documented() -> dict[str, tuple[str, set[str]]]:
    """Read the tree in the module docstring: for each class its parent and its other bases."""
    tree = re.findall(r"```\n(.*?)```", errors.__doc__ or "", re.DOTALL)[0]
    found: dict[str, tuple[str, set[str]]] = {}
    parents: list[tuple[int, str]] = [(-1, "Exception")]
    for line in tree.splitlines():
        entry = re.match(r"([│├└─ ]*)(\w+)(?: \(([\w, ]+)\))?", line)
        assert entry is not None, line
        depth, name = len(entry[1]), entry[2]
        parents = [p for p in parents if p[0] < depth]
        if name[0].isupper():
            found[name] = (parents[-1][1], set(entry[3].split(", ")) if entry[3] else set())
            parents.append((depth, name))
    return found


def test_the_docstring_shows_every_class_and_its_bases() -> None:
    actual = {}
    for name, cls in CLASSES.items():
        parent = next(b for b in cls.__bases__ if b is Exception or issubclass(b, LinenError))
        others = {base.__name__ for base in cls.__bases__ if base is not parent}
        actual[name] = (parent.__name__, others)
    assert documented() == actual


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_says_its_condition(name: str) -> None:
    summary = (CLASSES[name].__doc__ or "").splitlines()[0]
    assert summary.endswith(".")


def caught(use: Any) -> LinenError:
    with pytest.raises(LinenError) as error:
        use()
    return error.value


class Dense(Module):
    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return x @ self.param("kernel", jax.nn.initializers.ones, (x.shape[-1], 2))


class Net(Module):
    def setup(self) -> None:
        self.encoder = Dense()

    def __call__(self, x: jax.Array) -> jax.Array:
        count = self.get_variable("state", "count", 0)
        self.put_variable("state", "count", count + 1)
        return self.encoder(x)


class Mapped(Module):
    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return jax.vmap(Dense(name="dense"))(x[:, None])


GOOD = {"params": {"encoder": {"kernel": jnp.ones((3, 2))}}, "state": {"count": 0}}
MUTABLE = {"mutable": ["state"]}


@pytest.mark.parametrize(
    ("mistake", "needle", "repaired"),
    [
        (
            lambda: Dense().apply({"kernel": jnp.ones((3, 2))}, X),
            'did you mean {"params": ...}?',
            lambda: Dense().apply({"params": {"kernel": jnp.ones((3, 2))}}, X),
        ),
        (
            lambda: Dense().apply({"params": {"params": {"kernel": jnp.ones((3, 2))}}}, X),
            'pass the variables themselves, or {"params": variables["params"]}',
            lambda: Dense().apply({"params": {"kernel": jnp.ones((3, 2))}}, X),
        ),
        (
            lambda: Net().apply(GOOD, X),
            'Write y, updates = model.apply(variables, ..., mutable=["state"])',
            lambda: Net().apply(GOOD, X, mutable=["state"]),
        ),
        (
            lambda: Net().encoder,
            "use model.bind(variables).encoder",
            lambda: Net().bind(GOOD).encoder,
        ),
        (
            lambda: Dense()(X),
            "Write model.apply(variables, ...)",
            lambda: Dense().apply({"params": {"kernel": jnp.ones((3, 2))}}, X),
        ),
        (
            lambda: Dense.init(KEY, X),  # type: ignore[arg-type]
            "MyModule(...).init(...)",
            lambda: Dense().init(KEY, X),
        ),
        (
            lambda: Dense().apply({"params": {"kernel": jnp.ones((4, 2))}}, X),
            'the parameter "kernel" was found with shape (4, 2), but its initializer makes shape '
            "(3, 2)",
            lambda: Dense().apply({"params": {"kernel": jnp.ones((3, 2))}}, X),
        ),
        (
            lambda: Mapped().init(KEY, X),
            "Use the lifted transformation instead of the raw one: linen_transforms.vmap",
            # With parameters that exist, nothing is created, and reading is fine.
            lambda: Mapped().apply({"params": {"dense": {"kernel": jnp.ones((3, 2))}}}, X),
        ),
        (
            lambda: Dense().init(0, X),  # type: ignore[arg-type]
            "made by jax.random.key(seed)",
            lambda: Dense().init(jax.random.key(0), X),
        ),
        (
            lambda: Net().apply({**GOOD, "params": {}}, X, mutable=["state"]),
            'The module "encoder" needs "kernel" from collection "params"',
            lambda: Net().apply(GOOD, X, mutable=["state"]),
        ),
    ],
    ids=(
        "params_as_variables double_params immutable setup_attribute unbound class shape vmap seed "
        "missing_params"
    ).split(),
)
def test_the_text_leads_to_the_repair(mistake: Any, needle: str, repaired: Any) -> None:
    assert needle in str(caught(mistake))
    repaired()


def test_the_text_says_what_is_there_instead_of_a_missing_submodule() -> None:
    variables = {**GOOD, "params": {"encoder_1": {"kernel": jnp.ones((3, 2))}}}
    text = str(caught(lambda: Net().apply(variables, X, mutable=["state"])))
    assert 'The module "encoder" needs "kernel" from collection "params"' in text
    assert "'encoder_1'" in text


def test_one_layer_too_many_is_found_beside_other_collections() -> None:
    variables = {"params": {"params": {"kernel": jnp.ones((3, 2))}, "state": {}}}
    text = str(caught(lambda: Dense().apply(variables, X)))
    assert '{"params": variables["params"]}' in text


def test_every_mismatch_is_reported_at_once() -> None:
    class Pair(Module):
        @compact
        def __call__(self, x: jax.Array) -> jax.Array:
            y = Dense(name="first")(x)
            return y + Dense(name="second")(x)

    wrong = {"kernel": jnp.ones((5, 2))}
    text = str(caught(lambda: Pair().apply({"params": {"first": wrong, "second": wrong}}, X)))
    assert 'The module "first"' in text
    assert 'The module "second"' in text


def test_keys_with_long_lists_are_cut() -> None:
    variables = {f"name_{i}": 1 for i in range(20)}
    text = str(caught(lambda: Dense().apply({"params": variables}, X)))
    assert "'name_11'] and 8 more there" in text
    assert "'name_12'" not in text


def test_long_values_are_cut() -> None:
    text = str(caught(lambda: Dense().apply("x" * 500, X)))  # type: ignore[arg-type]
    assert "xxx...." in text
    assert len(text) < 300


def test_key_errors_show_their_text_unquoted() -> None:
    error = caught(lambda: Dense().apply({}, X))
    assert isinstance(error, KeyError)
    assert str(error).startswith("The top-level module needs")


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: Dense().apply({"kernel": 1}, X),
        lambda: Dense().apply({"params": {"kernl": 1}}, X),
        lambda: Dense().apply({}, X),
        lambda: Dense().apply({"params": {"kernel": jnp.ones((4, 2))}}, X),
        lambda: Net().apply(GOOD, X),
        lambda: Dense()(X),
        lambda: Net().encoder,
        lambda: Mapped().init(KEY, X),
    ],
    ids="type param collection shape modify unbound attribute transform".split(),
)
def test_errors_survive_pickling(mistake: Any) -> None:
    # An exception that cannot be unpickled kills the pool of processes that it was raised in.
    error = caught(mistake)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)


def test_mismatches_come_with_the_inputs() -> None:
    wrong = {"params": {"kernel": jnp.ones((5, 2))}}
    error = caught(lambda: Dense().apply(wrong, X))
    assert f"The inputs were float32{list(X.shape)}." in str(error)


def test_long_lists_of_mismatches_are_cut() -> None:
    mismatches = [
        ParameterMismatch((f"layer_{i}",), "w", "shape (1,)", "shape (2,)") for i in range(23)
    ]
    text = str(ScopeParamShapeError(mismatches))
    assert 'The module "layer_19"' in text
    assert 'The module "layer_20"' not in text
    assert "... and 3 more." in text
