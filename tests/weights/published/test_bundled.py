"""The weights that are part of the package."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

import inceptory
from inceptory.data.sources.built_in import CIFAR10
from inceptory.data.sources.opening import open_source
from inceptory.weights.published.download import BUNDLED, fetch
from inceptory.weights.published.records import published, record

OURS = [found for found in published().values() if found.bundled]
NAME = "cifar_inception_fast.cifar10"
PAGES = [Path(__file__).parents[3] / f"docs/models/{NAME}{language}.md" for language in ("", ".zh-CN")]
STATED = (("1", "as they are"), ("flip", "mirror images"))


def rows(page: Path) -> list[list[str]]:
    """The cells of the table of accuracies, without its heads."""
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_file_has_a_record_and_every_record_its_file():
    assert {found.file for found in OURS} == {path.name for path in BUNDLED.iterdir()}
    assert all(fetch(found).stat().st_size < 5_000_000 for found in OURS)


def test_its_card_says_what_it_learned_and_how_pictures_are_prepared():
    with inceptory.open_model(NAME) as model:
        card = model.card
        assert (card.architecture, card.labels) == ("cifar_inception_fast", CIFAR10)
        assert card.preprocess is not None
        assert (card.preprocess.size, card.recipe["optimizer"]) == (32, "muon")
        assert card.calibration, "it knows how sure it may be"
        assert {entry.dtype for entry in model.weights.entries.values()} <= {"float16", "int64"}
        assert model.doubts == (), "sealed"


def test_it_answers_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("INCEPTORY_OFFLINE", "1")
    monkeypatch.setenv("INCEPTORY_CACHE", str(tmp_path / "cache"))
    Image.new("RGB", (40, 30), "blue").save(tmp_path / "x.png")
    (answer,) = inceptory.predict(NAME, tmp_path / "x.png", top=10)
    assert set(answer.labels) == set(CIFAR10)
    assert record(NAME).bundled


@pytest.mark.slow
def test_its_accuracy_is_the_one_that_its_page_states(cifar10: Path):
    """To 0.1 points, plain and with mirror images."""
    for (views, words), (what, stated, _) in zip(STATED, rows(PAGES[0]), strict=True):
        top1 = 100 * inceptory.evaluate(NAME, "cifar10", split="test", views=views, engine="torch").top1
        assert words in what
        assert float(stated) == pytest.approx(top1, abs=0.1)


def test_its_page_says_the_same_in_both_languages():
    english, chinese = map(rows, PAGES)
    assert [cells[1:] for cells in english] == [cells[1:] for cells in chinese]
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    assert re.findall(r"^```.*?^```", texts[0], re.DOTALL | re.MULTILINE) == re.findall(
        r"^```.*?^```", texts[1], re.DOTALL | re.MULTILINE
    )
    with inceptory.open_model(NAME) as model:
        network = inceptory.plan(model.card.architecture, **model.card.options)
    for text, page in zip(texts, PAGES, strict=True):
        assert f"{network.numbers()['parameters']:,}" in text
        links = re.findall(r"\]\(([^)]+)\)", text)
        assert links
        assert all((page.parent / link).exists() for link in links)


@pytest.mark.slow
def test_it_is_a_backbone(tmp_path, monkeypatch):
    monkeypatch.setenv("INCEPTORY_CACHE", str(tmp_path / "cache"))
    source = open_source("digits").split("train").take(range(200))
    run = inceptory.train((source.pictures, source.labels), backbone=NAME, out=tmp_path / "run")
    assert run.metrics.top1 > 0.85
