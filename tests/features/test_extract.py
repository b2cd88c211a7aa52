"""Vectors: what they are, which ones are computed, and that nothing but the picture changes one."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from inceptory import extract_features, from_arrays, load, open_model, save
from inceptory.data.feed import ahead
from inceptory.data.feed.batches import normalise
from inceptory.data.picture.decode import open_picture
from inceptory.engines.device import Device
from inceptory.engines.torch import torch_engine
from inceptory.errors import ConfigError, DataError, UnknownName, UsageError
from inceptory.features import extract
from inceptory.features.cache import kept
from tests.conftest import paint
from tests.features.conftest import backbone
from tests.imports import loaded_by
from tests.weights.checkpoints import STEPS


def values(names, preprocess=STEPS) -> torch.Tensor:
    """What the network is given of some files."""
    pixels = np.stack([preprocess.pixels(open_picture(Path(name), name)) for name in names])
    return normalise(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()), preprocess)


def given(model, data, **options):
    """Features in plain fp32."""
    return extract_features(model, data, precision="fp32", **options)


# What a vector is


@torch.inference_mode()
def test_the_bottleneck_is_what_the_classifier_is_given(model, photos):
    net, features = load(model), given(model, photos)
    pooled = net.embed(values(features.names)).numpy()
    np.testing.assert_allclose(features.vectors, pooled, rtol=1e-5, atol=1e-6)
    logits = net.head.classifier(torch.from_numpy(features.vectors))
    np.testing.assert_allclose(logits, net(values(features.names)), rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_an_embedding_of_faces_has_length_one_and_the_bottleneck_before_it_has_not(photos, tmp_path):
    steps = replace(STEPS, size=80)
    face = backbone(tmp_path / "face.safetensors", "inception_resnet_v1", steps, dialect="facenet")
    embedded, plain = given(face, photos, layer="embedding"), given(face, photos)
    np.testing.assert_allclose(np.linalg.norm(embedded.vectors, axis=1), 1, rtol=1e-5)
    lengths = np.linalg.norm(plain.vectors, axis=1, keepdims=True)
    assert not np.allclose(lengths, 1, rtol=0.01)
    np.testing.assert_allclose(embedded.vectors, plain.vectors / lengths, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        plain.vectors, load(face).head.bottleneck(load(face)._last(values(plain.names, steps))), rtol=1e-3, atol=1e-5
    )


@torch.inference_mode()
def test_a_stage_is_averaged_over_its_positions(model, photos):
    net = load(model)
    stage = net.stage_names[1]
    features = given(model, photos, layer=stage)
    mean = net.features(values(features.names), stage)[stage].mean((2, 3)).numpy()
    np.testing.assert_allclose(features.vectors, mean, rtol=1e-5, atol=1e-6)


def test_a_layer_that_is_none_is_told_with_a_near_one(model, photos):
    with pytest.raises(UnknownName, match=r"^'botleneck': no such layer of cifar_inception_v1 \(did you mean 'bottle"):
        given(model, photos, layer="botleneck")


def test_sixteen_bits_are_near_and_their_distance_is_told(model, photos):
    exact, fast = (
        given(model, photos, engine="torch"),
        extract_features(model, photos, precision="bf16", engine="torch"),
    )
    distance = np.linalg.norm(fast.vectors - exact.vectors, axis=1) / np.linalg.norm(exact.vectors, axis=1)
    assert 0 < distance.max() < extract.TOLERATED
    assert fast.about["difference_from_fp32"] == pytest.approx(distance[: extract.SAMPLE].max(), rel=0.05)
    assert "cpu bf16 (at most" in str(fast)
    assert exact.about["difference_from_fp32"] is None
    assert "from fp32" not in str(exact)


@pytest.mark.parametrize("cache", [True, False])
def test_sixteen_bits_that_are_far_off_are_not_taken_unless_asked_for(cache, model, photos, monkeypatch):
    monkeypatch.setattr(extract, "TOLERATED", 0.0)
    monkeypatch.setattr("inceptory.engines.device.fastest", lambda device: "bf16")
    exact = given(model, photos, cache=cache, engine="torch")
    for _ in range(2):
        chosen = extract_features(model, photos, engine="torch", cache=cache)
        assert chosen.about["arithmetic"][0] == "cpu fp32"
        assert np.array_equal(chosen.vectors, exact.vectors)
        assert chosen.computed == 0 if cache else 5
    assert extract_features(model, photos, engine="torch", precision="bf16").about["arithmetic"][0] == "cpu bf16"


def test_the_distance_is_measured_on_pictures_that_can_be_read(model, photos):
    for i in range(2 * extract.SAMPLE):
        (photos / "blue" / f"{i}.png").write_bytes(b"no picture")
    fast = extract_features(model, photos, precision="bf16", device="cpu")
    assert 0 < fast.about["difference_from_fp32"] < extract.TOLERATED


def test_weights_whose_answers_overflow_are_told(photos, tmp_path, model):
    with open_model(model) as opened:
        net = opened.network()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(3e38)
    save(net, tmp_path / "huge.safetensors")
    with pytest.raises(
        DataError, match=r"huge.safetensors: layer bottleneck gives NaN or infinite values in torch cpu fp32 \("
    ):
        given(tmp_path / "huge.safetensors", photos, engine="torch")


# What is computed


def test_a_second_run_computes_nothing_and_gives_the_same_bits(model, photos):
    first, second = given(model, photos), given(model, photos)
    assert (first.computed, second.computed) == (5, 0)
    assert np.array_equal(first.vectors, second.vectors)
    assert (first.names, first.splits, first.classes) == (second.names, second.splits, second.classes)


def test_a_second_run_does_not_load_the_network(model, photos, monkeypatch):
    given(model, photos)
    monkeypatch.setattr("inceptory.engines.opening.Maker.make", lambda *_: pytest.fail("the network was loaded"))
    assert len(given(model, photos)) == 5


def test_only_what_is_new_is_computed(model, photos):
    whole = given(model, photos)
    paint(photos / "red" / "9.png", (210, 50, 40), seed=99)
    more = given(model, photos)
    assert more.computed == 1
    (photos / "red" / "9.png").unlink()
    # Another label, another name, another folder: the same pictures.
    (photos / "green").mkdir()
    shutil.move(photos / "red" / "0.png", photos / "green" / "moved.png")
    moved = given(model, photos)
    assert moved.computed == 0
    assert moved.classes == ("blue", "green", "red")
    place = [Path(name).name for name in moved.names].index("moved.png")
    assert moved.classes[moved.labels[place]] == "green"
    assert np.array_equal(moved.vectors[place], whole.vectors[2])


def test_the_same_content_under_two_names_has_one_vector(model, photos, kept_in):
    shutil.copy(photos / "red" / "0.png", photos / "red" / "copy.png")
    features = given(model, photos)
    rows = {Path(name).name: row for row, name in enumerate(features.names) if "red" in name}
    assert np.array_equal(features.vectors[rows["0.png"]], features.vectors[rows["copy.png"]])
    assert kept()[0].about()["vectors"] == 5
    assert given(model, photos).computed == 0


def test_whatever_changes_a_vector_is_another_cache(model, photos, tmp_path):
    seen = [given(model, photos)]
    net = load(model)
    with torch.no_grad():
        next(net.head.parameters()).add_(1)
    save(net, tmp_path / "other.safetensors")
    seen += [
        given(tmp_path / "other.safetensors", photos),
        given(backbone(tmp_path / "grey.safetensors", preprocess=replace(STEPS, mean=(0.4,) * 3)), photos),
        given(model, photos, layer="embedding"),
        given(model, photos, image=40),
        extract_features(model, photos, precision="bf16", device="cpu"),
    ]
    assert [features.computed for features in seen] == [5] * len(seen)
    assert len(kept()) == len(seen)
    assert len({str(features.about) for features in seen}) == len(seen)


def test_a_copy_of_the_weights_elsewhere_is_the_same_network(model, photos, tmp_path):
    given(model, photos)
    copied = shutil.copy(model, tmp_path / "copy.safetensors")
    assert given(copied, photos).computed == 0


def test_without_the_cache_nothing_is_kept_and_nothing_taken(model, photos, kept_in):
    first = given(model, photos, cache=False)
    assert not kept_in.exists()
    second = given(model, photos)
    assert second.computed == 5
    assert np.array_equal(first.vectors, second.vectors)


# Neighbours


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.slow
def test_neighbours_and_places_in_a_batch_never_change_a_vector(precision, model):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (11, 40, 36, 3), dtype=np.uint8)

    def vectors(order):
        data = from_arrays(pixels[order], [str(row % 2) for row in order])
        return extract_features(model, data, precision=precision, device="cpu", cache=False).vectors

    whole = vectors(list(range(11)))
    shuffled = random.permutation(11).tolist()
    assert np.array_equal(vectors(shuffled), whole[shuffled])
    for row in (0, 6, 10):
        assert np.array_equal(vectors([row]), whole[[row]])


# Views


def test_the_first_view_is_the_picture_as_it_is_and_the_others_repeat_exactly(model, photos):
    plain = given(model, photos, cache=False)
    views = given(model, photos, views=3, cache=False)
    assert views.vectors.shape == (5, 3, plain.vectors.shape[1])
    assert np.array_equal(views.vectors[:, 0], plain.vectors)
    assert not np.isclose(views.vectors[:, 1], views.vectors[:, 0]).all(1).any()
    assert not np.isclose(views.vectors[:, 2], views.vectors[:, 1]).all(1).any()
    assert np.array_equal(given(model, photos, views=3, cache=False).vectors, views.vectors)
    other = given(model, photos, views=3, seed=1, cache=False)
    assert np.array_equal(other.vectors[:, 0], plain.vectors)
    assert not np.isclose(other.vectors[:, 1:], views.vectors[:, 1:]).all(2).any()


def test_more_views_compute_only_the_new_ones(model, photos):
    assert given(model, photos).computed == 5
    two = given(model, photos, views=2)
    assert two.computed == 5
    three = given(model, photos, views=3)
    assert three.computed == 5
    assert np.array_equal(three.vectors[:, :2], two.vectors)


def test_about_half_of_the_views_are_mirrored_parts(model, monkeypatch):
    """A ramp from dark to light tells on which side its left lies."""
    ramp = np.broadcast_to(np.arange(0, 240, 6, dtype=np.uint8)[:, None], (40, 40, 3))
    seen = []
    monkeypatch.setattr(
        extract.Extractor,
        "_vectors",
        lambda self, pixels, device, batch: seen.append(pixels) or np.ones((len(pixels), 2), np.float32),
    )
    extract_features(model, from_arrays(ramp[None], ["a"]), views=41, cache=False, precision="fp32")
    pixels = np.concatenate(seen).astype(int)
    assert (pixels[0, 0, :, 0] < pixels[0, 0, :, -1]).all()
    mirrored = (pixels[1:, 0, :, 0] > pixels[1:, 0, :, -1]).all(1)
    assert 10 < mirrored.sum() < 30
    spans = abs(pixels[1:, 0, 16, 0] - pixels[1:, 0, 16, -1])
    assert spans.min() > 0.5 * 234
    assert len(set(spans.tolist())) > 5


def test_a_part_is_the_same_wherever_its_picture_stands(model, photos, tmp_path):
    whole = given(model, photos, views=2, cache=False)
    lone = given(model, whole.names[3], views=2, cache=False)
    assert np.array_equal(lone.vectors[0], whole.vectors[3])


@pytest.mark.parametrize("views", [0, -1, 1001])
def test_a_number_of_views_out_of_range_is_told(views, model, photos):
    with pytest.raises(UsageError, match=r"^--views -?\d+: out of range \(1 to 1,000\)$"):
        given(model, photos, views=views)


def test_a_mistake_in_the_words_is_answered_without_torch(model, photos):
    code = (
        "from inceptory.cli import main\n"
        "for words in (['--layer', 'x'], ['--image', '1' + '0' * 9], ['--views', '0'], ['--out', 'x.csv']):\n"
        "    assert main(['features', *sys.argv[1:], *words]) == 64, words\n"
        "assert main(['features', sys.argv[1], 'nowhere']) == 66\n"
        "assert main(['features', '--help']) == main(['cache', '--help']) == main(['cache']) == 0\n"
    )
    assert not {"torch", "torchvision"} & loaded_by(code, str(model), str(photos))


# The size of pictures


@torch.inference_mode()
def test_another_size_is_taken_with_its_margin(photos, tmp_path):
    path = backbone(tmp_path / "cropped.safetensors", preprocess=replace(STEPS, resize=36))
    features = given(path, photos, image=48)
    steps = replace(STEPS, size=48, resize=54)
    assert features.about["preprocess"] == steps.to_json()
    expected = load(path).embed(values(features.names, steps)).numpy()
    np.testing.assert_allclose(features.vectors, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("image", "told"), [(0, "too small"), (70, "too small for inception_v3"), (10**6, "gigabytes")]
)
def test_a_size_that_the_network_does_not_take_is_told(image, told, photos, tmp_path):
    with pytest.raises(UsageError, match=rf"^--image {image}: .*{told}"):
        given(backbone(tmp_path / "v3.safetensors", "inception_v3", replace(STEPS, size=80)), photos, image=image)


def test_a_model_without_preprocessing_is_told(model, photos, tmp_path):
    path, net = tmp_path / "bare.safetensors", load(model)
    net.card = None
    save(net, path)
    with pytest.raises(ConfigError, match=r"^\S*bare.safetensors: knows no preprocessing \(save it with"):
        given(path, photos)


def test_python_may_hand_over_an_open_model(model, photos):
    with open_model(model) as opened:
        features = given(opened, photos)
        assert np.array_equal(given(opened, photos).vectors, features.vectors)
    assert given(model, photos).computed == 0


# Many


def test_more_than_memory_should_hold_lies_in_a_file_that_is_gone_afterwards(model, photos, monkeypatch, kept_in):
    expected = given(model, photos, views=2)
    (photos / "red" / "1.png").write_bytes(b"no picture")
    monkeypatch.setattr(extract, "IN_MEMORY", 0)
    monkeypatch.setattr(extract, "MOVED", 1)
    features = given(model, photos, views=2)
    assert isinstance(features.vectors, np.memmap)
    assert np.array_equal(features.vectors, np.delete(expected.vectors, 3, axis=0))
    assert features.computed == 0
    assert [path.name for path in kept_in.parent.iterdir()] == ["features"]


def test_no_room_for_them_is_told_before_anything_is_computed(monkeypatch):
    import errno

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(extract, "IN_MEMORY", 0)
    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(Exception, match=r"no room for 32 bytes of vectors, no space left on device \(make room"):
        extract.space(2, 4)


def test_processes_give_the_bits_that_threads_give(model, photos, monkeypatch):
    threads = given(model, photos, views=2, cache=False)
    monkeypatch.setattr(ahead, "FEW", 0)
    asked = []
    plain = ahead.Processes
    monkeypatch.setattr(ahead, "Processes", lambda *words: asked.append(words[2]) or plain(*words))
    processes = given(model, photos, views=2, cache=False)
    assert asked
    assert np.array_equal(processes.vectors, threads.vectors)


def test_the_engine_gives_vectors_of_both_kinds_for_any_batch(model):
    with open_model(model) as opened:
        engine = torch_engine(opened, "cpu")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
    assert engine.vectors(pixels).dtype == np.float32
    half = replace(engine, device=Device("cpu", "bf16")).vectors(pixels)
    assert half.dtype == np.float32
    assert not np.array_equal(half, engine.vectors(pixels))


def test_openvino_gives_the_vectors_of_torch(model, photos):
    pytest.importorskip("openvino", reason='needs pip install "inceptory[fast]"')
    exact, other = (given(model, photos, engine=name) for name in ("torch", "openvino"))
    assert (other.computed, other.about["arithmetic"][0]) == (5, "openvino fp32")
    np.testing.assert_allclose(other.vectors, exact.vectors, rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match=r"^--engine openvino: gives the bottleneck only"):
        given(model, photos, engine="openvino", layer="embedding")
