"""Tracebacks: which frames are left out, of which errors, and how to see them all."""

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import linen_core
from linen_core import Module, Scope, compact, compact_name_scope, init, lazy_init, tracebacks
from linen_core import apply as apply_scope
from linen_core.config import config

KEY = jax.random.key(0)
X = jnp.ones((2, 3))
OURS = str(Path(linen_core.__file__).parent)
JAX = str(Path(str(jax.__file__)).parent)


@pytest.fixture(autouse=True)
def hidden() -> Iterator[None]:
    with config.temporary(filter_frames=True):
        yield


class Block(Module):
    fail: str

    def setup(self) -> None:
        if self.fail == "setup":
            raise KeyError("block setup")
        self.w = self.param("w", self.make)

    def make(self, key: jax.Array) -> float:
        if self.fail == "initializer":
            raise KeyError("block make")
        return 1.0

    def __call__(self, x: jax.Array) -> jax.Array:
        match self.fail:
            case "raise":
                raise KeyError("block __call__")
            case "jax":
                return x @ jnp.ones((7, 7))
            case "ours":
                return self.get_variable("a", "b") + self.param("v", lambda key: 1)
            case "chained":
                try:
                    self.missing  # noqa: B018
                except Exception as error:
                    raise KeyError("block __call__") from error
        return x * self.w


class Net(Module):
    fail: str = ""

    def setup(self) -> None:
        self.block = Block(self.fail)

    @compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return self.block(x)


GOOD = {"params": {"block": {"w": 1.0}}}
CALLS: dict[str, Callable[[str], Any]] = {
    "init": lambda fail: Net(fail).init(KEY, X),
    "init of specs": lambda fail: Net(fail).init(KEY, jax.ShapeDtypeStruct((2, 3), "float32")),
    "init_with_output": lambda fail: Net(fail).init_with_output(KEY, X),
    "lazy_init": lambda fail: Net(fail).lazy_init(KEY, X),
    "apply": lambda fail: Net(fail).apply(GOOD, X),
    "bound": lambda fail: Net(fail).bind(GOOD)(X),
    "abstract": lambda fail: Net(fail).abstract(X),
    "jit": lambda fail: jax.jit(Net(fail).apply)(GOOD, X),
    "grad": lambda fail: jax.grad(lambda v: Net(fail).apply(v, X).sum())(GOOD),
}


def error_of(call: Callable[[], Any]) -> Exception:
    try:
        call()
    except Exception as error:
        return error
    pytest.fail("nothing was raised")


def frames_of(error: BaseException) -> list[traceback.FrameSummary]:
    return list(traceback.extract_tb(error.__traceback__))


def names_of(error: BaseException) -> list[str]:
    """Name the functions in a traceback, from the first one of a module on."""
    names = [frame.name for frame in frames_of(error)]
    return names[names.index("<lambda>") + 1 :]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("fail", "names"),
    [
        ("raise", ["__call__", "__call__"]),
        ("jax", ["__call__", "__call__"]),
        ("ours", ["__call__", "__call__"]),
        ("chained", ["__call__", "__call__"]),
        ("setup", ["__call__", "setup"]),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_only_the_users_frames_are_left(call: Any, fail: str, names: list[str]) -> None:
    error = error_of(lambda: call(fail))
    files = {frame.filename for frame in frames_of(error)}
    assert files == {__file__}
    shown = [name for name in names_of(error) if name != "<lambda>"]
    assert shown == names


def test_the_last_line_is_the_users() -> None:
    error = error_of(lambda: Net("ours").apply(GOOD, X))
    assert frames_of(error)[-1].line == (
        'return self.get_variable("a", "b") + self.param("v", lambda key: 1)'
    )
    assert frames_of(error_of(lambda: Net("jax").apply(GOOD, X)))[-1].line == (
        "return x @ jnp.ones((7, 7))"
    )


def test_frames_of_initializers_are_left() -> None:
    error = error_of(lambda: Net("initializer").init(KEY, X))
    assert names_of(error) == ["__call__", "setup", "make"]


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: Net().apply(3, X),  # type: ignore[arg-type]
        lambda: Net().apply(GOOD),
        lambda: Net().apply(GOOD, X, method=3),  # type: ignore[arg-type]
        lambda: Net().init(3, X),  # type: ignore[arg-type]
        lambda: Net().abstract(X, rngs=3),  # type: ignore[arg-type]
        lambda: Net("setup").bind(GOOD).block.w,
    ],
    ids="variables arguments method rngs abstract attribute".split(),
)
def test_mistakes_in_the_call_itself(mistake: Any) -> None:
    assert {frame.filename for frame in frames_of(error_of(mistake))} == {__file__}


@pytest.mark.parametrize(
    "call",
    [
        lambda f: apply_scope(f)({}),
        lambda f: init(f)(KEY),
        lambda f: lazy_init(f)(KEY),
    ],
    ids=["apply", "init", "lazy_init"],
)
def test_functions_of_scopes(call: Any) -> None:
    def inner(scope: Scope) -> None:
        raise KeyError("inner")

    def model(scope: Scope) -> None:
        scope.child(inner)()

    error = error_of(lambda: call(model))
    assert names_of(error) == ["<lambda>", "model", "inner"]


def test_errors_behind_an_error() -> None:
    error = error_of(lambda: Net("chained").apply(GOOD, X))
    cause = error.__cause__
    assert cause is not None
    assert [frame.name for frame in frames_of(cause)] == ["__call__"]


def test_groups_and_circles() -> None:
    class Raises(Module):
        def __call__(self) -> None:
            errors = [error_of(lambda: self.missing), KeyError("b")]
            errors[0].__context__ = errors[1]
            errors[1].__context__ = errors[0]
            raise ExceptionGroup("both", errors)

    group = error_of(lambda: Raises().apply({}))
    assert isinstance(group, ExceptionGroup)
    for error in (group, *group.exceptions):
        assert {frame.filename for frame in frames_of(error)} <= {__file__}


@pytest.mark.parametrize("show", ["setting", "function"])
@pytest.mark.parametrize("call", [CALLS["apply"], CALLS["bound"], CALLS["init"]])
def test_all_frames_can_be_shown(call: Any, show: str) -> None:
    if show == "setting":
        config.update("filter_frames", False)
    else:
        tracebacks.show_linen_in_tracebacks()
    files = {frame.filename for frame in frames_of(error_of(lambda: call("raise")))}
    assert any(file.startswith(OURS) for file in files)
    tracebacks.hide_linen_in_tracebacks()
    files = {frame.filename for frame in frames_of(error_of(lambda: call("raise")))}
    assert files == {__file__}


def test_frames_of_jax_can_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    before = getattr(jax.config, "jax_traceback_filtering")  # noqa: B009
    jax.config.update("jax_traceback_filtering", "off")
    try:
        files = {frame.filename for frame in frames_of(error_of(lambda: CALLS["apply"]("jax")))}
    finally:
        jax.config.update("jax_traceback_filtering", before)
    assert any(file.startswith(JAX) for file in files)
    assert not any(file.startswith(OURS) for file in files)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_more_files_can_be_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(tracebacks, "_excluded", tracebacks._excluded)
    (tmp_path / "framework_of_others.py").touch()
    names: dict[str, Any] = {}
    path = tmp_path / "framework.py"
    code = compile("def run(f):\n    f()\n", str(path), "exec")
    exec(code, names)

    def shows() -> bool:
        class Raises(Module):
            def __call__(self) -> None:
                names["run"](self.fail)

            def fail(self) -> None:
                raise KeyError

        error = error_of(lambda: Raises().apply({}))
        return str(path) in {frame.filename for frame in frames_of(error)}

    assert shows()
    tracebacks.register_exclusion(str(path if what == "file" else tmp_path))
    tracebacks.register_exclusion(str(path if what == "file" else tmp_path))
    assert not shows()


def test_name_scopes() -> None:
    class Coder(Module):
        @compact_name_scope
        def encode(self) -> None:
            raise KeyError("encode")

    assert names_of(error_of(lambda: Coder().bind({}).encode())) == ["encode"]
    assert names_of(error_of(lambda: Coder().encode())) == []


def test_an_error_that_is_caught_inside_keeps_its_frames() -> None:
    seen = []

    class Catches(Module):
        def setup(self) -> None:
            self.block = Block("raise")

        def __call__(self) -> None:
            try:
                self.block(X)
            except KeyError as error:
                seen.extend(frame.filename for frame in frames_of(error))

    Catches().apply(GOOD)
    assert any(file.startswith(OURS) for file in seen)


def test_the_names_that_are_offered() -> None:
    assert tracebacks.__all__ == [
        "hide_linen_in_tracebacks",
        "register_exclusion",
        "show_linen_in_tracebacks",
    ]
