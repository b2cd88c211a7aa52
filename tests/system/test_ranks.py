"""What two processes say to each other, on a machine where GPUs' tensors and the processor's go different ways."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import inceptory

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not torch.distributed.is_available(), reason="gloo between processes is tried on Linux"
)

# nccl takes tensors on GPUs and no others. Where there is no GPU, a backend that is registered for
# GPUs alone stands for it: whatever is handed over on the processor must go another way.
TALK = """
import json, sys, warnings
from pathlib import Path
import torch, torch.distributed as dist
from inceptory.system import ranks

dist.Backend.register_backend("ofgpus", dist.distributed_c10d.ProcessGroupGloo, devices=["cuda"])
ranks.BACKENDS = {name: words.replace("nccl", "ofgpus") for name, words in ranks.BACKENDS.items()}
torch.cuda.device_count, torch.cuda.set_device = (lambda: 2), (lambda local: None)
pickled = []
for name in ("_object_to_tensor", "_tensor_to_object"):
    setattr(dist.distributed_c10d, name, lambda *_, **__: pickled.append(name))

found = {}
with ranks.joined("cuda") as here:
    mine = torch.arange(3 * (here.rank + 1)).view(-1, 3) + 100 * here.rank
    found["total"] = here.total(1.0 + here.rank, True)
    found["first"] = here.of_first(5.0 + here.rank)
    found["gathered"] = here.gathered(mine).tolist()
    found["none of the second"] = here.gathered(mine[: 1 - here.rank]).tolist()
    found["none at all"] = list(here.gathered(mine[:0].float()).shape)
    found["large"] = here.gathered(torch.tensor([2**53 + 1 + here.rank])).tolist()
    here.wait()
    net = torch.nn.BatchNorm2d(2, dtype=torch.float32)
    del net._buffers["num_batches_tracked"]
    net.running_mean += torch.tensor([1.0, 10.0]) * (here.rank + 1)
    net.running_var += 2.0 * here.rank
    here.share_statistics([net.running_mean, net.running_var])
    found["mean"], found["variance"] = net.running_mean.tolist(), net.running_var.tolist()
found["pickled"] = pickled
Path(sys.argv[1] + str(here.rank)).write_text(json.dumps(found))
"""

# One step of a network whose batch norm remembers all of the last batch (momentum 1, so to speak):
# both processes see pictures of their own.
STEP = """
import json, sys
from pathlib import Path
import torch
import inceptory
from inceptory import Recipe
from inceptory.system import ranks
from inceptory.engines.device import Device
from inceptory.learn.pictures import Targets
from inceptory.learn.step import Stepper

with ranks.joined("cpu") as here:
    torch.manual_seed(0)
    net = inceptory.create("cifar_inception_v1", classes=3, width=0.25, dropout=0)
    stepper = Stepper(net, Recipe(average=0.5), Device("cpu", False), here)
    whole = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(16) % 3
    rows = here.part(torch.arange(16))
    outcome = stepper.step(0, 0.01, [(whole[rows], Targets(labels[rows]))])
    name = next(name for name, _ in net.named_buffers() if name.endswith("mean"))
    kept = {name: float(value.double().sum()) for name, value in net.state_dict().items()}
    told = [outcome.losses, outcome.plain, outcome.right, outcome.seen]
    first = dict(net.named_buffers())[name].tolist()
Path(sys.argv[1] + str(here.rank)).write_text(json.dumps([kept, told, name, first]))
"""


def run(script: str, folder: Path, processes: int) -> list:
    """What each of so many processes wrote down."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    known = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
    known |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-c", script, str(folder / "told")]
    begun = [
        subprocess.Popen(words, env={**known, "RANK": str(rank), "LOCAL_RANK": str(rank)}, stderr=subprocess.PIPE)
        for rank in range(processes)
    ]
    try:
        told = [one.communicate(timeout=120)[1] for one in begun]
    finally:
        for one in begun:
            one.kill()
    assert [one.returncode for one in begun] == [0] * processes, b"\n".join(told).decode()[-3000:]
    return [json.loads((folder / f"told{rank}").read_text()) for rank in range(processes)]


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    return run(TALK, tmp_path_factory.mktemp("talk"), 2)


@pytest.mark.slow
def test_counters_on_the_processor_are_summed_beside_a_backend_that_takes_gpus_only(talk):
    assert [one["total"] for one in talk] == [[3.0, 2.0]] * 2
    assert [one["first"] for one in talk] == [[5.0]] * 2


@pytest.mark.slow
def test_rows_are_gathered_in_order_whatever_each_process_has(talk):
    mine = [[0, 1, 2], [100, 101, 102], [103, 104, 105]]
    for one in talk:
        assert one["gathered"] == mine
        assert one["none of the second"] == mine[:1]
        assert one["none at all"] == [0, 3]
        assert one["large"] == [2**53 + 1, 2**53 + 2], "whole numbers stay whole"


@pytest.mark.slow
def test_nothing_is_pickled_on_the_way(talk):
    assert [one["pickled"] for one in talk] == [[], []]


@pytest.mark.slow
def test_what_batch_norms_remember_is_the_mean_over_the_processes(talk):
    for one in talk:
        assert one["mean"] == [1.5, 15.0], "of 1 and 2, of 10 and 20"
        assert one["variance"] == [2.0, 2.0], "of 1 and 3"


@pytest.mark.slow
def test_after_a_step_both_hold_one_network_with_the_statistics_of_both_halves(tmp_path: Path):
    (kept, told, name, first), (other, also, _, second) = run(STEP, tmp_path, 2)
    assert kept == other
    assert told == also
    torch.manual_seed(0)
    net = inceptory.create("cifar_inception_v1", classes=3, width=0.25, dropout=0).train()
    whole = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    means = []
    for half in whole.split(8):
        fresh = inceptory.create("cifar_inception_v1", classes=3, width=0.25, dropout=0).train()
        fresh.load_state_dict(net.state_dict())
        fresh(half)
        means.append(dict(fresh.named_buffers())[name])
    assert means[0].tolist() != means[1].tolist()
    assert first == second
    assert first == pytest.approx(((means[0] + means[1]) / 2).tolist(), rel=1e-5)
