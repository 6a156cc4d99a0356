"""Named calls: whether the module path is in front of the operations in profiles and in compiled code.

A method call of a bound module opens a `jax.named_scope` of the module's name while `config.profile`
is on, which it is by default. Names are given while a function is traced: what is compiled keeps
its names. The setting is that of the process, as all settings are: a compiled function may be shared by
threads, and its names should not depend on which of them traced it.
"""

import contextlib

from linen_core.config import config


def enable_named_call() -> None:
    """Name the operations of modules by their paths, in all threads. This is the default.

    Example:
        >>> from linen_core import enable_named_call
        >>> enable_named_call()
    """
    config.update("profile", True)


def disable_named_call() -> None:
    """Do not name the operations of modules, in all threads.

    Example:
        >>> from linen_core import config, disable_named_call, enable_named_call
        >>> disable_named_call()
        >>> config.config.profile
        False
        >>> enable_named_call()
    """
    config.update("profile", False)


def override_named_call(enable: bool = True) -> contextlib.AbstractContextManager[None]:
    """Name the operations of modules, or do not, for the length of a `with` block.

    Args:
        enable: whether to name them.

    Returns:
        A context manager. It applies to all threads.

    Raises:
        ConfigError: (when entered) `enable` is no bool.

    Example:
        >>> from linen_core import config, override_named_call
        >>> with override_named_call(False):
        ...     config.config.profile
        False
    """
    return config.temporary(profile=enable)
