"""Settings: defaults, environment, changes."""

from typing import Any

import pytest

from linen_core.config import Config, config
from linen_core.errors import ConfigError, LinenError

DEFAULTS = {
    "return_frozendict": False,
    "preserve_adopted_names": False,
    "fix_rng_separator": False,
    "profile": True,
    "filter_frames": True,
}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DEFAULTS:
        monkeypatch.delenv(f"LINEN_{name.upper()}", raising=False)


def test_defaults() -> None:
    assert vars(Config()) == DEFAULTS


@pytest.mark.parametrize("name", DEFAULTS)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((text, True) for text in ("1", "True", "yes", "ON")),
        *((text, False) for text in ("0", "FALSE", "no", "off", "")),
    ],
)
def test_the_environment_decides(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, expected: bool
) -> None:
    monkeypatch.setenv(f"LINEN_{name.upper()}", text)
    assert vars(Config()) == DEFAULTS | {name: expected}


def test_a_bad_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINEN_PROFILE", "maybe")
    with pytest.raises(ConfigError) as caught:
        Config()
    assert isinstance(caught.value, LinenError)
    assert isinstance(caught.value, ValueError)
    assert str(caught.value) == (
        "The environment variable LINEN_PROFILE must be one of 1, true, yes, on or 0, false, no, "
        "off, but is 'maybe'."
    )


@pytest.mark.parametrize("change", [Config.update, setattr], ids=["update", "assignment"])
def test_changing(change: Any) -> None:
    settings = Config()
    change(settings, "profile", False)
    assert settings.profile is False
    assert vars(settings) == DEFAULTS | {"profile": False}


@pytest.mark.parametrize("change", [Config.update, setattr], ids=["update", "assignment"])
@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        (
            "profiles",
            True,
            "There is no setting 'profiles'. The settings are filter_frames, fix_rng_separator, "
            "preserve_adopted_names, profile, return_frozendict.",
        ),
        ("profile", 1, "The setting 'profile' must be True or False, but got 1."),
        ("profile", None, "The setting 'profile' must be True or False, but got None."),
    ],
)
def test_what_cannot_be_set(change: Any, name: str, value: Any, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        change(Config(), name, value)
    assert str(caught.value) == text


def test_temporary_changes_are_undone() -> None:
    before = dict(vars(config))
    with config.temporary(profile=False, fix_rng_separator=True):
        assert (config.profile, config.fix_rng_separator) == (False, True)
        with config.temporary(profile=True):
            assert config.profile
        assert not config.profile
    assert vars(config) == before


def test_temporary_changes_are_undone_after_errors() -> None:
    before = dict(vars(config))
    with pytest.raises(KeyError), config.temporary(profile=False):
        raise KeyError
    with pytest.raises(ConfigError), config.temporary(profile=False, nothing=True):
        pass
    assert vars(config) == before


def test_temporary_settings_leave_the_others_alone() -> None:
    with config.temporary(return_frozendict=False):
        with config.temporary(profile=False):
            config.update("return_frozendict", True)
        assert config.return_frozendict
        assert config.profile
