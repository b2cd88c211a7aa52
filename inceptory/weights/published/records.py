"""Every published weight file of the family: where it is, its hash as declared, licence, preprocessing, accuracy.

A field is None where its publisher does not say. Accuracies are single-crop ImageNet validation in
percent, as the named source reports them; nothing here was measured by us.

    >>> record("inception_v3.torchvision").file
    'inception_v3_google-0cc3c7bd.pth'
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from types import MappingProxyType
from typing import Any

from inceptory.data.picture.preprocess import Preprocess
from inceptory.errors import UnknownName
from inceptory.weights.origins.registry import (
    CAFFE,
    CAFFE_BGR,
    FACES,
    IMAGENET_MEAN,
    IMAGENET_STD,
    KERAS,
    PYTORCH_FID,
    STYLEGAN,
    TORCH_FIDELITY,
    centred,
    slim_steps,
)
from inceptory.weights.published.record import Accuracy, Declared, Published

APACHE, BSD, MIT = "Apache-2.0", "BSD-3-Clause", "MIT"
UNSTATED = "not stated"


TIMM_CSV = "timm results/results-imagenet.csv"
SLIM_README = "tensorflow/models research/slim/README.md"
KERAS_SITE = "keras.io/api/applications"
CADENE_README = "Cadene/pretrained-models.pytorch README.md"
TV_META = "torchvision's weights meta"

PYTORCH = "https://download.pytorch.org/models/"
TENSORFLOW = "https://download.tensorflow.org/models/"
CADENE = "http://data.lip6.fr/cadene/pretrainedmodels/"  # a page, for nothing is fetched over plain http
TIMM = "https://github.com/rwightman/pytorch-image-models/releases/download/"
KERAS_APPLICATIONS = "https://storage.googleapis.com/tensorflow/keras-applications/"
CHOLLET = "https://github.com/fchollet/deep-learning-models/releases/download/"
FACENET = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/"
FID = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
FIDELITY = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
NVIDIA = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/"
DEEPFAKES = "https://github.com/SCLBD/DeepfakeBench/releases/download/v1.0.0/"
OPENMMLAB = "https://download.openmmlab.com/mmclassification/v0/inception-v3/"
GLUON = "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/gluon/models/"

V3_STEPS, V2_STEPS = centred(299, 341, "bicubic"), centred(299, 333, "bicubic")
GLUON_STEPS = Preprocess(size=299, resize=341, mean=IMAGENET_MEAN, std=IMAGENET_STD)
# configs/inception_v3/inception-v3_8xb32_in1k.py and _base_/datasets/imagenet_bs32.py; OpenCV resizes.
OPENMMLAB_STEPS = replace(GLUON_STEPS, resize=342, filter="bilinear", antialias=False)


def _prefix(file: str) -> Declared | None:
    """The hash that torch.hub's convention puts into a file's name; other names carry none."""
    stem, dash, digits = file.removesuffix(".pth").rpartition("-")
    # torch.hub takes 8 digits. Of names with more it is unknown whether they were made in the same way.
    return Declared("sha256 prefix", digits, binding=len(digits) == 8) if stem and dash else None


def _torch(name: str, dialect: str, origin: str, licence: str, file: str, *homes: str, **facts: Any) -> Published:
    """A .pth of the torch.hub kind, in one or several places; one that is only on plain http is downloaded by hand."""
    urls = tuple(home + file for home in homes if home.startswith("https:"))
    page = None if urls else homes[0] + file
    return Published(
        name, name.split(".")[0], dialect, origin, file, "torch", licence, urls,
        page=page, declared=_prefix(file), **facts,
    )  # fmt: skip


def _slim(name: str, file: str, accuracy: Accuracy | None, **facts: Any) -> Published:
    """A TensorFlow 1 checkpoint of tf-slim."""
    urls = (f"{TENSORFLOW}{file}",)
    steps = slim_steps(224 if name.startswith(("googlenet", "inception_v2")) else 299)
    return Published(
        name, name.split(".")[0], "slim", "slim", file, "TF1 ckpt", APACHE, urls,
        classes=1001, background=True, preprocess=steps, accuracy=accuracy, **facts,
    )  # fmt: skip


def _keras(name: str, licence: str, release: str, md5: str, *, top: Accuracy | None) -> Published:
    """A Keras file of 2016's layout, with its top where that has an accuracy."""
    architecture = name.split(".")[0]
    file = f"{architecture}_weights_tf_dim_ordering_tf_kernels{'' if top else '_notop'}.h5"
    urls = (f"{KERAS_APPLICATIONS}{architecture}/{file}", f"{CHOLLET}{release}/{file}")
    return Published(
        name, architecture, "keras", "keras", file, "Keras h5", licence, urls, declared=Declared("md5", md5),
        classes=1000 if top else 0, preprocess=KERAS, accuracy=top,
    )  # fmt: skip


def _hub(name: str, steps: Preprocess, top1: float, top5: float, **facts: Any) -> Published:
    """A model.safetensors of timm's on the hub; pytorch_model.bin beside it holds the same tensors."""
    architecture = name.split(".")[0]
    dialect = "torchvision" if architecture == "inception_v3" else "timm"
    return Published(
        name, architecture, facts.pop("dialect", dialect), "timm", "model.safetensors", "safetensors", APACHE,
        repository=f"timm/{name}", preprocess=steps, accuracy=Accuracy(top1, top5, TIMM_CSV), **facts,
    )  # fmt: skip


def _old_timm(newer: str, dialect: str, file: str, *, background: bool = False, **facts: Any) -> Published:
    """A .pth of timm's before it moved to the hub; timm itself drops the background class by `label_offset`."""
    return _torch(
        f"{newer}_old", dialect, "timm", APACHE, file, f"{TIMM}v0.1-weights/", background=background,
        classes=1001 if background else 1000, note=f"older file of {newer}", **facts,
    )  # fmt: skip


def _googlenets() -> Iterator[Published]:
    yield _torch(
        "googlenet.tv_in1k", "torchvision", "torchvision", BSD, "googlenet-1378be20.pth", PYTORCH,
        preprocess=centred(224, 256, "bilinear"), accuracy=Accuracy(69.778, 89.530, TV_META),
    )  # fmt: skip
    yield Published(
        "googlenet.caffe", "googlenet", "caffe", "caffe", "bvlc_googlenet.caffemodel", "caffemodel", "unrestricted",
        page="http://dl.caffe.berkeleyvision.org/bvlc_googlenet.caffemodel",
        declared=Declared("sha1", "405fc5acd08a3bb12de8ee5e23a96bec22f08204"),
        accuracy=Accuracy(68.7, 88.9, "Caffe's readme of bvlc_googlenet; OpenVINO re-measures 68.93/89.14"),
        preprocess=CAFFE, note="with auxiliary heads",
    )  # fmt: skip
    yield _slim("googlenet.slim", "inception_v1_2016_08_28.tar.gz", Accuracy(69.8, 89.6, SLIM_README))
    for opset in (3, 6, 7, 8, 9, 12):
        yield Published(
            f"googlenet.onnx_{opset}", "googlenet", "caffe", "onnx", f"googlenet-{opset}.onnx", "ONNX", APACHE,
            page="https://huggingface.co/onnxmodelzoo",
            accuracy=Accuracy(67.78, 88.34, "ONNX model zoo"),
            preprocess=CAFFE, note="of Caffe's file; 28 MB; the licence is the hub's tag, the page says BSD-3",
        )  # fmt: skip


def _v2() -> Iterator[Published]:
    yield _torch(
        "bn_inception.cadene", "cadene", "cadene", BSD, "bn_inception-52deb4733.pth", CADENE,
        preprocess=CAFFE_BGR, accuracy=Accuracy(73.524, 91.562, CADENE_README),
    )  # fmt: skip
    older = "bn_inception-9f5701afb96c8044.pth"
    yield _torch(
        "bn_inception.yjxiong", "cadene", "cadene", UNSTATED, older, "http://yjxiong.me/others/",
        preprocess=CAFFE_BGR,
        note="older file of bn_inception.cadene; norms are stored as rows",
    )  # fmt: skip
    yield _slim("inception_v2.slim", "inception_v2_2016_08_28.tar.gz", Accuracy(73.9, 91.8, SLIM_README))


def _v3() -> Iterator[Published]:
    steps, accuracy = centred(299, 342, "bilinear"), Accuracy(77.294, 93.450, TV_META)
    for name, digits in (("torchvision", "0cc3c7bd"), ("torchvision_old", "1a9a5a14")):
        file = f"inception_v3_google-{digits}.pth"
        note = "" if name == "torchvision" else "the same values as inception_v3.torchvision, saved earlier"
        yield _torch(
            f"inception_v3.{name}", "torchvision", "torchvision", BSD, file, PYTORCH,
            preprocess=steps, accuracy=accuracy, note=note,
        )  # fmt: skip
    yield _torch(
        "inception_v3.mmpretrain", "torchvision", "mmpretrain", APACHE,
        "inception-v3_3rdparty_8xb32_in1k_20220615-dcd4d910.pth", OPENMMLAB, preprocess=OPENMMLAB_STEPS,
        accuracy=Accuracy(77.57, 93.58, "mmpretrain configs/inception_v3/metafile.yml"),
        note="declared as converted from torchvision's file; its pictures are prepared in another way",
    )  # fmt: skip
    yield _hub("inception_v3.tv_in1k", V3_STEPS, 77.472, 93.468, note="of torchvision's file, whose licence is BSD-3")
    yield _hub("inception_v3.tf_in1k", V3_STEPS, 77.866, 93.644)
    yield _hub("inception_v3.tf_adv_in1k", V3_STEPS, 77.598, 93.726)
    yield _hub("inception_v3.gluon_in1k", GLUON_STEPS, 78.806, 94.372)
    for kind, stem in (("tf", "tf_inception_v3-e0069de4"), ("tf_adv", "adv_inception_v3-9e27bd63")):
        newer = f"inception_v3.{kind}_in1k"
        yield _old_timm(newer, "torchvision", f"{stem}.pth", background=True, preprocess=V3_STEPS)
    file = "gluon_inception_v3-9f746940.pth"
    yield _old_timm("inception_v3.gluon_in1k", "torchvision", file, preprocess=GLUON_STEPS)
    md5 = "9a0d58056eeedaa3f26cb7ebd46da564", "bcbd6486424b2319ff4ef7d526e38f63"
    yield _keras("inception_v3.keras_in1k", MIT, "v0.5", md5[0], top=Accuracy(77.9, 93.7, KERAS_SITE))
    yield _keras("inception_v3.keras_notop", MIT, "v0.5", md5[1], top=None)
    yield _torch(
        "inception_v3.fid", "fid", "pytorch-fid", APACHE, "pt_inception-2015-12-05-6726825d.pth", FID,
        classes=1008, preprocess=PYTORCH_FID, note="the network that FID is computed with",
    )  # fmt: skip
    yield _torch(
        "inception_v3.torch_fidelity", "fid", "torch-fidelity", APACHE, "weights-inception-2015-12-05-6726825d.pth",
        FIDELITY, classes=1008, preprocess=TORCH_FIDELITY,
        note="declared as the same bytes as inception_v3.fid; pictures are resized in another way",
    )  # fmt: skip
    yield Published(
        "inception_v3.stylegan", "inception_v3", "fid", "stylegan", "inception-2015-12-05.pt", "TorchScript", UNSTATED,
        (f"{NVIDIA}inception-2015-12-05.pt",), classes=1008, preprocess=STYLEGAN,
        note="the same network as inception_v3.fid, as a program, whose tensors alone are read",
    )  # fmt: skip
    yield _slim("inception_v3.slim", "inception_v3_2016_08_28.tar.gz", Accuracy(78.0, 93.9, SLIM_README))
    for kind in ("adv", "ens3_adv", "ens4_adv"):
        yield _slim(f"inception_v3.slim_{kind}", f"{kind}_inception_v3_2017_08_18.tar.gz", None)
    yield from map(_gluon, ("ed47ec45a937b656fcc94dabde85495bbef5ba1f",
                            "a5050dbcbfc54908fc1b7700698eb7ffbc150417",
                            "4461205f7595f580df06f5c785a383341a2e56f4"))  # fmt: skip


def _gluon(sha1: str) -> Published:
    file = f"inceptionv3-{sha1[:8]}.zip"
    return Published(
        f"inception_v3.mxnet_{sha1[:8]}", "inception_v3", "torchvision", "gluon", file, "MXNet", APACHE,
        (f"{GLUON}{file}",), declared=Declared("sha1", sha1, binding=False),
        readable=False, why_not="files of MXNet are not read (take inception_v3.gluon_in1k)",
        note="the hash is that of the .params file inside the zip",
    )  # fmt: skip


def _v4() -> Iterator[Published]:
    yield _hub("inception_v4.tf_in1k", V3_STEPS, 80.144, 94.982)
    yield _torch(
        "inception_v4.cadene", "timm", "cadene", BSD, "inceptionv4-8e4777a0.pth", f"{TIMM}v0.1-cadene/", CADENE,
        classes=1001, background=True, preprocess=centred(299, 341, "bilinear"),
        accuracy=Accuracy(80.062, 94.926, CADENE_README), note="ported by tensorflow-model-zoo.torch, MIT",
    )  # fmt: skip
    yield _slim(
        "inception_v4.slim", "inception_v4_2016_09_09.tar.gz", Accuracy(80.2, 95.2, SLIM_README),
        note="with the auxiliary head",
    )  # fmt: skip


def _resnets() -> Iterator[Published]:
    faces = ("vggface2", "20180402-114759", 8631, "0.9965"), ("casia_webface", "20180408-102900", 10575, "0.9905")
    for name, stamp, classes, lfw in faces:
        file = f"{stamp}-{name.replace('_', '-')}.pt"
        yield Published(
            f"inception_resnet_v1.{name}", "inception_resnet_v1", "facenet", "facenet", file, "torch", MIT,
            (FACENET + file,), classes=classes, preprocess=FACES,
            note=f"LFW {lfw}, davidsandberg/facenet README; MIT is the code's: the face data set has its own terms",
        )  # fmt: skip
    yield _hub("inception_resnet_v2.tf_in1k", V2_STEPS, 80.434, 95.312)
    yield _hub("inception_resnet_v2.tf_ens_adv_in1k", V2_STEPS, 79.998, 94.940)
    for kind, stem in (("tf", "inception_resnet_v2-940b1cd6"), ("tf_ens_adv", "ens_adv_inception_resnet_v2-2592a550")):
        newer = f"inception_resnet_v2.{kind}_in1k"
        yield _old_timm(newer, "timm", f"{stem}.pth", background=True, preprocess=V2_STEPS)
    yield _torch(
        "inception_resnet_v2.cadene", "timm", "cadene", BSD, "inceptionresnetv2-520b38e4.pth", CADENE,
        classes=1001, background=True, preprocess=centred(299, 341, "bilinear"),
        accuracy=Accuracy(80.170, 95.234, CADENE_README),
    )  # fmt: skip
    md5 = "e693bd0210a403b3192acc6073ad2e96", "d19885ff4a710c122648d3b5c3b684e4"
    yield _keras("inception_resnet_v2.keras_in1k", UNSTATED, "v0.7", md5[0], top=Accuracy(80.3, 95.3, KERAS_SITE))
    yield _keras("inception_resnet_v2.keras_notop", UNSTATED, "v0.7", md5[1], top=None)
    accuracy = Accuracy(80.4, 95.3, SLIM_README)
    yield _slim("inception_resnet_v2.slim", "inception_resnet_v2_2016_08_30.tar.gz", accuracy)
    yield _slim("inception_resnet_v2.slim_ens_adv", "ens_adv_inception_resnet_v2_2017_08_18.tar.gz", None)


def _xceptions() -> Iterator[Published]:
    md5 = "0a58e3b7378bc2990ea3b43d5981f1f6", "b0042744bf5b25fce3cb969f33bebb97"
    yield _keras("xception.keras_in1k", UNSTATED, "v0.4", md5[0], top=Accuracy(79.0, 94.5, KERAS_SITE))
    yield _keras("xception.keras_notop", UNSTATED, "v0.4", md5[1], top=None)
    yield _torch(
        "xception.tf_in1k", "timm", "timm", APACHE, "xception-43020ad28.pth", f"{TIMM}v0.1-cadene/", CADENE,
        preprocess=V2_STEPS,
        accuracy=Accuracy(79.058, 94.396, TIMM_CSV),
        note="timm's legacy_xception, of Keras' weights; Cadene reports 78.888/94.292 by bilinear 333",
    )  # fmt: skip
    yield _torch(
        "xception.cadene_old", "timm", "cadene", BSD, "xception-b5690688.pth", DEEPFAKES, CADENE,
        preprocess=centred(299, 333, "bilinear"),
        note="pointwise kernels are matrices; what FaceForensics and DeepfakeBench begin with",
    )  # fmt: skip
    steps = centred(299, 331, "bicubic")
    aligned = (41, "e6439c97", 78.550, 94.282), (65, "c9ae96e8", 79.558, 94.656), (71, "8eec7df1", 79.920, 94.908)
    for depth, digits, top1, top5 in aligned:
        name = f"xception{depth}.tf_in1k"
        yield _hub(name, steps, top1, top5)
        yield _old_timm(name, "timm", f"tf_xception_{depth}-{digits}.pth", preprocess=steps)
    steps = centred(299, 318, "bicubic")
    yield _hub("xception65.ra3_in1k", steps, 83.186, 96.596)
    for name, top1, top5 in (("xception65p.ra3_in1k", 83.160, 96.506), ("xception41p.ra3_in1k", 81.978, 95.784)):
        why_not = f"{name.split('.')[0]} is not built yet"
        yield replace(_hub(name, steps, top1, top5), dialect=None, readable=False, why_not=why_not)


def _ours() -> Iterator[Published]:
    yield Published(
        "cifar_inception_fast.cifar10", "cifar_inception_fast", "inceptory", "inceptory",
        "cifar_inception_fast.cifar10.safetensors", "safetensors", APACHE, bundled=True, classes=10,
        note="trained here on CIFAR-10 (JPEG copies); part of this package",
    )  # fmt: skip


@cache
def published() -> Mapping[str, Published]:
    """Every record by name, in the order of the family's history."""
    networks = (_googlenets, _v2, _v3, _v4, _resnets, _xceptions, _ours)
    return MappingProxyType({file.name: file for network in networks for file in network()})


ALIASES = {
    # The name that one expects beside the other torchvision files, and the one that timm uses.
    "googlenet.torchvision": "googlenet.tv_in1k",
    "legacy_xception.tf_in1k": "xception.tf_in1k",
}


def find(name: str) -> Published | None:
    """The record of this name or alias, if there is one."""
    return published().get(ALIASES.get(name, name))


def record(name: str) -> Published:
    """The record of this name or alias; raises UnknownName with the nearest one."""
    match = find(name)
    if match is None:
        raise UnknownName("published file", name, published(), "`inceptory weights` lists them")
    return match


def by_hash(sha256: str, md5: str | None = None) -> Published | None:
    """The record whose declared hash these hexadecimal digests of a whole file fit, or None."""
    digests = {"sha256 prefix": sha256.lower(), "md5": (md5 or "").lower()}
    for file in published().values():
        if file.declared and digests.get(file.declared.kind, "").startswith(file.declared.digits):
            return file
    return None
