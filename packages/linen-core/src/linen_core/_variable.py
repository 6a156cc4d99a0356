"""References to variables: what `variable` returns, to read and to assign."""

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from linen_core._meta import replace_boxed, unbox

if TYPE_CHECKING:
    from linen_core._scope import Scope

T = TypeVar("T")


class Variable(Generic[T]):
    """A reference to one variable in a scope.

    Args:
        scope: the scope that the variable is in.
        collection: the name of its collection.
        name: its name.
        unbox: whether `value` takes arrays out of the boxes that hold their metadata.

    Example:
        >>> from linen_core import apply
        >>> def count(scope):
        ...     calls = scope.variable("state", "calls", lambda: 0)
        ...     calls.value += 1
        ...     return calls.value
        >>> apply(count, mutable=["state"])({"state": {"calls": 4}})
        (5, {'state': {'calls': 5}})
        >>> apply(lambda scope: scope.variable("state", "calls").is_mutable())(
        ...     {"state": {"calls": 4}}
        ... )
        False
    """

    __slots__ = ("collection", "name", "scope", "unbox")

    scope: "Scope"
    collection: str
    name: str
    unbox: bool

    def __init__(self, scope: "Scope", collection: str, name: str, unbox: bool = True) -> None:
        self.scope = scope
        self.collection = collection
        self.name = name
        self.unbox = unbox

    @property
    def value(self) -> T:
        """The current value; assigning to it changes the variable and keeps its box.

        Raises:
            ModifyScopeVariableError: on assignment, if the collection is immutable.
            JaxTransformError: on assignment inside a raw JAX transformation.
        """
        value = self.scope.get_variable(self.collection, self.name)
        return unbox(value) if self.unbox else value

    @value.setter
    def value(self, value: T) -> None:
        new: Any = value
        if self.unbox:
            new = replace_boxed(self.scope.get_variable(self.collection, self.name), value)
        self.scope.put_variable(self.collection, self.name, new)

    def is_mutable(self) -> bool:
        """Say whether the variable can be changed.

        Returns:
            True if its collection is mutable.
        """
        return self.scope.is_mutable_collection(self.collection)

    def __repr__(self) -> str:
        return f"Variable({'/'.join((self.collection, *self.scope.path, self.name))})"
