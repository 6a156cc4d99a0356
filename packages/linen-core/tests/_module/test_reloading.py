"""Classes that are defined again: in a notebook, by `importlib.reload` and by autoreload.

The autoreload of IPython runs a changed file again and then changes the old classes in place, so that
names imported earlier mean the new code. `patch` is what it does to a class.
"""

import contextlib
import gc
import importlib
import pickle
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest

KEY = jax.random.key(0)
X = 2.0

BEFORE = """
from typing import Any
from linen_core import Module, compact, nowrap

class Base(Module):
    scale: float = 1.0
    old: int = 0
    def factor(self):
        return self.scale
    @compact
    def __call__(self, x):
        return x * self.factor()

class Net(Base):
    inner: Any = None
    def setup(self):
        self.w = self.param("w", lambda key: 1.0)
    def factor(self):
        return super().factor() + self.w
    @compact
    def __call__(self, x):
        return super().__call__(x) + self.helper()
    def helper(self):
        return 0.0
    @nowrap
    def name_of(self):
        return "before"
    def gone(self):
        return 1
"""
AFTER = (
    BEFORE.replace("    old: int = 0\n", "")
    .replace("return self.scale", "return 10 * self.scale")
    .replace("super().factor() + self.w", "super().factor() + 2 * self.w")
    .replace("lambda key: 1.0", "lambda key: 3.0")
    .replace("return 0.0", "return self.added()")
    .replace('"before"', '"after"')
    .replace("def gone", "def added")
    .replace("inner: Any = None", "inner: Any = None\n    new: int = 5")
)


def patch(old: type, new: type) -> None:
    """Change a class into another in place, function by function."""
    for name in list(vars(old)):
        before = getattr(old, name)
        if not hasattr(new, name):
            with contextlib.suppress(AttributeError, TypeError):
                delattr(old, name)
            continue
        after = getattr(new, name)
        with contextlib.suppress(ValueError):
            if (before == after) is True:
                continue
        if not patch_value(before, after):
            with contextlib.suppress(AttributeError, TypeError):
                setattr(old, name, after)
    for name in vars(new).keys() - vars(old).keys():
        with contextlib.suppress(AttributeError, TypeError):
            setattr(old, name, getattr(new, name))
    for instance in gc.get_referrers(old):
        if type(instance) is old:
            object.__setattr__(instance, "__class__", new)


def patch_value(old: Any, new: Any) -> bool:
    """Change a class or function in place; say whether it was one."""
    if isinstance(old, type) and isinstance(new, type):
        patch(old, new)
        return True
    if not isinstance(old, types.FunctionType) or not isinstance(new, types.FunctionType):
        return False
    for name in (
        "__code__",
        "__defaults__",
        "__doc__",
        "__closure__",
        "__dict__",
        "__kwdefaults__",
    ):
        with contextlib.suppress(AttributeError, TypeError):
            setattr(old, name, getattr(new, name))
    return True


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "reloaded_models.py").write_text(BEFORE)
    yield importlib.import_module("reloaded_models")
    del sys.modules["reloaded_models"]


def reload(models: Any) -> dict[str, type]:
    """Run the changed file again; give the old classes."""
    old = {name: getattr(models, name) for name in ("Base", "Net")}
    Path(models.__file__).write_text(AFTER)
    importlib.invalidate_caches()
    importlib.reload(models)
    return old


def check_before(net: Any) -> None:
    variables = net.init(KEY, X)
    assert variables == {"params": {"w": 1.0}}
    assert net.apply(variables, X) == X * (1 + 1)
    assert net.name_of() == "before"


def check_after(net: Any) -> None:
    variables = net.init(KEY, X)
    assert variables == {"params": {"w": 3.0}}
    assert net.apply(variables, X) == X * (10 + 2 * 3.0) + 1
    assert net.bind(variables)(X) == X * (10 + 2 * 3.0) + 1
    assert net.name_of() == "after"
    assert net.new == 5
    assert hash(net) == hash(net.clone())
    assert net == net.clone()


def test_a_class_that_is_defined_again_is_another_class(models: Any) -> None:
    net = models.Net()
    old = reload(models)
    check_after(models.Net())
    check_before(net)
    check_before(old["Net"]())
    assert net != models.Net()
    assert not isinstance(net, models.Net)
    with pytest.raises(pickle.PicklingError):
        pickle.dumps(net)


@pytest.mark.parametrize("times", [1, 2])
def test_classes_that_are_changed_in_place_run_the_new_code(models: Any, times: int) -> None:
    old = {name: getattr(models, name) for name in ("Base", "Net")}
    for _ in range(times):
        for name, cls in reload(models).items():
            patch(cls, getattr(models, name))
    check_after(models.Net())
    check_after(old["Net"]())
    assert not hasattr(old["Net"], "gone")
    assert isinstance(old["Net"](), old["Base"])
    assert repr(old["Net"]()) == "Net(scale=1.0, inner=None, new=5)"


def test_instances_follow_their_class(models: Any) -> None:
    net = models.Net(inner=models.Base())
    for name, cls in reload(models).items():
        patch(cls, getattr(models, name))
    assert type(net) is models.Net
    assert type(net.inner) is models.Base
    check_after(net)
    assert pickle.loads(pickle.dumps(net)) == net


def test_methods_are_wrapped_once(models: Any) -> None:
    old = reload(models)
    for name, cls in old.items():
        patch(cls, getattr(models, name))
    for cls in (models.Net, old["Net"]):
        inner = vars(cls)["__call__"].__wrapped__
        assert not hasattr(inner, "method_handler_wrapped")
        assert not hasattr(inner, "__wrapped__")


def test_redefinition_in_one_namespace() -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(BEFORE, names)
    first = names["Net"]()
    exec(AFTER, names)
    check_before(first)
    check_after(names["Net"]())

    subclass = type("Sub", (names["Net"],), {})
    check_after(subclass())
