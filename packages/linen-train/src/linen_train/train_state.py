"""The train state: everything that one training step reads and writes.

A *train state* holds, as one pytree,

- `step`: how many times gradients were applied;
- `params`: the parameters, the collection that the optimizer changes;
- `collections`: every other collection of the model by name, `batch_stats` for one;
- `opt_state`: what the optimizer remembers;
- `rngs`: one *base key* per random stream. Base keys never change: the keys of a step are folded
  from them and the step, so a run that is resumed at step 1,000 draws what the uninterrupted run
  drew there;
- `ema_params`: an exponential moving average of the parameters, where one is asked for;
- `dynamic_scale`: the scale of the loss, for gradients in 16 bits;

and, as static fields, the two functions that make a step: `apply_fn` and the optimizer `tx`.

Static fields are part of what `jax.jit` compares before it reuses a trace. `TrainState.create`
makes both functions comparable by value, so a state made from a rebuilt model and a rebuilt
optimizer reuses the traces of the first one, as long as the two are configured alike.

*Gradient accumulation* is the optimizer's: `tx=optax.MultiSteps(optax.adam(1e-3), 4)` changes the
parameters with every fourth batch of gradients. `step` counts the batches, so that each draws random
keys of its own; the optimizer inside, with its schedules, counts updates (`opt_state.gradient_step`),
and so does the moving average, which only moves when the parameters do.

The *state dict* of a train state, which `serialization.to_bytes` writes, leaves out other collections,
random keys, average and scale where there are none. It is then that of `flax.training.train_state`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
import optax

from linen_core import struct
from linen_core.state_dict import register_container
from linen_train import _ema, _overwrite
from linen_train._by_value import FunctionByValue, optimizer_by_value
from linen_train._overwrite import OVERWRITE_WITH_GRADIENT
from linen_train.dynamic_scale import DynamicScale
from linen_train.errors import TrainStateError

__all__ = ["OVERWRITE_WITH_GRADIENT", "TrainState"]


class TrainState(struct.PyTreeNode):
    """Parameters, other collections, optimizer state, step and random keys of a training run.

    Make one with `create`. Subclass it to carry more: a subclass may add fields with and without
    defaults.

    Args:
        step: how many times gradients were applied; an int32 scalar.
        apply_fn: the model's `apply`. Static.
        params: the parameters, a pytree of arrays; or, for 8-bit layers, a dict of the collections
            `params` and `_overwrite_with_gradient`.
        tx: the optimizer. Static.
        opt_state: the state of the optimizer.
        collections: every collection of the model except the parameters, by name.
        rngs: base key of each random stream, by name.
        ema_params: moving average of the parameters, in float32 or wider; None where there is none.
        ema_decay: how much of the average is kept at each update. Static.
        dynamic_scale: the scale of the loss; None where it is not scaled.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from linen_train import TrainState
        >>> def predict(variables, x):
        ...     return x * variables["params"]["scale"]
        >>> state = TrainState.create(
        ...     apply_fn=predict, params={"scale": jnp.array(2.0)}, tx=optax.sgd(0.1)
        ... )
        >>> def loss(params):
        ...     return state.apply_fn({**state.variables, "params": params}, 3.0)
        >>> state = state.apply_gradients(grads=jax.grad(loss)(state.params))
        >>> int(state.step), round(float(state.params["scale"]), 3)
        (1, 1.7)
    """

    step: int | jax.Array
    apply_fn: Callable[..., Any] = struct.field(pytree_node=False)
    params: Any
    tx: optax.GradientTransformation = struct.field(pytree_node=False)
    opt_state: Any
    collections: dict[str, Any] = struct.field(default_factory=dict, kw_only=True)
    rngs: dict[str, jax.Array] = struct.field(default_factory=dict, kw_only=True)
    # Made by a factory: a default in the class would become that of a field of the same name in a
    # subclass, which is then no longer required.
    ema_params: Any = struct.field(default_factory=lambda: None, kw_only=True)
    ema_decay: float | None = struct.field(
        pytree_node=False, default_factory=lambda: None, kw_only=True
    )
    dynamic_scale: DynamicScale | None = struct.field(default_factory=lambda: None, kw_only=True)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        _register(cls)

    @classmethod
    def create(
        cls,
        *,
        apply_fn: Callable[..., Any],
        params: Any,
        tx: optax.GradientTransformation | optax.MultiSteps,
        collections: Mapping[str, Any] | None = None,
        rngs: Mapping[str, jax.Array] | None = None,
        ema_decay: float | None = None,
        **fields: Any,
    ) -> Self:
        """Make the state before the first step.

        Args:
            apply_fn: the model's `apply`, or any pure function of variables.
            params: the parameters, `variables["params"]`. For 8-bit layers the collection
                `_overwrite_with_gradient` goes into `collections`, or into `params` beside the
                parameters: `{"params": ..., "_overwrite_with_gradient": ...}`.
            tx: the optimizer; its state is initialised here. `optax.MultiSteps` accumulates
                gradients.
            collections: every other collection that `init` returned, by name.
            rngs: base key of each random stream that training draws from, by name.
            ema_decay: at least 0 and less than 1; keep a moving average of the parameters,
                `ema_decay * average + (1 - ema_decay) * params` after each update. It starts at the
                initial parameters, so there is no bias towards zero to correct. None keeps none.
            **fields: `dynamic_scale`, and fields that a subclass adds.

        Returns:
            A state at step 0.

        Raises:
            TrainStateError: `collections` holds the parameters, `rngs` is not a mapping, there is
                no such field, or `ema_decay` is out of range.

        Example:
            >>> import jax, jax.numpy as jnp, optax
            >>> from linen_train import TrainState
            >>> state = TrainState.create(
            ...     apply_fn=lambda variables, x: x,
            ...     params={"scale": jnp.ones(3)},
            ...     collections={"batch_stats": {"mean": jnp.zeros(3)}},
            ...     rngs={"dropout": jax.random.key(0)},
            ...     tx=optax.adam(1e-3),
            ... )
            >>> sorted(state.variables)
            ['batch_stats', 'params']
        """
        _check_created(collections, rngs, ema_decay)
        if unknown := sorted(fields.keys() - {field.name for field in dataclasses.fields(cls)}):
            raise TrainStateError(
                f"{cls.__name__}.create: found the fields {unknown}, which the state does not have. "
                f"Collections of the model go together, collections={{{unknown[0]!r}: ...}}; other "
                "fields are added by a subclass."
            )
        if isinstance(scale := fields.get("dynamic_scale"), DynamicScale):
            # Arrays from the first step on, so that the second is not traced anew.
            fields["dynamic_scale"] = scale.replace(
                fin_steps=jnp.asarray(scale.fin_steps, jnp.int32),
                scale=jnp.asarray(scale.scale, jnp.float32),
            )
        optimized = _overwrite.optimized(params)
        if ema_decay is not None:
            fields.setdefault("ema_params", _ema.start_of(optimized))
        return cls(
            step=jnp.zeros((), jnp.int32),
            apply_fn=FunctionByValue(apply_fn),
            params=params,
            tx=optimizer_by_value(tx),
            opt_state=tx.init(optimized),
            collections=dict(collections or {}),
            rngs=dict(rngs or {}),
            ema_decay=ema_decay,
            **fields,
        )

    @property
    def variables(self) -> dict[str, Any]:
        """The parameters and every other collection, as `apply` takes them."""
        held = self.params if _overwrite.holds_collections(self.params) else {"params": self.params}
        return {**held, **self.collections}

    @property
    def ema_variables(self) -> dict[str, Any]:
        """The same with the moving average in place of the parameters, in their dtypes.

        Raises:
            TrainStateError: the state keeps no average.
        """
        if self.ema_params is None:
            raise TrainStateError(
                "TrainState.ema_variables: found no moving average, expected one. Write "
                "TrainState.create(..., ema_decay=0.999)."
            )
        variables = self.variables
        averages = _ema.like_parameters(self.ema_params, variables["params"])
        return {**variables, "params": averages}

    def step_rngs(self) -> dict[str, jax.Array]:
        """Return the keys of the current step, one per random stream.

        Returns:
            The base keys, each folded with the step.

        Example:
            >>> import jax, optax
            >>> from linen_train import TrainState
            >>> state = TrainState.create(
            ...     apply_fn=lambda variables: None,
            ...     params={},
            ...     tx=optax.identity(),
            ...     rngs={"dropout": jax.random.key(0)},
            ... )
            >>> state.step_rngs()["dropout"] == jax.random.fold_in(jax.random.key(0), 0)
            Array(True, dtype=bool)
        """
        return {name: jax.random.fold_in(key, self.step) for name, key in self.rngs.items()}

    def apply_gradients(
        self,
        *,
        grads: Any,
        collections: Mapping[str, Any] | None = None,
        finite: bool | jax.Array | None = None,
        optimizer_args: Mapping[str, Any] | None = None,
        **updates: Any,
    ) -> Self:
        """Return the state after one update of the parameters.

        Args:
            grads: gradients with the structure of `params`; for 8-bit layers those of
                `{"params": ..., "_overwrite_with_gradient": ...}`, the second of which replace the
                values of the collection.
            collections: the collections that the step changed, as `apply(..., mutable=[...])`
                returns them. Collections that are not named stay as they are.
            finite: bool scalar; where it is False, parameters, their average, the optimizer's state
                and all collections stay as they are, and only `step` and `updates` move on. What
                `DynamicScale.value_and_grad` returns as `finite`.
            optimizer_args: further arguments of the optimizer's `update` by name, `{"value": loss}`
                for `optax.contrib.reduce_on_plateau`. Optimizers that do not know them ignore them.
            **updates: new values of other fields.

        Returns:
            A state with new `params`, `opt_state` and collections, one step further.

        Raises:
            TrainStateError: a collection is updated that the state does not carry, or gradients do
                not have the structure and shapes of the parameters.

        Example:
            >>> import jax.numpy as jnp, optax
            >>> from linen_train import TrainState
            >>> state = TrainState.create(
            ...     apply_fn=lambda variables: None,
            ...     params=jnp.array(1.0),
            ...     collections={"batch_stats": jnp.array(0.0)},
            ...     tx=optax.sgd(0.5),
            ... )
            >>> state = state.apply_gradients(
            ...     grads=jnp.array(1.0), collections={"batch_stats": jnp.array(4.0)}
            ... )
            >>> float(state.params), float(state.collections["batch_stats"])
            (0.5, 4.0)

            The variables of 8-bit layers take what stands in the place of their gradients:

            >>> from linen_train import OVERWRITE_WITH_GRADIENT
            >>> state = TrainState.create(
            ...     apply_fn=lambda variables: None,
            ...     params={"w": jnp.array(1.0)},
            ...     collections={OVERWRITE_WITH_GRADIENT: {"scale": jnp.array(1.0)}},
            ...     tx=optax.sgd(0.5),
            ... )
            >>> grads = {"params": {"w": 1.0}, OVERWRITE_WITH_GRADIENT: {"scale": jnp.array(3.0)}}
            >>> state = state.apply_gradients(grads=grads)
            >>> float(state.collections[OVERWRITE_WITH_GRADIENT]["scale"])
            3.0
        """
        collections = dict(collections or {})
        if unknown := sorted(collections.keys() - self.collections.keys()):
            raise TrainStateError(
                f"TrainState.apply_gradients: found updates of the collections {unknown}, but the "
                f"state carries {sorted(self.collections)}. Pass only those to carry on, "
                "collections={name: updated[name]}, or give the others to TrainState.create."
            )
        inner_grads, overwritten = _overwrite.separated(grads, self.params, self.collections)
        if overwritten is not None and not _overwrite.holds_collections(self.params):
            collections[OVERWRITE_WITH_GRADIENT] = overwritten
        before = _overwrite.optimized(self.params)
        after, opt_state = self._optimize(inner_grads, before, dict(optimizer_args or {}))
        changed = {
            "params": _overwrite.with_optimized(self.params, after, overwritten),
            "opt_state": opt_state,
            "collections": {**self.collections, **collections},
            "ema_params": self._averaged(after, opt_state),
        }
        if finite is not None:
            kept = {name: getattr(self, name) for name in changed}
            changed = _where(finite, changed, kept)
        return self.replace(step=self.step + 1, **{**changed, **updates})

    def _optimize(self, grads: Any, params: Any, arguments: dict[str, Any]) -> tuple[Any, Any]:
        """Return parameters and optimizer state after an update."""
        if _broadcasts(grads, params):
            raise _unfit(_differing(grads, params))
        try:
            tx = optax.with_extra_args_support(self.tx)
            changes, opt_state = tx.update(grads, self.opt_state, params, **arguments)
            return optax.apply_updates(params, changes), opt_state
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            if not (differing := _differing(grads, params)):
                raise
            raise _unfit(differing) from error

    def _averaged(self, params: Any, opt_state: Any) -> Any:
        """Return the moving average after an update, if it was one."""
        if self.ema_decay is None or self.ema_params is None:
            return self.ema_params
        average = _ema.averaged(self.ema_params, params, self.ema_decay)
        if not isinstance(opt_state, optax.MultiStepsState):
            return average
        updated = opt_state.gradient_step != self.opt_state.gradient_step
        return _where(updated, average, self.ema_params)


_OPTIONAL = ("collections", "rngs", "ema_params", "dynamic_scale")


def _entries(state: TrainState) -> dict[str, Any]:
    """Return the children of a state by name, without those that it does not use."""
    entries: dict[str, Any] = {}
    for field in dataclasses.fields(state):
        value = getattr(state, field.name)
        # A subclass that declares such a field anew, for positions say, means to have it.
        is_unused = field.name in _OPTIONAL and field.kw_only and (value is None or value == {})
        if field.metadata.get("pytree_node", True) and not is_unused:
            entries[field.name] = value
    return entries


def _register(cls: type[TrainState]) -> None:
    register_container(
        cls,
        entries=_entries,
        rebuild=lambda state, values: state.replace(**values),
        override=True,
    )


_register(TrainState)


def _check_created(collections: Any, rngs: Any, ema_decay: float | None) -> None:
    if collections is not None and "params" in collections:
        raise TrainStateError(
            "TrainState.create: found 'params' in collections; they are given on their own. "
            "Write params=variables.pop('params'), collections=variables."
        )
    if rngs is not None and not isinstance(rngs, Mapping):
        raise TrainStateError(
            f"TrainState.create: rngs is a {type(rngs).__name__}, expected a mapping from "
            "stream to key. Write rngs={'dropout': key}."
        )
    if ema_decay is not None and not 0 <= ema_decay < 1:
        raise TrainStateError(
            f"TrainState.create: found ema_decay={ema_decay}, expected at least 0 and less than 1, "
            "0.999 for one: the part of the average that an update keeps."
        )


def _where(condition: bool | jax.Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda one, other: jnp.where(condition, one, other), new, old)


def _broadcasts(grads: Any, params: Any) -> bool:
    """Whether gradients have the structure of the parameters, but not their shapes."""
    leaves, structure = jax.tree.flatten(grads)
    expected, structure_of_params = jax.tree.flatten(params)
    return structure == structure_of_params and any(
        jnp.shape(leaf) != jnp.shape(other) for leaf, other in zip(leaves, expected, strict=True)
    )


def _unfit(differing: str) -> TrainStateError:
    return TrainStateError(
        "TrainState.apply_gradients: found gradients that do not fit the parameters: "
        f"{differing}. Differentiate with respect to state.params, all of it."
    )


def _differing(grads: Any, params: Any) -> str:
    """Say by path how gradients differ from parameters in structure and shape."""

    def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
        return {
            jax.tree_util.keystr(path, simple=True, separator="/"): jnp.shape(leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }

    found, expected = shapes(grads), shapes(params)
    lines = [f"{path} is missing" for path in expected if path not in found]
    lines += [f"{path} is no parameter" for path in found if path not in expected]
    lines += [
        f"{path} is {list(shape)}, its parameter {list(expected[path])}"
        for path, shape in found.items()
        if path in expected and shape != expected[path]
    ]
    if not lines and jax.tree.structure(grads) != jax.tree.structure(params):
        lines = [f"{jax.tree.structure(grads)} in place of {jax.tree.structure(params)}"]
    more = f" and {len(lines) - 20} more" if len(lines) > 20 else ""
    return "; ".join(lines[:20]) + more
