"""The compiled step: the same training, one graph, other batches as they are, one line where torch cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from inceptory.errors import ConfigError
from inceptory.learn import compiled as room
from inceptory.learn.compiled import compiled
from inceptory.nets.catalogue import catalogue
from inceptory.nets.network import create

SMALL = {"width": 0.25, "classes": 3}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar_inception_v3_slim", "inception_resnet_v2"])
@pytest.mark.filterwarnings("ignore")
def test_training_is_one_graph(name: str):
    net = create(name, aux=catalogue()[name].aux, **SMALL).train()
    traced = torch.compile(net.heads, backend="eager", fullgraph=True, dynamic=False)
    side = max(net.minimum, 32)
    assert list(traced(torch.randn(2, 3, side, side))) == list(net.heads(torch.randn(2, 3, side, side)))
    torch.compiler.reset()


def test_only_training_on_whole_batches_takes_the_compiled_way(monkeypatch: pytest.MonkeyPatch):
    net, taken = create("cifar_inception_v1", **SMALL), []

    def stand_in(function, *, dynamic):
        assert dynamic is False
        return lambda x: taken.append(len(x)) or function(x)

    monkeypatch.setattr(torch, "compile", stand_in)
    heads = compiled(net, 4)
    taken.clear()
    for training, count in ((True, 4), (True, 3), (False, 4)):
        net.train(training)
        assert heads(torch.randn(count, 3, 32, 32))["logits"].shape == (count, 3)
    assert taken == [4]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("InvalidCxxCompiler: none found\n\nSet TORCHDYNAMO_VERBOSE=1", "InvalidCxxCompiler: none found"),
        ("backend='inductor' raised:\nNo working C++ compiler", "No working C++ compiler"),
    ],
)
def test_a_fault_of_the_compiler_is_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch, said: str, told: str):
    def fail(*_, **__):
        raise RuntimeError(said)

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fail)
    with pytest.raises(ConfigError) as caught:
        compiled(create("cifar_inception_v1", **SMALL), 4)
    assert str(caught.value) == f"--compile: torch cannot compile here: {told} ({room.REMEDY})"


@pytest.mark.slow
def test_a_machine_without_compiler_is_told_so(tmp_path: Path):
    script = "from inceptory import create; from inceptory.learn.compiled import compiled; "
    script += "compiled(create('cifar_inception_v1', width=0.25), 4)"
    environment = {**os.environ, "CXX": "no-such-compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    child = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert child.returncode != 0
    assert "ConfigError: --compile: torch cannot compile here: " in child.stderr
    assert "no-such-compiler" in child.stderr


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_training_equals_eager_training():
    # In double precision: in single, eager itself is 2 % of the largest gradient from the truth here,
    # because batch norms of four pictures magnify rounding.
    torch.manual_seed(0)
    net = create("cifar_inception_v3_slim", dropout=0.0, **SMALL).double().train()
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    start, found = {name: value.clone() for name, value in net.state_dict().items()}, []
    for heads in (net.heads, compiled(net, 4)):
        net.load_state_dict(start)
        net.zero_grad(set_to_none=True)
        logits = heads(images)["logits"]
        logits.square().sum().backward()
        found.append((logits.detach(), [p.grad for p in net.parameters()], [b.clone() for b in net.buffers()]))
    torch.compiler.reset()
    (logits, gradients, statistics), (other, other_gradients, other_statistics) = found
    largest = max(float(gradient.abs().max()) for gradient in gradients)
    assert (logits - other).abs().max() <= 1e-9 * logits.abs().max()
    for a, b in zip(gradients, other_gradients, strict=True):
        assert (a - b).abs().max() <= 1e-9 * largest
    for a, b in zip(statistics, other_statistics, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
