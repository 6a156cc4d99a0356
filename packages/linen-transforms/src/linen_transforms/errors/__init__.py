"""The errors of linen-transforms: one class per condition.

```
LinenError (of linen-core)
├─ NotAScopeError (TypeError)             a lifted function of scopes is called with something else
├─ NotAModuleError (TypeError)            a lifted function of modules is called without a module
├─ TransformTargetError (TypeError)       what is to be lifted is no class, method or function
├─ LiftedMethodError (ValueError)         `methods` names something that is no method
├─ LiftedModuleError (ValueError)         parameters of a lifted module are used outside of its methods
├─ TransformedMethodReturnValueError (TypeError)  a lifted method returns a Module or a Variable
├─ KeywordArgumentsError (TypeError)      keyword arguments where JAX takes none
├─ AxisSizeError (ValueError)             axes that do not exist, or differ in size, or are missing
├─ CarryMismatchError (TypeError)         a carry changes its structure, shape or dtype
├─ PredicateError (TypeError)             what decides is no scalar, or of another dtype
├─ BranchMismatchError (TypeError)        branches give different forms, or there are none
├─ MappedVariablesError (TypeError)       a function of variables gives no dict of collections
├─ LoopOutputError (TypeError)            the body of a loop returns no pair
├─ LoopInvariantError (ValueError)        a broadcast value depends on the iteration
├─ SplitRngsError (ValueError)            a body draws from a stream that `split_rngs` does not name
├─ WithheldCollectionError (KeyError)     a body needs a collection that no filter of the lift names
├─ SeveralPlacesError (ValueError)        gradients of variables at several places, but a form for one
├─ ScalarOutputError (TypeError, ValueError)  a gradient of something that is no real scalar
├─ AuxiliaryOutputError (TypeError)       `has_aux` is True, but there is no pair
├─ TangentError (TypeError)               tangents that do not fit what they belong to
├─ CotangentError (TypeError)             a backward function returns something else than gradients
├─ NondiffArgumentError (ValueError)      `nondiff_argnums` names no argument
├─ StaticArgumentError (ValueError)       an argument that should be static cannot be, or must be
├─ DonatedArgumentError (ValueError)      `donate_argnums` names an argument that cannot be donated
├─ OutsideModuleError                     named axes are used where no method of a module runs
├─ AxisNamesError (ValueError)            axis names are not what they should be
├─ CaptureTargetError (TypeError)          what cannot be captured from
├─ StackError (ValueError)                blocks that cannot be stacked, or stacks without blocks
├─ PurifyError (ValueError)               what cannot be made a pure function, or is misused
└─ UnsupportedArgumentError (ValueError)  an argument that cannot be supported
```
"""

from linen_transforms.errors._arguments import (
    DonatedArgumentError,
    KeywordArgumentsError,
    NondiffArgumentError,
    StaticArgumentError,
    UnsupportedArgumentError,
)
from linen_transforms.errors._axes import (
    AxisNamesError,
    AxisSizeError,
    OutsideModuleError,
)
from linen_transforms.errors._control_flow import (
    BranchMismatchError,
    CarryMismatchError,
    LoopInvariantError,
    LoopOutputError,
    PredicateError,
)
from linen_transforms.errors._gradients import (
    AuxiliaryOutputError,
    CotangentError,
    ScalarOutputError,
    SeveralPlacesError,
    TangentError,
)
from linen_transforms.errors._targets import (
    LiftedMethodError,
    LiftedModuleError,
    NotAModuleError,
    NotAScopeError,
    TransformedMethodReturnValueError,
    TransformTargetError,
)
from linen_transforms.errors._tools import (
    CaptureTargetError,
    PurifyError,
    StackError,
)
from linen_transforms.errors._variables import (
    MappedVariablesError,
    SplitRngsError,
    WithheldCollectionError,
)

__all__ = [
    # What is lifted
    "NotAScopeError",
    "NotAModuleError",
    "TransformTargetError",
    "LiftedMethodError",
    "LiftedModuleError",
    "TransformedMethodReturnValueError",
    # Arguments
    "KeywordArgumentsError",
    "StaticArgumentError",
    "DonatedArgumentError",
    "NondiffArgumentError",
    "UnsupportedArgumentError",
    # Axes
    "AxisSizeError",
    "AxisNamesError",
    "OutsideModuleError",
    # Loops and branches
    "CarryMismatchError",
    "LoopOutputError",
    "LoopInvariantError",
    "PredicateError",
    "BranchMismatchError",
    # Variables and streams
    "SplitRngsError",
    "WithheldCollectionError",
    "MappedVariablesError",
    # Gradients
    "ScalarOutputError",
    "AuxiliaryOutputError",
    "SeveralPlacesError",
    "TangentError",
    "CotangentError",
    # Stacks, pure functions, capturing
    "StackError",
    "PurifyError",
    "CaptureTargetError",
]

# Users meet them here: in tracebacks and pickles too.
for _name in __all__:
    globals()[_name].__module__ = __name__
