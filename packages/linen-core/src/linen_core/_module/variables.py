"""The variables and random streams of a bound module: thin methods over its scope."""

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import jax

from linen_core._module.fields import ModuleBase, state_of
from linen_core._module.perturbation import perturbed
from linen_core._scope import Scope
from linen_core._sown import Sowing, sow
from linen_core._variable import Variable
from linen_core.errors import AssignVariableError, UnboundModuleError

T = TypeVar("T")


class ModuleVariables(ModuleBase):
    """What a module can do with variables, once it has a scope.

    Example:
        >>> import jax
        >>> from linen_core import Module, compact
        >>> class Centre(Module):
        ...     @compact
        ...     def __call__(self, x):
        ...         mean = self.variable("state", "mean", lambda: 0.0)
        ...         if self.is_mutable_collection("state") and not self.is_initializing():
        ...             mean.value = 0.9 * mean.value + 0.1 * x
        ...         if self.has_rng("noise"):
        ...             x = x + jax.random.normal(self.make_rng("noise"))
        ...         return x - mean.value
        >>> centre = Centre().bind({"state": {"mean": 2.0}}, mutable=["state"])
        >>> centre(2.0)
        0.0
        >>> centre.path, centre.has_variable("state", "mean")
        ((), True)
        >>> centre.put_variable("state", "mean", 3.0)
        >>> centre.get_variable("state", "mean"), centre.variables
        (3.0, {'state': {'mean': 3.0}})
    """

    scope: ClassVar[Scope | None] = None

    def param(
        self,
        name: str,
        init_fn: Callable[..., T],
        *init_args: Any,
        unbox: bool = True,
        **init_kwargs: Any,
    ) -> T:
        """Give a parameter, and create it during `init`.

        Args:
            name: its name in this module.
            init_fn: gives the initial value, from a key and `init_args`. It does not run when the
                parameter exists.
            *init_args: arguments of `init_fn` after the key, usually a shape and a dtype.
            unbox: whether to take arrays out of the boxes that hold their metadata.
            **init_kwargs: keyword arguments of `init_fn`.

        Returns:
            The value of the parameter.

        Raises:
            UnboundModuleError: the module is not bound.
            AssignVariableError: called outside `setup` and `@compact`.
            NameInUseError: the module has something else of that name.
            ScopeCollectionNotFound: there are no parameters here, and none can be created.
            ScopeParamNotFoundError: it does not exist and cannot be created.
            ScopeParamShapeError: it has another shape or structure than `init_fn` makes.
            InvalidRngError: it must be created, and there is no stream "params".
            JaxTransformError: it would be created inside a raw JAX transformation.
        """
        scope = self._scope_to_define("param", name)
        return scope.param(name, init_fn, *init_args, unbox=unbox, **init_kwargs)

    def variable(
        self,
        col: str,
        name: str,
        init_fn: Callable[..., T] | None = None,
        *init_args: Any,
        unbox: bool = True,
        **init_kwargs: Any,
    ) -> Variable[T]:
        """Refer to a variable, and create it if it does not exist.

        Args:
            col: its collection.
            name: its name in this module.
            init_fn: gives the initial value; None if it must exist.
            *init_args: arguments of `init_fn`.
            unbox: whether `value` takes arrays out of the boxes that hold their metadata.
            **init_kwargs: keyword arguments of `init_fn`.

        Returns:
            A reference, whose `value` can be read and assigned.

        Raises:
            UnboundModuleError: the module is not bound.
            AssignVariableError: called outside `setup` and `@compact`.
            NameInUseError: the module has something else of that name.
            ScopeCollectionNotFound: it does not exist, like all of its collection here, and
                cannot be created.
            ScopeVariableNotFoundError: it does not exist and cannot be created.
            JaxTransformError: it would be created inside a raw JAX transformation.
        """
        scope = self._scope_to_define("variable", name)
        return scope.variable(col, name, init_fn, *init_args, unbox=unbox, **init_kwargs)

    def _scope_to_define(self, kind: str, name: str) -> Scope:
        scope = self._bound_scope(f'its {kind} "{name}" has no place')
        if not state_of(self).may_create:
            raise AssignVariableError(kind, name, scope.debug_path, type(self).__name__)
        return scope

    def _bound_scope(self, what: str) -> Scope:
        if self.scope is None:
            raise UnboundModuleError(type(self).__name__, what)
        return self.scope

    def sow(
        self,
        col: str,
        name: str,
        value: Any,
        reduce_fn: Callable[[Any, Any], Any] = lambda values, value: (*values, value),
        init_fn: Callable[[], Any] = tuple,
    ) -> bool:
        """Store a value in a collection, if that is mutable, and do nothing otherwise.

        Inside of a lifted `vmap` or `scan` that does not name the collection, what is sown is sown
        where the transformation is applied, stacked along axis 0, unless variables are initialized.

        Args:
            col: the collection, for example "intermediates".
            name: the name in this module.
            value: the value.
            reduce_fn: combines what is stored already with the value; by default a tuple grows.
            init_fn: gives what to combine the first value with.

        Returns:
            True if the value was stored.

        Raises:
            UnboundModuleError: the module is not bound.
            NameInUseError: the module has something else of that name.
            JaxTransformError: called inside a raw JAX transformation.

        Example:
            >>> from linen_core import Module, compact
            >>> class Double(Module):
            ...     @compact
            ...     def __call__(self, x):
            ...         self.sow("intermediates", "x", x)
            ...         return 2 * x
            >>> Double().apply({}, 3, mutable=["intermediates"])
            (6, {'intermediates': {'x': (3,)}})
        """
        scope = self._bound_scope("there is no place to sow into")
        return sow(scope, col, Sowing(scope.debug_path, name, reduce_fn, init_fn), value)

    def perturb(self, name: str, value: T, collection: str = "perturbations") -> T:
        """Add a variable that is zero to a value, to differentiate by the value.

        The gradient by the variable is the gradient by the value, which no argument of `apply`
        stands for otherwise. `init` creates the variable. Where the variables do not have its
        collection, as in everyday use, nothing is added.

        Args:
            name: its name in this module. It may be used repeatedly.
            value: an array, or a pytree of arrays.
            collection: the collection of the variable.

        Returns:
            The value, plus the variable if there is one.

        Raises:
            UnboundModuleError: the module is not bound.
            NameInUseError: the module has something else of that name.
            ScopeVariableNotFoundError: the collection is there and immutable, but does not hold
                the variable.
            PerturbationMismatchError: the variable does not have the structure and shapes of the
                value.
            JaxTransformError: it would be created inside a raw JAX transformation.

        Example:
            >>> import jax
            >>> from linen_core import Module, compact
            >>> class Square(Module):
            ...     @compact
            ...     def __call__(self, x):
            ...         return self.perturb("doubled", 2 * x) ** 2
            >>> perturbations = Square().init(jax.random.key(0), 3.0)["perturbations"]
            >>> loss = lambda p: Square().apply({"perturbations": p}, 3.0)
            >>> jax.grad(loss)(perturbations)["doubled"].item()
            12.0
        """
        return perturbed(self._bound_scope("it has no perturbations"), collection, name, value)

    def get_variable(self, col: str, name: str, default: Any = None) -> Any:
        """Read a variable.

        Args:
            col: its collection.
            name: its name in this module.
            default: what to return if it does not exist.

        Returns:
            Its value, in its box if it has one.

        Raises:
            UnboundModuleError: the module is not bound.
        """
        return self._bound_scope("it has no variables").get_variable(col, name, default)

    def put_variable(self, col: str, name: str, value: Any) -> None:
        """Create or change a variable.

        Args:
            col: its collection.
            name: its name in this module.
            value: the new value.

        Raises:
            UnboundModuleError: the module is not bound.
            ModifyScopeVariableError: the collection is immutable.
            JaxTransformError: called inside a raw JAX transformation.
        """
        self._bound_scope("it has no variables").put_variable(col, name, value)

    def has_variable(self, col: str, name: str) -> bool:
        """Say whether a variable exists.

        Args:
            col: its collection.
            name: its name in this module.

        Returns:
            True if it exists.

        Raises:
            UnboundModuleError: the module is not bound.
        """
        return self._bound_scope("it has no variables").has_variable(col, name)

    def is_mutable_collection(self, col: str) -> bool:
        """Say whether the variables of a collection can be changed.

        Args:
            col: the name of the collection.

        Returns:
            True if it is mutable.

        Raises:
            UnboundModuleError: the module is not bound.
        """
        return self._bound_scope("it has no variables").is_mutable_collection(col)

    def is_initializing(self) -> bool:
        """Say whether the module runs inside `init`.

        Returns:
            True during `init`, `lazy_init` and `init_with_output`.

        Raises:
            UnboundModuleError: the module is not bound.
        """
        return self._bound_scope("it is never initializing").get_flag("initializing", False)

    def make_rng(self, name: str = "params") -> jax.Array:
        """Draw a key from a random stream. Every draw gives another key.

        A stream that was not given falls back to the stream "params".

        Args:
            name: the name of the stream.

        Returns:
            A key of the kind that was given to `init` or `apply`.

        Raises:
            UnboundModuleError: the module is not bound.
            InvalidRngError: neither this stream nor "params" was given.

        Warns:
            UserWarning: the name is a typing error away from a stream that was given, or the
                draw happens inside a raw JAX transformation.
        """
        return self._bound_scope("it has no random streams").make_rng(name)

    def has_rng(self, name: str) -> bool:
        """Say whether a random stream was given.

        Args:
            name: the name of the stream.

        Returns:
            True if there is a stream of that name.

        Raises:
            UnboundModuleError: the module is not bound.
        """
        return self._bound_scope("it has no random streams").has_rng(name)

    @property
    def variables(self) -> dict[str, Any]:
        """The variables of this module and its submodules, as a dict from collections.

        The dicts are copies: changing them changes no variable.

        Raises:
            UnboundModuleError: the module is not bound.
        """
        return self._bound_scope("it has no variables").variables()

    @property
    def path(self) -> tuple[str, ...]:
        """The names of the modules that lead here from the top-level module, which has ().

        Raises:
            UnboundModuleError: the module is not bound.
        """
        return self._bound_scope("it has no path").path
