"""The whole text of every error, made by the mistake that it is about.

The texts are in `error_texts.md`, beside this file, to be read in one go. After a text has changed,
`python -m pytest tests/test_error_texts.py` shows both, and `LINEN_WRITE_ERROR_TEXTS=1` in its
environment writes the file anew.
"""

import functools
import inspect
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linen_core as lc
from linen_core import Module, compact, errors, state_dict, struct, traverse_util
from linen_core.cursor import cursor
from linen_core.errors import LinenError

FILE = Path(__file__).with_name("error_texts.md")
KEY = jax.random.key(0)
SPEC = jax.ShapeDtypeStruct((1, 3), jnp.float32)
X = jnp.ones((1, 3))
ones = jax.nn.initializers.ones


make_struct: Any = struct.dataclass


class State(struct.PyTreeNode):
    step: int


class Dense(Module):
    features: int = 2

    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return x @ self.param("kernel", ones, (x.shape[-1], self.features))


class Runs(Module):
    """Runs functions of itself in the places where a module has methods."""

    call: Any = None
    in_compact: Any = None
    in_setup: Any = None

    def setup(self) -> None:
        self.encoder = Dense()
        if self.in_setup is not None:
            self.in_setup(self)

    def __call__(self) -> Any:
        return self.call(self) if self.call is not None else self.run_compact()

    @compact
    def run_compact(self) -> Any:
        return self.in_compact(self)

    @property
    def broken(self) -> Any:
        return self.encodr

    def unset(self) -> None:
        self.width = 3


class NoSuper(Module):
    def __post_init__(self) -> None:
        pass


class Keeps(Module):
    @compact
    def __call__(self, x: jax.Array) -> None:
        self.param("w", lambda key: x + 1)


class Opaque(Module):
    @compact
    def __call__(self, x: jax.Array) -> None:
        self.variable("state", "opaque", object)


def calls(fn: Callable[[Any], Any], **options: Any) -> Callable[[], Any]:
    return lambda: Runs(fn).apply({}, **options)


def compacts(fn: Callable[[Any], Any]) -> Callable[[], Any]:
    return lambda: Runs(None, fn).init(KEY)


def setups(fn: Callable[[Any], Any]) -> Callable[[], Any]:
    return lambda: Runs(lambda m: None, in_setup=fn).apply({})


def scoped(fn: Callable[[Any], Any], variables: Any = None, **options: Any) -> Callable[[], Any]:
    return lambda: fn(lc.bind(variables or {}, **options))


def define(**body: Any) -> Any:
    return type("Layer", (Module,), body)


def leaked() -> Any:
    return Runs(lambda m: m).init_with_output(KEY)[0]


def encode_in_another() -> None:
    other = Dense().bind({})
    lc.share_scope(Runs().bind({}), other)


def box(*names: Any) -> Any:
    return lc.Partitioned(jnp.ones((2,) * len(names)), names)


RULES = [("embed", None), ("mlp", "model")]
MESH = jax.sharding.Mesh(np.asarray(jax.devices()[:1]), ("model",))
GOOD = {"params": {"kernel": jnp.ones((3, 2))}}
BAD = {"params": {"kernel": jnp.ones((4, 2))}}

MISTAKES: dict[str, Callable[[], Any]] = {
    # Settings
    "ConfigError": lambda: lc.config.config.update("profiles", True),
    "ConfigError: value": lambda: lc.config.config.update("profile", 1),  # type: ignore[arg-type]
    "InvalidFilterError": lambda: Dense().apply(GOOD, X, mutable=3),  # type: ignore
    "InvalidRngError": lambda: Dense().init(3, X),  # type: ignore[arg-type]
    "InvalidRngError: apply": calls(lambda m: m.encoder.make_rng("dropout"), rngs={"noise": KEY}),
    "InvalidRngError: init": lambda: Dense().init({}, X),
    "SummaryDepthError": lambda: Dense().tabulate(KEY, X, depth=-1),
    "SummaryValueError": lambda: Runs(lambda m: bool(jnp.ones(()))).tabulate(KEY),
    # Scopes
    "ApplyScopeInvalidVariablesTypeError": lambda: Dense().apply({"kernel": X}, X),
    "ApplyScopeInvalidVariablesTypeError: no dict": lambda: Dense().apply(3, X),  # type: ignore[arg-type]
    "ApplyScopeInvalidVariablesStructureError": lambda: Dense().apply({"params": GOOD}, X),
    "ScopeVariableNotFoundError": scoped(
        lambda s: s.variable("state", "mean"), {"state": {"men": 1}}
    ),
    "ScopeVariableNotFoundError: mutable": scoped(
        lambda s: s.variable("state", "mean"), mutable=True
    ),
    "ScopeParamNotFoundError": lambda: Dense().apply({"params": {"kernl": X}}, X),
    "ScopeCollectionNotFound": lambda: Dense().apply({}, X),
    "ScopeCollectionNotFound: state": calls(
        lambda m: m.encoder.scope.variable("state", "mean", lambda: 0)
    ),
    "ScopeCollectionNotFound: sibling": lambda: Runs(lambda m: m.encoder(X)).apply(
        {"params": {"encode": GOOD["params"]}}
    ),
    "ScopeParamShapeError": lambda: Dense().apply(BAD, X),
    "ModifyScopeVariableError": calls(lambda m: m.encoder.put_variable("state", "mean", 1)),
    "PerturbationMismatchError": lambda: Runs(lambda m: m.perturb("h", X)).apply(
        {"perturbations": {"h": jnp.ones((2, 9))}}
    ),
    "InvalidScopeError": lambda: leaked().variables,
    "InvalidNameError": scoped(lambda s: s.push(3)),
    "FlagNotFoundError": scoped(lambda s: s.get_flag("train"), flags={"test": True}),
    "JaxTransformError": compacts(lambda m: jax.vmap(Dense(name="dense"))(X)),
    "LazyInitError": lambda: Keeps().init(KEY, SPEC),
    "LazyInitError: call": lambda: Opaque().init(KEY, SPEC),
    # Modules
    "NameInUseError": compacts(lambda m: (m.param("w", ones, ()), m.param("w", ones, ()))),
    "AssignSubModuleError": calls(lambda m: Dense()),
    "AssignVariableError": calls(lambda m: m.param("w", ones, ())),
    "AssignVariableError: variable": calls(lambda m: m.variable("state", "mean")),
    "SetAttributeFrozenModuleError": lambda: Runs().unset(),
    "SetAttributeInModuleSetupError": setups(lambda m: setattr(m, "call", 3)),
    "ReservedModuleAttributeError": lambda: define(scope=3),
    "IncorrectPostInitOverrideError": lambda: NoSuper().init(KEY),
    "UnboundModuleError": lambda: Dense().variables,
    "CallCompactUnboundModuleError": lambda: Dense()(X),
    "CallSetupUnboundModuleError": lambda: Runs().setup(),
    "CallShareScopeOnUnboundModuleError": lambda: lc.share_scope(Dense(), Dense()),
    "CallUnbindOnUnboundModuleError": lambda: Dense().unbind(),
    "ShareScopeAcrossModelsError": encode_in_another,
    "MissingAttributeError": lambda: Runs().decoder,
    "MissingAttributeError: near": lambda: Runs().bind({}).encodr,
    "DescriptorAttributeError": lambda: Runs().bind({}).broken,
    "ApplyModuleInvalidMethodError": lambda: Dense().apply(GOOD, X, method=3),  # type: ignore[call-overload]
    "ApplyModuleInvalidMethodError: none": lambda: define()().apply({}),
    "BindArgumentsError": lambda: Dense().bind(GOOD, X),
    "AbstractValueError": lambda: Runs(lambda m: bool(jnp.ones(()))).abstract(),
    "NoOutputSpecsError": lambda: Dense().output_specs,
    "NoOutputSpecsError: uncalled": lambda: Runs(lambda m: 0).abstract().encoder.output_specs,
    "HashBoundModuleError": lambda: hash(Dense().bind(GOOD)),
    "InvalidInstanceModuleError": lambda: Dense.init(KEY, X),  # type: ignore[arg-type]
    "InvalidInstanceModuleError: parent": lambda: Dense(parent=3),  # type: ignore[arg-type]
    "MergeParamError": lambda: lc.merge_param("train", None, None),
    "MergeParamError: twice": lambda: lc.merge_param("train", True, False),
    # Sharding
    "PartitioningUnspecifiedError": lambda: lc.add_axis(box("embed"), 0, {}),
    "PartitionNameMismatchError": lambda: lc.remove_axis(
        box("embed"), 0, {lc.PARTITION_NAME: "layers"}
    ),
    "PartitionRankError": lambda: lc.Partitioned(X, ("model", None, None), MESH).unbox(),
    "MeshAxisNotFoundError": lambda: lc.Partitioned(X, ("expert", None), MESH).unbox(),
    "DuplicateMeshAxisError": lambda: lc.Partitioned(X, ("model", "model"), MESH).unbox(),
    "LogicalNamesError": lambda: lc.logical_to_mesh_axes("embed", ()),  # type: ignore[arg-type]
    "DuplicateLogicalNameError": lambda: lc.logical_to_mesh_axes(("mlp", "mlp"), RULES),
    "LogicalAxisRulesError": lambda: lc.logical_to_mesh_axes(("mlp",), {"mlp": "model"}),  # type: ignore[arg-type]
    "LogicalAxisRulesError: rule": lambda: lc.logical_to_mesh_axes(("mlp",), ["mlp"]),  # type: ignore[list-item]
    "UnknownLogicalAxisError": lambda: lc.with_logical_constraint(
        X, ("mpl", None), RULES, fallback=lc.RulesFallback.RAISE_ERROR
    ),
    "LogicalConstraintError": lambda: lc.with_logical_constraint({"q": X}, {"k": ("mlp",)}, RULES),
    # Trees
    "StructDefinitionError": lambda: make_struct(type("State", (), {}), init=False),
    "UnknownStructFieldError": lambda: State(1).replace(stp=2),
    "FrozenDictMutationError": lambda: lc.FrozenDict(a=1).__setitem__("a", 2),
    "NotADictError": lambda: lc.freeze([1]),  # type: ignore[arg-type]
    "TraverseTreeError": lambda: traverse_util.unflatten_dict({("a",): 1, ("a", "b"): 2}),
    "StateDictKeyError": lambda: state_dict.to_state_dict({1: 0, "1": 1}),
    "DuplicateSerializationError": lambda: state_dict.register_serialization_state(
        dict, lambda x: x, lambda x, state: x
    ),
    "StateDictMismatchError": lambda: state_dict.from_state_dict({"a": 1, "b": {"c": 2}}, {"d": 3}),
    "CursorFindError": lambda: cursor({"a": 1}).find(lambda path, value: False),
    "CursorFindError: two": lambda: cursor({"a": 1, "b": 1}).find(lambda path, value: value == 1),
    "CursorKeyError": lambda: cursor({"kernel": 1})["kernl"],
    "CursorAttributeError": lambda: cursor(Dense()).feature,
    "CursorChangeError": lambda: cursor({"a": X})["a"].__setitem__(0, 1),
    "CursorMutationError": lambda: cursor({"a": [1]})["a"].append(2),
}

# Classes that are only there to be caught.
BASES = {"LinenError"}
CLASSES = {
    name
    for name, value in vars(errors).items()
    if inspect.isclass(value) and issubclass(value, LinenError)
}


def text_of(name: str) -> str:
    expected = getattr(errors, name.split(":")[0])
    with pytest.raises(expected) as caught:
        MISTAKES[name]()
    assert type(caught.value) is expected
    return str(caught.value)


@functools.cache
def texts() -> dict[str, str]:
    if os.environ.get("LINEN_WRITE_ERROR_TEXTS"):
        entries = [f"## {name}\n\n{text_of(name)}\n" for name in MISTAKES]
        FILE.write_text("\n".join(["# The texts of the errors\n", *entries]))
    sections = re.split(r"^## (.*)\n", FILE.read_text(), flags=re.MULTILINE)[1:]
    return {
        name: text.strip("\n") for name, text in zip(sections[::2], sections[1::2], strict=True)
    }


@pytest.mark.parametrize("name", MISTAKES)
def test_the_text(name: str) -> None:
    assert text_of(name) == texts()[name], "see the head of this file"


def test_every_error_has_its_text_here() -> None:
    assert {name.split(":")[0] for name in MISTAKES} == CLASSES - BASES
    assert list(texts()) == list(MISTAKES)
