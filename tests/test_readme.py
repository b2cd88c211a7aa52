"""What the READMEs promise, run."""

from __future__ import annotations

import contextlib
import re
import shlex
from pathlib import Path

import pytest

from inceptory.cli import main

ROOT = Path(__file__).parent.parent
READMES = ("README.md", "README.zh-CN.md")


def blocks(name: str, language: str) -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.slow
def test_the_shell_quickstart_runs_and_the_demo_reaches_its_accuracy(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setenv("INCEPTORY_CACHE", str(tmp_path / "cache"))
    (lines,) = blocks("README.md", "shell")
    commands = [shlex.split(line) for line in lines.strip().splitlines()]
    assert len(commands) == 5
    with contextlib.chdir(tmp_path):
        for words in commands:
            assert words[0] == "inceptory"
            assert main(words[1:]) == 0, words
            told = capsys.readouterr().out.strip().splitlines()
            if words[1] == "demo":
                accuracy = re.fullmatch(r"top-1 (\d+\.\d) %", told[-1])
                assert accuracy is not None, told[-1]
                assert float(accuracy[1]) >= 95
    assert (tmp_path / "inception_v3.svg").is_file()
    assert (tmp_path / "runs" / "digits" / "model.safetensors").is_file()


def test_the_python_quickstart_runs_and_its_comments_are_true(tmp_path: Path):
    code, _ = blocks("README.md", "python")
    assert len(code.strip().splitlines()) <= 6
    names: dict = {}
    with contextlib.chdir(tmp_path):
        exec(compile(code, "README.md", "exec"), names)
    assert {name: tuple(value.shape) for name, value in names["maps"].items()} == {"Mixed_6e": (2, 192, 17, 17)}
    assert tuple(names["logits"].shape) == (2, 10)


@pytest.mark.slow
def test_the_estimators_run_in_a_grid_search(run: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("INCEPTORY_CACHE", str(tmp_path / "cache"))
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "demo").symlink_to(run)
    _, code = blocks("README.md", "python")
    names: dict = {}
    with contextlib.chdir(tmp_path):
        exec(compile(code, "README.md", "exec"), names)
    assert names["pictures"].shape == (300, 8, 8)
    assert names["names"].shape == (2,)
    assert names["search"].best_score_ > 0.5


def test_both_readmes_hold_the_same_commands_and_sections():
    english, chinese = ((ROOT / name).read_text(encoding="utf-8") for name in READMES)
    assert blocks(READMES[0], "shell") == blocks(READMES[1], "shell")
    strip = re.compile(r"#.*$", re.MULTILINE)
    assert [strip.sub("", code) for code in blocks(READMES[0], "python")] == [
        strip.sub("", code) for code in blocks(READMES[1], "python")
    ]
    assert len(re.findall("^## ", english, re.MULTILINE)) == len(re.findall("^## ", chinese, re.MULTILINE))
    assert english.count("```") == chinese.count("```")


def test_every_link_leads_somewhere():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("benchmarks/*.md")]
    found = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))]
    links = [(page, link) for page, link in found if "://" not in link]
    assert {page.name for page, _ in links} >= set(READMES)
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []


def listed(text: str) -> list[str]:
    """The files of a README's tree by their paths."""
    folders, found = [], []
    for line in text.split("<!-- house -->\n")[1].split("\n<!-- /house -->")[0].splitlines()[2:-1]:
        depth, name, phrase = (len(line) - len(line.lstrip())) // 2, *line.split(maxsplit=1)
        assert phrase, line
        folders[depth - 1 :] = [name.removesuffix("/")]
        if not name.endswith("/"):
            found.append("/".join(folders))
    return found


@pytest.mark.parametrize("name", READMES)
def test_the_tree_names_every_module_with_a_phrase(name: str):
    package = ROOT / "inceptory"
    modules = {path.relative_to(package).as_posix() for path in package.rglob("*.py") if path.name != "__init__.py"}
    found = listed((ROOT / name).read_text(encoding="utf-8"))
    assert len(found) == len(set(found))
    assert set(found) == modules
