"""The account of how variables are sharded, as text and as data."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import AbstractMesh, Mesh, PartitionSpec

from linen_core import (
    LogicallyPartitioned,
    Partitioned,
    explain_sharding,
    get_sharding,
    logical_axis_rules,
)
from linen_core.errors import (
    DuplicateLogicalNameError,
    DuplicateMeshAxisError,
    PartitionRankError,
    UnknownLogicalAxisError,
)

ABSTRACT = AbstractMesh((4, 2), ("data", "model"))
RULES = (("embed", None), ("mlp", "model"), ("heads", "model"), ("kv", "tensor"), ("odd", "data"))


def logical(shape: tuple[int, ...], *names: Any, **fields: Any) -> LogicallyPartitioned:
    """Returns a box of float32 shapes."""
    return LogicallyPartitioned(jax.ShapeDtypeStruct(shape, jnp.float32), names, **fields)


TREE = {
    "params": {
        "mlp": {"kernel": logical((512, 2048), "embed", "mlp"), "bias": jnp.zeros(2048)},
        "query": logical((512, 8, 64), "embed", "heads", "mlp"),
        "key": logical((510, 3), "kv", "odd"),
        "table": Partitioned(jnp.zeros((8, 4), jnp.bfloat16), (("data", "model"), None)),
        "other": logical((512, 4), "embd", PartitionSpec.UNCONSTRAINED),
    },
    "step": {"count": 3, "scale": logical(()), "rng": jax.random.key(0)},
}


def test_the_table() -> None:
    assert (
        str(explain_sharding(TREE, ABSTRACT, RULES))
        == """\
variable
  size  axis         rule                                  spec         per device
params/key
   510  kv           kv -> tensor, the mesh has no tensor  tensor        1.992 KiB
     3  odd          odd -> data, 3 / 4 is uneven          data
params/mlp/bias
  2048               in no box                             -                 8 KiB
params/mlp/kernel
   512  embed        embed -> None                         -                 2 MiB
  2048  mlp          mlp -> model                          model
params/other
   512  embd         no rule                               -                 8 KiB
     4  any          the compiler chooses                  any
params/query
   512  embed        embed -> None                         -               512 KiB
     8  heads        model is taken by mlp                 -
    64  mlp          mlp -> model                          model
params/table
     8  data, model  mesh axis                             data, model         8 B
     4                                                     -
step/count
                     in no box                             -                   4 B
step/rng
                     in no box                             -                   8 B
step/scale
                                                           -                   4 B
9 arrays, 5.022 MiB in all, 2.518 MiB on each device of the mesh data=4, model=2"""
    )


def test_a_narrow_table_has_paths_beside_the_columns() -> None:
    table = explain_sharding({"w": logical((512, 2048), "embed", "mlp")}, ABSTRACT, RULES)
    assert (
        str(table)
        == """\
variable  size  axis   rule           spec   per device
w          512  embed  embed -> None  -           2 MiB
          2048  mlp    mlp -> model   model
1 array, 4 MiB in all, 2 MiB on each device of the mesh data=4, model=2"""
    )
    assert repr(table) == str(table)


def test_an_empty_tree() -> None:
    assert str(explain_sharding({}, ABSTRACT)) == (
        "variable  size  axis  rule  spec  per device\n"
        "0 arrays, 0 B in all, 0 B on each device of the mesh data=4, model=2"
    )


def test_rows_are_data() -> None:
    rows = {row.path: row for row in explain_sharding(TREE, ABSTRACT, RULES).rows}
    assert dataclasses.asdict(rows["params/query"]) == {
        "path": "params/query",
        "shape": (512, 8, 64),
        "dtype": np.dtype("float32"),
        "names": ("embed", "heads", "mlp"),
        "rules": (("embed", None), None, ("mlp", "model")),
        "notes": ("", "model is taken by mlp", ""),
        "spec": PartitionSpec(None, None, "model"),
        "total_bytes": 512 * 8 * 64 * 4,
        "bytes_per_device": 512 * 8 * 32 * 4,
    }
    assert rows["params/mlp/bias"].names is None
    assert rows["params/table"].bytes_per_device == 1 * 4 * 2
    assert rows["params/key"].notes == ("the mesh has no tensor", "3 / 4 is uneven")
    assert rows["params/other"].notes == ("no rule", "the compiler chooses")
    assert rows["step/rng"].total_bytes == 8


def test_rules_come_from_the_box_the_argument_or_the_thread() -> None:
    plain = logical((8, 8), "a", "b")
    own = logical((8, 8), "a", "b", rules=(("b", "model"),))
    with logical_axis_rules([("a", "data")]):
        thread = explain_sharding({"plain": plain, "own": own}, ABSTRACT).rows
        argument = explain_sharding({"plain": plain, "own": own}, ABSTRACT, [("a", "model")]).rows
    assert [tuple(row.spec) for row in thread] == [(None, "model"), ("data", None)]
    assert [tuple(row.spec) for row in argument] == [(None, "model"), ("model", None)]


def test_boxes_of_trees() -> None:
    box = Partitioned({"a": jnp.ones((8, 2)), "b": jnp.ones(4)}, ("data",))
    rows = explain_sharding({"w": box}, ABSTRACT).rows
    assert [(row.path, row.bytes_per_device) for row in rows] == [("w/a", 16), ("w/b", 4)]


def test_strict() -> None:
    explain_sharding({"w": logical((4, 8), "heads", "mlp")}, ABSTRACT, RULES, strict=True)
    with pytest.raises(UnknownLogicalAxisError) as error:
        explain_sharding(TREE, ABSTRACT, [("embed", "data"), ("mlp", "model")], strict=True)
    assert str(error.value) == (
        "Logical axis names that no rule maps to the mesh:\n"
        "  params/key: 'kv', no rule\n"
        "  params/key: 'odd', no rule\n"
        "  params/other: 'embd', no rule\n"
        "  params/query: 'heads', no rule\n"
        "The rules know ['embed', 'mlp']. Add a rule such as ('kv', \"model\"), or ('kv', None) to "
        "leave the axis whole."
    )


def test_strict_shows_the_first_names_of_many() -> None:
    tree = {f"w{i:02}": logical((4,), f"axis{i}") for i in range(25)}
    with pytest.raises(
        UnknownLogicalAxisError, match=r"w19: 'axis19', no rule\n  \.\.\. and 5 more"
    ):
        explain_sharding(tree, ABSTRACT, (), strict=True)


@pytest.mark.parametrize(
    ("box", "error"),
    [
        (logical((4,), "embed", "mlp"), PartitionRankError),
        (logical((4, 4), "mlp", "mlp"), DuplicateLogicalNameError),
        (Partitioned(jnp.ones((4, 4)), ("data", "data")), DuplicateMeshAxisError),
    ],
    ids=lambda case: getattr(case, "__name__", None),
)
def test_errors_say_which_variable_it_is(box: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        explain_sharding({"encoder": {"w": box}}, ABSTRACT, RULES)
    assert caught.value.__notes__ == ["The variable is encoder/w."]


NAMES = st.lists(st.sampled_from(["a", "b", "c"]), unique=True, min_size=2, max_size=2)
AXES = st.sampled_from([None, "data", "model", ("data", "model")])


@given(names=NAMES, rules=st.lists(st.tuples(st.sampled_from("abc"), AXES), max_size=5))
def test_sizes_are_those_of_the_sharding(names: list[str], rules: list[Any]) -> None:
    tree = {"w": logical((16, 24), *names)}
    (row,) = explain_sharding(tree, ABSTRACT, rules).rows
    with logical_axis_rules([*rules, ("none", None)]):
        sharding = get_sharding(tree, ABSTRACT)["w"]
    assert row.spec == sharding.spec
    assert row.bytes_per_device == np.prod(sharding.shard_shape((16, 24))) * 4


def test_no_line_is_wider_than_a_terminal(mesh: Mesh) -> None:
    names = "a_long_name_of_a_module/another_long_name_of_a_module/kernel".split("/")
    tree: Any = logical((512, 2048), "embed", "mlp")
    for name in reversed(names):
        tree = {name: tree}
    lines = str(explain_sharding(tree, mesh, RULES)).splitlines()
    assert max(map(len, lines)) <= 80
    assert "/".join(names) in lines
