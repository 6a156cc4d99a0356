"""Meshes of devices, with sizes that are checked against the devices there are."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh

from linen_train.errors import DistributedArgumentError, MeshShapeError

__all__ = ["make_mesh"]


def make_mesh(
    axes: Mapping[str, int] | None = None,
    *,
    devices: Sequence[Any] | None = None,
    axis_type: AxisType = AxisType.Auto,
    **sizes: int,
) -> Mesh:
    """Make a mesh over devices, by default those of all processes.

    Args:
        axes: the size of each axis by name, in order; the last axis has the nearest devices. One size
            may be -1, which takes all the devices that are left.
        devices: devices, as `jax.devices()` gives them; None for all of those.
        axis_type: the type of all axes. `Auto` leaves the layout of intermediate arrays to the
            compiler, as logical axis rules expect; `jax.make_mesh` itself makes `Explicit` ones.
        **sizes: the same as `axes`, as keywords. Without any, the mesh has one axis, "data".

    Returns:
        The mesh. It uses every one of the devices.

    Raises:
        MeshShapeError: the sizes do not use all devices, have no names, or are no sizes; or there are
            no devices, or one of them twice.
        DistributedArgumentError: the devices are none, or the type of the axes is none.

    Example:
        >>> from linen_train.distributed import make_mesh
        >>> import jax
        >>> mesh = make_mesh(data=-1, model=1, devices=jax.devices()[:1])
        >>> dict(mesh.shape)
        {'data': 1, 'model': 1}
    """
    if axes is not None and not _is_named(axes):
        raise MeshShapeError(
            f"make_mesh: found {axes!r:.80}, expected the size of each axis by name. Write "
            f"{_call(_with_names(axes))}."
        )
    wanted = {**(axes or {}), **sizes} or {"data": -1}
    if axes and (repeated := sorted(axes.keys() & sizes.keys())):
        raise MeshShapeError(
            f"make_mesh: found the axes {repeated} both in the mapping and as keywords, expected "
            "each axis once."
        )
    devices = jax.devices() if devices is None else _checked_devices(devices)
    if not isinstance(axis_type, AxisType):
        raise DistributedArgumentError(
            f"make_mesh: found axis_type={axis_type!r:.80}, expected a type of axes. Write "
            "axis_type=jax.sharding.AxisType.Auto."
        )
    shape = _completed(wanted, len(devices))
    return jax.make_mesh(
        tuple(shape.values()),
        tuple(shape),
        axis_types=(axis_type,) * len(shape),
        devices=devices,
    )


def _is_named(axes: Any) -> bool:
    return isinstance(axes, Mapping) and all(isinstance(name, str) for name in axes)


def _with_names(axes: Any) -> Mapping[str, int]:
    """Return sizes without names as those of the usual axes; all devices, if they are no sizes."""
    sizes = axes.values() if isinstance(axes, Mapping) else axes
    match list(sizes) if isinstance(sizes, Iterable) else [sizes]:
        case [int(data)]:
            return {"data": data}
        case [int(data), int(model)]:
            return {"data": data, "model": model}
    return {"data": -1}


def _checked_devices(devices: Any) -> list[Any]:
    """Return devices as a list.

    Raises:
        DistributedArgumentError: they are no sequence of devices.
        MeshShapeError: there is none, or one of them twice.
    """
    found = list(devices) if isinstance(devices, Iterable) else [devices]
    if not all(hasattr(device, "device_kind") for device in found):
        instead = f"[:{devices}]" if isinstance(devices, int) else ""
        raise DistributedArgumentError(
            f"make_mesh: found devices={devices!r:.80}, expected a flat sequence of devices. Write "
            f"devices=jax.devices(){instead}."
        )
    if not found:
        raise MeshShapeError(
            "make_mesh: found no devices, expected at least one. Write devices=jax.devices(), or "
            "leave it out for those of all processes."
        )
    if repeated := [device for device, count in Counter(found).items() if count > 1]:
        raise MeshShapeError(
            f"make_mesh: found the devices {repeated} more than once, expected each once. Write "
            f"devices=jax.devices()[:{len(found)}]."
        )
    return found


def _completed(sizes: Mapping[str, int], devices: int) -> dict[str, int]:
    """Return the sizes with -1 filled in."""
    call = _call(sizes)
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or (size < 1 and size != -1):
            raise MeshShapeError(
                f"{call}: found {name}={size!r}, expected a number of devices, at least 1, or -1 "
                "for all that are left."
            )
    free = [name for name, size in sizes.items() if size == -1]
    if len(free) > 1:
        raise MeshShapeError(
            f"{call}: found -1 for the axes {free}, expected it for one axis at most. Write "
            f"{_call({**sizes, **dict.fromkeys(free[1:], 1)})}."
        )
    fixed = math.prod(size for size in sizes.values() if size != -1)
    if free and devices % fixed == 0:
        return {name: devices // fixed if size == -1 else size for name, size in sizes.items()}
    if not free and devices == fixed:
        return dict(sizes)
    raise MeshShapeError(f"{call}: {_misfit(sizes, fixed, devices, bool(free))}")


def _misfit(sizes: Mapping[str, int], fixed: int, devices: int, is_free: bool) -> str:
    expected = f"a multiple of {fixed}" if is_free else f"{fixed}"
    product = " x ".join(str(size) for size in sizes.values() if size != -1)
    found = f"found {devices} devices, expected {expected} ({product})."
    first = next((name for name, size in sizes.items() if size != 1), next(iter(sizes)))
    others = math.prod(size for name, size in sizes.items() if name != first and size != -1)
    instead = [_call({**sizes, first: -1})] if not is_free and devices % others == 0 else []
    if not is_free and fixed < devices:
        instead.append(f"{_call(sizes, f'devices=jax.devices()[:{fixed}]')} to leave some out")
    if not instead:
        instead = [f"sizes whose product is {devices}, such as {_call({'data': -1})}"]
    return f"{found} Write {', or '.join(instead)}."


def _call(sizes: Mapping[str, int], *others: str) -> str:
    return f"make_mesh({', '.join([*(f'{name}={size}' for name, size in sizes.items()), *others])})"
