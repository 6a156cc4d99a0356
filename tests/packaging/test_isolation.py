"""The check that a wheel stands alone can fail: fake packages that import upward are caught."""

from pathlib import Path

import isolation
import pytest
from isolation import IsolationError, assert_not_installed, assert_nothing_above

UPWARD = {
    "at the top": "import upper",
    "a part of it": "from upper.layers import Dense",
    "caught when absent": "try:\n    import upper\nexcept ImportError:\n    upper = None",
    "by its name": "import importlib\ntry:\n    importlib.import_module('upper')\nexcept ImportError:\n    pass",
    "looked for": "import importlib.util\nimportlib.util.find_spec('upper')",
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of importable packages that holds `lower`, a package with one module."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    write(tmp_path / "lower/__init__.py", "import math")
    write(tmp_path / "lower/inner.py", "import colorsys")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def test_a_package_on_its_own_passes(site: Path) -> None:
    assert_not_installed(["upper"])
    assert_nothing_above("lower", ["upper"])


def test_the_modules_of_a_package_are_all_imported(site: Path) -> None:
    assert {"lower", "lower.inner", "colorsys"} <= isolation.modules_imported_by("lower")


@pytest.mark.parametrize("text", UPWARD.values(), ids=UPWARD)
def test_an_upward_import_is_caught_where_upper_is_installed(site: Path, text: str) -> None:
    write(site / "upper/__init__.py", "")
    write(site / "upper/layers.py", "Dense = object")
    write(site / "lower/inner.py", text)
    with pytest.raises(IsolationError, match="lower imports upper, which it must do without"):
        assert_nothing_above("lower", ["upper", "other"])


@pytest.mark.parametrize("name", ["caught when absent", "by its name", "looked for"])
def test_an_upward_import_is_caught_where_upper_is_absent(site: Path, name: str) -> None:
    write(site / "lower/inner.py", UPWARD[name])
    with pytest.raises(IsolationError, match="lower imports upper"):
        assert_nothing_above("lower", ["upper"])


def test_an_installed_package_is_caught(site: Path) -> None:
    write(site / "upper/__init__.py", "")
    with pytest.raises(IsolationError, match="installed, but must be absent: upper"):
        assert_not_installed(["upper", "other"])
