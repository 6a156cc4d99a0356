"""The functions of `flax.training.checkpoints`: one msgpack file for each step.

They write the files that flax writes with `flax_use_orbax_checkpointing` off, and read these and the
directories that flax writes through Orbax with it on. Files are named by a prefix and the step:
`checkpoint_100`. A file appears when it is complete and on the disk, so that a process may be killed
at any moment.

The files hold no digests, so a bit that flips in one is not noticed, and a state is in memory twice
while it is saved. `linen_train.Checkpointer` is for new programs.
"""

import os
import re
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import jax
from jax.experimental import multihost_utils

from linen_core.errors import StateDictMismatchError
from linen_core.state_dict import from_state_dict, to_state_dict
from linen_train import _orbax_directories, _step_files
from linen_train._step_files import Number
from linen_train.errors import (
    CheckpointFormatError,
    CheckpointMismatchError,
    CheckpointNotFoundError,
    CheckpointOptionError,
    CheckpointReadError,
    CheckpointStepError,
    SerializedBytesError,
)
from linen_train.orbax_utils import save_args_from_target
from linen_train.serialization import msgpack_restore, to_bytes

__all__ = [
    "AsyncManager",
    "available_steps",
    "latest_checkpoint",
    "natural_sort",
    "restore_checkpoint",
    "safe_normpath",
    "save_checkpoint",
    "save_checkpoint_multiprocess",
]

_Tree = TypeVar("_Tree")
_StepType = TypeVar("_StepType", int, float)
_PathLike = str | os.PathLike[str]

_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_SIGNED = re.compile(f"([-+]?{_NUMBER})")
_UNSIGNED = re.compile(f"[-+]?({_NUMBER})")
_ELSEWHERE = "//GDAPlaceholder:"


class AsyncManager:
    """Runs saves in the background, one after the other.

    Give one to `save_checkpoint`, and call `wait_previous_save` at the end of the program.

    Args:
        max_workers: number of threads.

    Example:
        >>> import tempfile
        >>> manager = AsyncManager()
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     _ = save_checkpoint(directory, {"x": 1.0}, step=1, async_manager=manager)
        ...     manager.wait_previous_save()
        ...     available_steps(directory)
        [1]
    """

    def __init__(self, max_workers: int = 1) -> None:
        self.executor: ThreadPoolExecutor = ThreadPoolExecutor(
            max_workers, thread_name_prefix="save"
        )
        self.save_future: Future[Any] | None = None

    def save_async(self, task: Callable[[], Any]) -> None:
        """Wait for the save before, then run a function in the background.

        Args:
            task: a function without arguments. An error in it is raised by the next call.

        Example:
            >>> manager = AsyncManager()
            >>> saved = []
            >>> manager.save_async(lambda: saved.append(1))
            >>> manager.wait_previous_save()
            >>> saved
            [1]
        """
        self.wait_previous_save()
        self.save_future = self.executor.submit(task)

    def wait_previous_save(self) -> None:
        """Return when the last save is done; raise its error if it failed.

        Example:
            >>> AsyncManager().wait_previous_save()
        """
        future, self.save_future = self.save_future, None
        if future is not None:
            future.result()


def save_checkpoint(
    ckpt_dir: _PathLike,
    target: Any,
    step: Number,
    prefix: str = "checkpoint_",
    keep: int = 1,
    overwrite: bool = False,
    keep_every_n_steps: int | None = None,
    async_manager: AsyncManager | None = None,
    orbax_checkpointer: Any = None,
) -> str:
    """Save an object under a step, and delete checkpoints that are not to be kept.

    Only process 0 saves. For arrays of several processes see `save_checkpoint_multiprocess`.

    Args:
        ckpt_dir: local directory; it is made where there is none.
        target: any object that `linen_train.serialization.to_bytes` takes.
        step: a number greater than those of the checkpoints there are.
        prefix: what the names of the files begin with.
        keep: how many of the last checkpoints are kept.
        overwrite: whether checkpoints of this step and later ones are deleted, once the new one is
            complete; otherwise they are an error.
        keep_every_n_steps: whether of the older ones those are kept that are so many steps apart.
        async_manager: writes the file in the background. The object is copied before.
        orbax_checkpointer: an `orbax.checkpoint.Checkpointer` for pytrees, which then writes a
            directory.

    Returns:
        The path of the checkpoint.

    Raises:
        CheckpointStepError: the step is no number, or there is a checkpoint of it or of a later one.
        CheckpointOptionError: options that make no sense, or not together.
        CheckpointDirectoryError: the directory cannot be made.
        CheckpointSaveError: the file cannot be written. Those before it are still there.
        UnserializableValueError: a part of the object has no form as bytes.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     for step in range(3):
        ...         _ = save_checkpoint(directory, {"x": step}, step, keep=2)
        ...     available_steps(directory), restore_checkpoint(directory, None)
        ([1, 2], {'x': 2})
    """
    directory = _local(ckpt_dir)
    number, path = _new_file(directory, prefix, step)
    _check_options(keep, keep_every_n_steps, async_manager, orbax_checkpointer)
    if jax.process_index() != 0 and orbax_checkpointer is None:
        return str(path)
    if async_manager is not None:
        async_manager.wait_previous_save()
    later = [file for file in _step_files.step_files(directory, prefix) if file.step >= number]
    if later and not overwrite:
        raise CheckpointStepError(
            f"{path}: found {later[-1].path.name} there, expected no checkpoint of step {number} or a "
            "later one. Save a later step, or pass overwrite=True, which deletes those."
        )

    def tidy() -> None:
        files = _step_files.step_files(directory, prefix)
        for file in files:
            if file.step > number:
                _step_files.delete(file.path)
        files = [file for file in files if file.step <= number]
        _step_files.retain(files, keep, keep_every_n_steps)

    if orbax_checkpointer is not None:
        arguments = {"save_args": save_args_from_target(target), "force": overwrite}
        orbax_checkpointer.save(path.absolute(), target, **arguments)
        if jax.process_index() == 0:
            tidy()
        return str(path)
    content = to_bytes(target)

    def write() -> None:
        _step_files.write(path, content)
        tidy()

    if async_manager is None:
        write()
    else:
        async_manager.save_async(write)
    return str(path)


def save_checkpoint_multiprocess(
    ckpt_dir: _PathLike,
    target: Any,
    step: Number,
    prefix: str = "checkpoint_",
    keep: int = 1,
    overwrite: bool = False,
    keep_every_n_steps: int | None = None,
    async_manager: AsyncManager | None = None,
    gda_manager: Any = None,
    orbax_checkpointer: Any = None,
) -> str:
    """Save an object from several processes, all of which call this.

    Process 0 writes, and the others wait for it. Arrays of which no process has all parts need an
    `orbax_checkpointer`, with which every process writes its own.

    Args:
        ckpt_dir: directory that all processes see.
        target: see `save_checkpoint`.
        step: see `save_checkpoint`.
        prefix: see `save_checkpoint`.
        keep: see `save_checkpoint`.
        overwrite: see `save_checkpoint`.
        keep_every_n_steps: see `save_checkpoint`.
        async_manager: see `save_checkpoint`; the others do not wait then.
        gda_manager: None. Its format, from before Orbax, is not written.
        orbax_checkpointer: an `orbax.checkpoint.Checkpointer` for pytrees.

    Returns:
        The path of the checkpoint.

    Raises:
        CheckpointOptionError: `gda_manager` is given, arrays of several processes come without an
            `orbax_checkpointer`, or options that make no sense.
        CheckpointStepError: the step is no number, or there is a checkpoint of it or of a later one.
        CheckpointDirectoryError: the directory cannot be made.
        CheckpointSaveError: the file cannot be written. Those before it are still there.
        UnserializableValueError: a part of the object has no form as bytes.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     _ = save_checkpoint_multiprocess(directory, {"x": 1.0}, step=1)
        ...     available_steps(directory)
        [1]
    """
    _refuse_gda_manager(gda_manager)
    if orbax_checkpointer is None:
        for path, leaf in jax.tree_util.tree_leaves_with_path(target):
            if isinstance(leaf, jax.Array) and not (
                leaf.is_fully_addressable or leaf.is_fully_replicated
            ):
                place = jax.tree_util.keystr(path, simple=True, separator="/")
                raise CheckpointOptionError(
                    f"save_checkpoint_multiprocess: found an array of several processes at {place}, "
                    "which one file cannot hold. Use linen_train.Checkpointer, or pass "
                    "orbax_checkpointer=orbax.checkpoint.PyTreeCheckpointer()."
                )
    try:
        return save_checkpoint(
            ckpt_dir,
            target,
            step,
            prefix,
            keep,
            overwrite,
            keep_every_n_steps,
            async_manager,
            orbax_checkpointer,
        )
    finally:
        if jax.process_count() > 1 and async_manager is None and orbax_checkpointer is None:
            multihost_utils.sync_global_devices(f"linen_train:save_checkpoint:{prefix}{step}")


def restore_checkpoint(
    ckpt_dir: _PathLike,
    target: _Tree,
    step: Number | None = None,
    prefix: str = "checkpoint_",
    parallel: bool = True,
    gda_manager: Any = None,
    allow_partial_mpa_restoration: bool = False,
    orbax_checkpointer: Any = None,
    orbax_transforms: Any = None,
) -> _Tree:
    """Restore an object from a checkpoint, a file or a directory that Orbax wrote.

    Args:
        ckpt_dir: the directory of the checkpoints; or one of the checkpoints, where no step is given.
        target: an object of the structure that was saved; its values are not used. With None a
            state dict is returned.
        step: which step; by default the last one.
        prefix: what the names of the files begin with.
        parallel: whether a large file is read in several pieces at once.
        gda_manager: None. Its format, from before Orbax, is not read.
        allow_partial_mpa_restoration: False. It goes with `gda_manager`.
        orbax_checkpointer: an `orbax.checkpoint.Checkpointer` that restores a directory onto the
            target in its own way, arrays onto their shardings. Without one, arrays come as numpy
            arrays, and the structure has to be equal.
        orbax_transforms: transformations for Orbax, of the structure that it finds.

    Returns:
        An object of the target's type; the target itself where there is no checkpoint at all.

    Raises:
        CheckpointNotFoundError: there is no checkpoint of the step.
        CheckpointReadError: the checkpoint is damaged or cannot be read.
        CheckpointFormatError: arrays of it are in other files, in the format of `gda_manager`.
        CheckpointMismatchError: what was saved has another structure than the target.
        CheckpointOptionError: an option that is not supported, or not for this checkpoint.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     _ = save_checkpoint(directory, {"x": (1.5, 2)}, step=1)
        ...     restore_checkpoint(directory, {"x": (0.0, 0)})
        {'x': (1.5, 2)}
    """
    _refuse_gda_manager(gda_manager)
    if allow_partial_mpa_restoration:
        raise CheckpointOptionError(
            "restore_checkpoint: found allow_partial_mpa_restoration=True, which is for the format of "
            "gda_manager, from before Orbax. Leave it out."
        )
    path = _file_of(_local(ckpt_dir), prefix, step)
    if path is None:
        return target
    if path.is_dir():
        if orbax_checkpointer is not None or orbax_transforms is not None:
            return _orbax_directories.restore(path, target, orbax_checkpointer, orbax_transforms)
        state = _orbax_directories.read(path, to_state_dict(target))
    elif orbax_transforms is not None:
        raise CheckpointOptionError(
            f"{path}: found orbax_transforms for a checkpoint that is a file, expected a directory that "
            "Orbax wrote. Leave them out, and change what restore_checkpoint(..., None) returns."
        )
    else:
        state = _state_of(path, parallel)
    try:
        return from_state_dict(target, state)
    except StateDictMismatchError as error:
        raise CheckpointMismatchError(f"{path} does not fit the target. {error}") from error


def latest_checkpoint(ckpt_dir: _PathLike, prefix: str = "checkpoint_") -> str | None:
    """Return the path of the checkpoint with the highest step.

    Args:
        ckpt_dir: the directory of the checkpoints.
        prefix: what their names begin with. What does not go on with a number is no checkpoint.

    Returns:
        The path; None where there is no checkpoint.

    Raises:
        CheckpointReadError: the directory cannot be listed.

    Example:
        >>> print(latest_checkpoint("/nowhere"))
        None
    """
    files = _step_files.step_files(_local(ckpt_dir), prefix)
    return str(files[-1].path) if files else None


def available_steps(
    ckpt_dir: _PathLike, prefix: str = "checkpoint_", step_type: type[_StepType] = int
) -> list[_StepType]:
    """Return the steps that there are checkpoints of.

    Args:
        ckpt_dir: the directory of the checkpoints.
        prefix: what their names begin with.
        step_type: type of the steps, `int` or `float`.

    Returns:
        The steps, lowest first.

    Raises:
        CheckpointStepError: `step_type` is `int`, and a step is no whole number.
        CheckpointReadError: the directory cannot be listed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     _ = save_checkpoint(directory, {}, 0.5)
        ...     available_steps(directory, step_type=float)
        [0.5]
    """
    files = _step_files.step_files(_local(ckpt_dir), prefix)
    for step, path in files:
        if step_type is int and isinstance(step, float):
            raise CheckpointStepError(
                f"{path}: found a step that is no whole number. Write step_type=float."
            )
    return [step_type(step) for step, _ in files]


def natural_sort(file_list: Iterable[str], signed: bool = True) -> list[str]:
    """Sort names so that numbers in them count as numbers.

    Args:
        file_list: the names.
        signed: whether a sign belongs to the number after it; otherwise it does not count.

    Returns:
        The sorted names.

    Example:
        >>> natural_sort(["step_10", "step_9", "step_-1"])
        ['step_-1', 'step_9', 'step_10']
    """
    numbers = _SIGNED if signed else _UNSIGNED

    def key(name: str) -> list[Any]:
        parts = numbers.split(name)
        return [float(part) if i % 2 else part for i, part in enumerate(parts)]

    return sorted(file_list, key=key)


def safe_normpath(path: str) -> str:
    """Normalize a path, and leave the scheme of a URL alone.

    Args:
        path: a path or URL.

    Returns:
        The path without what `os.path.normpath` takes out.

    Example:
        >>> safe_normpath("gs://bucket//a/../b/"), safe_normpath("./a//b")
        ('gs://bucket/b', 'a/b')
    """
    scheme, separator, rest = path.rpartition("://")
    return f"{scheme}{separator}{os.path.normpath(rest)}"


def _local(ckpt_dir: _PathLike) -> str:
    directory = os.fspath(ckpt_dir)
    if "://" in directory:
        raise CheckpointOptionError(
            f"ckpt_dir: found the URL {directory}, expected the path of a local directory. Copy the "
            "checkpoints, or mount the storage."
        )
    return directory


def _new_file(directory: str, prefix: str, step: Any) -> tuple[Number, Path]:
    number = step.item() if hasattr(step, "item") else step
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    if not is_number or number != number or number in (float("inf"), float("-inf")):
        raise CheckpointStepError(
            f"save_checkpoint: found step {step!r:.60}, expected a finite number, as int(state.step) is."
        )
    return number, Path(directory, f"{prefix}{number}")


def _file_of(directory: str, prefix: str, step: Number | None) -> Path | None:
    """Return the checkpoint to restore, None where there is none at all."""
    files = _step_files.step_files(directory, prefix)
    if step is None:
        itself = Path(directory)
        is_one = itself.is_file() or _orbax_directories.is_one(itself)
        return files[-1].path if files else itself if is_one else None
    found = [path for there, path in files if there == step]
    if not found:
        raise CheckpointNotFoundError(
            f"{Path(directory, f'{prefix}{step}')}: found no checkpoint of step {step}, expected one "
            f"of {[there for there, _ in files]}."
        )
    return found[0]


def _state_of(path: Path, parallel: bool) -> Any:
    try:
        state = msgpack_restore(_step_files.read(path, parallel))
    except SerializedBytesError as error:
        raise CheckpointReadError(
            f"{path}: found a damaged checkpoint, or a file that is none: {error.__cause__}. Restore "
            "another step: restore_checkpoint(..., step=...)."
        ) from error
    if any(
        isinstance(leaf, str) and leaf.startswith(_ELSEWHERE) for leaf in jax.tree.leaves(state)
    ):
        raise CheckpointFormatError(
            f"{path}: found arrays in files beside it, a format from before Orbax that is not read. "
            "Restore it by flax, and save it by Orbax."
        )
    return state


def _check_options(keep: int, every: Any, manager: Any, orbax_checkpointer: Any) -> None:
    if keep < 1 or (every is not None and every <= 0):
        raise CheckpointOptionError(
            f"save_checkpoint: found keep={keep} and keep_every_n_steps={every}, expected at least 1 and "
            "more than 0. To keep all, write keep=sys.maxsize."
        )
    if manager is not None and orbax_checkpointer is not None:
        raise CheckpointOptionError(
            "save_checkpoint: found an async_manager beside an orbax_checkpointer, which writes in the "
            "background by itself. Pass orbax.checkpoint.AsyncCheckpointer(...), and no async_manager."
        )


def _refuse_gda_manager(gda_manager: Any) -> None:
    if gda_manager is not None:
        raise CheckpointOptionError(
            "gda_manager: found one, expected None: its format, from before Orbax, is neither written "
            "nor read. Use linen_train.Checkpointer, or pass "
            "orbax_checkpointer=orbax.checkpoint.PyTreeCheckpointer()."
        )
