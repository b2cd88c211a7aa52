"""What each package does to pictures, typed a second time from its own documentation and code."""

from __future__ import annotations

import pytest

from inceptory.weights.published.records import published

HALF = "RGB | (x / 255 - 0.5) / 0.5"
PREPARED = {
    # torchvision: ImageNet's mean and deviation, and its transform_input, are together this map.
    "googlenet.tv_in1k": f"resize 256 bilinear | centre crop 224 | {HALF}",
    "inception_v3.torchvision": f"resize 342 bilinear | centre crop 299 | {HALF}",
    # keras.applications: x / 127.5 - 1; whoever loads a picture resizes it.
    "inception_v3.keras_in1k": f"squash 299x299 nearest | {HALF}",
    "xception.keras_in1k": f"squash 299x299 nearest | {HALF}",
    # timm/data: crop shares 0.875, 0.8975, 0.903 and 0.94 of 299.
    "inception_v3.tf_in1k": f"resize 341 bicubic | centre crop 299 | {HALF}",
    "inception_v3.gluon_in1k": (
        "resize 341 bicubic | centre crop 299 | RGB | (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]"
    ),
    "inception_resnet_v2.tf_in1k": f"resize 333 bicubic | centre crop 299 | {HALF}",
    "xception65.tf_in1k": f"resize 331 bicubic | centre crop 299 | {HALF}",
    "xception65.ra3_in1k": f"resize 318 bicubic | centre crop 299 | {HALF}",
    # pretrainedmodels: settings beside each model; BN-Inception is Caffe's, in BGR and on 0 to 255.
    "inception_v4.cadene": f"resize 341 bilinear | centre crop 299 | {HALF}",
    "bn_inception.cadene": "resize 256 bilinear | centre crop 224 | BGR | (x - [104, 117, 128]) / 1",
    # facenet-pytorch: fixed_image_standardization of aligned faces.
    "inception_resnet_v1.vggface2": "squash 160x160 bilinear | RGB | (x - 127.5) / 128",
    # pytorch-fid: F.interpolate, then 2x - 1; torch-fidelity: TensorFlow 1's resize, then (x - 128) / 128.
    "inception_v3.fid": f"squash 299x299 bilinear without antialias | {HALF}",
    "inception_v3.torch_fidelity": (
        "squash 299x299 bilinear without antialias on TensorFlow 1's grid | RGB | (x - 128) / 128"
    ),
}


@pytest.mark.parametrize(("name", "told"), PREPARED.items())
def test_pictures_are_prepared_as_the_package_says(name, told):
    assert str(published()[name].preprocess) == told
