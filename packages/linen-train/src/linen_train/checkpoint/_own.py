"""Steps of this library as they are read: what is known, what is filled, what is damaged."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from linen_train.checkpoint._leaves import LeafDescription
from linen_train.checkpoint._manifest import MANIFEST, DamagedManifestError, Manifest
from linen_train.checkpoint._reading import Buffer, Damage, check_arrays, read_arrays
from linen_train.checkpoint._restoring import DamagedStepError
from linen_train.checkpoint._workers import Workers

__all__ = ["OwnStep", "text_of"]

_SHOWN = 20
_PATHS_SHOWN = 3


class OwnStep:
    """A step with a manifest.

    Args:
        folder: the directory of the step.
        verify: whether the checksums of arrays are checked when they are read, and whether there are
            other files. The checksum of the manifest always is.

    Raises:
        DamagedStepError: the manifest is missing or damaged.
        CheckpointFormatError: a release that is not known wrote it.
    """

    def __init__(self, folder: Path, *, verify: bool = True) -> None:
        self._folder = folder
        self._verify = verify
        try:
            self.manifest = Manifest.read(folder)
        except DamagedManifestError as error:
            every = ("every leaf", "metadata", "data state")
            raise DamagedStepError([Damage(MANIFEST, str(error), every)]) from error

    @property
    def leaves(self) -> dict[str, LeafDescription]:
        """Description of every leaf, by path."""
        return self.manifest.leaves

    def fill(self, wanted: Mapping[str, Sequence[Buffer]]) -> list[Damage]:
        """Fill buffers, by path of their leaf, and return what was found damaged."""
        with Workers() as workers:
            damages = read_arrays(
                self._folder, self.manifest.files, wanted, verify=self._verify, workers=workers
            )
        return damages + self._strangers() if self._verify else damages

    def check(self) -> list[Damage]:
        """Return what is damaged in any file of the step."""
        with Workers() as workers:
            damages = check_arrays(self._folder, self.manifest.files, workers)
        return damages + self._strangers()

    def _strangers(self) -> list[Damage]:
        known = {MANIFEST, *(file.name for file in self.manifest.files)}
        names: set[str] = set()
        with contextlib.suppress(FileNotFoundError):  # the step was deleted while it was read
            names = {entry.name for entry in self._folder.iterdir()}
        # Hidden files are the system's: `.DS_Store`, `.nfs...`.
        strangers = sorted(n for n in names - known if not n.startswith("."))
        return [Damage(name, "is no file of this step") for name in strangers]


def text_of(folder: Path, damages: Sequence[Damage]) -> str:
    """Return a description of the damage, file by file."""
    lines = []
    for damage in damages[:_SHOWN]:
        paths = ", ".join(damage.paths[:_PATHS_SHOWN])
        if hidden := len(damage.paths) - _PATHS_SHOWN:
            paths += f" and {hidden} more" if hidden > 0 else ""
        lines.append(f"  {damage.file} {damage.what}" + (f": {paths}" if paths else ""))
    if hidden := len(damages) - len(lines):
        lines.append(f"  ... and {hidden} more")
    return "\n".join([f"{folder} is damaged:", *lines])
