"""What is unlike the training pictures lies far, and of those like them p-values are as even as they must be."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import normalize

from inceptory.measure import novelty
from inceptory.measure.novelty import Novelty


def vectors(n, seed, length=48, planes=0):
    """As a network gives them, none below 0: mixtures of 6 patterns and some noise; `planes` draws the patterns."""
    random = np.random.default_rng(seed)
    patterns = np.random.default_rng(planes).random((6, length))
    mixed = random.gamma(1, 1, (n, 6)) @ patterns
    return np.maximum(mixed + random.normal(0, 0.2, mixed.shape), 0).astype(np.float32)


PLAIN_NOVELTY = Novelty.of(vectors(100, 1), vectors(20, 2))
PLAIN = PLAIN_NOVELTY.to_json()


def through_text(novelty):
    return Novelty.from_json(json.loads(json.dumps(novelty.to_json())))


def test_other_patterns_and_noise_lie_far_whatever_their_length():
    trained = Novelty.of(vectors(2_000, 1), vectors(500, 2))
    like, other = vectors(500, 3), vectors(500, 4, planes=1)
    noise = np.random.default_rng(5).random((500, 48)).astype(np.float32)
    for strange in (other, noise, noise / 1e3):
        p = np.concatenate([trained.p_values(like), trained.p_values(strange)])
        assert roc_auc_score(np.repeat([1, 0], 500), p) > 0.95
    assert trained.distances_of(1e3 * like) == pytest.approx(trained.distances_of(like), rel=1e-4)


def test_the_distance_is_the_residual_of_scikit_learns_principal_components():
    train, held, like = (vectors(n, seed).astype(np.float64) for seed, n in enumerate((400, 50, 60)))
    ours = Novelty.of(train, held)
    pca = PCA(len(ours.axes), svd_solver="full").fit(normalize(train))
    rest = normalize(like) - pca.inverse_transform(pca.transform(normalize(like)))
    assert len(ours.axes) == 24
    assert ours.distances_of(like) == pytest.approx(np.linalg.norm(rest, axis=1), rel=5e-3)
    assert Novelty.of(np.tile(train, (2, 3)), np.tile(held, 3)).axes.shape == (32, 144)


@pytest.mark.parametrize("held_out", [99, 3_000])
def test_of_pictures_like_the_training_ones_a_share_p_has_a_p_value_up_to_p(held_out):
    shares = {level: [] for level in (0.01, 0.05, 0.2)}
    for seed in range(20):
        trained = through_text(Novelty.of(vectors(300, 100 + seed), vectors(held_out, 200 + seed)))
        values = trained.p_values(vectors(1_000, 300 + seed))
        for level, each in shares.items():
            each.append((values <= level).mean())
    for level, each in shares.items():
        error = 3 * np.std(each) / np.sqrt(20) + 0.002
        assert level - error < np.mean(each) < level + error


def test_p_values_count_the_held_out_pictures_at_least_as_far():
    trained = Novelty(np.zeros(2, np.float16), np.array([[1, 0]], np.float16), 4, (0.1, 0.2, 0.2, 0.6))
    sines = np.array([0.05, 0.15, 0.3, 0.6001])
    points = np.stack([np.sqrt(1 - sines**2), sines], 1)
    assert trained.distances_of(points) == pytest.approx(sines, abs=1e-6)
    assert trained.p_values(points) == pytest.approx([1, 4 / 5, 2 / 5, 1 / 5])


def test_of_many_held_out_pictures_no_p_value_is_too_small_and_none_a_thousandth_too_large():
    train, held, like = vectors(300, 1), vectors(2_345, 2), vectors(800, 3)
    trained = Novelty.of(train, held)
    far = trained.distances_of(held)
    exact = np.array([(1 + (far >= distance).sum()) / 2_346 for distance in trained.distances_of(like)])
    found = trained.p_values(like)
    assert len(trained.distances) == 1_000
    assert (found >= exact - 1e-12).all()
    assert (found <= exact + 4 / 2_346).all()
    assert trained.p_values(np.eye(48)[:1]) == 1 / 2_346


def test_a_vector_that_is_no_number_is_as_far_as_can_be():
    trained = Novelty.of(vectors(100, 1), vectors(30, 2))
    strange = vectors(4, 3)
    strange[0, 0], strange[1, 1], strange[2] = np.nan, np.inf, 0
    values = trained.p_values(strange)
    assert values[:2].tolist() == [1 / 31, 1 / 31]
    assert np.isfinite(trained.distances_of(strange[2:])).all()


def test_a_picture_is_unlike_up_to_one_in_a_hundred_or_farther_than_all_of_fewer():
    for n, expected in ((19, [True, False, False]), (99, [True, False, False]), (1_000, [True, True, False])):
        trained = replace(PLAIN_NOVELTY, n=n)
        p_values = np.array([1, 10 if n == 1_000 else 2, 11]) / (1 + n)
        assert trained.unlike(p_values).tolist() == expected


def test_pictures_that_take_turns_are_measured_from_the_others_alone():
    few, parts = vectors(60, 1), np.arange(60) % 4 - 1
    trained = Novelty.cross_fitted(few, parts)
    expected = [Novelty.of(few[parts != turn], few[parts == turn]).distances for turn in range(3)]
    assert trained.n == 45
    assert trained.distances == pytest.approx(sorted(np.concatenate(expected)), abs=2e-7)
    assert (trained.axes == Novelty.of(few, few[:1]).axes).all()
    for none in (np.full(60, -1), np.zeros(60, int)):
        with pytest.raises(ValueError, match="no picture"):
            Novelty.cross_fitted(few, none)


def test_p_values_of_pictures_that_took_turns_are_not_too_small():
    shares = []
    for seed in range(20):
        trained = Novelty.cross_fitted(vectors(100, 300 + seed), np.arange(100) % 5)
        shares.append((trained.p_values(vectors(200, 400 + seed)) <= 0.1).mean())
    assert 0.01 < np.mean(shares) < 0.1 + 2 * np.std(shares) / np.sqrt(20)


def test_directions_of_few_long_vectors_are_those_of_the_whole_space():
    few = vectors(40, 1)
    trained = Novelty.of(few, few)
    scaled = few / np.linalg.norm(few, axis=1, keepdims=True)
    theirs = np.linalg.svd(scaled - scaled.mean(0))[2][:20]
    assert len(trained.axes) == 20
    assert np.abs(trained.axes.astype(float) @ theirs.T).max(1) == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("n", [8, 200])
def test_there_is_no_direction_without_variance(n):
    alike = np.tile(vectors(1, 1), (n, 1))
    assert len(Novelty.of(alike, alike).axes) == 0
    alike[::2] = vectors(1, 2)
    assert len(Novelty.of(alike, alike).axes) == 1


@pytest.mark.parametrize("n", [1, 2, 3, 10])
def test_few_pictures_are_measured_too(n):
    trained = through_text(Novelty.of(vectors(n, 1), vectors(n, 2)))
    assert len(trained.axes) == n // 2
    assert ((trained.p_values(vectors(50, 3)) > 0) & (trained.p_values(vectors(50, 3)) <= 1)).all()


def test_no_picture_is_refused():
    for train, held in ((0, 3), (3, 0)):
        with pytest.raises(ValueError, match="no picture"):
            Novelty.of(vectors(train, 0), vectors(held, 0))


def test_the_way_through_text_changes_no_distance(monkeypatch):
    trained = Novelty.of(vectors(300, 1), vectors(100, 2))
    again, like = through_text(trained), vectors(100, 3)
    assert (again.distances_of(like) == trained.distances_of(like)).all()
    assert again.distances == trained.distances
    monkeypatch.setattr(novelty, "BLOCK", 7)
    assert again.distances_of(like) == pytest.approx(trained.distances_of(like), abs=1e-6)


@pytest.mark.parametrize("length", [512, 2_048, 8_192])
def test_the_text_stays_under_256_kb(length):
    axes = max(min(novelty.AXES, novelty.NUMBERS // length - 1), 0)
    distances = tuple((np.arange(1_000) / 1_000 + 1e-7).round(7).tolist())
    trained = Novelty(np.ones(length, novelty.HALF), np.ones((axes, length), novelty.HALF), 5_000, distances)
    assert len(json.dumps(trained.to_json())) < 256 * 1024


def test_long_vectors_keep_fewer_directions(monkeypatch):
    monkeypatch.setattr(novelty, "NUMBERS", 5 * 48)
    assert Novelty.of(vectors(300, 1), vectors(100, 2)).axes.shape == (4, 48)


@pytest.mark.parametrize(
    "damage",
    [
        {"mean": ""},
        {"mean": PLAIN["mean"][:-8]},
        {"mean": "?"},
        {"axes": PLAIN["axes"][:-4]},
        {"axes": "AH4A" + PLAIN["axes"][4:]},
        {"n": 0},
        {"n": 21},
        {"n": 10**400, "distances": [0.5] * 1_000},
        {"distances": [float("nan"), *PLAIN["distances"][1:]]},
        {"distances": PLAIN["distances"][::-1]},
        {"distances": [*PLAIN["distances"][:-1], 2.5]},
        {"distances": None},
    ],
    ids=lambda damage: next(iter(damage)),
)
def test_a_damaged_record_is_refused(damage):
    Novelty.from_json(PLAIN)
    with pytest.raises(ValueError, match=r"novelty|Expected|Invalid"):
        Novelty.from_json({**PLAIN, **damage})
