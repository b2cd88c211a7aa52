"""Every origin that we can read: which network it trained, what it calls its tensors, what it did to pictures.

Sizes, filters and value maps are those of the sources named beside each; see docs/networks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from inceptory.data.picture.preprocess import Preprocess
from inceptory.weights.origins import cadene, caffe, keras, slim, stylegan, timm, torchvision
from inceptory.weights.rules import Table

WITH_BACKGROUND = 1001
"""Classes of a file from TensorFlow: a background class, then ImageNet's 1000."""
HALF = (0.5, 0.5, 0.5)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def centred(size: int, resize: int | None, kind: str) -> Preprocess:
    """The value map (x - 0.5) / 0.5 after a resize with this filter and a centre crop."""
    return Preprocess(size=size, resize=resize, filter=kind, mean=HALF, std=HALF)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Origin:
    """One package's version of one architecture."""

    name: str
    """The package, as `convert --to` takes it."""
    architecture: str
    dialect: str
    table: Table
    classifier: str
    """Their name of the main classifier's weight."""
    preprocess: Preprocess
    """What that package does to pictures by default."""
    classes: int = 1000
    """Classes of its published files, a background class included."""
    background: bool = False
    """Whether class 0 of a file with 1001 classes is "background", which is dropped."""
    aux: str = ""
    """A tensor that only a file with auxiliary heads has."""
    twins: tuple[str, ...] = ()
    """Published files with the same names and graph whose pictures are prepared in another way."""


def _torchvision(architecture: str, table: Table, size: int, resize: int, aux: str, *twins: str) -> Origin:
    # torchvision normalises by ImageNet's mean and deviation, and its transform_input turns that into
    # (x - 0.5) / 0.5 again; together the two are this one map.
    steps = centred(size, resize, "bilinear")
    return Origin("torchvision", architecture, "torchvision", table, "fc.weight", steps, aux=aux, twins=twins)


def _timm(architecture: str, table: Table, classifier: str, resize: int, *, background: bool = False) -> Origin:
    steps = centred(299, resize, "bicubic")
    return Origin("timm", architecture, "timm", table, classifier, steps, background=background)


def _cadene(architecture: str, table: Table, resize: int, *, background: bool) -> Origin:
    steps = centred(299, resize, "bilinear")
    classes = WITH_BACKGROUND if background else 1000
    return Origin(
        "cadene", architecture, "timm", table, "last_linear.weight", steps, classes=classes, background=background
    )


V3_TWINS = (
    "inception_v3.tf_in1k",
    "inception_v3.tf_adv_in1k",
    "inception_v3.gluon_in1k",
    "inception_v3.mmpretrain",
)
CAFFE_BGR = Preprocess(
    size=224,
    resize=256,
    filter="bilinear",
    order="BGR",
    divisor=1,
    mean=(104, 117, 128),
    std=(1, 1, 1),
)
FACES = Preprocess(size=160, filter="bilinear", divisor=1, mean=(127.5,) * 3, std=(128,) * 3)

# Caffe's pictures were resized to 256 x 256, whatever their sides, and the middle of that is taken.
CAFFE = Preprocess(
    size=224,
    filter="bilinear",
    antialias=False,
    central_fraction=0.875,
    order="BGR",
    divisor=1,
    mean=(104, 117, 123),
    std=(1, 1, 1),
)

# pytorch-fid hands F.interpolate the whole picture; torch-fidelity does as TensorFlow 1 did.
PYTORCH_FID = Preprocess(size=299, filter="bilinear", antialias=False, mean=HALF, std=HALF)
TORCH_FIDELITY = Preprocess(
    size=299, filter="bilinear", antialias=False, grid="asymmetric", divisor=1, mean=(128,) * 3, std=(128,) * 3
)

# metrics/metric_utils.py hands it pictures as they are; it resizes them as TensorFlow 1 did.
STYLEGAN = replace(TORCH_FIDELITY, mean=(127.5,) * 3, std=(127.5,) * 3)


def slim_steps(size: int) -> Preprocess:
    """What tf-slim's preprocess_for_eval does (tensorflow/models research/slim/preprocessing)."""
    return Preprocess(
        size=size,
        filter="bilinear",
        antialias=False,
        grid="asymmetric",
        central_fraction=0.875,
        mean=HALF,
        std=HALF,
    )


KERAS_HEAD = "predictions.weight"
# Pictures are resized by whoever loads them; keras.utils.load_img squashes by the nearest neighbour.
KERAS = centred(299, None, "nearest")
# The tutorial's constants: mean and deviation of CIFAR-10's training pictures, on 0 to 255.
CIFAR_STEPS = Preprocess(
    size=32,
    filter="bilinear",
    divisor=1,
    mean=(125.307, 122.95, 113.865),
    std=(62.9932, 62.0887, 66.7048),
)


def _cifar(name: str) -> Origin:
    twins = ("cifar_inception_v3_stem_slim",) if name == "v3" else ()
    return Origin(
        "keras", f"cifar_inception_{name}", "keras", keras.CIFAR, KERAS_HEAD, CIFAR_STEPS, classes=10, twins=twins
    )


def _slim(architecture: str, table: Table, size: int, classifier: str, aux: str = "") -> Origin:
    return Origin(
        "slim",
        architecture,
        "slim",
        table,
        f"{classifier}.conv.weight",
        slim_steps(size),
        classes=WITH_BACKGROUND,
        background=True,
        aux=aux and f"{aux}.conv.weight",
    )


ORIGINS = (
    _torchvision("inception_v3", torchvision.INCEPTION_V3, 299, 342, "AuxLogits.fc.weight", *V3_TWINS),
    _torchvision("googlenet", torchvision.GOOGLENET, 224, 256, "aux1.fc2.weight"),
    # The same names as torchvision's, distinguished by 1008 classes: another pool in the last module.
    Origin(
        "fid",
        "inception_v3",
        "fid",
        torchvision.INCEPTION_V3,
        "fc.weight",
        PYTORCH_FID,
        classes=1008,
        twins=("inception_v3.torch_fidelity",),
    ),
    Origin("stylegan", "inception_v3", "fid", stylegan.INCEPTION_V3, "output.weight", STYLEGAN, classes=1008),
    # And by 1001: timm's older files of TensorFlow's weights, all prepared in the same way.
    Origin(
        "timm",
        "inception_v3",
        "torchvision",
        torchvision.INCEPTION_V3,
        "fc.weight",
        centred(299, 341, "bicubic"),
        classes=WITH_BACKGROUND,
        background=True,
        aux="AuxLogits.fc.weight",
    ),
    # timm/data and results-imagenet.csv: crop shares 0.875, 0.8975 and 0.903 of 299.
    _timm("inception_v4", timm.INCEPTION_V4, "last_linear.weight", 341),
    _timm("inception_resnet_v2", timm.INCEPTION_RESNET_V2, "classif.weight", 333, background=True),
    _timm("xception", timm.XCEPTION, "fc.weight", 333),
    _timm("xception41", timm.aligned(3, 8), "head.fc.weight", 331),
    _timm("xception65", timm.aligned(3, 16), "head.fc.weight", 331),
    _timm("xception71", timm.aligned(5, 16), "head.fc.weight", 331),
    # pretrainedmodels/datasets/utils.py and the settings beside each model.
    Origin("cadene", "bn_inception", "cadene", cadene.BN_INCEPTION, "last_linear.weight", CAFFE_BGR),
    _cadene("inception_v4", timm.INCEPTION_V4, 341, background=True),
    _cadene("inception_resnet_v2", timm.CADENE_INCEPTION_RESNET_V2, 341, background=True),
    _cadene("xception", timm.CADENE_XCEPTION, 333, background=False),
    Origin("keras", "inception_v3", "keras", keras.INCEPTION_V3, KERAS_HEAD, KERAS),
    Origin("keras", "inception_resnet_v2", "keras", keras.INCEPTION_RESNET_V2, KERAS_HEAD, KERAS),
    Origin("keras", "xception", "keras", keras.XCEPTION, KERAS_HEAD, KERAS),
    *(_cifar(name) for name in ("v2", "v3", "v3_slim", "v3_slim_352", "v3_stem_slim")),
    Origin("keras", "cifar_inception_v1", "keras", keras.CIFAR_V1, "dense#1.weight", CIFAR_STEPS, classes=10),
    Origin(
        "caffe", "googlenet", "caffe", caffe.GOOGLENET, "loss3/classifier.weight", CAFFE, aux="loss1/classifier.weight"
    ),
    _slim("googlenet", slim.INCEPTION_V1, 224, "InceptionV1.Logits.Conv2d_0c_1x1"),
    _slim("inception_v2", slim.INCEPTION_V2, 224, "InceptionV2.Logits.Conv2d_1c_1x1"),
    _slim(
        "inception_v3",
        slim.INCEPTION_V3,
        299,
        "InceptionV3.Logits.Conv2d_1c_1x1",
        "InceptionV3.AuxLogits.Conv2d_2b_1x1",
    ),
    _slim("inception_v4", slim.INCEPTION_V4, 299, "InceptionV4.Logits.Logits", "InceptionV4.AuxLogits.Aux_logits"),
    _slim(
        "inception_resnet_v2",
        slim.INCEPTION_RESNET_V2,
        299,
        "InceptionResnetV2.Logits.Logits",
        "InceptionResnetV2.AuxLogits.Logits",
    ),
    Origin("facenet", "inception_resnet_v1", "facenet", timm.FACENET, "logits.weight", FACES, classes=8631),
)
