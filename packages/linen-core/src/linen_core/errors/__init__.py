"""The errors of linen-core: one class per condition.

```
LinenError
├─ ConfigError (ValueError)                                a setting that does not exist, or a bad value
├─ InvalidFilterError (TypeError)                          something that is no filter
├─ InvalidRngError (ValueError)                            not a key, or a stream that was not given
├─ SummaryDepthError (ValueError)                          a `depth` that is no number of levels
├─ SummaryValueError (TypeError)                           a summarized model needs the values of arrays
├─ scopes and variables
│  ├─ ApplyScopeInvalidVariablesTypeError (TypeError)      `variables` is no mapping of collections
│  ├─ ApplyScopeInvalidVariablesStructureError (ValueError)  `variables` has a layer too many
│  ├─ ScopeCollectionNotFound (KeyError)                   a collection is missing or empty
│  ├─ ScopeVariableNotFoundError (KeyError)                a variable is missing
│  │  └─ ScopeParamNotFoundError                           a parameter is missing
│  ├─ ScopeParamShapeError (ValueError)                    a parameter is not what its initializer makes
│  ├─ ModifyScopeVariableError (ValueError)                a change in an immutable collection
│  ├─ PerturbationMismatchError (ValueError)               a perturbation that does not fit its value
│  ├─ InvalidScopeError (RuntimeError)                     a scope is used after its `init` or `apply`
│  ├─ InvalidNameError (TypeError)                         a name that is no string
│  ├─ FlagNotFoundError (KeyError, ValueError)             a flag that was not given
│  ├─ JaxTransformError (RuntimeError)                     variables change inside a raw JAX transformation
│  └─ LazyInitError (ValueError)                           an initial value needs data that is not there
├─ modules
│  ├─ NameInUseError (ValueError)                          two things of one name
│  ├─ AssignSubModuleError (ValueError)                    a submodule made outside `setup` and `@compact`
│  ├─ AssignVariableError (ValueError)                     the same for a parameter or variable
│  ├─ SetAttributeFrozenModuleError (AttributeError, TypeError)  an attribute set outside `setup`
│  ├─ SetAttributeInModuleSetupError (TypeError)           a dataclass field set in `setup`
│  ├─ ReservedModuleAttributeError (TypeError)             a class uses a name that Module needs
│  ├─ IncorrectPostInitOverrideError (TypeError)           `super().__post_init__()` was not called
│  ├─ UnboundModuleError (RuntimeError)                    something that needs variables, on a bare module
│  │  ├─ CallCompactUnboundModuleError
│  │  ├─ CallSetupUnboundModuleError
│  │  ├─ CallShareScopeOnUnboundModuleError
│  │  └─ CallUnbindOnUnboundModuleError
│  ├─ ShareScopeAcrossModelsError (ValueError)             `share_scope` of modules of two models
│  ├─ MissingAttributeError (AttributeError)               an attribute is not there, or not yet
│  ├─ DescriptorAttributeError (AttributeError)            a property raises AttributeError
│  ├─ ApplyModuleInvalidMethodError (TypeError)            `method=` is no method
│  ├─ BindArgumentsError (TypeError)                       `bind` is given arguments of the model
│  ├─ AbstractValueError (TypeError)                       an abstract module needs the values of arrays
│  ├─ NoOutputSpecsError (RuntimeError)                    a module that has not been called abstractly
│  ├─ HashBoundModuleError (TypeError)                     a module that has variables is hashed
│  ├─ InvalidInstanceModuleError (TypeError)               a class where an instance is needed
│  └─ MergeParamError (ValueError)                         an argument given twice, or not at all
├─ sharding
│  ├─ PartitioningUnspecifiedError (ValueError)            an axis of a partitioned variable without a name
│  ├─ PartitionNameMismatchError (ValueError)              an axis to remove has another name
│  ├─ PartitionRankError (ValueError)                      a spec with more axes than the array
│  ├─ MeshAxisNotFoundError (ValueError)                   a spec with an axis that the mesh has not
│  ├─ DuplicateMeshAxisError (ValueError)                  a spec with a mesh axis that occurs twice
│  ├─ LogicalNamesError (TypeError, ValueError)            something that is no sequence of axis names
│  ├─ DuplicateLogicalNameError (ValueError)               two axes of one array with the same name
│  ├─ LogicalAxisRulesError (TypeError, ValueError)        something that is no sequence of rules
│  ├─ UnknownLogicalAxisError (ValueError)                 a name that no rule maps, where one must
│  └─ LogicalConstraintError (ValueError)                  names that do not fit their arrays
└─ trees and state dicts
   ├─ StructDefinitionError (TypeError)                    a class that JAX could not rebuild
   ├─ UnknownStructFieldError (TypeError)                  `replace` with a name that is no field
   ├─ FrozenDictMutationError (TypeError, ValueError)      an entry of a FrozenDict set or deleted
   ├─ NotADictError (TypeError)                            a function over nested dicts given something else
   ├─ TraverseTreeError (ValueError)                       paths that do not describe a nested dict
   ├─ StateDictKeyError (ValueError)                       keys that are no strings, or the same as strings
   ├─ DuplicateSerializationError (ValueError)             a type registered twice
   ├─ CursorFindError (LookupError)                        `find` met no value, or several
   ├─ CursorKeyError (KeyError, IndexError)                an item that a container does not have
   ├─ CursorAttributeError (AttributeError)                an attribute that it does not have
   ├─ CursorChangeError (TypeError)                        a part assigned to what has no parts
   ├─ CursorMutationError (TypeError)                      a method that changes a container in place
   └─ StateDictMismatchError (ValueError)                  a state dict that does not fit its target
```

A text says where (the module path, as in `encoder/Dense_0`), what was found, what was expected and,
where there is one, the line to write instead.
"""

from linen_core.errors._abstract import (
    AbstractValueError,
    NoOutputSpecsError,
)
from linen_core.errors._base import (
    LinenError,
)
from linen_core.errors._cursor import (
    CursorAttributeError,
    CursorChangeError,
    CursorFindError,
    CursorKeyError,
    CursorMutationError,
)
from linen_core.errors._modules import (
    ApplyModuleInvalidMethodError,
    AssignSubModuleError,
    AssignVariableError,
    BindArgumentsError,
    CallCompactUnboundModuleError,
    CallSetupUnboundModuleError,
    CallShareScopeOnUnboundModuleError,
    CallUnbindOnUnboundModuleError,
    DescriptorAttributeError,
    HashBoundModuleError,
    IncorrectPostInitOverrideError,
    InvalidInstanceModuleError,
    MergeParamError,
    MissingAttributeError,
    NameInUseError,
    ReservedModuleAttributeError,
    SetAttributeFrozenModuleError,
    SetAttributeInModuleSetupError,
    ShareScopeAcrossModelsError,
    UnboundModuleError,
)
from linen_core.errors._scopes import (
    ApplyScopeInvalidVariablesStructureError,
    ApplyScopeInvalidVariablesTypeError,
    FlagNotFoundError,
    InvalidNameError,
    InvalidScopeError,
    JaxTransformError,
    LazyInitError,
    ModifyScopeVariableError,
    ParameterMismatch,
    PerturbationMismatchError,
    ScopeCollectionNotFound,
    ScopeParamNotFoundError,
    ScopeParamShapeError,
    ScopeVariableNotFoundError,
)
from linen_core.errors._settings import (
    ConfigError,
    InvalidFilterError,
    InvalidRngError,
)
from linen_core.errors._sharding import (
    DuplicateLogicalNameError,
    DuplicateMeshAxisError,
    LogicalAxisRulesError,
    LogicalConstraintError,
    LogicalNamesError,
    MeshAxisNotFoundError,
    PartitioningUnspecifiedError,
    PartitionNameMismatchError,
    PartitionRankError,
    UnknownLogicalAxisError,
)
from linen_core.errors._summary import (
    SummaryDepthError,
    SummaryValueError,
)
from linen_core.errors._trees import (
    DuplicateSerializationError,
    FrozenDictMutationError,
    NotADictError,
    StateDictKeyError,
    StateDictMismatch,
    StateDictMismatchError,
    StructDefinitionError,
    TraverseTreeError,
    UnknownStructFieldError,
)

__all__ = [
    # Base
    "LinenError",
    # Settings
    "ConfigError",
    "InvalidFilterError",
    "InvalidRngError",
    # Summaries
    "SummaryDepthError",
    "SummaryValueError",
    # Scopes
    "ApplyScopeInvalidVariablesTypeError",
    "ApplyScopeInvalidVariablesStructureError",
    "ScopeVariableNotFoundError",
    "ScopeParamNotFoundError",
    "ScopeCollectionNotFound",
    "ParameterMismatch",
    "ScopeParamShapeError",
    "ModifyScopeVariableError",
    "PerturbationMismatchError",
    "InvalidScopeError",
    "InvalidNameError",
    "FlagNotFoundError",
    "JaxTransformError",
    "LazyInitError",
    # Modules
    "NameInUseError",
    "AssignSubModuleError",
    "AssignVariableError",
    "SetAttributeFrozenModuleError",
    "SetAttributeInModuleSetupError",
    "ReservedModuleAttributeError",
    "IncorrectPostInitOverrideError",
    "UnboundModuleError",
    "CallCompactUnboundModuleError",
    "CallSetupUnboundModuleError",
    "CallShareScopeOnUnboundModuleError",
    "CallUnbindOnUnboundModuleError",
    "ShareScopeAcrossModelsError",
    "MissingAttributeError",
    "DescriptorAttributeError",
    "ApplyModuleInvalidMethodError",
    "BindArgumentsError",
    "AbstractValueError",
    "NoOutputSpecsError",
    "HashBoundModuleError",
    "InvalidInstanceModuleError",
    "MergeParamError",
    # Sharding
    "PartitioningUnspecifiedError",
    "PartitionNameMismatchError",
    "PartitionRankError",
    "MeshAxisNotFoundError",
    "DuplicateMeshAxisError",
    "LogicalNamesError",
    "DuplicateLogicalNameError",
    "LogicalAxisRulesError",
    "UnknownLogicalAxisError",
    "LogicalConstraintError",
    # Trees
    "StructDefinitionError",
    "UnknownStructFieldError",
    "FrozenDictMutationError",
    "NotADictError",
    "TraverseTreeError",
    "StateDictKeyError",
    "DuplicateSerializationError",
    "CursorFindError",
    "CursorKeyError",
    "CursorAttributeError",
    "CursorChangeError",
    "CursorMutationError",
    "StateDictMismatch",
    "StateDictMismatchError",
]

# Users meet them here: in tracebacks and pickles too.
for _name in __all__:
    globals()[_name].__module__ = __name__
