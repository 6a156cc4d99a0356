"""The layers of Linen; `import linen_modules as nn` is all a model needs."""

from importlib.metadata import version as _version

from linen_core import (
    DenyList,
    FrozenDict,
    Module,
    Variable,
    compact,
    compact_name_scope,
    disable_named_call,
    enable_named_call,
    intercept_methods,
    merge_param,
    nowrap,
    override_named_call,
    share_scope,
    unbox,
)
from linen_core.module import apply, init, init_with_output
from linen_modules import activations, errors, initializers
from linen_modules.activations import (
    celu,
    elu,
    gelu,
    glu,
    hard_sigmoid,
    hard_silu,
    hard_swish,
    hard_tanh,
    leaky_relu,
    log_sigmoid,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    soft_sign,
    softplus,
    swish,
    tanh,
)
from linen_modules.axis_functions import (
    log_softmax,
    logsumexp,
    normalize,
    one_hot,
    softmax,
    standardize,
)
from linen_modules.conv import Conv
from linen_modules.dtypes import canonicalize_dtype, promote_dtype
from linen_modules.embed import Embed
from linen_modules.initializers import ones_init, zeros_init
from linen_modules.linear import Dense
from linen_modules.norm import BatchNorm, LayerNorm
from linen_modules.pooling import avg_pool, max_pool, min_pool, pool
from linen_modules.stochastic import Dropout

__version__ = _version("linen-modules")

__all__ = [
    "__version__",
    # modules and variables
    "DenyList",
    "FrozenDict",
    "Module",
    "Variable",
    "apply",
    "compact",
    "compact_name_scope",
    "disable_named_call",
    "enable_named_call",
    "init",
    "init_with_output",
    "intercept_methods",
    "merge_param",
    "nowrap",
    "override_named_call",
    "share_scope",
    "unbox",
    # layers
    "BatchNorm",
    "Conv",
    "Dense",
    "Dropout",
    "Embed",
    "LayerNorm",
    # pooling
    "avg_pool",
    "max_pool",
    "min_pool",
    "pool",
    # activations
    "activations",
    "celu",
    "elu",
    "gelu",
    "glu",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "normalize",
    "one_hot",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "soft_sign",
    "softmax",
    "softplus",
    "standardize",
    "swish",
    "tanh",
    # initializers
    "initializers",
    "ones_init",
    "zeros_init",
    # dtypes
    "canonicalize_dtype",
    "promote_dtype",
    # errors
    "errors",
]
