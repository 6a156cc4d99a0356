"""Cases of modules that share a scope, and of methods with a name scope."""

import jax

from .case import Table

PLACES = Table()


def wrapper(nn):
    """A module class that adds to the module in its field, at the place of which it is."""

    class Wrapper(nn.Module):
        layer: nn.Module

        def setup(self):
            nn.share_scope(self, self.layer)

        @nn.compact
        def __call__(self, x):
            shift = self.param("shift", nn.initializers.normal(), (1, 3))
            return self.layer(x) + shift

    return Wrapper


def scale(nn):
    """A module class with one parameter, of a name that no layer has."""

    class Scale(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x * self.param("factor", nn.initializers.normal(), (1, 3))

    return Scale


# share_scope.


@PLACES.module()
def share_scope_with_a_field(nn):
    return wrapper(nn)(nn.Dense(3))


@PLACES.module()
def share_scope_of_a_submodule(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(4)(wrapper(nn)(nn.Dense(3))(x))

    return Net()


@PLACES.module()
def share_scope_with_a_submodule_of_setup(nn):
    class Inner(nn.Module):
        def setup(self):
            self.dense = nn.Dense(3)
            self.norm = scale(nn)()

        def __call__(self, x):
            return self.norm(self.dense(x))

    class Net(nn.Module):
        def setup(self):
            self.inner = Inner()
            nn.share_scope(self, self.inner)

        def __call__(self, x):
            return self.inner(x)

    return Net()


@PLACES.module()
def share_scope_in_a_compact_method(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            first = nn.Dense(3)
            nn.share_scope(self, first)
            return nn.Dense(3)(first(x))

    return Net()


@PLACES.module()
def share_scope_the_other_way_round(nn):
    class Net(nn.Module):
        def setup(self):
            self.dense = nn.Dense(3)
            nn.share_scope(self.dense, self)

        def __call__(self, x):
            return self.dense(x)

    return Net()


@PLACES.module()
def share_scope_of_siblings_takes_the_second(nn):
    class Net(nn.Module):
        def setup(self):
            self.dense = nn.Dense(3, use_bias=False)
            self.norm = scale(nn)()
            nn.share_scope(self.dense, self.norm)

        def __call__(self, x):
            return self.norm(self.dense(x))

    return Net()


@PLACES.module()
def share_scope_with_two_submodules(nn):
    class Net(nn.Module):
        def setup(self):
            self.dense = nn.Dense(3, use_bias=False)
            self.norm = scale(nn)()
            nn.share_scope(self, self.dense)
            nn.share_scope(self, self.norm)

        def __call__(self, x):
            return self.norm(self.dense(x))

    return Net()


@PLACES.module()
def share_scope_with_a_module_further_down(nn):
    class Inner(nn.Module):
        def setup(self):
            self.dense = nn.Dense(3)
            self.other = nn.Dense(3)

        def __call__(self, x):
            return self.other(self.dense(x))

    class Net(nn.Module):
        def setup(self):
            self.inner = Inner()
            nn.share_scope(self, self.inner.dense)

        def __call__(self, x):
            return self.inner(x)

    return Net()


@PLACES.module(rngs={"params": 0, "noise": 1}, apply_rngs={"noise": 2})
def share_scope_with_adopted_modules_below(nn):
    class Noise(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x + jax.random.normal(self.make_rng("noise"), x.shape)

    class Chain(nn.Module):
        first: nn.Module
        second: nn.Module

        def __call__(self, x):
            return self.second(self.first(self.first(x)))

    class Net(nn.Module):
        layer: nn.Module

        def setup(self):
            self.after = nn.Dense(3)
            nn.share_scope(self, self.layer)

        def __call__(self, x):
            return self.after(self.layer(x))

    return Net(Chain(Chain(Noise(), nn.Dense(3)), nn.Dense(3)))


@PLACES.module()
def share_scope_with_a_compact_module_called_twice(nn):
    class Inner(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(x)

    class Net(nn.Module):
        def setup(self):
            self.inner = Inner()
            nn.share_scope(self, self.inner)

        def __call__(self, x):
            return self.inner(self.inner(x))

    return Net()


@PLACES.module(mutable=["state"])
def share_scope_with_a_module_that_has_state(nn):
    class Net(nn.Module):
        def setup(self):
            self.norm = nn.BatchNorm(use_running_average=False)
            nn.share_scope(self, self.norm)

        @nn.compact
        def __call__(self, x):
            calls = self.variable("state", "calls", lambda: 0)
            calls.value += 1
            return x + calls.value

    return Net()


@PLACES.module(apply_rngs={"params": 3})
def share_scope_shares_the_random_streams(nn):
    class Noise(nn.Module):
        @nn.compact
        def __call__(self):
            return jax.random.normal(self.make_rng("params"))

    class Net(nn.Module):
        noise: nn.Module

        def setup(self):
            nn.share_scope(self, self.noise)

        def draw(self):
            return jax.random.normal(self.make_rng("params"))

        def __call__(self, x):
            return self.draw(), self.noise(), self.draw(), self.noise(), self.path, self.noise.path

    return Net(Noise())


@PLACES.module()
def share_scope_again_changes_nothing(nn):
    class Net(nn.Module):
        def setup(self):
            self.dense = nn.Dense(3)
            nn.share_scope(self, self.dense)
            nn.share_scope(self, self.dense)
            nn.share_scope(self, self)

        def __call__(self, x):
            return self.dense(x)

    return Net()


@PLACES.module()
def share_scope_leaves_what_was_there_before(nn):
    class Inner(nn.Module):
        def setup(self):
            self.dense = nn.Dense(3)
            self.scale = self.param("scale", nn.initializers.normal(), (1, 3))

        def __call__(self, x):
            return self.scale * self.dense(x)

    class Net(nn.Module):
        def setup(self):
            self.inner = Inner()
            nn.share_scope(self, self.inner.dense)
            nn.share_scope(self, self.inner)

        def __call__(self, x):
            return self.inner(x)

    return Net()


# compact_name_scope.


def autoencoder(nn):
    """A module class with two methods of one kind."""

    class Autoencoder(nn.Module):
        @nn.compact_name_scope
        def encode(self, x):
            return nn.Dense(4)(nn.Dense(5)(x))

        @nn.compact_name_scope
        def decode(self, x):
            return nn.Dense(3)(x)

        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(self.decode(self.encode(x)))

    return Autoencoder


@PLACES.module(name="name_scopes")
@PLACES.module(name="name_scope_called_from_outside", method="encode")
def name_scopes(nn):
    return autoencoder(nn)()


@PLACES.module()
def name_scopes_inherited(nn):
    class Net(autoencoder(nn)):
        @nn.compact_name_scope
        def refine(self, x):
            return nn.Dense(3)(x)

        @nn.compact
        def __call__(self, x):
            return self.refine(super().__call__(x))

    return Net()


@PLACES.module()
def name_scope_called_twice(nn):
    class Net(nn.Module):
        @nn.compact_name_scope
        def layer(self, x):
            return nn.Dense(3)(x)

        def __call__(self, x):
            return self.layer(self.layer(x))

    return Net()


@PLACES.module()
def name_scope_that_calls_another(nn):
    class Net(nn.Module):
        @nn.compact_name_scope
        def down(self, x):
            return nn.Dense(3)(x)

        @nn.compact_name_scope
        def up(self, x):
            return self.down(nn.Dense(3)(x))

        def __call__(self, x):
            return self.up(self.down(x))

    return Net()


@PLACES.module()
def name_scope_with_submodules_of_setup(nn):
    class Net(nn.Module):
        def setup(self):
            self.dense = nn.Dense(3)

        @nn.compact_name_scope
        def layer(self, x):
            return nn.Dense(3)(self.dense(x))

        def __call__(self, x):
            return self.layer(x)

    return Net()


@PLACES.module()
def name_scope_with_a_parameter_and_a_helper(nn):
    class Net(nn.Module):
        def helper(self, x):
            return nn.Dense(3)(x)

        @nn.compact_name_scope
        def layer(self, x):
            scale = self.param("scale", nn.initializers.normal(), (1, 3))
            return scale * nn.Dense(3)(self.helper(x))

        @nn.compact
        def __call__(self, x):
            return self.layer(x)

    return Net()


@PLACES.module()
def name_scope_that_calls_a_compact_method(nn):
    class Net(nn.Module):
        @nn.compact
        def helper(self, x):
            return nn.Dense(3)(x)

        @nn.compact_name_scope
        def layer(self, x):
            return self.helper(nn.Dense(3)(x))

        def __call__(self, x):
            return self.layer(x)

    return Net()


@PLACES.module(apply_rngs={"params": 3})
def name_scope_draws_what_its_module_draws(nn):
    class Leaf(nn.Module):
        @nn.compact
        def __call__(self):
            return jax.random.normal(self.make_rng("params")), self.path, self.name

    class Net(nn.Module):
        @nn.compact_name_scope
        def draw(self):
            return jax.random.normal(self.make_rng("params")), Leaf()(), self.path

        def __call__(self, x):
            return self.draw(), self.draw()

    return Net()
