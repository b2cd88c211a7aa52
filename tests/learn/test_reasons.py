"""What wrong answers of a finished network rest on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from inceptory.data.feed.feed import feed
from inceptory.data.picture.preprocess import Preprocess
from inceptory.data.sources.source import Split
from inceptory.engines.device import Device
from inceptory.engines.explain.attribution import attribute, heat_of
from inceptory.engines.explain.branches import joint_of, located
from inceptory.engines.torch import TorchEngine
from inceptory.learn import reasons
from inceptory.learn.reasons import Kept, Time, explained, looked_over, plane_of
from inceptory.measure.evaluate import Scored, logits_of
from inceptory.measure.tasks import MULTI_LABEL, SINGLE_LABEL
from inceptory.measure.vectors import NOTHING
from inceptory.nets.catalogue import plan
from inceptory.nets.network import create
from inceptory.system import clock
from inceptory.system.ranks import Ranks

CLASSES = ("w", "x", "y", "z")
LONG = Time(1e12)


@pytest.fixture(scope="module")
def engine() -> TorchEngine:
    torch.manual_seed(0)
    net = create("cifar_inception_v2", width=0.25, classes=4).eval()
    for part in net.modules():
        if isinstance(part, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(part.weight)
    return TorchEngine(net, Preprocess(size=32, mean=(0.5,) * 3, std=(0.5,) * 3), Device("cpu"))


@pytest.fixture(scope="module")
def pictures(engine):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    split = Split([*pixels[:5], b"not a picture", *pixels[5:]], np.arange(13) % 4, list("abcdefghijklm"))
    return feed(split, CLASSES, engine.preprocess)


@pytest.fixture(scope="module")
def measured(engine, pictures):
    """(answers, vectors, their places)."""
    kept = Kept.of(engine, torch.arange(len(pictures.labels)), 0)
    logits, rows = logits_of(engine, pictures, answer=kept.logits)
    vectors, chosen = kept.all(Ranks())
    return Scored.of(SINGLE_LABEL, logits, rows, pictures), vectors, np.searchsorted(rows.numpy(), chosen)


def told(engine, pictures, measured, time: Time = LONG, **other):
    test, vectors, places = measured
    near = other.get("near", lambda: looked_over(engine, pictures, 0, time))
    return explained(engine, test, CLASSES, lambda: plane_of(test, vectors, places), near, time)


def test_vectors_are_kept_while_logits_are_as_ever(engine, pictures, measured, monkeypatch):
    test, vectors, places = measured
    logits, rows = logits_of(engine, pictures)
    assert np.array_equal(test.logits, logits.numpy())
    assert places.tolist() == list(range(12))
    assert np.array_equal(vectors, engine.vectors(next(pictures.batches([rows])).pixels.numpy()))
    some = Kept(engine, torch.tensor([3, 5, 9]))
    logits_of(engine, pictures, answer=some.logits)
    assert some.all(Ranks())[1].tolist() == [3, 9], "one cannot be read"
    half = torch.tensor([1, 4, 8, 12])
    assert Kept.of(engine, half, 0).chosen.tolist() == half.tolist(), "of the pictures that are measured, not of all"


def test_a_process_without_pictures_has_vectors_of_the_right_length(engine, measured):
    assert Kept(engine, torch.tensor([3])).all(Ranks())[0].shape == (0, measured[1].shape[1])


def test_heat_is_that_of_explain(engine, pictures):
    pixels = next(pictures.batches([torch.arange(3)])).pixels.numpy()
    stage = located(engine.net.plan)
    theirs = attribute(engine, pixels, stage, joint_of(engine.net.plan), 4)
    for place in (0, 3):
        heat, vectors = heat_of(engine, pixels, theirs.best[:, place], stage)
        np.testing.assert_allclose(heat, theirs.heat[:, place], rtol=1e-5, atol=1e-7)
        assert heat.max() > 0 or place
    np.testing.assert_allclose(vectors, engine.vectors(pixels), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "stage"),
    [("inception_v3", {}, "Mixed_7c"), ("xception", {}, "block14"), ("cifar_inception_v1", {}, "Mixed_3")],
)
def test_heat_is_taken_where_the_map_tells_places_apart(name, options, stage):
    assert located(plan(name, classes=3, **options)).startswith(stage)


def test_each_mistake_has_its_heat_and_its_nearest_training_pictures(engine, pictures, measured, monkeypatch):
    monkeypatch.setattr(reasons, "AT_ONCE", 2)
    test, vectors, _ = measured
    wrong = SINGLE_LABEL.wrong(test.logits, test.labels, reasons.EXPLAINED)
    insight = told(engine, pictures, measured)
    assert len(insight.reasons) == len(wrong) > 2
    assert (insight.searched, insight.of, insight.stage) == (12, 12, located(engine.net.plan))
    directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for each, reason in zip(wrong, insight.reasons, strict=True):
        pixels = np.ascontiguousarray(test.pixels([each.row]).transpose(0, 3, 1, 2))
        heat, _ = heat_of(engine, pixels, np.array([each.answer]), insight.stage)
        np.testing.assert_allclose(reason.heat, heat[0], rtol=1e-4, atol=1e-6)
        rows = np.argsort(-(directions @ directions[each.row]), kind="stable")[:3]
        assert [near.name for near in reason.neighbours] == [test.names[row] for row in rows]
        assert [near.label for near in reason.neighbours] == [CLASSES[test.labels[row]] for row in rows]
        assert np.array_equal(reason.neighbours[1].pixels, test.pixels([int(rows[1])])[0])
    assert insight.plane.wrong.sum() == len(SINGLE_LABEL.wrong(test.logits, test.labels, 99))
    assert np.array_equal(insight.plane.points, told(engine, pictures, measured).plane.points)


def test_without_time_the_pictures_are_drawn_and_nothing_is_explained(engine, pictures, measured):
    insight = told(engine, pictures, measured, Time(clock.now() - 1))
    assert (insight.reasons, insight.searched) == ((), 0)
    assert insight.plane is not None


def test_after_a_signal_nothing_more_is_begun(engine, pictures, measured):
    assert told(engine, pictures, measured, Time(1e12, lambda: True)).reasons == ()


def test_training_pictures_are_looked_over_until_the_time_is_up(engine, pictures, monkeypatch):
    monkeypatch.setattr(reasons, "GROUP", 3)
    hands = [100.0]
    monkeypatch.setattr(clock, "now", lambda: hands[0])
    real = TorchEngine.vectors

    def slow(self, pixels):
        hands[0] += 10
        return real(self, pixels)

    monkeypatch.setattr(TorchEngine, "vectors", slow)
    gallery = looked_over(engine, pictures, 0, Time(125.0))
    assert hands[0] == 120, "a third group would not be done"
    assert 5 <= len(gallery.vectors) <= 6
    assert len(looked_over(engine, pictures, 0, Time(0.0)).vectors) == 0


def test_time_is_a_share_of_the_run_within_limits_and_never_more_than_is_left(monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: 0.0)
    assert [Time.of(used).end for used in (1, 1000, 1e6)] == [2, 20, 60]
    assert Time.of(1000, 3.0).end == 3
    assert Time.of(1000, -3.0).end == -3


def test_a_failure_is_said_in_one_line_and_costs_nothing_else(engine, pictures, measured, capsys):
    def full():
        raise MemoryError("no\nroom")

    assert told(engine, pictures, measured, near=full) == NOTHING
    assert capsys.readouterr().err == "mistakes are not explained: MemoryError no\\nroom\n"


def test_several_classes_a_picture_have_no_mistakes_to_explain(engine):
    several = Scored(MULTI_LABEL, np.eye(4), np.eye(4, dtype=np.uint8), list("abcd"), lambda rows: None)
    assert explained(engine, several, CLASSES, lambda: None, lambda: None, LONG) == NOTHING
