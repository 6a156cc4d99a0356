"""Cases of modules with `setup`: attributes, containers, nesting."""

import functools

import jax

from .case import Table

SETUP = Table()


@SETUP.module()
def setup_attributes(nn):
    class Net(nn.Module):
        def setup(self):
            self.encoder = nn.Dense(5)
            self.decoder = nn.Dense(3)

        def __call__(self, x):
            return self.decoder(nn.relu(self.encoder(x)))

    return Net()


@SETUP.module()
def setup_explicit_name_wins_over_the_attribute(nn):
    class Net(nn.Module):
        def setup(self):
            self.encoder = nn.Dense(5, name="named")

        def __call__(self, x):
            return self.encoder(x)

    return Net()


@SETUP.module()
def setup_parameters(nn):
    class Net(nn.Module):
        def setup(self):
            self.gain = self.param("scale", nn.initializers.normal(), (1, 3))
            self.dense = nn.Dense(4)

        def __call__(self, x):
            return self.dense(x * self.gain)

    return Net()


@SETUP.module()
def setup_submodule_that_is_never_called(nn):
    class Net(nn.Module):
        def setup(self):
            self.used = nn.Dense(3)
            self.unused = nn.Dense(4)

        def __call__(self, x):
            return self.used(x)

    return Net()


@SETUP.module()
def setup_lists(nn):
    class Net(nn.Module):
        def setup(self):
            self.layers = [nn.Dense(4), nn.Dense(5), nn.Dense(3)]

        def __call__(self, x):
            for layer in self.layers:
                x = layer(x)
            return x

    return Net()


@SETUP.module()
def setup_tuples(nn):
    class Net(nn.Module):
        def setup(self):
            self.layers = tuple(nn.Dense(3) for _ in range(3))

        def __call__(self, x):
            return functools.reduce(lambda value, layer: layer(value), self.layers, x)

    return Net()


@SETUP.module()
def setup_dicts(nn):
    class Net(nn.Module):
        def setup(self):
            self.heads = {"left": nn.Dense(2), "right": nn.Dense(3)}

        def __call__(self, x):
            return {name: head(x) for name, head in self.heads.items()}

    return Net()


@SETUP.module()
def setup_containers_in_containers(nn):
    class Net(nn.Module):
        def setup(self):
            self.towers = {"a": [nn.Dense(3), nn.Dense(4)], "b": ({"c": nn.Dense(5)},)}

        def __call__(self, x):
            a, b = self.towers["a"], self.towers["b"]
            return a[1](a[0](x)), b[0]["c"](x)

    return Net()


@SETUP.module()
def setup_mixed_container(nn):
    class Net(nn.Module):
        def setup(self):
            self.parts = [nn.Dense(3), nn.relu, None, 2.0, nn.Dense(3)]

        def __call__(self, x):
            return self.parts[4](self.parts[1](self.parts[0](x))) * self.parts[3]

    return Net()


@SETUP.module()
def setup_lists_that_grow(nn):
    class Net(nn.Module):
        def setup(self):
            layers = []
            for features in (4, 3):
                layers.append(nn.Dense(features))
            self.stack = layers
            self.last = nn.Dense(2)

        def __call__(self, x):
            for layer in self.stack:
                x = layer(x)
            return self.last(x)

    return Net()


@SETUP.module()
def setup_inside_setup(nn):
    class Block(nn.Module):
        features: int

        def setup(self):
            self.first = nn.Dense(self.features)
            self.norm = nn.BatchNorm(use_running_average=True)

        def __call__(self, x):
            return self.norm(self.first(x))

    class Net(nn.Module):
        def setup(self):
            self.blocks = [Block(4), Block(5)]

        def __call__(self, x):
            return self.blocks[1](self.blocks[0](x))

    return Net()


@SETUP.module()
def setup_inside_compact_inside_setup(nn):
    class Inner(nn.Module):
        def setup(self):
            self.dense = nn.Dense(3)

        def __call__(self, x):
            return self.dense(x)

    class Middle(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Inner()(nn.Dense(3)(Inner(name="own")(x)))

    class Net(nn.Module):
        def setup(self):
            self.middle = Middle()

        def __call__(self, x):
            return self.middle(self.middle(x))

    return Net()


@SETUP.module()
def setup_and_compact_in_one_class(nn):
    class Net(nn.Module):
        def setup(self):
            self.encoder = nn.Dense(4)

        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(self.encoder(x))

    return Net()


@SETUP.module()
def setup_order_of_use_does_not_matter(nn):
    class Net(nn.Module):
        def setup(self):
            self.a = nn.Dense(3)
            self.b = nn.Dense(3)

        def __call__(self, x):
            return self.a(self.b(x))

    return Net()


@SETUP.module(apply_rngs={"params": 4})
def setup_random_stream(nn):
    class Net(nn.Module):
        def setup(self):
            self.noise = jax.random.normal(self.make_rng("params"), (1, 3))
            self.dense = nn.Dense(3)

        def __call__(self, x):
            return self.dense(x)

    return Net()
