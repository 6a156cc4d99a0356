"""Reading and writing the nested dicts of variables."""

from typing import Any

import pytest

from linen_core import Scope, bind, freeze
from linen_core.errors import InvalidScopeError, LinenError, ModifyScopeVariableError

VARIABLES = {
    "params": {"encoder": {"kernel": 1, "Dense_0": {"bias": 2}}, "scale": 3},
    "state": {"encoder": {"count": 4}},
}


def encoder(mutable: Any = False, variables: Any = VARIABLES) -> Scope:
    return bind(variables, mutable=mutable).push("encoder")


@pytest.mark.parametrize("variables", [VARIABLES, freeze(VARIABLES)], ids=["dict", "FrozenDict"])
@pytest.mark.parametrize("mutable", [False, True, ["state"]], ids=repr)
def test_reads_at_its_path(variables: Any, mutable: Any) -> None:
    scope = encoder(mutable, variables)
    assert scope.get_variable("params", "kernel") == 1
    assert scope.get_variable("state", "count") == 4
    assert scope.push("Dense_0").get_variable("params", "bias") == 2
    assert scope.variables() == {
        "params": {"kernel": 1, "Dense_0": {"bias": 2}},
        "state": {"count": 4},
    }


@pytest.mark.parametrize(
    ("col", "name", "exists"),
    [
        ("params", "kernel", True),
        ("params", "Dense_0", True),
        ("params", "scale", False),
        ("state", "kernel", False),
        ("cache", "kernel", False),
    ],
)
def test_what_exists(col: str, name: str, exists: bool) -> None:
    scope = encoder()
    assert scope.has_variable(col, name) is exists
    assert (scope.get_variable(col, name, "nothing") != "nothing") is exists
    assert (scope.get_variable(col, name) is not None) is exists


def test_a_leaf_is_no_place() -> None:
    scope = bind(VARIABLES).push("scale")
    assert scope.is_collection_empty("params")
    assert not scope.has_variable("params", "anything")


def test_nothing_is_written_below_a_leaf() -> None:
    with pytest.raises(LinenError, match="scale"):
        bind(VARIABLES, mutable=True).push("scale").put_variable("params", "anything", 1)


@pytest.mark.parametrize(
    ("col", "expected"), [("params", False), ("state", False), ("cache", True), ("empty", True)]
)
def test_empty_collections(col: str, expected: bool) -> None:
    scope = bind({**VARIABLES, "empty": {}})
    assert scope.is_collection_empty(col) is expected
    assert scope.push("decoder").is_collection_empty(col)


def test_none_is_a_value() -> None:
    scope = bind({"state": {"x": None}}, mutable=True)
    assert scope.has_variable("state", "x")
    assert scope.get_variable("state", "x", default=1) is None


def test_writes_make_the_dicts_that_are_missing() -> None:
    root = bind({}, mutable=True)
    root.push("a").push("b").put_variable("state", "x", 1)
    root.put_variable("state", "y", 2)
    assert root.variables() == {"state": {"a": {"b": {"x": 1}}, "y": 2}}
    assert root.push("a", reuse=True).push("b").get_variable("state", "x") == 1


def test_writes_are_seen_by_scopes_that_were_there_before() -> None:
    root = bind(VARIABLES, mutable=["state"])
    before = root.push("encoder")
    assert before.get_variable("state", "count") == 4
    root.rewound().push("encoder").put_variable("state", "count", 5)
    assert before.get_variable("state", "count") == 5
    assert VARIABLES["state"] == {"encoder": {"count": 4}}


@pytest.mark.parametrize("mutable", [False, "params", ["cache"]], ids=repr)
def test_immutable_collections_do_not_change(mutable: Any) -> None:
    with pytest.raises(ModifyScopeVariableError) as caught:
        encoder(mutable).put_variable("state", "count", 5)
    assert (caught.value.path, caught.value.collection, caught.value.name) == (
        ("encoder",),
        "state",
        "count",
    )


@pytest.mark.parametrize("mutable", [False, True], ids=["immutable", "mutable"])
def test_what_is_given_out_is_a_copy(mutable: bool) -> None:
    root = bind(VARIABLES, mutable=mutable)
    given = root.variables()
    given["params"]["encoder"]["kernel"] = 0
    root.get_variable("params", "encoder")["kernel"] = 0
    root.push("encoder").variables()["params"].clear()
    assert root.variables() == VARIABLES
    assert VARIABLES["params"]["encoder"] == {"kernel": 1, "Dense_0": {"bias": 2}}


def test_mutable_variables_are_those_of_the_mutable_collections() -> None:
    root = bind(VARIABLES, mutable=["state", "cache"])
    root.push("encoder").put_variable("cache", "x", 1)
    assert root.mutable_variables() == {
        "state": {"encoder": {"count": 4}},
        "cache": {"encoder": {"x": 1}},
    }
    assert root.push("encoder", reuse=True).mutable_variables() == {
        "state": {"count": 4},
        "cache": {"x": 1},
    }


def test_is_mutable_collection() -> None:
    scope = encoder(["state"])
    assert scope.is_mutable_collection("state")
    assert not scope.is_mutable_collection("params")


@pytest.mark.parametrize(
    "use",
    [
        lambda s: s.variables(),
        lambda s: s.mutable_variables(),
        lambda s: s.has_variable("params", "kernel"),
        lambda s: s.get_variable("params", "kernel"),
        lambda s: s.put_variable("state", "count", 1),
        lambda s: s.push("a"),
        lambda s: s.rewound(),
        lambda s: s.make_rng(),
        lambda s: s.param("kernel", lambda key: 1),
        lambda s: s.variable("state", "count"),
    ],
    ids="variables mutable_variables has get put push rewound make_rng param variable".split(),
)
def test_nothing_works_after_the_end(use: Any) -> None:
    scope = encoder(True)
    scope.invalidate()
    with pytest.raises(InvalidScopeError) as caught:
        use(scope)
    assert str(caught.value) == (
        'The module "encoder" is used after its init or apply has ended. Return values, not '
        "modules or scopes, from init and apply; to work with a module at leisure, write "
        "bound = model.bind(variables)."
    )
