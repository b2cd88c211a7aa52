"""Photographs prepared by every origin's own code and by ours: no pixel more than one level of 255 apart."""

from __future__ import annotations

import importlib
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inceptory.data.picture.preprocess import Preprocess
from inceptory.weights.origins.registry import ORIGINS
from inceptory.weights.published.records import published, record
from tests.peers import picture_peers
from tests.peers.picture_peers import Prepare
from tests.peers.proof import FOUND
from tests.peers.test_keras_peers import PYTHON

SCRIPT = Path(__file__).with_name("keras_pictures.py")

PHOTOS = {
    "landscape": ("coffee", (0, 0, 600, 400)),
    "portrait": ("astronaut", (70, 0, 420, 512)),
    "odd": ("rocket", (0, 0, 639, 427)),
    "small": ("chelsea", (100, 60, 281, 179)),
    "large": ("retina", (0, 0, 1411, 1300)),
}
"""Photographs inside scikit-image's wheel, and the part of each that is used."""


@pytest.fixture(scope="module")
def photos() -> dict[str, Image.Image]:
    data = importlib.import_module("skimage.data")
    cut = {name: Image.fromarray(getattr(data, there)()).crop(box) for name, (there, box) in PHOTOS.items()}
    assert all(picture.mode == "RGB" for picture in cut.values())
    return cut


def of(origin: str, architecture: str) -> Preprocess:
    """What our table says of one origin."""
    (found,) = (each for each in ORIGINS if (each.name, each.architecture) == (origin, architecture))
    return found.preprocess


TORCH: dict[str, tuple[Preprocess, Callable[[], Prepare]]] = {
    "torchvision inception_v3": (
        of("torchvision", "inception_v3"),
        lambda: picture_peers.by_torchvision("inception_v3", "Inception_V3_Weights"),
    ),
    "torchvision googlenet": (
        of("torchvision", "googlenet"),
        lambda: picture_peers.by_torchvision("googlenet", "GoogLeNet_Weights"),
    ),
    "cadene bninception": (of("cadene", "bn_inception"), lambda: picture_peers.by_cadene("bninception")),
    "cadene inceptionv4": (of("cadene", "inception_v4"), lambda: picture_peers.by_cadene("inceptionv4")),
    "cadene inceptionresnetv2": (
        of("cadene", "inception_resnet_v2"),
        lambda: picture_peers.by_cadene("inceptionresnetv2"),
    ),
    "cadene xception": (of("cadene", "xception"), lambda: picture_peers.by_cadene("xception")),
    "facenet": (of("facenet", "inception_resnet_v1"), picture_peers.by_facenet),
    "pytorch-fid": (of("fid", "inception_v3"), picture_peers.by_pytorch_fid),
    "torch-fidelity": (record("inception_v3.torch_fidelity").preprocess, picture_peers.by_torch_fidelity),
}
TIMM = {found.name: found.name for found in published().values() if found.repository}
TIMM["xception.tf_in1k"] = "legacy_xception.tf_in1k"
KERAS = {
    **{name: of("keras", name) for name in ("inception_v3", "inception_resnet_v2", "xception")},
    "slim 224": record("googlenet.slim").preprocess,
    "slim 299": record("inception_v4.slim").preprocess,
}
EVERY = {found.preprocess for found in (*ORIGINS, *published().values()) if found.preprocess}


def apart(steps: Preprocess, picture: Image.Image, theirs: Any, scale: Preprocess) -> float:
    """The largest difference of any pixel, in levels of 255 by the value map of `scale`."""
    ours = steps.values(steps.pixels(picture)[None])[0]
    assert ours.shape == theirs.shape
    levels = np.asarray(scale.std).reshape(3, 1, 1) * scale.divisor
    return float((abs(ours.astype(np.float64) - np.asarray(theirs, dtype=np.float64)) * levels).max())


def assert_alike(name: str, steps: Preprocess, pictures: dict[str, Image.Image], theirs: dict[str, Any]) -> None:
    """Ours is within a level of theirs on every photograph, and no other origin's would be on any."""
    found = {photo: apart(steps, picture, theirs[photo], steps) for photo, picture in pictures.items()}
    others = {replace(other, size=steps.size) for other in EVERY} - {steps}
    nearest = min(
        apart(other, picture, theirs[photo], steps) for other in others for photo, picture in pictures.items()
    )
    worst = max(found.values())
    FOUND.append(f"{name:55}pictures {worst:.2f} levels of 255; the nearest of {len(others)} others {nearest:.1f}")
    assert worst <= 1, found
    assert nearest > 1


@pytest.mark.parametrize("name", TORCH)
def test_photographs_are_prepared_as_the_package_does(name: str, photos: dict[str, Image.Image]):
    steps, make = TORCH[name]
    prepare = make()
    assert_alike(name, steps, photos, {photo: prepare(picture).numpy() for photo, picture in photos.items()})


@pytest.mark.parametrize("name", TIMM)
def test_photographs_are_prepared_as_timm_does(name: str, photos: dict[str, Image.Image]):
    prepare = picture_peers.by_timm(TIMM[name])
    theirs = {photo: prepare(picture).numpy() for photo, picture in photos.items()}
    assert_alike(f"timm {name}", record(name).preprocess, photos, theirs)


@pytest.mark.parametrize(
    "origin", [origin for origin in ORIGINS if origin.name == "timm"], ids=lambda o: o.architecture
)
def test_what_the_table_says_of_timm_is_one_of_its_records(origin):
    assert origin.preprocess == record(f"{origin.architecture}.tf_in1k").preprocess


@pytest.fixture(scope="module")
def answers(photos: dict[str, Image.Image], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """What Keras and TensorFlow make of the photographs, in a process of their own."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, picture in photos.items():
        picture.save(folder / f"{name}.png")
    child = subprocess.run([PYTHON, SCRIPT, folder], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr[-3000:]
    with np.load(folder / "answers.npz") as found:
        yield found


@pytest.mark.parametrize("name", KERAS)
def test_photographs_are_prepared_as_keras_and_tensorflow_do(name: str, photos: dict[str, Image.Image], answers: Any):
    assert_alike(f"keras {name}", KERAS[name], photos, {photo: answers[f"{photo}/{name}"] for photo in photos})
