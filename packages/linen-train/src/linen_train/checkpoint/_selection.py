"""Which leaf of a step takes the place of which leaf of a target, and with which dtype."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from linen_train.checkpoint._comparison import MISSING, UNEXPECTED, Row, differences, table
from linen_train.checkpoint._leaves import LeafDescription, describe
from linen_train.checkpoint._paths import is_below, replace_prefix
from linen_train.errors import CheckpointMismatchError, CheckpointPathError

__all__ = ["Selection"]

Leaves = Mapping[str, LeafDescription]
Paths = Iterable[str] | Callable[[str], bool] | None

_KINDS = (jnp.floating, jnp.complexfloating, jnp.integer)


@dataclasses.dataclass(frozen=True)
class Selection:
    """What a caller wants of a step.

    Attributes:
        paths: prefixes of the paths in the target that are restored, or a function that tells of a
            path whether it is; None restores all.
        rename: from prefixes in the target to prefixes in the step.
        dtypes: from prefixes in the target to the dtype of the leaves below.
        strict: whether leaves that are missing, or that nothing takes, are errors.
    """

    paths: Paths
    rename: Mapping[str, str]
    dtypes: Mapping[str, np.dtype]
    strict: bool

    @classmethod
    def checked(cls, paths: Paths, rename: Any, dtypes: Any, strict: bool) -> "Selection":
        """Return what the arguments of `restore` ask for.

        Raises:
            CheckpointPathError: one of them is of another type.
        """
        if isinstance(paths, str):
            raise CheckpointPathError(
                f"restore: found paths={paths!r}, expected several. Write paths=[{paths!r}]."
            )
        for name, value in {"rename": rename, "dtypes": dtypes}.items():
            if value is not None and not isinstance(value, Mapping):
                raise CheckpointPathError(
                    f"restore: found {name}={value!r:.80}, expected a dict by prefix; the empty prefix "
                    f"is that of all leaves. Write {name}={{'': ...}}."
                )
        parsed: dict[str, np.dtype] = {}
        for prefix, dtype in (dtypes or {}).items():
            try:
                parsed[prefix] = np.dtype(dtype)
            except TypeError as error:
                raise CheckpointPathError(
                    f"restore: found dtypes={{{prefix!r}: {dtype!r:.80}}}, expected a dtype of numbers. "
                    "Write jnp.bfloat16."
                ) from error
        chosen = paths if paths is None or callable(paths) else [*paths]
        return cls(chosen, dict(rename or {}), parsed, strict)

    def sources(self, place: str, saved: Leaves, targets: Mapping[str, Any]) -> dict[str, str]:
        """Return the path in the step for each path in the target that is restored.

        Raises:
            CheckpointMismatchError: the step does not fit the target.
            CheckpointPathError: a prefix is none of anything.
        """
        described = {path: describe(path, leaf) for path, leaf in targets.items()}
        self._check_prefixes(place, "paths", self._prefixes(), [*targets, *self._names(saved)])
        self._check_prefixes(place, "rename", self.rename, targets)
        self._check_dtypes(place, described)
        sources = {path: self._source(path) for path in targets if self._is_chosen(path)}
        unused = saved.keys() - {self._source(path) for path in targets}
        rows: list[Row] = []
        for path, source in sources.items():
            expected = described[path]
            dtype = self.dtype(path, saved[source]) if source in saved else None
            if dtype is not None:
                expected = dataclasses.replace(expected, dtype=saved[source].dtype)
            found = {path: saved[source]} if source in saved else {}
            rows += [
                _with_source(row, path, source) for row in differences(found, {path: expected})
            ]
        names = self._names(saved)
        for source in unused:
            if self._is_chosen(names[source]):
                rows += differences({source: saved[source]}, {})
        if not self.strict:
            rows = [row for row in rows if row[0] not in (MISSING, UNEXPECTED)]
        if rows:
            rows.sort(key=lambda row: row[1])
            remedy = _remedy(
                rows, [(described[p], saved[s]) for p, s in sources.items() if s in saved]
            )
            raise CheckpointMismatchError(
                f"{place} does not fit the target: {table(rows, len(targets))}\n{remedy}"
            )
        return {path: source for path, source in sources.items() if source in saved}

    def names(self, place: str, saved: Leaves) -> dict[str, str]:
        """Return the path in the step for each path of what is restored without a target.

        Raises:
            CheckpointPathError: a prefix is none of anything, or two leaves get one path.
        """
        names = self._names(saved)
        self._check_prefixes(place, "paths", self._prefixes(), names.values())
        self._check_prefixes(place, "rename", self.rename.values(), saved)
        sources: dict[str, str] = {}
        for source, name in names.items():
            if name in sources:
                raise CheckpointPathError(
                    f"{place}: found {sources[name]} and {source} renamed to {name}, expected one of "
                    "them. Rename the other as well: rename={target prefix: saved prefix}."
                )
            if self._is_chosen(name):
                sources[name] = source
        self._check_dtypes(place, {name: saved[source] for name, source in sources.items()})
        return sources

    def dtype(self, path: str, saved: LeafDescription) -> np.dtype | None:
        """Return the dtype that a leaf is cast to, if it is of the same kind of number."""
        prefixes = [prefix for prefix in self.dtypes if is_below(path, prefix)]
        if not prefixes:
            return None
        dtype = self.dtypes[max(prefixes, key=len)]
        return dtype if _kind(saved) == _kind_of_dtype(dtype) else None

    def _is_chosen(self, path: str) -> bool:
        if self.paths is None:
            return True
        if callable(self.paths):
            return self.paths(path)
        return any(is_below(path, prefix) for prefix in self.paths)

    def _prefixes(self) -> Iterable[str]:
        return () if self.paths is None or callable(self.paths) else self.paths

    def _source(self, path: str) -> str:
        prefixes = [prefix for prefix in self.rename if is_below(path, prefix)]
        if not prefixes:
            return path
        prefix = max(prefixes, key=len)
        return replace_prefix(path, prefix, self.rename[prefix])

    def _names(self, saved: Leaves) -> dict[str, str]:
        """Return what every leaf of the step is called in a target."""
        back = {source: target for target, source in self.rename.items()}
        names: dict[str, str] = {}
        for path in saved:
            prefixes = [prefix for prefix in back if is_below(path, prefix)]
            prefix = max(prefixes, key=len) if prefixes else ""
            names[path] = replace_prefix(path, prefix, back[prefix]) if prefixes else path
        return names

    def _check_prefixes(
        self, place: str, argument: str, prefixes: Iterable[str], paths: Iterable[str]
    ) -> None:
        paths = list(paths)
        unknown = [p for p in prefixes if not any(is_below(path, p) for path in paths)]
        if unknown:
            tops = sorted({path.partition("/")[0] for path in paths})
            raise CheckpointPathError(
                f"{place}: found {argument} with {unknown}, where no leaf is; expected the beginning "
                f"of a path, such as one of {tops[:10]}."
            )

    def _check_dtypes(self, place: str, leaves: Leaves) -> None:
        for prefix, dtype in self.dtypes.items():
            below = {path: leaf for path, leaf in leaves.items() if is_below(path, prefix)}
            if not any(_kind(leaf) == _kind_of_dtype(dtype) for leaf in below.values()):
                found = ", ".join(f"{path}: {leaf}" for path, leaf in list(below.items())[:3])
                raise CheckpointPathError(
                    f"{place}: found dtypes={{{prefix!r}: {dtype}}} for {found or 'no leaf'}, expected "
                    "leaves of the same kind of number below this path. Random keys and booleans are "
                    "never cast, and no kind of number into another."
                )


def _kind(leaf: LeafDescription) -> Any:
    if leaf.dtype.startswith("key<"):
        return "key"
    return _kind_of_dtype(np.dtype(leaf.dtype))


def _kind_of_dtype(dtype: np.dtype) -> Any:
    return next((kind for kind in _KINDS if jnp.issubdtype(dtype, kind)), "other")


def _with_source(row: Row, path: str, source: str) -> Row:
    kind, text = row
    return kind, text.replace(path, f"{path} (saved as {source})", 1) if source != path else text


def _remedy(rows: list[Row], pairs: list[tuple[LeafDescription, LeafDescription]]) -> str:
    kinds = {kind for kind, _ in rows}
    others = [(target, saved) for target, saved in pairs if target.dtype != saved.dtype]
    if kinds == {"dtype"} and all(_kind(t) == _kind(s) in _KINDS for t, s in others):
        return (
            "Make the target as the saved state was made, or ask for a cast: dtypes={path: dtype}."
        )
    if kinds <= {MISSING, UNEXPECTED}:
        return (
            "Make the target as the saved state was made, or choose: paths=[...], "
            "rename={target path: saved path}, strict=False."
        )
    if kinds == {"dtype"}:
        return (
            "Make the target as the saved state was made: random keys are never cast, and no kind of "
            "number into another."
        )
    return "Make the target as the saved state was made."
