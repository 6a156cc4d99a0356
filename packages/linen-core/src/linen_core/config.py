"""Settings of linen-core for the whole process.

Each setting is an attribute of `config` and starts from an environment variable `LINEN_<NAME>`
(`1`, `true`, `yes`, `on` or `0`, `false`, `no`, `off`). `config.update(name, value)` changes it,
`config.temporary(name=value)` changes it for a `with` block.
"""

import contextlib
import os
from collections.abc import Iterator

from linen_core.errors import ConfigError

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off", "")

_DEFAULTS = {
    "return_frozendict": False,
    "preserve_adopted_names": False,
    "fix_rng_separator": False,
    "profile": True,
    "filter_frames": True,
}


class Config:
    """The settings; use the instance `config`.

    Attributes:
        return_frozendict: `init` and `apply` return variables as `FrozenDict`s, not dicts.
        preserve_adopted_names: a module given to another as an attribute keeps its own name.
        fix_rng_separator: random streams separate the parts of a path, so that the paths
            ("ab", "c") and ("a", "bc") draw different keys. This changes every key that is
            derived from a path, and with it the numbers that a seed gives.
        profile: method calls open a `jax.named_scope`, so that profiles show module paths.
        filter_frames: the tracebacks of errors in `init`, `apply` and calls of bound modules leave
            out the frames of this package and of JAX; see `linen_core.tracebacks`.

    Raises:
        ConfigError: an environment variable holds something that is no boolean.

    Example:
        >>> from linen_core.config import config
        >>> with config.temporary(return_frozendict=True):
        ...     config.return_frozendict
        True
    """

    return_frozendict: bool
    preserve_adopted_names: bool
    fix_rng_separator: bool
    profile: bool
    filter_frames: bool

    def __init__(self) -> None:
        for name, default in _DEFAULTS.items():
            vars(self)[name] = _from_environment(f"LINEN_{name.upper()}", default)

    def __setattr__(self, name: str, value: bool) -> None:
        self.update(name, value)

    def update(self, name: str, value: bool) -> None:
        """Change one setting.

        Args:
            name: the name of the setting.
            value: True or False.

        Raises:
            ConfigError: there is no such setting, or the value is no bool.

        Example:
            >>> from linen_core.config import config
            >>> config.update("profile", True)
        """
        if name not in _DEFAULTS:
            raise ConfigError(
                f"There is no setting {name!r}. The settings are {', '.join(sorted(_DEFAULTS))}."
            )
        if not isinstance(value, bool):
            raise ConfigError(f"The setting {name!r} must be True or False, but got {value!r}.")
        vars(self)[name] = value

    def __reduce__(self) -> str:
        # There is one for the process, also for a class that is pickled with methods that read it.
        return "config"

    @contextlib.contextmanager
    def temporary(self, **settings: bool) -> Iterator[None]:
        """Change settings for the length of a `with` block, in all threads.

        Args:
            **settings: the settings by name.

        Yields:
            None.

        Raises:
            ConfigError: there is no such setting, or a value is no bool.

        Example:
            >>> from linen_core.config import config
            >>> with config.temporary(profile=False):
            ...     config.profile
            False
        """
        before = {name: vars(self)[name] for name in settings if name in _DEFAULTS}
        try:
            for name, value in settings.items():
                self.update(name, value)
            yield
        finally:
            vars(self).update(before)


def _from_environment(variable: str, default: bool) -> bool:
    text = os.environ.get(variable)
    if text is None:
        return default
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ConfigError(
        f"The environment variable {variable} must be one of {', '.join(_TRUE)} or "
        f"{', '.join(filter(None, _FALSE))}, but is {text!r}."
    )


config: Config = Config()
