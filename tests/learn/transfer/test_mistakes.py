"""What the wrong answers of a new head rest on."""

from __future__ import annotations

import numpy as np
import pytest

import inceptory
from inceptory import Recipe, train
from inceptory.learn.transfer import fit
from inceptory.report import folder as report

SETTINGS = Recipe(precision="fp32")


@pytest.fixture(scope="module")
def data():
    """Pictures whose labels are chance, so that there are mistakes; the last is the first again."""
    chance = np.random.default_rng(0)
    pictures = chance.integers(0, 256, (40, 1, 1, 3)) + chance.integers(-20, 20, (40, 32, 32, 3))
    pictures[-1] = pictures[0]
    return pictures.clip(0, 255).astype(np.uint8), np.arange(40) % 2


def explained(data, backbone, out, monkeypatch):
    """What a run says of its mistakes, and its answers."""
    told, real = {}, report.write_run
    monkeypatch.setattr(fit.report, "write_run", lambda *args, **given: told.update(given) or real(*args, **given))
    train(data, backbone=backbone, out=out, recipe=SETTINGS)
    return told["insight"], told["test"]


@pytest.mark.slow
def test_each_mistake_has_the_nearest_other_pictures(data, backbone, tmp_path, monkeypatch):
    insight, test = explained(data, backbone, tmp_path / "r", monkeypatch)
    assert (insight.searched, insight.of, len(insight.plane.labels)) == (40, 40, 40)
    vectors = inceptory.extract_features(backbone, data, precision="fp32")
    directions = vectors.vectors / np.linalg.norm(vectors.vectors, axis=1, keepdims=True)
    order = {name: row for row, name in enumerate(vectors.names)}
    wrong = test.task.wrong(test.logits, test.labels, 99)
    assert len(insight.reasons) == min(12, len(wrong)) > 3
    for each, reason in zip(wrong, insight.reasons, strict=False):
        row = order[test.names[each.row]]
        cosines = directions @ directions[row]
        cosines[row] = -1
        best = np.sort(cosines)[::-1][:3]
        assert [near.similarity for near in reason.neighbours] == pytest.approx(best.tolist(), abs=1e-5)
        assert [cosines[order[near.name]] for near in reason.neighbours] == pytest.approx(best.tolist(), abs=1e-5)
        assert reason.heat.shape == (32, 32)
    assert insight.plane.wrong.sum() == len(wrong)


@pytest.mark.slow
def test_the_page_shows_them_and_a_second_run_draws_the_same(data, backbone, tmp_path, monkeypatch):
    for name in ("a", "b"):
        explained(data, backbone, tmp_path / name, monkeypatch)
    drawn = (tmp_path / "a" / "features.png").read_bytes()
    assert drawn == (tmp_path / "b" / "features.png").read_bytes()
    page = (tmp_path / "a" / "report.html").read_text()
    assert page.count('class="reason"') > 3
    assert page.count("Near in training") == 3 * page.count('class="reason"')


@pytest.mark.slow
def test_test_pictures_are_compared_with_those_that_the_head_was_fitted_on(data, backbone, tmp_path, monkeypatch):
    pictures, labels = data
    split = {"train": (pictures[:30], labels[:30]), "test": (pictures[28:], labels[28:])}
    insight, test = explained(split, backbone, tmp_path / "r", monkeypatch)
    assert (len(insight.plane.labels), insight.of) == (12, 30)
    wrong = test.task.wrong(test.logits, test.labels, 99)
    twins = [reason for each, reason in zip(wrong, insight.reasons, strict=False) if each.row in (0, 1, 11)]
    assert all(reason.neighbours[0].similarity > 0.9999 for reason in twins), "a copy in another part is a neighbour"
