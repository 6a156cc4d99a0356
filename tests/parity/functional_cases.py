"""Cases of the layers that are functions of a scope."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax

from .case import Case, FunctionOfScope, integers, normal
from .layer_cases import ABOUT_THE_MEAN, BRAIN, FUSED, IMAGE, SEQUENCE
from .libraries import PEER, Library

KEY = jax.random.key(4)
GRID = normal(2, 3, 5, 8)
HEADS = tuple(normal(2, 3, 5, 2, 4, seed=seed) for seed in range(3))
NORMALISED = ABOUT_THE_MEAN
ATTENDED = {
    "eager_ulps": 16,
    "ulps": 16,
    "gradient_ulps": 64,
    "reason": "weights are those of a softmax; the peer takes exp of a log-softmax",
}


@dataclass(frozen=True, kw_only=True)
class FunctionalCase(Case):
    """A case of a function `(functional, scope, *args)`, where `functional` has the layers."""

    build: Callable[[Any], Any] = lambda nn: None
    function: Callable[..., Any]

    def make(self, library: Library) -> Any:
        """Returns the function with the calling conventions of a module."""
        function = partial(self.function, library.functional)
        if library is PEER:  # which promotes ranks in some of these layers
            function = jax.numpy_rank_promotion("allow")(function)
        return FunctionOfScope(library.core, function)


def called(name: str, **options: Any) -> Callable[..., Any]:
    """Returns a function that calls a layer on its inputs."""
    return lambda functional, scope, *args: getattr(functional, name)(scope, *args, **options)


def in_children(functional: Any, scope: Any, x: Any) -> Any:
    """Calls layers in scopes of their own, and in the scope itself."""
    x = scope.child(functional.dense, "hidden")(x, 4)
    x = scope.child(functional.dense)(x, 4)
    return functional.layer_norm(scope, scope.child(functional.dense)(x, 4))


def embedded(functional: Any, scope: Any, indices: Any) -> Any:
    """Looks vectors up, and compares them with all."""
    table = functional.embedding(scope, 7, 4)
    return table.attend(table.lookup(indices))


def self_attention(functional: Any, scope: Any, x: Any, *, axis: Any = None, **options: Any) -> Any:
    """Attends with two heads, without biases: the gradient of that of the keys is zero but for noise."""
    return functional.multi_head_dot_product_attention(
        scope, x, x, num_heads=2, attention_axis=axis, **{"bias": False} | options
    )


PLAIN: dict[str, tuple[Callable[..., Any], Any]] = {
    "dense": (called("dense", features=4), (SEQUENCE,)),
    "dense without bias": (called("dense", features=4, bias=False), (SEQUENCE,)),
    "dense of bfloat16": (called("dense", features=4), (SEQUENCE.astype(BRAIN),)),
    "dense in bfloat16": (called("dense", features=4, dtype=BRAIN), (SEQUENCE,)),
    "dense_general": (called("dense_general", features=(3, 2), axis=(-2, -1)), (SEQUENCE,)),
    "conv": (called("conv", features=3, kernel_size=(3, 2)), (IMAGE,)),
    "conv with all": (
        called(
            "conv",
            features=4,
            kernel_size=(3, 2),
            strides=(2, 1),
            padding="VALID",
            kernel_dilation=(1, 2),
            feature_group_count=2,
            bias=False,
        ),
        (IMAGE,),
    ),
    "conv_transpose": (
        called("conv_transpose", features=3, kernel_size=(3, 2), strides=(2, 1)),
        (IMAGE,),
    ),
    "embedding": (embedded, (integers(2, 5, below=7),)),
    "avg_pool": (lambda f, _, x: f.avg_pool(x, (2, 2)), (IMAGE,)),
    "max_pool": (lambda f, _, x: f.max_pool(x, (2, 2)), (IMAGE,)),
    "dropout": (called("dropout", rate=0.4), (SEQUENCE,)),
    "dropout with a key": (called("dropout", rate=0.4, rng=KEY), (SEQUENCE,)),
    "deterministic dropout": (called("dropout", rate=0.4, deterministic=True), (SEQUENCE,)),
}
NORMS: dict[str, tuple[Callable[..., Any], Any]] = {
    "children": (in_children, (SEQUENCE,)),
    "layer_norm": (called("layer_norm"), (SEQUENCE,)),
    "layer_norm, only a bias": (called("layer_norm", scale=False, epsilon=0.1), (SEQUENCE,)),
    "group_norm": (called("group_norm", num_groups=2), (IMAGE,)),
    "group_norm by size": (called("group_norm", num_groups=None, group_size=1), (SEQUENCE,)),
    "batch_norm": (called("batch_norm"), (IMAGE,)),
    "batch_norm, another collection": (
        called("batch_norm", kind="averages", momentum=0.5),
        (IMAGE,),
    ),
    "batch_norm in inference": (called("batch_norm", use_running_average=True), (IMAGE,)),
}
ATTENTION: dict[str, tuple[Callable[..., Any], Any]] = {
    "attention": (called("dot_product_attention", deterministic=True), HEADS),
    "attention along an axis": (
        called("dot_product_attention", axis=(1,), deterministic=True),
        HEADS,
    ),
    "attention with a bias": (
        called("dot_product_attention", bias=normal(2, 2, 3, 5, 3, 5), deterministic=True),
        HEADS,
    ),
    "attention with dropout": (
        called("dot_product_attention", dropout_rate=0.5, broadcast_dropout=False),
        HEADS,
    ),
    "several heads": (partial(self_attention, deterministic=True), (GRID,)),
    "several heads along an axis": (
        partial(self_attention, axis=(2,), causal_mask=True, deterministic=True),
        (GRID,),
    ),
    "several heads, causal": (
        partial(self_attention, causal_mask=True, deterministic=True),
        (GRID,),
    ),
    "several heads, dropout": (partial(self_attention, dropout_rate=0.5), (GRID,)),
    "several heads, segments": (
        partial(self_attention, segmentation=integers(2, 5, 1, below=2), deterministic=True),
        (GRID[:, 0],),
    ),
    "several heads, sizes": (
        partial(self_attention, qkv_features=6, out_features=5, deterministic=True),
        (GRID,),
    ),
}
BIASED: dict[str, tuple[Callable[..., Any], Any]] = {
    "several heads with biases": (partial(self_attention, bias=True, deterministic=True), (GRID,)),
}


def cases(table: dict[str, Any], **fields: Any) -> list[Case]:
    """Returns a case for each row."""
    streams = {"params": 0, "dropout": 1}
    return [
        FunctionalCase(
            name=f"functional, {name}",
            function=function,
            args=args,
            rngs=streams,
            apply_rngs={"dropout": 1},
            mutable=["batch_stats", "averages"],
            **fields,
        )
        for name, (function, args) in table.items()
    ]


FUNCTIONAL = [
    *cases(PLAIN, **FUSED),
    *cases(NORMS, **NORMALISED),
    *cases(ATTENTION, **ATTENDED),
    *cases(BIASED, **ATTENDED | {"gradient_ulps": 0}, gradients=False),
]
