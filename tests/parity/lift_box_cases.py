"""Boxes inside lifted transformations: they gain the name of an axis, and lose it in the body."""

from typing import Any

from .case import Table, normal

BOXED = Table()
BATCH, CARRY, XS = normal(4, 3, seed=3), normal(3, seed=1), normal(4, 3, seed=2)
STACKED: dict[str, Any] = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
SHARED: dict[str, Any] = {"variable_broadcast": "params", "split_rngs": {"params": False}}


@BOXED.module(args=(BATCH,))
def vmap_with_boxes_that_gain_and_lose_a_name(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            init = nn.with_partitioning(nn.initializers.ones_init(), ("in", "out"))
            box = self.param("kernel", init, (3, 2), unbox=False)
            assert box.names == ("in", "out")
            return x @ box.unbox()

    params = {nn.PARTITION_NAME: "experts"}
    options = STACKED | {"variable_axes": {"params": 1}, "metadata_params": params}
    return nn.vmap(Net, **options)()


@BOXED.module(args=(BATCH,))
def vmap_with_logical_boxes(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            init = nn.with_logical_partitioning(nn.initializers.ones_init(), ("in", "out"))
            return nn.Dense(2, kernel_init=init)(x)

    return nn.vmap(Net, metadata_params={nn.PARTITION_NAME: "experts"}, **STACKED)()


@BOXED.module(args=(CARRY, XS))
def scan_with_boxes_that_gain_and_lose_a_name(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, carry, x):
            init = nn.with_partitioning(nn.initializers.ones_init(), ("in", "out"))
            box = self.param("kernel", init, (3, 3), unbox=False)
            assert box.names == ("in", "out")
            return carry @ box.unbox() + x, None

    options = STACKED | {"variable_axes": {"params": 1}}
    return nn.scan(Net, metadata_params={nn.PARTITION_NAME: "layers"}, **options)()


@BOXED.module(args=(CARRY, XS))
def scan_with_boxes_that_are_broadcast(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, carry, x):
            init = nn.with_partitioning(nn.initializers.ones_init(), ("in", "out"))
            return nn.Dense(3, kernel_init=init)(carry) + x, None

    return nn.scan(Net, **SHARED)()


@BOXED.module(args=(normal(2, 4, 3),))
def vmap_of_scan_with_boxes(nn):
    class Layer(nn.Module):
        @nn.compact
        def __call__(self, carry, x):
            init = nn.with_partitioning(nn.initializers.lecun_normal(), ("in", "out"))
            return nn.Dense(3, kernel_init=init)(carry) + x, None

    class Net(nn.Module):
        @nn.compact
        def __call__(self, xs):
            layers = nn.scan(Layer, metadata_params={nn.PARTITION_NAME: "layers"}, **STACKED)
            experts = nn.vmap(layers, metadata_params={nn.PARTITION_NAME: "experts"}, **STACKED)
            return experts()(xs[:, 0], xs)

    return Net()


@BOXED.module(args=(BATCH,))
def vmap_of_a_function_with_boxes(nn):
    class Net(nn.Module):
        def setup(self):
            init = nn.with_partitioning(nn.initializers.ones_init(), ("in", "out"))
            self.dense = nn.Dense(2, kernel_init=init)

        def __call__(self, x):
            params = {nn.PARTITION_NAME: "experts"}
            return nn.vmap(lambda mdl, x: mdl.dense(x), metadata_params=params, **STACKED)(self, x)

    return Net()
