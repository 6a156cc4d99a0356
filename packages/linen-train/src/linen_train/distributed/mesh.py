"""Meshes of devices, with sizes that are checked against the devices there are."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh

from linen_train.errors import MeshShapeError

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
        MeshShapeError: the sizes do not use all devices, or are no sizes.

    Example:
        >>> from linen_train.distributed import make_mesh
        >>> import jax
        >>> mesh = make_mesh(data=-1, model=1, devices=jax.devices()[:1])
        >>> dict(mesh.shape)
        {'data': 1, 'model': 1}
    """
    wanted = {**(axes or {}), **sizes} or {"data": -1}
    if axes and (repeated := sorted(axes.keys() & sizes.keys())):
        raise MeshShapeError(
            f"make_mesh: found the axes {repeated} both in the mapping and as keywords, expected "
            "each axis once."
        )
    devices = list(jax.devices() if devices is None else devices)
    shape = _completed(wanted, len(devices))
    return jax.make_mesh(
        tuple(shape.values()),
        tuple(shape),
        axis_types=(axis_type,) * len(shape),
        devices=devices,
    )


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
