"""Which pictures are near, and how all lie in a plane."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from inceptory.measure.vectors import Gallery, flattened, nearest, sampled

CHANCE = np.random.default_rng(0)
AMONG = CHANCE.normal(size=(40, 5)).astype(np.float32)
VECTORS = CHANCE.normal(size=(6, 5)).astype(np.float32)


def cosine(one, other) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_the_nearest_are_those_that_brute_force_finds():
    rows, cosines = nearest(VECTORS, AMONG, 3, np.full(6, -1))
    for vector, near, alike in zip(VECTORS, rows, cosines, strict=True):
        every = sorted(((cosine(vector, other), row) for row, other in enumerate(AMONG)), reverse=True)
        assert near.tolist() == [row for _, row in every[:3]]
        assert alike.tolist() == pytest.approx([value for value, _ in every[:3]], abs=1e-6)


def test_a_picture_is_not_its_own_neighbour_and_its_twin_is():
    twins = np.concatenate([AMONG[:3], AMONG[:1]])
    rows, cosines = nearest(twins[:1], twins, 3, np.array([0]))
    assert rows[0, 0] == 3
    assert cosines[0, 0] == pytest.approx(1, abs=1e-6)
    rows, _ = nearest(twins[:1], twins, 9, np.array([0]))
    assert sorted(rows[0]) == [1, 2, 3], "no more than there are"


def test_a_vector_of_zeros_is_like_no_other():
    _, cosines = nearest(np.zeros((1, 5), np.float32), AMONG, 3, np.full(1, -1))
    assert cosines.tolist() == [[0, 0, 0]]


def test_neighbours_come_with_label_name_and_picture():
    pixels = np.arange(40, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    names, own = [f"photos/{row}.png" for row in range(40)], np.array([7, -1])
    gallery = Gallery(AMONG, np.arange(40) % 2, names, pixels.__getitem__, 90, own)
    mine, other = gallery.neighbours(AMONG[[7, 7]], np.array([0, 1]), ("cat", "dog"))
    assert [each.file for each in other][1:] == [each.file for each in mine][:2]
    assert other[0].file == "7.png"
    assert all(each.pixels[0, 0, 0] == int(each.file.removesuffix(".png")) for each in (*mine, *other))
    assert all(each.label == ("cat", "dog")[int(each.file.removesuffix(".png")) % 2] for each in mine)
    empty = Gallery(AMONG[:0], np.empty(0, np.int64), [], pixels.__getitem__, 0)
    assert empty.neighbours(AMONG[:2], np.array([0, 1]), ("cat", "dog")) == [(), ()]


def test_the_plane_keeps_the_directions_of_most_variance():
    known = np.zeros((60, 8), np.float32)
    known[:, 3], known[:, 5] = 10 * CHANCE.normal(size=60), 2 * CHANCE.normal(size=60)
    points, shares = flattened(known)
    assert sum(shares) == pytest.approx(1)
    assert abs(np.corrcoef(points[:, 0], known[:, 3])[0, 1]) > 0.999
    assert abs(np.corrcoef(points[:, 1], known[:, 5])[0, 1]) > 0.95
    assert flattened(known)[0].tobytes() == points.tobytes()


@pytest.mark.parametrize("shape", [(300, 64), (50, 400)], ids=str)
def test_the_plane_is_scikit_learns(shape):
    """Three groups in noise, as vectors of classes are."""
    known = CHANCE.normal(size=(3, shape[1]))[np.arange(shape[0]) % 3] + CHANCE.normal(size=shape)
    points, shares = flattened(known.astype(np.float32))
    fitted = PCA(2, svd_solver="full")
    theirs = fitted.fit_transform(known)
    assert shares == pytest.approx(fitted.explained_variance_ratio_.tolist(), rel=1e-5)
    assert np.abs(np.abs(points) - np.abs(theirs)).max() < 1e-2


@pytest.mark.parametrize(
    "vectors", [np.ones((9, 4)), AMONG[:2], np.where(np.eye(9, 5) > 0, np.nan, 1.0)], ids=["alike", "two", "NaN"]
)
def test_vectors_that_say_nothing_have_no_plane(vectors):
    assert flattened(vectors.astype(np.float32)) is None


def test_of_many_rows_a_seed_chooses():
    assert sampled(5, 0).tolist() == [0, 1, 2, 3, 4]
    some = sampled(100, 1, most=10)
    assert (np.diff(some) > 0).all()
    assert len(some) == 10
    assert some.tolist() == sampled(100, 1, most=10).tolist() != sampled(100, 2, most=10).tolist()
