"""Variables and states that are born in parts: layouts, values, and what a device ever holds."""

import functools
import re
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from linen_core import (
    LogicallyPartitioned,
    Module,
    compact,
    logical_axis_rules,
    unbox,
    with_logical_constraint,
    with_logical_partitioning,
    with_partitioning,
)
from linen_core.errors import (
    DuplicateMeshAxisError,
    LogicalAxisRulesError,
    MeshAxisNotFoundError,
    PartitionRankError,
)
from linen_train import TrainState
from linen_train.distributed import _programs, abstract_sharded, init_sharded, make_mesh
from linen_train.errors import DistributedArgumentError, InitShardingError, MeshAxisError

initializers = jax.nn.initializers
KEY = jax.random.key(3)
X = jax.ShapeDtypeStruct((8, 64), jnp.float32)
RULES = [("embed", "data"), ("mlp", "model")]
# Before, XLA rounded the last numbers of an array by the array's size.
IS_EXACT = jax.__version_info__ >= (0, 8, 2)


class Mlp(Module):
    """Two layers; the names of the axes of the first are logical ones."""

    width: int = 256
    out: int = 32
    kernel_init: Callable[..., Any] = initializers.normal(0.02)

    @compact
    def __call__(self, x: jax.Array, train: bool = True) -> jax.Array:
        named = with_logical_partitioning(self.kernel_init, ("embed", "mlp"))
        x = jnp.tanh(x @ self.param("up", named, (x.shape[-1], self.width)))
        count = self.variable("stats", "mean", jnp.zeros, (self.width,))
        if train and not self.is_initializing():
            count.value = x.mean(0)
        kernel = self.param("down", initializers.lecun_normal(), (self.width, self.out))
        bias = self.param("bias", initializers.zeros, (self.out,))
        return x @ kernel + jnp.expand_dims(bias, 0)


def create(variables: Any, tx: optax.GradientTransformation | None = None) -> TrainState:
    return TrainState.create(
        apply_fn=Mlp().apply,
        params=unbox(variables["params"]),
        tx=tx or optax.adam(1e-2),
        collections={"stats": variables["stats"]},
        rngs={"dropout": jax.random.key(5)},
    )


def specs_of(tree: Any) -> dict[str, tuple[Any, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.sharding.spec)
        for path, leaf in leaves
    }


def assert_same_values(found: Any, expected: Any) -> None:
    found, expected = (jax.tree.leaves(tree) for tree in (found, expected))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        if jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
            one, other = jax.random.key_data(one), jax.random.key_data(other)
        assert one.dtype == other.dtype
        if IS_EXACT:
            chex.assert_trees_all_equal(np.asarray(one), np.asarray(other))
        else:
            chex.assert_trees_all_close(np.asarray(one), np.asarray(other), rtol=1e-6)


LAYOUTS: dict[str, tuple[dict[str, Any], dict[str, tuple[Any, ...]]]] = {
    "rules": (
        {"rules": RULES},
        {"up": ("data", "model"), "down": (), "bias": (), "stats": ()},
    ),
    "tensor_parallel": (
        {"rules": [("mlp", "model")]},
        {"up": (None, "model"), "down": (), "bias": (), "stats": ()},
    ),
    "rules_and_fsdp": (
        {"rules": [("mlp", "model")], "fsdp_axis": "data"},
        {"up": (None, "model"), "down": ("data",), "bias": (), "stats": ()},
    ),
    "fsdp_over_two": (
        {"rules": [], "fsdp_axis": ("data", "model"), "fsdp_min_size": 0},
        {
            "up": (None, None),
            "down": (("data", "model"),),
            "bias": (("data", "model"),),
            "stats": (("data", "model"),),
        },
    ),
    "data_parallel": ({"rules": ()}, {"up": (None, None), "down": (), "bias": (), "stats": ()}),
}


@pytest.mark.parametrize(("options", "specs"), LAYOUTS.values(), ids=LAYOUTS)
def test_layouts_and_values(options: dict[str, Any], specs: dict[str, tuple[Any, ...]]) -> None:
    mesh = make_mesh(data=4, model=2)
    variables = init_sharded(Mlp(), KEY, X, mesh=mesh, **options)
    assert isinstance(variables["params"]["up"], LogicallyPartitioned)
    plain = unbox(variables)
    found = specs_of({**plain["params"], "stats": plain["stats"]["mean"]})
    assert found == specs
    assert all(leaf.sharding.mesh == mesh for leaf in jax.tree.leaves(variables))
    assert_same_values(variables, Mlp().init(KEY, X))


def test_a_state_is_split_like_its_parameters() -> None:
    mesh = make_mesh(data=4, model=2)
    options: dict[str, Any] = {"mesh": mesh, "rules": RULES, "fsdp_axis": "data"}
    state = init_sharded(Mlp(), KEY, X, create=create, **options)
    specs = specs_of(state)
    for prefix in ("params", "opt_state/0/mu", "opt_state/0/nu"):
        assert specs[f"{prefix}/up"] == ("data", "model")
        assert specs[f"{prefix}/down"] == ("data",)
        assert specs[f"{prefix}/bias"] == ()
    assert specs["step"] == specs["opt_state/0/count"] == specs["rngs/dropout"] == ()
    assert_same_values(state, create(Mlp().init(KEY, X)))
    abstract = abstract_sharded(Mlp(), KEY, X, create=create, **options)
    assert specs_of(abstract) == specs
    chex.assert_trees_all_equal_shapes_and_dtypes(abstract, state)


def test_boxes_stay_in_an_optimizer_state() -> None:
    mesh = make_mesh(data=4, model=2)
    state = init_sharded(
        Mlp(), KEY, X, mesh=mesh, rules=RULES, create=lambda v: optax.adam(1.0).init(v["params"])
    )
    assert isinstance(state[0].mu["up"], LogicallyPartitioned)
    assert tuple(state[0].mu["up"].value.sharding.spec) == ("data", "model")


INITIALIZERS: dict[str, Callable[..., Any]] = {
    "normal": initializers.normal(0.02),
    "lecun_normal": initializers.lecun_normal(),
    "he_uniform": initializers.he_uniform(),
    "truncated_normal": initializers.truncated_normal(0.3),
    "orthogonal": initializers.orthogonal(),
    "constant": initializers.constant(0.1),
    "affine": lambda key, shape, dtype=jnp.float32: (
        jax.random.uniform(key, shape, dtype) * 0.3 + 0.7 * jax.random.uniform(key, shape, dtype)
    ),
    "reshaped": lambda key, shape, dtype=jnp.float32: (
        initializers.normal(0.02)(key, (shape[1], shape[0]), dtype).T
    ),
    "bfloat16": lambda key, shape, dtype=jnp.float32: initializers.normal(0.02)(
        key, shape, jnp.bfloat16
    ),
}


@pytest.mark.parametrize("kernel_init", INITIALIZERS.values(), ids=INITIALIZERS)
def test_values_are_those_of_init(kernel_init: Callable[..., Any]) -> None:
    model = Mlp(kernel_init=kernel_init)
    mesh = make_mesh(data=4, model=2)
    variables = init_sharded(model, KEY, X, mesh=mesh, rules=RULES, fsdp_axis="data")
    assert_same_values(variables, model.init(KEY, X))


def test_no_device_ever_holds_a_whole_array(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Mlp(width=8192, kernel_init=initializers.normal(0.02))
    whole = 64 * 8192 * 4
    peaks: list[int] = []
    program_of = _programs._program

    def measured(*args: Any) -> tuple[Any, Any]:
        program, operands = program_of(*args)

        def run(*values: Any) -> Any:
            memory = program.lower(*values).compile().memory_analysis()
            peaks.append(memory.temp_size_in_bytes + memory.output_size_in_bytes)
            return program(*values)

        return run, operands

    monkeypatch.setattr(_programs, "_program", measured)
    before = {id(array) for array in jax.live_arrays()}
    state = init_sharded(
        model,
        KEY,
        X,
        mesh=make_mesh(data=8),
        rules=[("embed", "data")],
        fsdp_axis="data",
        create=create,
    )
    made = [array for array in jax.live_arrays() if id(array) not in before]
    per_device = sum(
        leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(state.params)
    )
    assert per_device == (whole + 8192 * 32 * 4) // 8 + 32 * 4
    largest = max(shard.data.nbytes for array in made for shard in array.addressable_shards)
    assert largest == whole // 8
    # Random bits and what is made of them; a program for the whole array would need at least `whole`.
    assert whole // 8 < max(peaks) < whole * 5 // 8


def test_every_leaf_has_memory_of_its_own() -> None:
    state = init_sharded(
        Mlp(),
        KEY,
        X,
        mesh=make_mesh(data=8),
        rules=[],
        create=lambda v: {"params": v["params"], "ema": v["params"], "key": KEY, "again": KEY},
    )
    doubled = jax.jit(lambda s: jax.tree.map(lambda x: x, s), donate_argnums=0)(state)
    assert_same_values(doubled["ema"], Mlp().init(KEY, X)["params"])


def test_equal_layers_share_their_programs() -> None:
    class Deep(Module):
        @compact
        def __call__(self, x: jax.Array) -> jax.Array:
            for i in range(6):
                x = x @ self.param(f"kernel_{i}", initializers.he_normal(), (64, 64))
            return x

    mesh = make_mesh(data=8)
    misses = [_programs._compiled.cache_info().misses]
    for _ in range(2):
        init_sharded(Deep(), KEY, X, mesh=mesh, fsdp_axis="data")
        misses.append(_programs._compiled.cache_info().misses)
    assert misses[1] - misses[0] < 6
    assert misses[2] == misses[1]


class PlainObject:
    """Something with an `init` of its own, and no box."""

    def init(self, rngs: dict[str, jax.Array], x: jax.Array, scale: float) -> dict[str, Any]:
        data = jax.random.normal(rngs["params"], (x.shape[-1], 24)) * scale
        return {"w": data, "heads": data.reshape(64, 4, 6), "scalar": 2.5, "host": np.arange(8.0)}


def test_any_object_with_init() -> None:
    mesh = make_mesh(data=8)
    made = init_sharded(PlainObject(), {"params": KEY}, X, 0.5, mesh=mesh, fsdp_axis="data")
    assert specs_of(made) == {"heads": ("data",), "host": (), "scalar": (), "w": ("data",)}
    expected = PlainObject().init({"params": KEY}, jnp.zeros(X.shape), 0.5)
    assert_same_values(made, jax.tree.map(jnp.asarray, expected))


def test_values_that_depend_on_an_argument() -> None:
    class Centred(Module):
        @compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return x - jnp.expand_dims(self.param("mean", lambda key: x.mean(0)), 0)

    mesh = make_mesh(data=8)
    x = np.arange(512, dtype=np.float32).reshape(8, 64)
    made = init_sharded(Centred(), KEY, x, mesh=mesh, fsdp_axis="data", fsdp_min_size=0)
    chex.assert_trees_all_close(np.asarray(made["params"]["mean"]), x.mean(0))
    text = "initial values depend on the value of argument 1, found jax.ShapeDtypeStruct((8, 64), float32)"
    with pytest.raises(InitShardingError, match=re.escape(text)):
        init_sharded(Centred(), KEY, X, mesh=mesh)


def test_static_arguments_and_rules_of_the_thread() -> None:
    mesh = make_mesh(data=4, model=2)
    with logical_axis_rules(RULES):
        variables = init_sharded(Mlp(), KEY, X, mesh=mesh, train=False)
    assert specs_of(unbox(variables))["params/up"] == ("data", "model")


def test_a_mesh_with_explicit_axes() -> None:
    mesh = make_mesh(data=4, model=2, axis_type=AxisType.Explicit)
    variables = init_sharded(Mlp(), KEY, X, mesh=mesh, rules=RULES, fsdp_axis="data")
    assert specs_of(unbox(variables))["params/up"] == ("data", "model")
    assert_same_values(variables, Mlp().init(KEY, X))


def uneven(mesh: Mesh) -> Any:
    return init_sharded(Mlp(width=255), KEY, X, mesh=mesh, rules=RULES)


def boxed(names: tuple[str, ...]) -> Callable[[Mesh], Any]:
    class Boxed(Module):
        @compact
        def __call__(self, x: jax.Array) -> jax.Array:
            init = with_partitioning(initializers.ones, names)
            return x * jnp.expand_dims(self.param("scale", init, x.shape[-1:]), 0)

    return lambda mesh: init_sharded(Boxed(), KEY, X, mesh=mesh)


class Constrained(Module):
    """No variable is in a box here, but an activation has names."""

    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = with_logical_constraint(x, ("batch", None))
        return x * self.param("scale", initializers.ones, ())


MISFITS: dict[str, tuple[Callable[[Mesh], Any], type[Exception], str]] = {
    "uneven": (
        uneven,
        InitShardingError,
        "init_sharded: these sizes are not divisible by the number of devices that split them:\n"
        "  params/up: axis 1 of shape (64, 255) over model=2\n"
        "Choose sizes that are",
    ),
    "no_such_fsdp_axis": (
        lambda mesh: init_sharded(Mlp(), KEY, X, mesh=mesh, rules=[], fsdp_axis="dta"),
        MeshAxisError,
        'init_sharded: found fsdp_axis="dta", expected axes of the mesh, each once; it has ("data", '
        '"model"). Write fsdp_axis="data".',
    ),
    "no_such_axis_in_a_rule": (
        lambda mesh: init_sharded(
            Mlp(), KEY, X, mesh=mesh, rules=[("embed", "data"), ("mlp", ["tensor"])]
        ),
        MeshAxisError,
        'init_sharded: these variables name axes that the mesh does not have; it has ("data", '
        '"model"):\n'
        '  params/up: "tensor" by the rules for the box ("embed", "mlp")\n'
        'Write the rule ("mlp", "model"), or ("mlp", None), in place of ("mlp", ("tensor",)).',
    ),
    "one_axis_of_a_rule": (
        lambda mesh: init_sharded(Mlp(), KEY, X, mesh=mesh, rules=[("mlp", ("model", "tensor"))]),
        MeshAxisError,
        'Write the rule ("mlp", "model"), or ("mlp", None), in place of ("mlp", ("model", "tensor")).',
    ),
    "no_rules": (
        lambda mesh: init_sharded(Mlp(), KEY, X, mesh=mesh),
        MeshAxisError,
        'init_sharded: these variables name axes that the mesh does not have; it has ("data", '
        '"model"):\n'
        '  params/up: "embed", "mlp" in the box ("embed", "mlp"), with no rules for logical names\n'
        'Map the names to axes of the mesh: rules=[("embed", "data"), ("mlp", "model")], with None for '
        "what is to stay whole.",
    ),
    "no_rules_for_a_state": (
        lambda mesh: abstract_sharded(Mlp(), KEY, X, mesh=mesh, create=create),
        MeshAxisError,
        "abstract_sharded: these variables name axes that the mesh does not have",
    ),
    "no_such_axis_in_a_box": (
        boxed(("tensor",)),
        MeshAxisError,
        '  params/scale: "tensor" in the box ("tensor",)\n'
        'with_partitioning takes axes of the mesh: write ("data",) for params/scale, or '
        'with_logical_partitioning(..., ("tensor",)) and rules=[("tensor", "data")].',
    ),
    "no_such_axis_in_a_constraint": (
        lambda mesh: init_sharded(Constrained(), KEY, X, mesh=mesh, rules=[("batch", "tensor")]),
        MeshAxisNotFoundError,
        "The mesh has no axis 'tensor'",
    ),
    "two_axes_over_one": (
        boxed(("data", "data")),
        DuplicateMeshAxisError,
        "['data'] split more than",
    ),
    "no_mesh": (
        lambda mesh: init_sharded(Mlp(), KEY, X, mesh=None),  # type: ignore[arg-type]
        DistributedArgumentError,
        "init_sharded: found mesh=None, expected a jax.sharding.Mesh with devices. Write "
        "mesh=make_mesh(data=-1).",
    ),
    "a_mesh_without_devices": (
        lambda mesh: abstract_sharded(Mlp(), KEY, X, mesh=mesh.abstract_mesh),  # type: ignore[arg-type]
        DistributedArgumentError,
        "abstract_sharded: found mesh=AbstractMesh(",
    ),
    "no_model": (
        lambda mesh: init_sharded(jnp.tanh, KEY, X, mesh=mesh),
        DistributedArgumentError,
        "without init, expected an object with init(rngs, ...). Write init_sharded(MyModule(...), "
        "jax.random.key(0), x, mesh=mesh).",
    ),
    "a_state_for_create": (
        lambda mesh: init_sharded(Mlp(), KEY, X, mesh=mesh, create={}),  # type: ignore[arg-type]
        DistributedArgumentError,
        "init_sharded: found create={}, expected a function from the variables to a state. Write "
        "create=lambda variables: TrainState.create(...).",
    ),
    "text_for_a_size": (
        lambda mesh: init_sharded(Mlp(), KEY, X, mesh=mesh, fsdp_min_size="1k"),  # type: ignore[arg-type]
        DistributedArgumentError,
        "init_sharded: found fsdp_min_size='1k', expected how many numbers an array has at least that "
        "is split. Write fsdp_min_size=1024.",
    ),
    "too_many_names": (boxed(("data", "model")), PartitionRankError, "names 2 axes"),
    "rules_that_are_none": (
        lambda mesh: init_sharded(Mlp(), KEY, X, mesh=mesh, rules={"mlp": "model"}),  # type: ignore[arg-type]
        LogicalAxisRulesError,
        "Logical axis rules are a list or tuple of pairs",
    ),
}


@pytest.mark.parametrize(("run", "error", "text"), MISFITS.values(), ids=MISFITS)
def test_what_does_not_fit(run: Callable[[Mesh], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        run(make_mesh(data=4, model=2))


class Boxes(Module):
    """A box of each kind, and many of them."""

    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        ones, shape = initializers.ones, (64, 64)
        for i in range(19):
            self.param(f"a_{i}", with_logical_partitioning(ones, ("embed", "data")), shape)
        self.param("b", with_partitioning(ones, ("dta", None)), shape)
        own = [("mlp", ("modle", "data"))]
        self.param("c", with_logical_partitioning(ones, ("mlp", None), rules=own), shape)
        return x


def test_all_variables_are_named_at_once() -> None:
    with pytest.raises(MeshAxisError) as caught:
        init_sharded(Boxes(), KEY, X, mesh=make_mesh(data=4, model=2))
    first, *lines = str(caught.value).splitlines()
    assert first.endswith('name axes that the mesh does not have; it has ("data", "model"):')
    assert sorted(lines[:19]) == sorted(
        f'  params/a_{i}: "embed" in the box ("embed", "data"), with no rules for logical names'
        for i in range(19)
    )
    assert lines[19:] == [
        '  params/b: "dta" in the box ("dta", None)',
        "  ... and 1 more",
        'Map the names to axes of the mesh: rules=[("embed", "model"), ("data", "data")], with None for '
        "what is to stay whole.",
        'Write the rule ("mlp", "data"), or ("mlp", None), in place of ("mlp", ("modle", "data")).',
        'with_partitioning takes axes of the mesh: write ("data", None) for params/b, or '
        'with_logical_partitioning(..., ("dta", None)) and rules=[("dta", "data")].',
    ]


def test_what_is_said_instead_works() -> None:
    mesh = make_mesh(data=4, model=2)
    text = ""
    try:
        init_sharded(Mlp(), KEY, X, mesh=mesh)
    except MeshAxisError as error:
        text = str(error)
    rules = re.findall(r'\("(\w+)", "(\w+)"\)', text.rpartition("rules=")[2])
    variables = init_sharded(Mlp(), KEY, X, mesh=mesh, rules=rules)
    assert specs_of(unbox(variables))["params/up"] == ("data", "model")


def test_a_mesh_that_is_in_use_already() -> None:
    mesh = make_mesh(data=4, model=2)
    with jax.set_mesh(mesh), pytest.raises(MeshAxisError, match='params/up: "embed", "mlp" in the'):
        init_sharded(Mlp(), KEY, X, mesh=mesh)


STEPS: dict[str, tuple[dict[str, int], dict[str, Any], set[str]]] = {
    "data_parallel": ({"data": 8}, {"rules": []}, {"all-reduce"}),
    "fsdp": ({"data": 8}, {"rules": [("embed", "data")], "fsdp_axis": "data"}, {"all-gather"}),
    "tensor_parallel": (
        {"data": 2, "model": 4},
        {"rules": [("mlp", "model")], "fsdp_axis": "model"},
        {"all-reduce"},
    ),
    "fsdp_and_tensor_parallel": (
        {"data": 4, "model": 2},
        {"rules": RULES, "fsdp_axis": "data"},
        {"all-gather", "all-reduce"},
    ),
}


def train_step(state: TrainState, x: jax.Array, y: jax.Array) -> tuple[TrainState, jax.Array]:
    def loss_fn(params: Any) -> tuple[jax.Array, Any]:
        variables = {**state.variables, "params": params}
        out, updates = state.apply_fn(variables, x, mutable=["stats"])
        return jnp.mean((out - y) ** 2), updates

    (loss, updates), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    return state.apply_gradients(grads=grads, collections=updates), loss


@pytest.mark.parametrize(("sizes", "options", "collectives"), STEPS.values(), ids=STEPS)
def test_a_step_on_every_layout_is_that_of_one_device(
    sizes: dict[str, int], options: dict[str, Any], collectives: set[str]
) -> None:
    mesh = make_mesh(sizes)
    generator = np.random.default_rng(0)
    x, y = (generator.normal(size=(16, n)).astype(np.float32) for n in (64, 32))
    # Adam would turn the last bits of gradients near zero into steps of full size.
    with_momentum = functools.partial(create, tx=optax.sgd(1.0, momentum=0.9))
    expected, expected_loss = jax.jit(train_step)(with_momentum(Mlp().init(KEY, X)), x, y)

    state = init_sharded(Mlp(), KEY, X, mesh=mesh, create=with_momentum, **options)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
    step = jax.jit(train_step, out_shardings=(shardings, NamedSharding(mesh, PartitionSpec())))
    batch = jax.device_put((x, y), NamedSharding(mesh, PartitionSpec("data")))
    text = step.lower(state, *batch).compile().as_text() or ""
    for collective in ("all-reduce", "all-gather", "all-to-all"):
        if collective in collectives:
            assert f" {collective}" in text
    after, loss = step(state, *batch)
    chex.assert_trees_all_close(float(loss), float(expected_loss), rtol=1e-5)
    chex.assert_trees_all_close(
        jax.tree.map(np.asarray, after.params),
        jax.tree.map(np.asarray, expected.params),
        rtol=1e-4,
        atol=1e-6,
    )
    assert specs_of(after) == specs_of(state)
