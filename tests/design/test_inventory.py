"""What a wheel offers of the API that its users already know: `inventory/<import name>.toml` lists it.

Every listed name exists where it says, is what it says, accepts the parameters, is annotated, has an
example and is used in a test of its package. What was left out on purpose is listed too, with the
reason, and must not be there.
"""

import ast
import enum
import importlib
import inspect
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from repository import load_packages

INVENTORIES = sorted(Path(__file__).with_name("inventory").glob("*.toml"))
PACKAGES = {package.import_name: package for package in load_packages().values()}


class Entry(NamedTuple):
    """One name of an inventory: where it is imported from, and what it says that it is."""

    module: str
    name: str
    kind: str
    parameters: str | None

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"

    @property
    def owner(self) -> Any:
        """The module, or the class in it that has the name."""
        found: Any = importlib.import_module(self.module)
        for part in self.name.split(".")[:-1]:
            found = getattr(found, part)
        return found

    @property
    def last(self) -> str:
        """The name in its owner."""
        return self.name.split(".")[-1]

    @property
    def value(self) -> Any:
        """What the name stands for."""
        return getattr(self.owner, self.last)


def entries(text: str) -> Iterator[Entry]:
    """Yields the names of an inventory that must be there."""
    for module, names in tomllib.loads(text).items():
        if not module.startswith("absent"):
            for name, said in names.items():
                kind, _, parameters = said.partition("(")
                given = f"({parameters}" if parameters else None
                yield Entry(module, name, kind.strip() or "function", given)


def absent(text: str) -> Iterator[tuple[Entry, tuple[str, ...]]]:
    """Yields the names that must not be there, or those of their parameters that must not."""
    tables = tomllib.loads(text)
    names = dict.fromkeys(tables.get("absent", ()), ()) | tables.get("absent-parameters", {})
    for dotted, parameters in names.items():
        # Of the modules that the inventory mentions, the longest that the name begins with.
        module = max((m for m in tables if dotted.startswith(f"{m}.")), key=len)
        yield Entry(module, dotted.removeprefix(f"{module}."), "", None), tuple(parameters)


def wrong_kind(value: Any, kind: str, in_class: bool = False) -> str | None:
    """Returns a complaint if a value is not of the kind that an inventory gives."""
    word, _, rest = kind.partition(" ")
    fits: dict[str, Callable[[], bool]] = {
        "function": lambda: inspect.isroutine(value),
        "class": lambda: inspect.isclass(value),
        "property": lambda: in_class and isinstance(value, property),
        "exception": lambda: inspect.isclass(value) and issubclass(value, Exception),
        "value": lambda: not inspect.isroutine(value) and not inspect.isclass(value),
        "enum": lambda: (
            inspect.isclass(value)
            and issubclass(value, enum.Enum)
            and [*value.__members__] == rest.split(", ")
        ),
    }
    return None if fits[word]() else f"is {value!r}, no {kind}"


def parameters_of(value: Any, in_class: bool) -> dict[str, inspect.Parameter]:
    """Returns the parameters that a caller gives, without `self`."""
    found = dict(inspect.signature(value).parameters)
    if in_class and not inspect.isclass(value) and next(iter(found), None) == "self":
        del found["self"]
    return found


def wrong_parameters(found: dict[str, inspect.Parameter], said: str) -> list[str]:
    """Returns how parameters differ from those that an inventory says they are."""
    definition = ast.parse(f"def f{said}: ...").body[0]
    assert isinstance(definition, ast.FunctionDef)
    expected = definition.args
    positional = [argument.arg for argument in expected.args]
    defaults = dict(zip(reversed(positional), reversed(expected.defaults), strict=False))
    defaults |= {
        argument.arg: default
        for argument, default in zip(expected.kwonlyargs, expected.kw_defaults, strict=True)
        if default is not None
    }
    by_position = [p.name for p in found.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    by_keyword = {
        p.name for p in found.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    keywords = [argument.arg for argument in expected.kwonlyargs]
    complaints = [
        f"{name} is no parameter" for name in (*positional, *keywords) if name not in by_keyword
    ]
    if by_position[: len(positional)] != positional and not complaints:
        complaints.append(f"positions are {by_position}")
    for kind, what in (
        (inspect.Parameter.VAR_POSITIONAL, expected.vararg),
        (inspect.Parameter.VAR_KEYWORD, expected.kwarg),
    ):
        if what is not None and not any(p.kind is kind for p in found.values()):
            complaints.append(f"no place for *{what.arg}")
    for parameter in found.values():
        known = parameter.name in (*positional, *keywords)
        has_default = parameter.default is not parameter.empty
        variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if not has_default and not variadic and (not known or parameter.name in defaults):
            complaints.append(f"{parameter.name} must be given")
        if known and has_default and (default := defaults.get(parameter.name)) is not None:
            value = ast.literal_eval(default)
            if value is not ... and value != parameter.default:
                complaints.append(
                    f"{parameter.name} is {parameter.default!r} by default, not {value!r}"
                )
    return complaints


def unannotated(value: Any, in_class: bool) -> list[str]:
    """Returns the parameters of a callable that have no annotation, and "return" if it has none."""
    function = value.__init__ if inspect.isclass(value) else value
    if getattr(function, "__module__", "builtins").split(".")[0] in sys.stdlib_module_names:
        return []  # inherited from the standard library, whose types checkers know
    signature = inspect.signature(function)
    names = [
        p.name
        for p in signature.parameters.values()
        if p.annotation is p.empty
        and not ((in_class or inspect.isclass(value)) and p.name == "self")
    ]
    has_return = signature.return_annotation is not signature.empty or inspect.isclass(value)
    return names if has_return else [*names, "return"]


def examples(text: str | None) -> str:
    """Returns the lines of a docstring that doctest runs."""
    return "\n".join(re.findall(r"^\s*(?:>>>|\.\.\.) (.*)$", text or "", re.MULTILINE))


def has_example(entry: Entry) -> bool:
    """Whether there is an example: of its own, or one of its class or module that uses the name.

    What has no docstring, a constant say, is to be in an example anywhere in the package.
    """
    if entry.kind == "value":
        sources = PACKAGES[entry.module.split(".")[0]].source.rglob("*.py")
        texts = [path.read_text(encoding="utf-8") for path in sources]
    elif examples(entry.value.__doc__):
        return True
    else:
        texts = [base.__doc__ for base in getattr(entry.owner, "__mro__", (entry.owner,))]
    return any(re.search(rf"\b{entry.last}\b", examples(text)) for text in texts)


@cache
def words_of_tests(module: str) -> frozenset[str]:
    """Returns the words that the tests of a package consist of."""
    tests = PACKAGES[module.split(".")[0]].folder / "tests"
    return frozenset(
        word
        for path in tests.rglob("*.py")
        for word in re.findall(r"\w+", path.read_text(encoding="utf-8"))
    )


TEXTS = [path.read_text(encoding="utf-8") for path in INVENTORIES]
ENTRIES = [entry for text in TEXTS for entry in entries(text)]
CALLABLE = [entry for entry in ENTRIES if entry.parameters is not None]
every_entry = pytest.mark.parametrize("entry", ENTRIES, ids=str)


def test_there_are_inventories() -> None:
    assert CALLABLE  # without entries, the tests below would be skipped


@every_entry
def test_it_is_there(entry: Entry) -> None:
    found = inspect.getattr_static(entry.owner, entry.last)
    value = found if entry.kind == "property" else entry.value
    assert wrong_kind(value, entry.kind, inspect.isclass(entry.owner)) is None


@pytest.mark.parametrize("entry", CALLABLE, ids=str)
def test_it_takes_the_parameters_that_users_know(entry: Entry) -> None:
    found = parameters_of(entry.value, inspect.isclass(entry.owner))
    assert wrong_parameters(found, entry.parameters or "()") == []


@pytest.mark.parametrize("entry", CALLABLE, ids=str)
def test_it_is_annotated(entry: Entry) -> None:
    assert unannotated(entry.value, inspect.isclass(entry.owner)) == []


@pytest.mark.parametrize(
    "entry", [entry for entry in ENTRIES if entry.kind != "exception"], ids=str
)
def test_an_example_uses_it(entry: Entry) -> None:
    assert has_example(entry)


@every_entry
def test_a_test_uses_it(entry: Entry) -> None:
    assert entry.last in words_of_tests(entry.module)


@pytest.mark.parametrize(
    ("entry", "parameters"), [row for text in TEXTS for row in absent(text)], ids=str
)
def test_what_is_left_out_is_not_there(entry: Entry, parameters: tuple[str, ...]) -> None:
    if parameters:
        found = parameters_of(entry.value, inspect.isclass(entry.owner))
        assert not found.keys() & parameters
    else:
        assert not hasattr(entry.owner, entry.last)


# The checks find what they are for.


def test_entries_are_read() -> None:
    text = """
    ["m.sub"]
    f = "(a, b=1)"
    "C.p" = "property"
    C = "class (x)"
    V = "value"
    [absent]
    "m.sub.gone" = "moved"
    [absent-parameters]
    "m.sub.f" = { c = "private" }
    """
    assert list(entries(text)) == [
        ("m.sub", "f", "function", "(a, b=1)"),
        ("m.sub", "C.p", "property", None),
        ("m.sub", "C", "class", "(x)"),
        ("m.sub", "V", "value", None),
    ]
    assert [(str(entry), parameters) for entry, parameters in absent(text)] == [
        ("m.sub.gone", ()),
        ("m.sub.f", ("c",)),
    ]


@pytest.mark.parametrize(
    ("said", "complaints"),
    [
        ("(a, b=1, *args, c=None, **kwargs)", []),
        ("(a, b=..., *, c=...)", []),
        ("(a)", []),
        ("(a, z)", ["z is no parameter"]),
        ("(b, a=1)", ["positions are ['a', 'b']", "a must be given"]),
        ("()", ["a must be given"]),
        ("(a=1)", ["a must be given"]),
        ("(a, b=2)", ["b is 1 by default, not 2"]),
        ("(a, *, c=3)", ["c is None by default, not 3"]),
    ],
)
def test_wrong_parameters_are_found(said: str, complaints: list[str]) -> None:
    def function(a: int, b: int = 1, *args: int, c: None = None, **kwargs: int) -> None: ...

    assert wrong_parameters(parameters_of(function, False), said) == complaints


def test_missing_variadic_parameters_are_found() -> None:
    found = parameters_of(lambda a: a, False)
    expected = ["no place for *rest", "no place for *options"]
    assert wrong_parameters(found, "(a, *rest, **options)") == expected


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (3, "function"),
        (len, "class"),
        (len, "value"),
        (int, "exception"),
        (int, "enum A"),
        (enum.Enum("E", ["A", "B"]), "enum A"),
        (3, "property"),
    ],
    ids=str,
)
def test_wrong_kinds_are_found(value: Any, kind: str) -> None:
    assert wrong_kind(value, kind) is not None


def test_missing_annotations_are_found() -> None:
    def function(a, b: int): ...  # type: ignore[no-untyped-def]

    class Owner:
        def __init__(self, a: int, b=1) -> None: ...  # type: ignore[no-untyped-def]

        def method(self, a: int) -> int:
            return a

    assert unannotated(function, False) == ["a", "return"]
    assert unannotated(Owner, False) == ["b"]
    assert unannotated(Owner.method, True) == []


def test_examples_are_the_lines_that_run() -> None:
    text = """Says apply.

    Example:
        >>> y = init(f)
        ... + 1
        apply
    """
    assert examples(text) == "y = init(f)\n+ 1"
    assert examples(None) == ""
