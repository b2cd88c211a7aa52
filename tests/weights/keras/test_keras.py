"""Files of Keras 1 to 3: names by every road, and what a model's config decides."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

import inceptory
from inceptory import create
from inceptory.data.feed.batches import normalise
from inceptory.errors import DataError
from inceptory.nets.blocks import Act, Conv, Norm, Pool, Residual, children
from inceptory.weights.convert import convert, their_names
from inceptory.weights.files.keras_config import Layer, layers_of, names_of_groups, ranked
from inceptory.weights.verify import inspect

TWINS = "ignore:.*have the same names and graph"


def randomised(name: str, classes: int = 3) -> Any:
    torch.manual_seed(0)
    net = create(name, dialect="keras", classes=classes)
    for tensor in net.state_dict().values():
        tensor.uniform_(0.5, 1.5)
    return net


def written(name: str, path: Path, classes: int = 3) -> Any:
    """Our own file for Keras, and the network in it."""
    net = randomised(name, classes)
    inceptory.save(net, path.with_name("ours.safetensors"))
    convert(path.with_name("ours.safetensors"), path, to="keras")
    return net


def same(net: Any, other: Any) -> bool:
    state = other.state_dict()
    return net.plan == other.plan and all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


def forget_names(path: Path, inside: str = "") -> None:
    """Take the layers' names out of a file, and put everything into a group."""
    with h5py.File(path, "a") as file:
        file.visititems(lambda _, part: part.attrs.pop("name", None) and None)
        if inside:
            file.move("layers", "aside")
            file.create_group(inside.rpartition("/")[0])
            file.move("aside", inside)


# --- names ---------------------------------------------------------------------------------------


def in_words_of_keras_1(theirs: str) -> tuple[str, str]:
    """("convolution2d_4", "convolution2d_4_W") of "conv2d#3.weight"."""
    layer, role = theirs.split(".")
    layer = re.sub(r"#(\d+)", lambda found: f"_{int(found[1]) + 1}", layer)
    norm = "batch_normalization" in layer or layer.endswith("_bn")
    for old, new in (("conv2d", "convolution2d"), ("batch_normalization", "batchnormalization")):
        layer = re.sub(rf"^{old}", new, layer)
    words = {"running_var": "running_std", "depthwise": "depthwise_kernel", "pointwise": "pointwise_kernel"}
    kernel = {"weight": "gamma", "bias": "beta"} if norm else {"weight": "W", "bias": "b"}
    return layer, f"{layer}_{kernel.get(role, words.get(role, role))}"


@pytest.mark.parametrize(("name", "ending"), [("inception_v3", ""), ("xception", ":0"), ("cifar_inception_v2", "")])
def test_names_of_keras_1_are_read(name: str, ending: str, tmp_path: Path):
    net = randomised(name)
    state = {key: value.numpy() for key, value in net.state_dict().items()}
    with h5py.File(tmp_path / "k1.h5", "w") as file:
        listed: dict[str, list[bytes]] = {}
        for ours, theirs in their_names(net.plan, "keras", name).items():
            layer, weight = in_words_of_keras_1(theirs)
            value = state[ours].T if state[ours].ndim == 2 else state[ours]
            if value.ndim == 4:
                value = value.transpose((2, 3, 0, 1) if weight.endswith("depthwise_kernel") else (2, 3, 1, 0))
            file.require_group(layer).create_dataset(weight + ending, data=value)
            listed.setdefault(layer, []).append((weight + ending).encode())
        file.attrs["layer_names"] = [layer.encode() for layer in listed]
        for layer, weights in listed.items():
            file[layer].attrs["weight_names"] = weights
    assert same(net, inceptory.load(tmp_path / "k1.h5"))


@pytest.mark.filterwarnings(TWINS)
@pytest.mark.parametrize(
    ("name", "inside"),
    [
        pytest.param("inception_v3", "", marks=pytest.mark.slow),
        pytest.param("xception", "layers/functional/layers", marks=pytest.mark.slow),
        pytest.param("cifar_inception_v3", "", marks=pytest.mark.slow),
    ],
)
def test_weights_without_names_are_named_by_their_place(name: str, inside: str, tmp_path: Path):
    net = written(name, tmp_path / "k.weights.h5")
    forget_names(tmp_path / "k.weights.h5", inside)
    assert same(net, inceptory.load(tmp_path / "k.weights.h5"))


@pytest.mark.slow
def test_weights_without_names_of_no_known_network_are_refused(tmp_path: Path):
    written("xception", tmp_path / "k.weights.h5")
    forget_names(tmp_path / "k.weights.h5")
    with h5py.File(tmp_path / "k.weights.h5", "a") as file:
        file.move("layers/conv2d_5", "layers/conv2d_6")
        file.copy("layers/conv2d_4", "layers/conv2d_5")
    with pytest.raises(DataError, match=r"without a name of their own, the first: layers/batch_norm.*save it again"):
        inceptory.load(tmp_path / "k.weights.h5")


def test_two_layers_of_one_name_are_refused(tmp_path: Path):
    written("xception", tmp_path / "k.weights.h5")
    with h5py.File(tmp_path / "k.weights.h5", "a") as file:
        file["layers/separable_conv2d/vars"].attrs["name"] = "block2_sepconv2"
    with pytest.raises(DataError, match="two layers are called block2_sepconv2"):
        inceptory.load(tmp_path / "k.weights.h5")


@pytest.mark.slow
@pytest.mark.filterwarnings(TWINS)
@pytest.mark.parametrize("name", ["inception_v3", "xception", "cifar_inception_v1"])
def test_the_layout_of_2016_that_we_write_reads_back_bit_for_bit(name: str, tmp_path: Path):
    net = written(name, tmp_path / "k.h5")
    assert same(net, inceptory.load(tmp_path / "k.h5"))
    with h5py.File(tmp_path / "k.h5") as file:
        listed = list(file.attrs["layer_names"])
        assert set(listed) == set(file)
        # Deepest first: Keras pairs layers by position.
        assert listed[-1].startswith(("predictions", "dense"))
        assert file.attrs["keras_version"].startswith("2.")


def test_groups_are_ranked_by_number_within_their_class_and_parent():
    found = ranked(["layers/conv2d_10", "layers/conv2d", "layers/conv2d_2", "layers/functional/layers/conv2d"])
    assert found == {
        ("layers", "conv2d"): ["layers/conv2d", "layers/conv2d_2", "layers/conv2d_10"],
        ("layers/functional/layers", "conv2d"): ["layers/functional/layers/conv2d"],
    }


CONFIG = {
    "class_name": "Sequential",
    "config": {
        "layers": [
            {"class_name": "Conv2D", "config": {"name": "first"}},
            {
                "class_name": "Functional",
                "config": {"name": "inner", "layers": [{"class_name": "Conv2D", "config": {"name": "deep"}}]},
            },
            {"class_name": "BatchNormalization", "config": {"name": "norm"}},
            {"class_name": "Conv2D", "config": {"name": "second"}},
        ]
    },
}


def test_a_config_names_groups_by_class_and_rank_and_in_models_within_models():
    groups = [
        "layers/conv2d",
        "layers/conv2d_1",
        "layers/functional/layers/conv2d",
        "layers/batch_normalization",
        "layers/dense",
    ]
    assert names_of_groups(CONFIG, groups) == {
        "layers/conv2d": "first",
        "layers/conv2d_1": "second",
        "layers/functional/layers/conv2d": "deep",
        "layers/batch_normalization": "norm",
    }
    # One group too few of a class: none of that class is named.
    assert "layers/conv2d_1" not in names_of_groups(CONFIG, ["layers/conv2d_1"])


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"config": None},
        {"config": 3},
        {"config": {"layers": {"a": 1}}},
        {"config": {"layers": [1, "x", None, []]}},
        {"config": {"layers": [{"class_name": ["x"], "config": "y"}]}},
    ],
)
def test_a_config_of_another_form_names_nothing_and_breaks_nothing(config: dict[str, Any]):
    assert names_of_groups(config, ["layers/conv2d"]) == {}
    assert all(isinstance(layer, Layer) for layer in layers_of(config))


def test_a_sequential_of_keras_1_is_a_list():
    config = {"class_name": "Sequential", "config": [{"class_name": "Convolution2D", "config": {"name": "c"}}]}
    assert [(layer.kind, layer.name) for layer in layers_of(config)] == [("Convolution2D", "c")]


# --- what a config decides -----------------------------------------------------------------------


def config_of(name: str, **change: dict[str, Any]) -> dict[str, Any]:
    """A config as Keras writes it of one of our networks; `change` is by class of layer, for each of them."""
    net = inceptory.plan(name, dialect="keras", classes=3)
    layers: list[dict[str, Any]] = []
    counts: dict[str, int] = {}

    def add(kind: str, auto: str, **settings: Any) -> None:
        number = counts[auto] = counts.get(auto, -1) + 1
        named = {"name": f"{auto}_{number}" if number else auto}
        layers.append({"class_name": kind, "config": named | settings | change.get(kind, {})})

    def walk(node: Any) -> None:
        if isinstance(node, Conv):
            add("Conv2D", "conv2d", strides=[node.stride] * 2, padding=node.pad, activation="linear")
            if isinstance(node.norm, Norm):
                add("BatchNormalization", "batch_normalization", epsilon=node.norm.eps)
        if isinstance(node, Pool):
            kind = "MaxPooling2D" if node.kind == "max" else "AveragePooling2D"
            add(kind, "pool", pool_size=[node.kernel] * 2, strides=[node.stride] * 2, padding=node.pad)
        for _, child in children(node):
            walk(child)
        if isinstance(node, Act) or (isinstance(node, Conv | Residual) and node.act):
            add("Activation", "activation", activation="relu")

    for stage in net.tree.stages:
        walk(stage.body)
    layers.append({"class_name": "GlobalAveragePooling2D", "config": {"name": "pooled"}})
    layers.append({"class_name": "Dense", "config": {"name": "predictions", "activation": "softmax"}})
    layers[-1]["config"] |= change.get("Dense", {})
    return {"class_name": "Functional", "config": {"layers": layers}}


def with_config(weights: Path, config: dict[str, Any], kind: str) -> Path:
    """The same weights as an archive, or in the layout of 2016, with this config."""
    path = weights.with_name("model.keras" if kind == "keras" else "model.h5")
    if kind == "keras":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps(config))
            archive.write(weights.with_suffix("").with_suffix(".weights.h5"), "model.weights.h5")
        return path
    path.write_bytes(weights.with_suffix("").with_suffix(".h5").read_bytes())
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = json.dumps(config)
    return path


@pytest.fixture(scope="module")
def v3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("v3") / "v3.weights.h5"
    written("cifar_inception_v3", path)
    convert(path.with_name("ours.safetensors"), path.with_name("v3.h5"), to="keras")
    return path


@pytest.mark.parametrize("kind", ["keras", pytest.param("h5", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["cifar_inception_v3", "cifar_inception_v3_stem_slim"])
def test_strides_decide_between_networks_with_the_same_tensors(v3: Path, name: str, kind: str):
    path = with_config(v3, config_of(name), kind)
    net = inceptory.load(path)
    assert net.plan.architecture == name
    told = inspect(path)
    assert (told.architecture, told.dialect_decided, told.alternatives) == (name, "by its config", ())


@pytest.mark.slow
@pytest.mark.filterwarnings(TWINS)
def test_what_the_config_settled_is_what_predicts(tmp_path: Path):
    """A file of 1,000 classes, which needs no card to name them: with strides of another network it answers as that."""
    names = ("cifar_inception_v3", "cifar_inception_v3_stem_slim")
    weights = tmp_path / "v3.weights.h5"
    torch.manual_seed(0)
    inceptory.save(create(names[0], dialect="keras", classes=1000), tmp_path / "ours.safetensors")
    for name in ("v3.weights.h5", "v3.h5"):
        convert(tmp_path / "ours.safetensors", tmp_path / name, to="keras")
    path, picture = with_config(weights, config_of(names[1]), "keras"), tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(picture)
    (found,) = inceptory.predict(path, picture, top=1000)
    steps = inceptory.load(weights).card.preprocess
    pixels = torch.tensor(steps.pixels(Image.open(picture))).permute(2, 0, 1)[None]
    answers = [
        inceptory.load(weights, name=name)(normalise(pixels, steps)).softmax(1)[0].sort(descending=True).values
        for name in names
    ]
    probabilities = torch.tensor(found.probabilities)
    torch.testing.assert_close(probabilities, answers[1].detach(), rtol=1e-4, atol=1e-7)
    assert not torch.allclose(probabilities, answers[0].detach(), rtol=1e-2)


def test_without_a_config_the_twin_is_named_and_may_be_asked_for(v3: Path):
    with pytest.warns(UserWarning, match="others have the same names and graph: cifar_inception_v3_stem_slim"):
        assert inceptory.load(v3).plan.architecture == "cifar_inception_v3"
    assert inceptory.load(v3, name="cifar_inception_v3_stem_slim").plan.architecture == "cifar_inception_v3_stem_slim"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"BatchNormalization": {"epsilon": 1e-3}}, "epsilon 0.001 at batch_normalization, where .* has 1e-05"),
        ({"Conv2D": {"strides": [3, 3]}}, "strides 3 at conv2d, where"),
        ({"Conv2D": {"strides": [1, 2]}}, r"strides \[1, 2\] at conv2d"),
        ({"Conv2D": {"padding": "valid"}}, "padding valid at conv2d"),
        ({"MaxPooling2D": {"pool_size": [2, 2]}}, "other pools than cifar_inception_v3: it lacks max over 3 cells"),
        ({"AveragePooling2D": {"padding": "valid"}}, "other pools than cifar_inception_v3: it lacks avg"),
        ({"Activation": {"activation": "swish"}}, "0 ReLUs, where cifar_inception_v3 has 104"),
    ],
)
def test_a_config_of_no_network_of_ours_is_refused_by_what_differs(v3: Path, change, told):
    path = with_config(v3, config_of("cifar_inception_v3", **change), "keras")
    with pytest.raises(DataError, match=rf"its config has {told}.*say dialect= to read it"):
        inceptory.load(path)


def test_a_dialect_that_is_asked_for_stands_whatever_the_config_says(v3: Path):
    config = config_of("cifar_inception_v3", BatchNormalization={"epsilon": 1e-3})
    told = inspect(with_config(v3, config, "keras"), dialect="keras")
    assert (told.architecture, told.dialect_decided) == ("cifar_inception_v3", "as asked for")


def test_an_epsilon_may_have_been_through_float32(v3: Path):
    config = config_of("cifar_inception_v3", BatchNormalization={"epsilon": float(np.float32(1e-5))})
    assert inspect(with_config(v3, config, "keras")).dialect_decided == "by its config"


def test_a_config_may_contradict_the_name_that_was_asked_for(v3: Path):
    path = with_config(v3, config_of("cifar_inception_v3_stem_slim"), "keras")
    with pytest.raises(DataError, match="strides 1 at conv2d, where cifar_inception_v3 has 2"):
        inceptory.load(path, name="cifar_inception_v3")


@pytest.mark.slow
def test_what_a_config_has_beside_the_network_is_told(v3: Path):
    config = config_of("cifar_inception_v3", Dense={"activation": "sigmoid"})
    config["config"]["layers"].insert(0, {"class_name": "Rescaling", "config": {"name": "bytes", "scale": 1 / 255}})
    path = with_config(v3, config, "keras")
    with (
        pytest.warns(UserWarning, match=r"layers of its config are left out: bytes \(Rescaling\) \(prepare"),
        pytest.warns(UserWarning, match="its classifier ends in sigmoid, ours in logits"),
    ):
        inceptory.load(path)
    assert "note           layers of its config are left out: bytes (Rescaling)" in str(inspect(path))


def test_pictures_rescaled_as_the_network_wants_them_are_no_news(v3: Path):
    config = config_of("cifar_inception_v3")
    for layer in (
        {"class_name": "RandomFlip", "config": {"name": "flip"}},
        {"class_name": "Rescaling", "config": {"name": "bytes", "scale": 1 / 127.5, "offset": -1}},
    ):
        config["config"]["layers"].insert(0, layer)
    assert inspect(with_config(v3, config, "keras")).notes == ()


def test_a_config_that_does_not_know_the_layers_decides_nothing(v3: Path):
    config = config_of("cifar_inception_v3")
    del config["config"]["layers"][0]
    assert inspect(with_config(v3, config, "keras")).dialect_decided != "by its config"


def test_random_numbers_states_are_no_weights(tmp_path: Path):
    net = written("cifar_inception_v1", tmp_path / "k.weights.h5")
    with h5py.File(tmp_path / "k.weights.h5", "a") as file:
        for place in ("layers/dropout/seed_generator/vars", "layers/random_flip/generator/vars"):
            file.create_group(place).create_dataset("0", data=np.zeros(2, np.uint32))
    assert same(net, inceptory.load(tmp_path / "k.weights.h5"))
