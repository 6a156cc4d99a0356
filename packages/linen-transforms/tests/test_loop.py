"""The loop behind the scans: one trace, broadcast values, axes, dtypes."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linen_core import broadcast
from linen_transforms import axes_scan
from linen_transforms.errors import AxisSizeError, CarryMismatchError, LoopInvariantError

XS = jnp.arange(12.0).reshape(4, 3)


def test_the_body_runs_once() -> None:
    runs = []

    def body(_: Any, carry: Any, x: Any) -> Any:
        runs.append(x.shape)
        return None, carry + x, x

    axes_scan.scan(body, in_axes=(0,), out_axes=0)(None, jnp.zeros(3), XS)
    assert runs == [(3,)]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("unroll", [1, 2])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_it_is_a_scan_along_any_axis(reverse: bool, unroll: int, axis: int) -> None:
    def body(scale: Any, carry: Any, x: Any) -> Any:
        carry = carry * scale + x
        return scale, carry, carry

    xs = jnp.moveaxis(XS, 0, axis)
    run = axes_scan.scan(body, (axis,), axis, reverse=reverse, unroll=unroll)
    scale, carry, ys = run(2.0, jnp.ones(3), xs)
    expected, expected_ys = jax.lax.scan(
        lambda c, x: body(2.0, c, x)[1:], jnp.ones(3), XS, reverse=reverse
    )
    chex.assert_trees_all_equal((scale, carry), (jnp.asarray(2.0), expected))
    chex.assert_trees_all_equal(ys, jnp.moveaxis(expected_ys, 0, axis))


def test_broadcast_results_are_computed_outside() -> None:
    def body(_: Any, carry: Any, x: Any) -> Any:
        table = jnp.sin(jnp.arange(3.0))
        return table, carry + x * table, (x * 2, table * 2)

    run = axes_scan.scan(body, (0,), (0, broadcast))
    table, _, (_, twice) = run(None, jnp.zeros(3), XS)
    chex.assert_trees_all_close((table, twice), (jnp.sin(jnp.arange(3.0)), 2 * table))
    outside = jax.make_jaxpr(run)(None, jnp.zeros(3), XS)
    assert [str(eqn.primitive) for eqn in outside.eqns].count("sin") == 1
    (loop,) = (eqn for eqn in outside.eqns if str(eqn.primitive) == "scan")
    assert len(loop.outvars) == 2


@pytest.mark.parametrize("wrap", [jax.checkpoint, jax.jit], ids=["checkpoint", "jit"])
def test_broadcast_results_are_found_inside_of_calls(wrap: Any) -> None:
    @wrap
    def inner(carry: Any) -> Any:
        table = jnp.sin(jnp.arange(3.0))
        return carry * table, table

    def body(_: Any, carry: Any) -> Any:
        carry, table = inner(carry)
        return table, carry, None

    table, _, _ = axes_scan.scan(body, (), 0, length=2)(None, jnp.ones(3))
    chex.assert_trees_all_close(table, jnp.sin(jnp.arange(3.0)))


TABLE = jnp.arange(3.0)


def inner_scan(carry: Any) -> Any:
    return jax.lax.scan(lambda c, x: (c + x, jnp.sin(x)), carry, TABLE)


def inner_cond(carry: Any) -> Any:
    return jax.lax.cond(
        True, lambda c: (2 * c, jnp.sin(TABLE)), lambda c: (c, jnp.cos(TABLE)), carry
    )


def inner_print(carry: Any) -> Any:
    jax.debug.callback(lambda _: None, carry)
    return carry, jnp.sin(TABLE)


@jax.jit
def inner_print_in_jit(carry: Any) -> Any:
    return inner_print(carry)


@pytest.mark.parametrize("inner", [inner_scan, inner_cond, inner_print, inner_print_in_jit])
def test_broadcast_results_are_found_beside_what_depends_on_the_iteration(inner: Any) -> None:
    def body(_: Any, carry: Any) -> Any:
        carry, table = inner(carry)
        return table, carry, None

    table, _, _ = axes_scan.scan(body, (), 0, length=2)(None, jnp.ones(3))
    chex.assert_trees_all_close(table, jnp.sin(TABLE))


def test_callbacks_run_in_every_iteration_only() -> None:
    seen: list[float] = []

    def body(_: Any, carry: Any) -> Any:
        jax.debug.callback(lambda c: seen.append(float(c)), carry, ordered=True)
        return jnp.sin(TABLE), carry + 1, None

    axes_scan.scan(body, (), 0, length=3)(None, 0.0)
    jax.effects_barrier()
    assert seen == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("value", [3, 2.5, True], ids=repr)
def test_broadcast_results_that_are_no_arrays_stay_what_they_are(value: Any) -> None:
    def body(_: Any, carry: Any) -> Any:
        return value, carry, None

    result, _, _ = axes_scan.scan(body, (), 0, length=2)(None, jnp.ones(3))
    assert type(result) is type(value)
    assert result == value


def test_without_the_check_the_last_value_is_kept() -> None:
    def body(_: Any, carry: Any, x: Any) -> Any:
        return x, carry, None

    with pytest.raises(LoopInvariantError, match="the broadcast value of scan is broadcast"):
        axes_scan.scan(body, (0,), 0)(None, 0.0, XS)
    for reverse, last in ((False, XS[-1]), (True, XS[0])):
        options: dict[str, Any] = {"check_constancy_invariants": False, "reverse": reverse}
        kept, _, _ = axes_scan.scan(body, (0,), 0, **options)(None, 0.0, XS)
        chex.assert_trees_all_equal(kept, last)


def test_a_python_scalar_takes_the_dtype_that_comes_out() -> None:
    def body(_: Any, carry: Any, x: Any) -> Any:
        return None, carry + x.sum(), carry

    _, total, ys = axes_scan.scan(body, (0,), 0)(None, 0, XS)
    assert total.dtype == ys.dtype == jnp.float32
    assert total == XS.sum()


@pytest.mark.parametrize(
    ("in_axes", "out_axes", "text"),
    [
        (
            (0, 0),
            0,
            "scan: the axes (0, 0) do not fit the structure of the argument, which is "
            "PyTreeDef((*,)). Give one axis for all of it, or a tree of axes that is a prefix of it.",
        ),
        ((2,), 0, "scan: argument[0] has the shape [4, 3], and so no axis 2."),
        ((0,), 3, "scan: result has the shape [length, 3], and so no axis 3."),
        (
            (None,),
            0,
            "scan: argument[0] has the shape [4, 3], and so no axis None. Write "
            "linen_core.broadcast for what is not sliced.",
        ),
    ],
    ids=["structure", "in", "out", "none"],
)
def test_wrong_axes(in_axes: Any, out_axes: Any, text: str) -> None:
    def body(_: Any, carry: Any, x: Any) -> Any:
        return None, carry, x

    with pytest.raises(AxisSizeError) as caught:
        axes_scan.scan(body, in_axes, out_axes, length=4)(None, 0.0, XS)
    assert str(caught.value) == text


def test_a_carry_that_changes() -> None:
    def body(_: Any, carry: Any) -> Any:
        return None, (carry[0][:1], carry[1]), None

    with pytest.raises(CarryMismatchError) as caught:
        axes_scan.scan(body, (), 0, length=2)(None, (jnp.ones(2), jnp.ones(3)))
    assert str(caught.value) == (
        "/: the carry of scan must come out of the body as it went in, but these differ (in -> "
        "out):\n  carry[0]: float32[2] -> float32[1]"
    )


@settings(max_examples=20, deadline=None)
@given(
    length=st.integers(1, 5),
    reverse=st.booleans(),
    unroll=st.integers(1, 3),
    in_axis=st.integers(-2, 1),
    out_axis=st.integers(-2, 1),
)
def test_it_equals_an_unrolled_loop(
    length: int, reverse: bool, unroll: int, in_axis: int, out_axis: int
) -> None:
    def body(shift: Any, carry: Any, x: Any) -> Any:
        carry = jnp.sin(carry) + x + shift
        return shift * 2, carry, carry * x

    slices = [jnp.full(3, i + 0.5) for i in range(length)]
    xs = jnp.stack(slices, in_axis)
    run = axes_scan.scan(body, (in_axis,), out_axis, reverse=reverse, unroll=unroll)
    shift, carry, ys = run(0.25, jnp.zeros(3), xs)
    expected, results = jnp.zeros(3), []
    for x in reversed(slices) if reverse else slices:
        _, expected, y = body(0.25, expected, x)
        results.append(y)
    results = results[::-1] if reverse else results
    chex.assert_trees_all_close(carry, expected, rtol=1e-6)
    chex.assert_trees_all_close(ys, jnp.stack(results, out_axis), rtol=1e-6)
    assert shift == 0.5
