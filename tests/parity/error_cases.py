"""Conditions that raise, and the name of the error class that both libraries give them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import initializers

from .case import X
from .libraries import Library


@dataclass(frozen=True)
class ErrorCase:
    """Something that must not be done.

    Attributes:
        name: id of the case.
        error: name of the class in both libraries' `errors`, or of a class that Python has.
        run: does it in the given library.
    """

    name: str
    error: str
    run: Callable[[Library], Any]


ERRORS: list[ErrorCase] = []
KEY = jax.random.key(0)
NORMAL = initializers.normal()


def raises(error: str) -> Callable[[Callable[[Library], Any]], Callable[[Library], Any]]:
    """Adds a case that calls the decorated function with the library."""

    def add(run: Callable[[Library], Any]) -> Callable[[Library], Any]:
        ERRORS.append(ErrorCase(run.__name__, error, run))
        return run

    return add


def module(library: Library, call: Callable[..., Any]) -> Any:
    """Returns a module class whose `__call__` is compact."""
    return type("Net", (library.nn.Module,), {"__call__": library.nn.compact(call)})


def dense_variables(library: Library) -> Any:
    return library.nn.Dense(4).init(KEY, X)


# The variables that are passed in.


@raises("ApplyScopeInvalidVariablesStructureError")
def params_inside_params(library):
    library.nn.Dense(4).apply({"params": dense_variables(library)}, X)


@raises("ApplyScopeInvalidVariablesTypeError")
def collection_that_is_no_dict(library):
    library.core.apply(lambda scope: None)({"params": X})


@raises("ScopeParamNotFoundError")
def parameter_missing(library):
    kernel = dense_variables(library)["params"]["kernel"]
    library.nn.Dense(4).apply({"params": {"kernel": kernel}}, X)


@raises("ScopeCollectionNotFound")
def params_missing(library):
    library.nn.Dense(4).apply({}, X)


@raises("ScopeCollectionNotFound")
def params_of_the_child_missing(library):
    net = module(library, lambda self, x: library.nn.Dense(4)(x))()
    net.apply({"params": {}}, X)


@raises("ScopeParamShapeError")
def parameter_of_another_shape(library):
    library.nn.Dense(5).apply(dense_variables(library), X)


@raises("ScopeParamShapeError")
def input_of_another_width(library):
    library.nn.Dense(4).apply(dense_variables(library), jnp.ones((2, 7)))


@raises("ScopeCollectionNotFound")
def batch_statistics_missing(library):
    norm = library.nn.BatchNorm(use_running_average=True)
    norm.apply({"params": norm.init(KEY, X)["params"]}, X)


@raises("ScopeVariableNotFoundError")
def variable_missing_without_initializer(library):
    def call(self, x):
        self.variable("state", "present", jnp.zeros, ())
        return self.variable("state", "absent").value

    module(library, call)().apply({"state": {"present": jnp.zeros(())}}, X)


# Random streams.


@raises("InvalidRngError")
def no_stream_for_dropout(library):
    library.nn.Dropout(0.5, deterministic=False).apply({}, X)


@raises("InvalidRngError")
def no_stream_for_params(library):
    library.nn.Dense(4).init({"dropout": KEY}, X)


@raises("InvalidRngError")
def text_as_key(library):
    library.nn.Dense(4).init("seed", X)


@raises("InvalidRngError")
def floats_as_key(library):
    library.nn.Dense(4).init(X, X)


@raises("ValueError")
def text_as_key_of_a_stream(library):
    library.nn.Dense(4).init({"params": "seed"}, X)


@raises("InvalidRngError")
def integer_as_key(library):
    library.nn.Dense(4).init(3, X)


@raises("InvalidRngError")
def no_streams_in_a_scope(library):
    library.core.apply(lambda scope: scope.make_rng("noise"))({})


# Mutability and filters.


@raises("ModifyScopeVariableError")
def batch_statistics_immutable(library):
    norm = library.nn.BatchNorm(use_running_average=False)
    norm.apply(norm.init(KEY, X), X)


@raises("ModifyScopeVariableError")
def variable_value_immutable(library):
    def call(self, x):
        self.variable("state", "last", jnp.zeros, (2, 3)).value = x

    module(library, call)().apply({"state": {"last": X}}, X)


@raises("ModifyScopeVariableError")
def put_variable_immutable(library):
    def put(scope):
        scope.put_variable("state", "last", X)

    library.core.apply(put)({"state": {"last": X}})


@raises("InvalidFilterError")
def filter_of_unknown_type(library):
    net = library.nn.BatchNorm(use_running_average=False)
    net.apply(net.init(KEY, X), X, mutable=1.5)


# Names.


@raises("NameInUseError")
def two_submodules_of_one_name(library):
    def call(self, x):
        return library.nn.Dense(3, name="a")(library.nn.Dense(3, name="a")(x))

    module(library, call)().init(KEY, X)


@raises("NameInUseError")
def two_parameters_of_one_name(library):
    def call(self, x):
        return x + self.param("a", NORMAL, (1, 3)) + self.param("a", NORMAL, (1, 3))

    module(library, call)().init(KEY, X)


@raises("NameInUseError")
def parameter_and_submodule_of_one_name(library):
    def call(self, x):
        x = x + self.param("a", NORMAL, (1, 3))
        return library.nn.Dense(3, name="a")(x)

    module(library, call)().init(KEY, X)


@raises("NameInUseError")
def attribute_and_explicit_name(library):
    class Net(library.nn.Module):
        def setup(self):
            self.a = library.nn.Dense(3)
            self.b = library.nn.Dense(3, name="a")

        def __call__(self, x):
            return self.b(self.a(x))

    Net().init(KEY, X)


@raises("ValueError")
def two_children_of_one_name(library):
    def parent(scope):
        scope.child(lambda scope: None, "a")()
        scope.child(lambda scope: None, "a")()

    library.core.init(parent)(KEY)


@raises("ValueError")
def two_pushes_of_one_name(library):
    def parent(scope):
        scope.push("a")
        scope.push("a")

    library.core.init(parent)(KEY)


@raises("ValueError")
def two_parameters_of_one_name_in_a_scope(library):
    def twice(scope):
        scope.param("a", NORMAL, (3,))
        scope.param("a", NORMAL, (3,))

    library.core.init(twice)(KEY)


@raises("NameInUseError")
def two_variables_of_one_name(library):
    def call(self, x):
        self.variable("state", "a", jnp.zeros, ())
        self.variable("state", "a", jnp.zeros, ())

    module(library, call)().init(KEY, X)


# The life of a module.


@raises("CallCompactUnboundModuleError")
def call_of_an_unbound_compact_module(library):
    library.nn.Dense(4)(X)


@raises("CallSetupUnboundModuleError")
def call_of_setup_on_an_unbound_module(library):
    class Net(library.nn.Module):
        def setup(self):
            pass

    Net().setup()


@raises("AttributeError")
def attribute_of_setup_on_an_unbound_module(library):
    class Net(library.nn.Module):
        def setup(self):
            self.encoder = library.nn.Dense(3)

    Net().encoder  # noqa: B018


@raises("ValueError")
def parameter_outside_setup_and_compact(library):
    class Net(library.nn.Module):
        def __call__(self, x):
            return self.param("a", NORMAL, (1, 3))

    Net().init(KEY, X)


@raises("CallUnbindOnUnboundModuleError")
def unbind_of_an_unbound_module(library):
    library.nn.Dense(4).unbind()


@raises("AssignSubModuleError")
def submodule_outside_setup_and_compact(library):
    class Net(library.nn.Module):
        def __call__(self, x):
            return library.nn.Dense(3)(x)

    Net().init(KEY, X)


@raises("SetAttributeFrozenModuleError")
def attribute_set_in_a_compact_method(library):
    def call(self, x):
        self.width = 3

    module(library, call)().init(KEY, X)


@raises("SetAttributeFrozenModuleError")
def submodule_attribute_set_in_a_compact_method(library):
    def call(self, x):
        self.dense = library.nn.Dense(3)

    module(library, call)().init(KEY, X)


@raises("SetAttributeFrozenModuleError")
def attribute_of_a_called_module(library):
    def call(self, x):
        layer = library.nn.Dense(4)
        layer.features = 3

    module(library, call)().init(KEY, X)


@raises("ReservedModuleAttributeError")
def field_named_parent(library):
    type("Net", (library.nn.Module,), {"__annotations__": {"parent": Any}, "parent": None})


@raises("IncorrectPostInitOverrideError")
def post_init_without_super(library):
    net = type("Net", (library.nn.Dense,), {"__post_init__": lambda self: None})
    net(4).init(KEY, X)


@raises("InvalidInstanceModuleError")
def init_of_a_class(library):
    library.nn.Dense.init(KEY, X)


@raises("InvalidInstanceModuleError")
def apply_of_a_class(library):
    library.nn.Dense.apply({}, X)


@raises("ApplyModuleInvalidMethodError")
def method_that_is_no_method(library):
    library.nn.Dense(4).apply(dense_variables(library), X, method=3)


@raises("DescriptorAttributeError")
def property_that_raises(library):
    class Net(library.nn.Module):
        @property
        def broken(self):
            return self.absent

        def __call__(self, x):
            return self.broken

    Net().init(KEY, X)


@raises("AttributeError")
def method_of_unknown_name(library):
    library.nn.Dense(4).apply(dense_variables(library), X, method="encode")


@raises("TypeError")
def field_of_unknown_name(library):
    library.nn.Dense(4, feature=3)


# Layers.


@raises("ValueError")
def mode_given_twice(library):
    library.nn.merge_param("deterministic", True, True)


@raises("ValueError")
def mode_of_dropout_missing(library):
    library.nn.Dropout(0.5).init(KEY, X)


@raises("ValueError")
def mode_of_batch_norm_missing(library):
    library.nn.BatchNorm().init(KEY, X)


@raises("ValueError")
def tokens_that_are_no_integers(library):
    library.nn.Embed(4, 3).init(KEY, X)


# Scopes and transformations.


@raises("InvalidScopeError")
def scope_used_after_its_call(library):
    kept = []
    library.core.init(kept.append)(KEY)
    kept[0].param("late", NORMAL, (3,))


@raises("LazyInitError")
def lazy_init_that_needs_values(library):
    def call(self, x):
        self.param("offset", lambda key: 1.0 * x)
        return x

    net = module(library, call)()
    net.lazy_init(KEY, jax.ShapeDtypeStruct((2, 3), jnp.float32))


# State dicts.


@raises("ValueError")
def state_dict_that_lacks_a_key(library):
    library.trees.from_state_dict({"a": 1, "b": 2}, {"a": 1})


@raises("ValueError")
def state_dict_of_a_shorter_list(library):
    library.trees.from_state_dict([1, 2], {"0": 1})


# Modules that share a place, copies, perturbations and name scopes.


@raises("CallShareScopeOnUnboundModuleError")
def scope_of_unbound_modules_shared(library):
    library.nn.share_scope(library.nn.Dense(3), library.nn.Dense(3))


@raises("CallShareScopeOnUnboundModuleError")
def scope_shared_with_an_unbound_module(library):
    def call(self, x):
        library.nn.share_scope(self, library.nn.Dense(3, parent=None))

    module(library, call)().init(KEY, X)


@raises("NameInUseError")
def name_used_by_both_modules_of_a_scope(library):
    def call(self, x):
        dense = library.nn.Dense(3)
        library.nn.share_scope(self, dense)
        self.param("kernel", NORMAL, (3, 3))
        return dense(x)

    module(library, call)().init(KEY, X)


@raises("NameInUseError")
def automatic_name_used_by_both_modules_of_a_scope(library):
    def call(self, x):
        inner = module(library, lambda self, x: library.nn.Dense(3)(x))()
        library.nn.share_scope(self, inner)
        return library.nn.Dense(3)(inner(x))

    module(library, call)().init(KEY, X)


@raises("TypeError")
def copy_with_a_field_that_is_not_there(library):
    library.nn.Dense(3).copy(width=3)


@raises("NameInUseError")
def clone_beside_a_module_of_its_name(library):
    module(library, lambda self, x: library.nn.Dense(3).clone(parent=self)(x))().init(KEY, X)


@raises("ReservedModuleAttributeError")
def field_named_name(library):
    type("Net", (library.nn.Module,), {"__annotations__": {"name": int}, "name": 3})


@raises("NameInUseError")
def name_of_a_name_scope_taken(library):
    class Net(library.nn.Module):
        @library.nn.compact_name_scope
        def layer(self, x):
            return library.nn.Dense(3)(x)

        @library.nn.compact
        def __call__(self, x):
            return self.layer(library.nn.Dense(3, name="layer")(x))

    Net().init(KEY, X)


@raises("Exception")
def name_scope_of_an_unbound_module(library):
    class Net(library.nn.Module):
        @library.nn.compact_name_scope
        def layer(self, x):
            return library.nn.Dense(3)(x)

    Net().layer(X)


def perturbed(library):
    return module(library, lambda self, x: self.perturb("x", x))()


@raises("Exception")
def perturbation_missing(library):
    perturbed(library).apply({"perturbations": {"y": X}}, X)


@raises("Exception")
def perturbation_of_another_shape(library):
    perturbed(library).apply({"perturbations": {"x": jnp.ones((5, 3))}}, X)


@raises("Exception")
def perturbation_of_an_unbound_module(library):
    perturbed(library).perturb("x", X)
