"""A head put into a network's tensors, and the run that is saved before torch is loaded."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import inceptory
from inceptory import Recipe, Transfer, Variant, train
from inceptory.errors import Doubt
from inceptory.learn.transfer.fitted import head_in, headed, plan_with, with_fresh_head
from inceptory.learn.transfer.head import Linear
from inceptory.weights.card import Card
from inceptory.weights.model import open_model
from inceptory.weights.store import checkpoint, checkpoint_of, save
from tests.conftest import COLOURS
from tests.imports import loaded_by
from tests.weights.checkpoints import STEPS, small

BACKBONES = {
    "auxiliary heads": ("googlenet", {"aux": True}, torch.float32),
    "two linear layers": ("cifar_inception_v1", {}, torch.float32),
    "half the digits": ("cifar_inception_v2", {}, torch.bfloat16),
    "no classifier": ("cifar_inception_v3", {"classes": 0}, torch.float64),
}


@pytest.mark.parametrize("kind", BACKBONES)
def test_arrays_and_a_network_of_torch_are_the_same_file(kind, tmp_path):
    name, options, dtype = BACKBONES[kind]
    path, chance = tmp_path / "a.safetensors", np.random.default_rng(0)
    save(small(name, **options).to(dtype), path)
    with open_model(path) as model:
        net, plan = with_fresh_head(model.network(), 5, 48), plan_with(model.plan, 5, 48)
        length = net.head.bottleneck(torch.zeros(1, net.num_features, 1, 1)).shape[1]
        head = Linear(chance.normal(size=(5, length)), chance.normal(size=5))
        tensors = headed(plan, model.arrays(), head)
    first, *rest = [part for part in net.head.classifier.modules() if isinstance(part, torch.nn.Linear)]
    with torch.no_grad():
        first.weight.copy_(torch.from_numpy(head.weight))
        first.bias.copy_(torch.from_numpy(head.bias))
        for layer in rest:
            torch.nn.init.eye_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    card = Card.of(net.plan, labels=tuple("abcde"), preprocess=STEPS)
    assert checkpoint_of(plan, tensors, path, card) == checkpoint(net, path, card)
    found = head_in(plan, tensors)
    assert np.abs(found.weight - head.weight).max() < 1e-6
    assert np.abs(found.bias - head.bias).max() < 1e-6


def test_two_linear_layers_are_read_as_one():
    net = small("cifar_inception_v1")
    vectors = torch.randn(3, net.num_features)
    with torch.inference_mode():
        logits = net.head.classifier(vectors).numpy()
    found = head_in(net.plan, {name: tensor.numpy() for name, tensor in net.state_dict().items()})
    assert np.abs(found(vectors.numpy()) - logits).max() < 1e-5


SAVED = (
    "import inceptory.learn.transfer.fit as fit\n"
    "from inceptory.cli import main\n"
    "real = fit.save_arrays\n"
    "def saved(*given):\n"
    "    real(*given)\n"
    "    assert 'torch' not in sys.modules\n"
    "    print('saved')\n"
    "fit.save_arrays = saved\n"
    "assert main(['train', *sys.argv[1:], '--no-tensorboard']) == 0\n"
)


@pytest.mark.slow
def test_a_head_is_saved_before_torch_is_loaded(colours, backbone, tmp_path, monkeypatch):
    pytest.importorskip("openvino", reason='not installed: pip install "inceptory[fast]"')
    monkeypatch.setenv("INCEPTORY_CACHE", str(tmp_path / "cache"))
    for name in ("computed", "cached"):
        loaded_by(SAVED, str(colours), "--from", str(backbone), "--out", str(tmp_path / name))
    content = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("computed", "cached")]
    assert content[0] == content[1]
    answers = inceptory.predict(tmp_path / "cached", *sorted((colours / "red").iterdir()))
    assert sum(answer.labels[0] == "red" for answer in answers) >= 23


@pytest.mark.slow
def test_another_packages_file_takes_a_head_as_arrays(colours, tmp_path):
    torch.manual_seed(0)
    inceptory.save(inceptory.create("googlenet", aux=True).eval(), tmp_path / "ours.safetensors")
    inceptory.convert(str(tmp_path / "ours.safetensors"), str(tmp_path / "theirs.pth"), to="torchvision")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Doubt)
        run = train(
            str(colours),
            backbone=tmp_path / "theirs.pth",
            out=tmp_path / "r",
            variant=Variant(image=64),
            recipe=Recipe(precision="fp32"),
            transfer=Transfer(strength=0.01),
        )
        theirs = inceptory.load(tmp_path / "theirs.pth").state_dict()
    net = inceptory.load(run.folder)
    assert (net.plan.image, net.plan.classes, net.card.labels) == (64, 3, tuple(sorted(COLOURS)))
    ours = net.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if not name.startswith("head."))
    assert run.metrics.top1 > 0.9
