from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from inceptory.nets.catalogue import catalogue

DOCS = Path(__file__).parents[2] / "docs"


def load() -> ModuleType:
    """docs/make_pages.py, which belongs to no package."""
    spec = importlib.util.spec_from_file_location("make_pages", DOCS / "make_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pages = load()


def test_the_pages_are_as_they_would_be_written_today(capsys: pytest.CaptureFixture[str]) -> None:
    assert pages.main(["--check"]) == 0, capsys.readouterr().err


@pytest.mark.slow
def test_a_changed_a_missing_and_a_foreign_page_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pages, "NETWORKS", tmp_path / "networks")
    readme = tmp_path / "README.md"
    old = "".join(f"<!-- {name} -->\nold\n<!-- /{name} -->" for name in ("networks", "house"))
    readme.write_text(old, encoding="utf-8")
    monkeypatch.setattr(pages, "READMES", (readme,))
    assert pages.main([]) == 0
    assert readme.read_text(encoding="utf-8").startswith("<!-- networks -->\n| name |")
    readme.write_text(old, encoding="utf-8")
    (tmp_path / "networks" / "xception.md").write_text("changed", encoding="utf-8")
    (tmp_path / "networks" / "googlenet.svg").unlink()
    (tmp_path / "networks" / "alexnet.md").write_text("foreign", encoding="utf-8")
    assert pages.main(["--check"]) == 1
    named = re.findall(r"(\S+): stale", capsys.readouterr().err)
    pages_named = [f"docs/networks/{name}" for name in ("alexnet.md", "googlenet.svg", "xception.md")]
    assert named == [*pages_named, "README.md"]
    assert pages.main([]) == 0
    assert pages.main(["--check"]) == 0
    assert not (tmp_path / "networks" / "alexnet.md").exists()


@pytest.mark.parametrize("name", list(catalogue()))
def test_the_words_name_every_dialect(name: str) -> None:
    _, disagreements = pages.words(name)
    missing = [dialect for dialect in catalogue()[name].dialects if f"- `{dialect}`" not in disagreements]
    assert not missing


@pytest.mark.parametrize("name", list(catalogue()))
def test_a_page_has_its_paper_its_drawing_its_dialects_and_the_two_lines(name: str) -> None:
    text = pages.page(name)
    for part in (catalogue()[name].paper, f"({name}.svg)", f"inceptory show {name}", f'inceptory.create("{name}")'):
        assert part in text
    assert all(f"| `{dialect}` |" in text for dialect in catalogue()[name].dialects)


def test_words_without_a_heading_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "xception.md").write_text("## Idea\n\ntext\n", encoding="utf-8")
    monkeypatch.setattr(pages, "WORDS", tmp_path)
    with pytest.raises(SystemExit, match="Where paper and code disagree"):
        pages.words("xception")
