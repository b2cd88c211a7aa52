"""Published accuracies held against their sources: torchvision's own meta, and a second table typed from the others."""

from __future__ import annotations

import pytest
import torchvision

from inceptory.weights.published.records import published

# One block a source, in its own words and order. Top-1 and top-5 in percent, single crop, ImageNet validation.
SOURCES = {
    "timm results/results-imagenet.csv": {
        "xception65.ra3_in1k": (83.186, 96.596),
        "xception65p.ra3_in1k": (83.160, 96.506),
        "xception41p.ra3_in1k": (81.978, 95.784),
        "inception_resnet_v2.tf_in1k": (80.434, 95.312),
        "inception_v4.tf_in1k": (80.144, 94.982),
        "inception_resnet_v2.tf_ens_adv_in1k": (79.998, 94.940),
        "xception71.tf_in1k": (79.920, 94.908),
        "xception65.tf_in1k": (79.558, 94.656),
        "xception.tf_in1k": (79.058, 94.396),
        "inception_v3.gluon_in1k": (78.806, 94.372),
        "xception41.tf_in1k": (78.550, 94.282),
        "inception_v3.tf_in1k": (77.866, 93.644),
        "inception_v3.tf_adv_in1k": (77.598, 93.726),
        "inception_v3.tv_in1k": (77.472, 93.468),
    },
    "mmpretrain configs/inception_v3/metafile.yml": {"inception_v3.mmpretrain": (77.57, 93.58)},
    "keras.io/api/applications": {
        "xception.keras_in1k": (79.0, 94.5),
        "inception_v3.keras_in1k": (77.9, 93.7),
        "inception_resnet_v2.keras_in1k": (80.3, 95.3),
    },
    "tensorflow/models research/slim/README.md": {
        "googlenet.slim": (69.8, 89.6),
        "inception_v2.slim": (73.9, 91.8),
        "inception_v3.slim": (78.0, 93.9),
        "inception_v4.slim": (80.2, 95.2),
        "inception_resnet_v2.slim": (80.4, 95.3),
    },
    "Cadene/pretrained-models.pytorch README.md": {
        "inception_resnet_v2.cadene": (80.170, 95.234),
        "inception_v4.cadene": (80.062, 94.926),
        "bn_inception.cadene": (73.524, 91.562),
    },
    "ONNX model zoo": {f"googlenet.onnx_{opset}": (67.78, 88.34) for opset in (3, 6, 7, 8, 9, 12)},
    "Caffe's readme of bvlc_googlenet; OpenVINO re-measures 68.93/89.14": {"googlenet.caffe": (68.7, 88.9)},
}
TORCHVISION = {
    "googlenet.tv_in1k": "GoogLeNet_Weights",
    "inception_v3.torchvision": "Inception_V3_Weights",
    "inception_v3.torchvision_old": "Inception_V3_Weights",
}


@pytest.mark.parametrize(("name", "weights"), TORCHVISION.items())
def test_torchvisions_accuracies_are_those_of_its_own_meta(name, weights):
    told = getattr(torchvision.models, weights).IMAGENET1K_V1.meta["_metrics"]["ImageNet-1K"]
    accuracy = published()[name].accuracy
    assert (accuracy.top1, accuracy.top5) == (told["acc@1"], told["acc@5"])
    assert accuracy.source == "torchvision's weights meta"


@pytest.mark.parametrize("source", SOURCES)
def test_the_accuracies_of_a_source_are_those_that_it_reports(source):
    found = {
        name: (record.accuracy.top1, record.accuracy.top5)
        for name, record in published().items()
        if record.accuracy is not None and record.accuracy.source == source
    }
    assert found == SOURCES[source]


def test_every_accuracy_has_one_of_these_sources():
    known = {name for told in SOURCES.values() for name in told} | TORCHVISION.keys()
    assert {name for name, record in published().items() if record.accuracy is not None} == known
