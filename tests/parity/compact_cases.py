"""Cases of modules with a compact method: automatic and explicit names."""

from .case import Table

COMPACT = Table()


@COMPACT.module()
def compact_automatic_names(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(4)(nn.relu(nn.Dense(5)(x)))

    return Net()


@COMPACT.module()
def compact_explicit_names(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(4, name="second")(nn.Dense(5, name="first")(x))

    return Net()


@COMPACT.module()
def compact_explicit_and_automatic_names(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(4)(nn.Dense(5, name="named")(x))
            return nn.Dense(3)(nn.BatchNorm(use_running_average=True)(x))

    return Net()


@COMPACT.module()
def compact_explicit_name_of_the_automatic_form(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(4)(nn.Dense(5, name="Dense_1")(x))

    return Net()


@COMPACT.module()
def compact_names_follow_creation(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            first, second = nn.Dense(3), nn.Dense(3)
            return first(second(x))

    return Net()


@COMPACT.module()
def compact_module_that_is_never_called(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            nn.Dense(7)
            return nn.Dense(3)(x)

    return Net()


@COMPACT.module()
def compact_call_twice(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.Dense(3)
            return dense(dense(x))

    return Net()


@COMPACT.module()
def compact_loop_and_branch(nn):
    class Net(nn.Module):
        depth: int
        normalize: bool = True

        @nn.compact
        def __call__(self, x):
            for i in range(self.depth):
                x = nn.Dense(3 + i, name=f"layer{i}")(x)
                if self.normalize:
                    x = nn.BatchNorm(use_running_average=True)(x)
            return x

    return Net(3)


@COMPACT.module()
def compact_inside_compact(nn):
    class Block(nn.Module):
        features: int

        @nn.compact
        def __call__(self, x):
            return nn.Dense(x.shape[-1])(nn.gelu(nn.Dense(self.features)(x))) + x

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            for _ in range(2):
                x = Block(5)(x)
            return Block(4, name="last")(x)

    return Net()


@COMPACT.module()
def compact_own_parameters_and_submodules(nn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            gain = self.param("gain", nn.initializers.normal(), (1, x.shape[-1]))
            return nn.Dense(4)(x * gain) + self.param("shift", nn.initializers.ones, (1, 4))

    return Net()


@COMPACT.module()
def compact_submodule_in_a_helper(nn):
    class Net(nn.Module):
        def hidden(self, x):
            return nn.Dense(5)(x)

        @nn.compact
        def __call__(self, x):
            return self.hidden(self.hidden(x))

    return Net()


@COMPACT.module()
def compact_class_names_with_digits(nn):
    class Conv1x1_2(nn.Module):  # noqa: N801
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(x)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Conv1x1_2()(Conv1x1_2()(x))

    return Net()


@COMPACT.module()
def compact_repeated_class_in_two_parents(nn):
    class Leaf(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x + self.param("bias", nn.initializers.normal(), (1, 3))

    class Pair(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Leaf()(Leaf()(x))

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Pair()(Leaf()(Pair()(x)))

    return Net()


@COMPACT.module()
def compact_deep_tree(nn):
    class Nest(nn.Module):
        depth: int

        @nn.compact
        def __call__(self, x):
            x = x + self.param("bias", nn.initializers.normal(), (1, 3))
            return Nest(self.depth - 1)(x) if self.depth else x

    return Nest(6)
