"""What READMEs and design notes show is true: examples run and commands are those that CI runs."""

import re
from pathlib import Path

import pytest
from repository import ROOT, load_packages

READMES = [ROOT / "README.md", *(p.folder / "README.md" for p in load_packages().values())]
NOTES = sorted((ROOT / "docs/design").glob("*.md"))


def blocks(path: Path, language: str) -> list[str]:
    """Returns the fenced blocks of a language in a Markdown file."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(
    "path", [*READMES, *NOTES], ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_examples_run(path: Path) -> None:
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(path, "python"):
        exec(compile(block, str(path), "exec"), namespace)


def test_ci_runs_the_second_command() -> None:
    _, tests = "".join(blocks(ROOT / "README.md", "sh")).splitlines()
    assert tests in (ROOT / ".ci/run").read_text().splitlines()


def test_folders_that_the_readme_names_exist() -> None:
    named = re.findall(r"^\| `([^`]+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    folders = [name for name in named if "/" in name or "." in name]
    assert folders
    assert [name for name in folders if not (ROOT / name).exists()] == []
