"""A graph answers in the browser as here: onnxruntime-web from npm in headless Chromium."""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

import inceptory
from inceptory.data.picture.preprocess import Preprocess
from inceptory.engines.answers import PIXELS, PROBABILITIES
from inceptory.engines.device import Device
from inceptory.engines.graph import graph_of
from inceptory.engines.torch import TorchEngine
from tests.peers.proof import FOUND

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 120
"""Seconds for npm, and for the browser."""
PAGE = f"""<!doctype html><script src="node_modules/onnxruntime-web/dist/ort.wasm.min.js"></script><script>
const told = answer => fetch("answer", {{method: "POST", body: JSON.stringify(answer)}});
(async () => {{
    ort.env.wasm.numThreads = 1;
    const session = await ort.InferenceSession.create("model.onnx");
    const shape = await (await fetch("shape.json")).json();
    const pixels = new Uint8Array(await (await fetch("pixels.bin")).arrayBuffer());
    const answers = await session.run({{{PIXELS}: new ort.Tensor("uint8", pixels, shape)}});
    await told({{probabilities: Array.from(answers.{PROBABILITIES}.data), agent: navigator.userAgent}});
}})().catch(fault => told({{fault: String(fault)}}));
</script>"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with onnxruntime-web in it."""
    if CHROMIUM is None:
        pytest.skip("no browser: apt-get install chromium")
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm to get onnxruntime-web with: apt-get install nodejs npm")
    folder = tmp_path_factory.mktemp("site")
    command = [npm, "install", "--silent", "--ignore-scripts", "--no-audit", "--no-fund", "onnxruntime-web@1"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode:
        pytest.skip(f"npm cannot get onnxruntime-web: {done.stderr.strip()[-200:]}")
    return folder


class Handler(SimpleHTTPRequestHandler):
    """Files of a folder, and a queue for what the page posts."""

    def __init__(self, *given, answers: queue.Queue[dict], **more) -> None:
        self.answers = answers
        super().__init__(*given, **more)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
        self.answers.put(json.loads(body))

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, queue.Queue[dict]]]:
    """(address of the folder, what its pages post)."""
    answers: queue.Queue[dict] = queue.Queue()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder), answers=answers)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", answers
        finally:
            server.shutdown()
            thread.join()


def seen_by_chromium(folder: Path, profile: Path) -> dict:
    """What index.html of the folder posts when Chromium shows it."""
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={profile}"]
    with served(folder) as (address, answers):
        command = [str(CHROMIUM), *options, f"{address}/index.html"]
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return answers.get(timeout=PATIENCE)
        finally:
            browser.terminate()
            browser.wait(PATIENCE)


@pytest.mark.parametrize(("name", "size"), [("cifar_inception_v1", 32), ("googlenet", 64)])
def test_a_graph_answers_in_the_browser_as_the_network_does_here(name: str, size: int, site: Path, tmp_path: Path):
    torch.manual_seed(0)
    net = inceptory.create(name, width=0.25, classes=10).eval()
    for part in net.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.8, 1.2)
    preprocess = Preprocess(size=size, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    pixels = np.random.default_rng(1).integers(0, 256, (3, 3, size, size), dtype=np.uint8)
    graph = graph_of(net.plan.tree, {key: value.numpy() for key, value in net.state_dict().items()}, preprocess)
    rows = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
    (site / "index.html").write_text(PAGE, encoding="utf-8")
    (site / "model.onnx").write_bytes(graph.SerializeToString())
    (site / "pixels.bin").write_bytes(rows.tobytes())
    (site / "shape.json").write_text(json.dumps(rows.shape), encoding="utf-8")
    answer = seen_by_chromium(site, tmp_path)
    assert "fault" not in answer, answer
    exact = TorchEngine(net, preprocess, Device("cpu")).answers(pixels).probabilities
    found = np.reshape(answer["probabilities"], exact.shape)
    apart = float(np.abs(found - exact).max())
    FOUND.append(f"{f'{name} in the browser':55}{apart:.1e} of a probability, n {len(pixels)}")
    assert np.ptp(exact) > 1e-3, "the network must say something"
    assert apart <= 1e-4
