"""Scopes: the place in a tree of variables that a piece of model code works at.

A *variable* has a *collection* ("params", "batch_stats"), a path and a name. All variables of a
model are one nested dict: collection, then the path's parts, then the name. A **scope** is a path
in that dict together with random streams. `push` descends by one part. The scope that has no
parent is the **root**; it belongs to one `init`, `apply` or `bind` and holds what is common to the
whole tree of scopes:

* the variables: the caller's dicts for collections that are immutable (never copied, never
  changed), copies of the dicts, not of the arrays, for those that are mutable,
* the **mutable** filter and the **flags** (such as "initializing"),
* the JAX trace in which it was bound: variables may only change in that same trace,
* whether it is still valid: `init` and `apply` invalidate their scopes when they end.

Within one scope a name can be **reserved** once for a submodule, or once in each collection for a
variable, so that two things never share a place by accident.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import jax

from linen_core import _parameter
from linen_core._dicts import copy_dicts
from linen_core._filters import CollectionFilter
from linen_core._meta import unbox as unboxed
from linen_core._place import Place
from linen_core._rngs import Rng, Rngs, as_streams
from linen_core._streams import Streams
from linen_core._tree import Tree
from linen_core._variable import Variable
from linen_core.errors import (
    FlagNotFoundError,
    InvalidNameError,
    NameInUseError,
    ScopeCollectionNotFound,
    ScopeParamNotFoundError,
    ScopeParamShapeError,
    ScopeVariableNotFoundError,
)

T = TypeVar("T")

_MISSING: Any = object()
_NOTHING = contextlib.nullcontext()


class Scope(Place):
    """A path in a tree of variables, with random streams.

    Users get scopes from `init`, `apply` and `bind` and from `push`.

    Args:
        variables: a dict from collections to nested dicts of values.
        rngs: a dict from stream names to keys, or one key for the stream "params".
        name: the last part of the path, None for a root.
        mutable: a filter of the collections that can be changed.
        parent: the scope around this one; None makes a root.
        path: the path, as names.
        debug_path: the path that messages show, if it is another.
        flags: facts that code in any scope of the tree can ask for.

    Raises:
        InvalidRngError: something in `rngs` is not a single key.

    Example:
        >>> import jax
        >>> from linen_core import bind, init
        >>> def dense(scope, x, features):
        ...     kernel = scope.param("kernel", jax.nn.initializers.ones, (x.shape[-1], features))
        ...     return x @ kernel
        >>> def model(scope, x):
        ...     return scope.child(dense, "out")(x, 3)
        >>> y, variables = init(model)(jax.random.key(0), jax.numpy.ones(2))
        >>> variables["params"]["out"]["kernel"].shape
        (2, 3)

        By hand, where scopes are pushed, names are taken and streams are drawn from:

        >>> with bind({}, {"noise": jax.random.key(0)}, flags={"train": True}).temporary() as root:
        ...     scope = root.push("block").push(prefix="layer_")
        ...     scope.reserve("w", "params")
        ...     key = scope.make_rng("noise")
        ...     again = scope.rewound(rewind_rngs=True)
        >>> scope.path_text, scope.root is root, scope.default_name("layer_")
        ('/block/layer_0', True, 'layer_0')
        >>> scope.name_reserved("w", "params"), again.name_reserved("w", "params")
        (True, False)
        >>> scope.has_rng("noise"), scope.has_flag("train"), scope.get_flag("initializing", False)
        (True, True, False)
        >>> scope.invalid  # as after root.invalidate()
        True
    """

    __slots__ = ("__weakref__", "_known_streams", "_reservations", "owner")

    parent: "Scope | None"
    debug_path: tuple[str, ...]
    owner: str

    def __init__(
        self,
        variables: Mapping[str, Any],
        rngs: Rngs | None = None,
        name: str | None = None,
        mutable: CollectionFilter = False,
        parent: "Scope | None" = None,
        path: tuple[str, ...] = (),
        debug_path: tuple[str, ...] = (),
        flags: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.parent = parent
        self.path = path
        self.debug_path = debug_path or path
        self.owner = "function"
        self._reservations: dict[str, dict[str | None, str]] = {}
        if parent is not None:
            self._tree = parent._tree
            self._known_streams: Streams | None = None
            self._collections = dict(variables)
        else:
            self._tree = Tree(mutable, flags or {})
            self._known_streams = Streams({})
            self._collections = {
                col: copy_dicts(tree) if self.is_mutable_collection(col) else tree
                for col, tree in variables.items()
            }
        if rngs is not None:
            self._known_streams = Streams(as_streams(rngs, "rngs"))

    # The tree of scopes.

    @property
    def root(self) -> "Scope":
        """The outermost scope of the tree."""
        scope: Any = self
        while scope.parent is not None:
            scope = scope.parent
        return scope

    @property
    def path_text(self) -> str:
        """The path as one string, "/" for a root."""
        return "/" + "/".join(self.debug_path)

    @property
    def mutable(self) -> CollectionFilter:
        """The filter of the collections that can be changed."""
        return self._tree.mutable

    @property
    def flags(self) -> Mapping[str, Any]:
        """The facts that were given to `init`, `apply` or `bind`."""
        return self._tree.flags

    @property
    def invalid(self) -> bool:
        """Whether the `init` or `apply` that the scope belongs to has ended."""
        return not self._tree.is_valid

    def invalidate(self) -> None:
        """Make every further use of this scope an error; of a root, that of its whole tree."""
        if self.parent is not None:
            self._tree = copy.copy(self._tree)  # the other scopes stay valid
        self._tree.is_valid = False

    @contextlib.contextmanager
    def temporary(self) -> Iterator["Scope"]:
        """Invalidate the scope at the end of a `with` block.

        Yields:
            This scope.
        """
        try:
            yield self
        finally:
            self.invalidate()

    @property
    def adopted(self) -> WeakValueDictionary[int, Any]:
        """The copies, in this tree, of modules that came from outside, by the originals' ids."""
        return self._tree.adopted

    def is_same_tree(self, other: "Scope") -> bool:
        """Say whether another scope belongs to the same `init`, `apply` or `bind`.

        Args:
            other: a scope.

        Returns:
            True if the two have a common root.
        """
        return self._tree is other._tree

    def push(self, name: str | None = None, prefix: str = "", reuse: bool = False) -> "Scope":
        """Make the scope of a submodule.

        Args:
            name: the part to append to the path; None takes the first free `prefix` + number.
            prefix: what automatic names begin with.
            reuse: whether the name may have been reserved before.

        Returns:
            A new scope.

        Raises:
            NameInUseError: the name is reserved.
            InvalidNameError: the name is no string.
            InvalidScopeError: the scope's `init` or `apply` has ended.
        """
        self._check_valid()
        if name is None:
            name = self.default_name(prefix)
        elif not isinstance(name, str):
            raise InvalidNameError(self.debug_path, name)
        if not reuse:
            self._reserve(name, None, "submodule")
        child: Scope = object.__new__(Scope)
        child.name = name
        child.parent = self
        child.path = (*self.path, name)
        is_same = self.debug_path is self.path
        child.debug_path = child.path if is_same else (*self.debug_path, name)
        child.owner = "function"
        child._reservations = {}
        child._tree = self._tree
        child._known_streams = None
        child._collections = {}
        return child

    def child(
        self,
        fn: Callable[..., Any],
        name: str | None = None,
        prefix: str | None = None,
        named_call: bool = True,
        **partial_kwargs: Any,
    ) -> Callable[..., Any]:
        """Give a function its own scope below this one.

        Args:
            fn: a function whose first argument is a scope.
            name: the name of the scope; None takes the first free `prefix` + number.
            prefix: what automatic names begin with; by default the function's name and "_", or
                nothing if it has none. Not used when there is a name.
            named_call: whether calls open a `jax.named_scope` of that name.
            **partial_kwargs: keyword arguments to pass in every call that does not give others.

        Returns:
            A function of the remaining arguments. Calls of it share their variables.

        Raises:
            NameInUseError: the name is reserved.
            InvalidScopeError: the scope's `init` or `apply` has ended.
        """
        if name is None and prefix is None and hasattr(fn, "__name__"):
            prefix = f"{fn.__name__}_"
        scope = self.push(name, prefix or "")

        def call(*args: Any, **kwargs: Any) -> Any:
            context = jax.named_scope(str(scope.name)) if named_call else contextlib.nullcontext()
            with context:
                return fn(scope.rewound(), *args, **{**partial_kwargs, **kwargs})

        return call

    def rewound(self, rewind_rngs: bool = False) -> "Scope":
        """Make a scope at the same place in which no name is reserved yet.

        Args:
            rewind_rngs: whether draws also start again, with the same keys.

        Returns:
            A new scope that shares the variables with this one.

        Raises:
            InvalidScopeError: the scope's `init` or `apply` has ended.
        """
        self._check_valid()
        scope = copy.copy(self)
        scope._reservations = {}
        if rewind_rngs:
            scope._known_streams = self._streams.rewound()
        return scope

    # Names.

    def name_reserved(self, name: str, col: str | None = None) -> bool:
        """Say whether a name is taken.

        Args:
            name: the name.
            col: the collection that it is for; None asks for a submodule.

        Returns:
            True if a submodule has the name, or a variable of the collection (of any collection,
            if `col` is None).
        """
        cols = self._reservations.get(name)
        if not cols:
            return False
        return col is None or col in cols or None in cols

    def reserve(self, name: str, col: str | None = None) -> None:
        """Take a name.

        Args:
            name: the name.
            col: the collection that it is for; None takes it for a submodule.

        Raises:
            NameInUseError: the name is taken.
        """
        kind = "submodule" if col is None else "param" if col == "params" else "variable"
        self._reserve(name, col, kind)

    def reserve_to_sow(self, name: str, col: str) -> None:
        """Take a name for values that are sown. This may be done again and again.

        Args:
            name: the name.
            col: the collection that it is for.

        Raises:
            NameInUseError: the name is taken for something else.
        """
        if self._reservations.get(name, {}).get(col) != "sow":
            self._reserve(name, col, "sow")

    def _reserve(self, name: str, col: str | None, kind: str) -> None:
        if self.name_reserved(name, col):
            kind = "variable" if kind == "sow" else kind
            raise NameInUseError(kind, name, self.debug_path, self.owner)
        self._reservations.setdefault(name, {})[col] = kind

    def reservations(self) -> dict[str, dict[str | None, str]]:
        """Give the reserved names, to be handed to `restore_reservations` later.

        Returns:
            A dict from names to what they are reserved for, by collection (None: a submodule).
        """
        return {name: dict(kinds) for name, kinds in self._reservations.items()}

    def restore_reservations(self, reservations: dict[str, dict[str | None, str]]) -> None:
        """Free every name that is not in `reservations`.

        Args:
            reservations: what `reservations` returned earlier.
        """
        self._reservations = reservations

    def default_name(self, prefix: str) -> str:
        """Give the first name that is not reserved.

        Args:
            prefix: what the name begins with.

        Returns:
            The prefix and a number.
        """
        number = 0
        while f"{prefix}{number}" in self._reservations:
            number += 1
        return f"{prefix}{number}"

    # Random streams.

    @property
    def _streams(self) -> Streams:
        # Most scopes of an `apply` draw nothing.
        streams = self._known_streams
        if streams is None:
            outer: Any = self.parent
            streams = self._known_streams = outer._streams.below(str(self.name))
        return streams

    @property
    def rngs(self) -> Mapping[str, Rng]:
        """The random streams at this place, as keys or lazy keys."""
        return self._streams.keys

    def has_rng(self, name: str) -> bool:
        """Say whether a random stream was given.

        Args:
            name: the name of the stream.

        Returns:
            True if there is a stream of that name.
        """
        return name in self._streams.names

    def make_rng(self, name: str = "params") -> jax.Array:
        """Draw a key from a random stream. Every draw gives another key.

        A stream that was not given falls back to the stream "params".

        Args:
            name: the name of the stream.

        Returns:
            A key of the kind that was given to `init` or `apply`.

        Raises:
            InvalidRngError: neither this stream nor "params" was given.
            InvalidScopeError: the scope's `init` or `apply` has ended.

        Warns:
            UserWarning: the name is a typing error away from a stream that was given, or the
                draw happens inside a raw JAX transformation, where all iterations get one key.
        """
        self._check_valid()
        return self._streams.draw(name, self._tree, self.debug_path).as_jax_rng()

    # Variables.

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
            name: its name.
            init_fn: gives the initial value; None if it must exist.
            *init_args: arguments of `init_fn`.
            unbox: whether the reference takes arrays out of their boxes.
            **init_kwargs: keyword arguments of `init_fn`.

        Returns:
            A reference, whose `value` can be read and assigned.

        Raises:
            NameInUseError: the name is taken at this place.
            InvalidNameError: the name is no string.
            ScopeCollectionNotFound: it does not exist, like everything of its collection here,
                and cannot be created.
            ScopeVariableNotFoundError: it does not exist and cannot be created.
            JaxTransformError: it would be created inside a raw JAX transformation.

        Example:
            >>> from linen_core import bind
            >>> scope = bind({}, mutable=["state"])
            >>> calls = scope.variable("state", "calls", lambda: 0)
            >>> calls.value += 1
            >>> scope.variables()
            {'state': {'calls': 1}}
        """
        self.reserve(name, col)
        if not self.has_variable(col, name):
            if init_fn is None or not self.is_mutable_collection(col):
                raise self._not_found(ScopeVariableNotFoundError, col, name)
            self._tree.check_trace(
                self.debug_path, f'creates the variable "{name}" of collection "{col}"'
            )
            with self._creating(col):
                value = init_fn(*init_args, **init_kwargs)
            self.put_variable(col, name, value)
        return Variable(self, col, name, unbox)

    def param(
        self,
        name: str,
        init_fn: Callable[..., T],
        *init_args: Any,
        unbox: bool = True,
        **init_kwargs: Any,
    ) -> T:
        """Give a parameter, and create it if it does not exist.

        A parameter that exists is compared with what its initializer would make, without running
        it: an initializer whose first argument after the key is a shape is taken at its word, and
        the shapes that others make are found once by `jax.eval_shape` and remembered.

        Args:
            name: its name in the collection "params".
            init_fn: gives the initial value, from a key and `init_args`.
            *init_args: arguments of `init_fn` after the key.
            unbox: whether to take arrays out of their boxes.
            **init_kwargs: keyword arguments of `init_fn`.

        Returns:
            The value of the parameter.

        Raises:
            NameInUseError: the name is taken at this place.
            ScopeCollectionNotFound: there are no parameters here, and none can be created.
            ScopeParamNotFoundError: it does not exist and cannot be created.
            ScopeParamShapeError: it has another shape or structure than the initializer makes.
            InvalidRngError: it must be created, and there is no stream "params".
            JaxTransformError: it would be created inside a raw JAX transformation.
        """
        self._check_valid()
        self._reserve(name, "params", "param")
        found = self._read("params")
        value = _MISSING if found is None else found.get(name, _MISSING)
        if value is not _MISSING:
            try:
                _parameter.check(self.debug_path, name, value, init_fn, init_args, init_kwargs)
            except ScopeParamShapeError:
                self._tree.check_guards(self.debug_path)
                raise
        elif self.is_mutable_collection("params"):
            self._tree.check_trace(self.debug_path, f'creates the parameter "{name}"')
            with self._creating("params"):
                key = self._streams.draw("params", self._tree, self.debug_path)
            value = _parameter.initialize(
                init_fn, key, init_args, init_kwargs, self._tree.constants
            )
            self.put_variable("params", name, value)
        else:
            raise self._not_found(ScopeParamNotFoundError, "params", name)
        value = copy_dicts(value)
        return unboxed(value) if unbox else value

    def _creating(self, col: str) -> contextlib.AbstractContextManager[None]:
        self._tree.check_guards(self.debug_path)
        rehearsal = self._tree.rehearsal
        return _NOTHING if rehearsal is None else rehearsal.creating(col)

    def _not_found(self, error: type[ScopeVariableNotFoundError], col: str, name: str) -> Exception:
        found = self._read(col)
        if not found and not self.is_mutable_collection(col):
            collections = self._root_collections()
            return ScopeCollectionNotFound(
                self.debug_path, col, name, collections, self._nearest(col)
            )
        return error(self.debug_path, col, name, found or (), self.is_mutable_collection(col))

    # Flags.

    def has_flag(self, key: str) -> bool:
        """Say whether a flag was given.

        Args:
            key: its name.

        Returns:
            True if there is a flag of that name.
        """
        return key in self._tree.flags

    def get_flag(self, key: str, default: Any = _MISSING) -> Any:
        """Give the value of a flag.

        Args:
            key: its name.
            default: what to return if it was not given.

        Returns:
            The value.

        Raises:
            FlagNotFoundError: it was not given and there is no default.
        """
        value = self._tree.flags.get(key, default)
        if value is _MISSING:
            raise FlagNotFoundError(self.debug_path, key, self._tree.flags)
        return value
