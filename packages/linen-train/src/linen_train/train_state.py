"""The train state: everything that one training step reads and writes.

A *train state* holds, as one pytree,

- `step`: how many updates were made;
- `params`: the parameters, the collection that the optimizer changes;
- `collections`: every other collection of the model by name, `batch_stats` for one;
- `opt_state`: what the optimizer remembers;
- `rngs`: one *base key* per random stream. Base keys never change: the keys of a step are folded
  from them and the step, so a run that is resumed at step 1,000 draws what the uninterrupted run
  drew there;

and, as static fields, the two functions that make a step: `apply_fn` and the optimizer `tx`.

Static fields are part of what `jax.jit` compares before it reuses a trace. `TrainState.create`
makes both functions comparable by value, so a state made from a rebuilt model and a rebuilt
optimizer reuses the traces of the first one, as long as the two are configured alike.
"""

from collections.abc import Callable, Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
import optax

from linen_core import struct
from linen_train._by_value import FunctionByValue
from linen_train.errors import TrainStateError

__all__ = ["TrainState"]


class TrainState(struct.PyTreeNode, kw_only=True):
    """Parameters, other collections, optimizer state, step and random keys of a training run.

    Make one with `create`. Subclass it to carry more; fields are keyword-only, so a subclass may
    add fields with and without defaults.

    Args:
        step: number of updates made so far; an int32 scalar.
        apply_fn: the model's `apply`. Static.
        params: the parameters, a pytree of arrays.
        tx: the optimizer. Static.
        opt_state: the state of the optimizer.
        collections: every collection of the model except the parameters, by name.
        rngs: base key of each random stream, by name.

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

    step: jax.Array
    apply_fn: Callable[..., Any] = struct.field(pytree_node=False)
    params: Any
    tx: optax.GradientTransformationExtraArgs = struct.field(pytree_node=False)
    opt_state: Any
    collections: dict[str, Any] = struct.field(default_factory=dict)
    rngs: dict[str, jax.Array] = struct.field(default_factory=dict)

    @classmethod
    def create(
        cls,
        *,
        apply_fn: Callable[..., Any],
        params: Any,
        tx: optax.GradientTransformation,
        collections: Mapping[str, Any] | None = None,
        rngs: Mapping[str, jax.Array] | None = None,
        **fields: Any,
    ) -> Self:
        """Make the state before the first step.

        Args:
            apply_fn: the model's `apply`, or any pure function of variables.
            params: the parameters, `variables["params"]`.
            tx: the optimizer; its state is initialised here.
            collections: every other collection that `init` returned, by name.
            rngs: base key of each random stream that training draws from, by name.
            **fields: fields that a subclass adds.

        Returns:
            A state at step 0.

        Raises:
            TrainStateError: `collections` holds the parameters, or `rngs` is not a mapping.

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
        return cls(
            step=jnp.zeros((), jnp.int32),
            apply_fn=FunctionByValue(apply_fn),
            params=params,
            tx=optax.GradientTransformationExtraArgs(
                FunctionByValue(tx.init),
                FunctionByValue(optax.with_extra_args_support(tx).update),
            ),
            opt_state=tx.init(params),
            collections=dict(collections or {}),
            rngs=dict(rngs or {}),
            **fields,
        )

    @property
    def variables(self) -> dict[str, Any]:
        """The parameters and every other collection, as `apply` takes them."""
        return {"params": self.params, **self.collections}

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
        self, *, grads: Any, collections: Mapping[str, Any] | None = None, **updates: Any
    ) -> Self:
        """Return the state after one update of the parameters.

        Args:
            grads: gradients of the parameters, with the structure of `params`.
            collections: the collections that the step changed, as `apply(..., mutable=[...])`
                returns them. Collections that are not named stay as they are.
            **updates: new values of other fields.

        Returns:
            A state with new `params`, `opt_state` and collections, one step further.

        Raises:
            TrainStateError: a collection is updated that the state does not carry.

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
        """
        collections = dict(collections or {})
        if unknown := sorted(collections.keys() - self.collections.keys()):
            raise TrainStateError(
                f"TrainState.apply_gradients: found updates of the collections {unknown}, but the "
                f"state carries {sorted(self.collections)}. Pass only those to carry on, "
                "collections={name: updated[name]}, or give the others to TrainState.create."
            )
        param_updates, opt_state = self.tx.update(grads, self.opt_state, self.params)
        return self.replace(
            step=self.step + 1,
            params=optax.apply_updates(self.params, param_updates),
            opt_state=opt_state,
            collections={**self.collections, **collections},
            **updates,
        )
