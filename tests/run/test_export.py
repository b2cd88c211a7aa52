"""`export`: files that answer as their model does, without Inceptory, written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import inceptory
from inceptory.cli import main
from inceptory.data.picture.preprocess import Preprocess
from inceptory.engines.exported import CARD, FILES, open_exported
from inceptory.errors import ConfigError, DataError, UsageError, WriteError
from inceptory.run.exports.folder import OWN, digests
from inceptory.weights.card import Card
from tests.report.test_page import check_alone
from tests.small import CLASSES, PREPROCESS, TARGETS, saved

MOSTLY = ("onnx", "openvino", pytest.param("torch-export", marks=pytest.mark.slow))
"""Targets, of which torch.export takes seconds."""


def answers(folder: Path, pixels: np.ndarray) -> list[np.ndarray]:
    """What the network's file gives for pixels (N, H, W, C), read by its own package."""
    file = str(folder / FILES[json.loads((folder / CARD).read_text())["export"]["to"]][0])
    if file.endswith("onnx"):
        import onnxruntime

        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        return session.run(["probabilities", "logits", "vectors"], {"pixels": pixels})
    if file.endswith("xml"):
        import openvino

        compiled = openvino.compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        result = compiled(pixels)
        return [result[name] for name in ("probabilities", "logits", "vectors")]
    import torch

    return [each.detach().numpy() for each in torch.export.load(file).module()(torch.from_numpy(pixels))]


def eager(model: Path, pixels: np.ndarray) -> list[np.ndarray]:
    """The same from the module itself, for pixels (N, H, W, C) in the network's own order of channels."""
    import torch

    net = inceptory.load(model)
    with torch.inference_mode():
        values = torch.from_numpy(net.card.preprocess.values(pixels))
        logits, vectors = net(values), net.head.bottleneck(net._last(values))
        scores = logits.sigmoid() if net.card.multi_label else logits.softmax(1)
    return [each.numpy() for each in (scores, logits, vectors)]


def squares(count: int, channels: int = 3) -> np.ndarray:
    coarse = np.random.default_rng(count).integers(0, 256, (count, 4, 4, channels), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def check_alike(folder: Path, model: Path, count: int, channels: int = 3, swapped: bool = False) -> None:
    pixels = squares(count, channels)
    own = np.ascontiguousarray(pixels[..., ::-1]) if swapped else pixels
    for one, other in zip(answers(folder, pixels), eager(model, own), strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max() < 1e-4
        assert other.shape[0] < 2 or np.ptp(other, axis=0).max() > 1e-2, "equal answers would prove nothing"


@pytest.mark.parametrize("to", MOSTLY)
def test_answers_are_those_of_eager_torch_for_any_batch(exports, small, to):
    for count in (1, 2, 5):
        check_alike(exports[to], small, count)


@pytest.mark.parametrize("to", MOSTLY)
def test_a_network_that_reads_bgr_is_exported_for_rgb(tmp_path, to, exports):
    preprocess = replace(PREPROCESS, order="BGR")
    model = saved(tmp_path / "bgr.safetensors", preprocess)
    proof = inceptory.export(model, to=to, out=tmp_path / "out").proof
    assert proof.largest_difference < 1e-4
    check_alike(tmp_path / "out", model, 3, swapped=True)
    card = open_exported(tmp_path / "out").card
    assert card.preprocess == replace(preprocess, order="RGB", mean=(0.3, 0.4, 0.5), std=(0.4, 0.3, 0.2))


@pytest.mark.parametrize("to", MOSTLY)
def test_grey_pictures_and_several_labels(tmp_path, to, exports):
    model = saved(
        tmp_path / "grey.safetensors", Preprocess(size=32, mean=(0.5,), std=(0.2,), order="L"), multi_label=True
    )
    inceptory.export(model, to=to, out=tmp_path / "out")
    check_alike(tmp_path / "out", model, 3, channels=1)
    assert "p > 0.5" in (tmp_path / "out" / "README.md").read_text("utf-8")


def test_a_network_without_a_classifier_gives_its_vectors(tmp_path, exports):
    net = inceptory.create("cifar_inception_v2", classes=0, width=0.25).eval()
    inceptory.save(net, tmp_path / "bare.safetensors", Card.of(net.plan, preprocess=PREPROCESS))
    proof = inceptory.export(tmp_path / "bare.safetensors", to="onnx", out=tmp_path / "out").proof
    assert (proof.agreed, proof.before) == (None, None)
    assert proof.largest_difference < 1e-4
    with pytest.raises(ConfigError, match="knows no class names"):
        inceptory.predict(tmp_path / "out", tmp_path / "out" / "labels.txt")


# The folder


@pytest.mark.parametrize("to", MOSTLY)
def test_the_folder_holds_what_it_says(exports, small, to):
    folder = exports[to]
    assert {path.name for path in folder.iterdir()} == {
        *FILES[to],
        CARD,
        "labels.txt",
        "README.md",
        "proof.json",
        "proof.html",
    }
    record = json.loads((folder / CARD).read_text("utf-8"))["export"]
    sums = digests(folder)
    sums.pop(CARD)
    assert record["files"] == sums
    assert record["versions"]["inceptory"] == inceptory.__version__
    exported = open_exported(folder)
    assert (exported.card.labels, exported.card.preprocess) == (CLASSES, PREPROCESS)
    assert (folder / "labels.txt").read_text("utf-8") == "cat\n<b>dog\n鸟\\x85\n"
    proof = json.loads((folder / "proof.json").read_text("utf-8"))
    assert proof["source"] == record["source"] == hashlib.sha256(small.read_bytes()).hexdigest()
    assert (proof["pictures"], proof["data"], proof["agreement"]) == (32, None, None)
    assert 0 < proof["largest_difference"] < 1e-4
    assert proof["file_bytes"] == sum((folder / name).stat().st_size for name in FILES[to])
    assert 0 < proof["speed"]["p50_ms"] <= proof["speed"]["p99_ms"]
    if os.name == "posix":
        mask = os.umask(0)
        os.umask(mask)
        assert folder.stat().st_mode & 0o777 == 0o777 & ~mask


@pytest.mark.slow
def test_the_page_stands_alone_and_says_what_is_not_proved(exports):
    for to in TARGETS:
        html = (exports[to] / "proof.html").read_text("utf-8")
        check_alone(html)
        assert "Nothing is proved of real ones" in html
        assert "ImageOps.fit" in html


def metadata(folder: Path) -> dict[str, str]:
    """Texts inside the network's file."""
    if (folder / "model.onnx").exists():
        import onnx

        return {each.key: each.value for each in onnx.load(folder / "model.onnx").metadata_props}
    keys = ("classes", "preprocessing", "card")
    if (folder / "model.xml").exists():
        import openvino

        network = openvino.Core().read_model(folder / "model.xml")
        return {key: network.get_rt_info(["inceptory", key]).astype(str) for key in keys}
    import torch

    extra = dict.fromkeys(keys, "")
    torch.export.load(str(folder / "model.pt2"), extra_files=extra)
    return extra


@pytest.mark.slow
def test_metadata_lies_inside_the_files(exports):
    pairs = metadata(exports["onnx"])
    assert pairs == metadata(exports["openvino"]) == metadata(exports["torch-export"])
    assert json.loads(pairs["classes"]) == list(CLASSES)
    assert Preprocess.from_json(json.loads(pairs["preprocessing"])) == PREPROCESS
    assert Card.from_json(pairs["card"], "inside").labels == CLASSES


def test_calibration_and_novelty_travel_along(tmp_path, exports):
    facts = {"calibration": {"anything": 1}, "novelty": {"else": [2.5]}}
    model = saved(tmp_path / "known.safetensors", **facts)
    inceptory.export(model, to="onnx", out=tmp_path / "out")
    card = open_exported(tmp_path / "out").card
    assert (card.calibration, card.novelty) == (facts["calibration"], facts["novelty"])


def readme_answer(folder: Path, picture: Path) -> str:
    """What the lines of a folder's README print for a picture, run where Inceptory is not to be found."""
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text("utf-8"), re.DOTALL)[1]
    assert len(code.split("\n\n")[1].strip().splitlines()) == 3
    code = code.replace('"cat.jpg"', repr(str(picture)))
    block = "import sys; sys.modules['inceptory'] = None\n"
    done = subprocess.run([sys.executable, "-c", block + code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def smooth(path: Path, size: tuple[int, int], seed: int = 0) -> Path:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


@pytest.mark.parametrize("to", MOSTLY)
def test_the_lines_of_the_readme_run_without_inceptory(exports, small, tmp_path, to):
    picture = smooth(tmp_path / "a.png", (75, 60))
    (expected,) = inceptory.predict(small, picture, engine="torch", precision="fp32")
    label, probability = readme_answer(exports[to], picture).split()
    assert label == inceptory.errors.printable(expected.labels[0])
    assert float(probability) == pytest.approx(expected.probabilities[0], abs=0.03)


@pytest.mark.parametrize(
    "how",
    [
        {"resize": None},
        {"resize": None, "central_fraction": 0.875},
        {"resize": 32, "filter": "bilinear"},
        {"resize": 40, "central_fraction": 0.875, "order": "BGR"},
        {"resize": None, "order": "L", "mean": (0.5,), "std": (0.3,)},
    ],
    ids=str,
)
def test_the_readme_prepares_pictures_alike(exports, tmp_path, how):
    from inceptory.run.exports.notes import _prepared

    preprocess = replace(PREPROCESS, **how)
    picture = smooth(tmp_path / "cat.jpg", (640, 512))
    expected = preprocess.pixels(Image.open(picture).convert("RGB")).astype(int)
    expected = expected[..., ::-1] if preprocess.order == "BGR" else expected
    code = (
        f"import numpy as np\nfrom PIL import Image, ImageOps\n{_prepared(preprocess)}\nnp.save('pixels.npy', pixels)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    pixels = np.load(tmp_path / "pixels.npy")
    assert (pixels.dtype, pixels.shape) == (np.uint8, (1, *expected.shape))
    assert np.abs(pixels[0] - expected).mean() < 1.5


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_the_same_model_gives_the_same_bytes(exports, small, tmp_path, to):
    inceptory.export(small, to=to, out=tmp_path / "out")
    for name in FILES[to]:
        assert (tmp_path / "out" / name).read_bytes() == (exports[to] / name).read_bytes()


# Bad input


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--to", "onnx"], 64, "export needs a folder (give --out)"),
        (["--to", "tflite", "--out", "x"], 64, "--to"),
        (["--to", "onnx", "--out", "x", "--max-drop", "-1"], 64, "--max-drop -1: out of range"),
        (["--to", "onnx", "--out", "x", "--precision", "bf16"], 78, "not --to onnx (ONNX Runtime has no convolutions"),
        (["--to", "torch-export", "--out", "x", "--precision", "bf16"], 78, "not --to torch-export"),
        (["--to", "torch-export", "--out", "x", "--precision", "int8"], 78, "--precision int8"),
        (
            ["--to", "onnx", "--out", "x", "--precision", "int8"],
            78,
            "int8: needs pictures to calibrate by (give --data)",
        ),
        (["--to", "onnx", "--out", "x", "--data", "nowhere"], 66, "nowhere: no such data"),
    ],
)
def test_misuse_is_one_line_and_leaves_nothing(small, tmp_path, monkeypatch, capsys, exports, words, code, message):
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(small), *words]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert os.listdir(tmp_path) == []


def test_a_precision_that_the_processor_lacks_is_refused_before_the_work(small, tmp_path, monkeypatch, exports):
    monkeypatch.setattr("inceptory.engines.openvino.precisions", lambda: ())
    with pytest.raises(ConfigError, match="--precision bf16: this processor lacks it"):
        inceptory.export(small, to="openvino", precision="bf16", out=tmp_path / "out")


def test_an_absent_package_gives_the_line_that_installs_it(small, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'needs onnx, which is not installed \(pip install "inceptory\[fast\]"\)'):
        inceptory.export(small, to="onnx", out=tmp_path / "out")


def test_data_of_other_classes_and_empty_folders_are_refused(small, colours, tmp_path, exports):
    with pytest.raises(ConfigError, match="blue"):
        inceptory.export(small, to="onnx", out=tmp_path / "out", data=colours)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no class folders"):
        inceptory.export(small, to="onnx", out=tmp_path / "out", data=tmp_path / "empty")
    assert os.listdir(tmp_path) == ["empty"]


def test_a_model_without_preprocessing_is_refused(tmp_path, exports):
    model = saved(tmp_path / "bare.safetensors", None)
    with pytest.raises(ConfigError, match="knows no preprocessing"):
        inceptory.export(model, to="onnx", out=tmp_path / "out")


@pytest.mark.slow
def test_an_earlier_export_is_replaced_and_other_folders_are_not(small, tmp_path, exports):
    out = tmp_path / "deep" / "out"
    inceptory.export(small, to="openvino", out=out)
    other = saved(tmp_path / "other.safetensors", seed=1)
    inceptory.export(other, to="onnx", out=out)
    assert not (out / "model.xml").exists()
    check_alike(out, other, 2)
    (out / "mine.txt").write_text("mine")
    before = digests(out)
    with pytest.raises(
        ConfigError, match=r"holds other files \(choose another folder, or --force to write beside them\)"
    ):
        inceptory.export(small, to="onnx", out=out)
    assert digests(out) == before
    inceptory.export(small, to="openvino", out=out, force=True)
    assert (out / "mine.txt").read_text() == "mine"
    assert not (out / "model.onnx").exists()
    check_alike(out, small, 2)
    assert os.listdir(out.parent) == ["out"]


def test_force_takes_no_file_that_it_does_not_write(small, tmp_path, exports):
    (tmp_path / "model.pt2").write_text("another's")
    inceptory.export(small, to="onnx", out=tmp_path, force=True)
    assert (tmp_path / "model.pt2").read_text() == "another's"


def test_bench_does_not_say_threads_of_a_folder_that_takes_all_cores(exports):
    with pytest.raises(ConfigError, match=r"--threads: .*, an exported folder, takes all cores"):
        inceptory.bench(exports["onnx"], threads=(1,))


def test_what_is_read_is_never_written_to(small, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    smooth(photos / "0.png", (40, 36))
    for out, data in ((small.parent, None), (photos, photos), (photos / "deep", photos), (small, None)):
        with pytest.raises(UsageError, match=r"which this command reads|is a file"):
            inceptory.export(small, to="onnx", out=out, data=data, force=True)


@pytest.mark.parametrize("to", MOSTLY)
def test_a_full_disk_leaves_nothing_half_written(small, tmp_path, exports, to):
    pytest.importorskip("resource", reason="Windows limits no file's size")
    from tests.features.test_features import files_of_at_most

    with files_of_at_most(2**20), pytest.raises(WriteError, match="cannot be written"):
        inceptory.export(small, to=to, out=tmp_path / "deep" / "out")
    assert os.listdir(tmp_path) == []
    inceptory.export(small, to="onnx", out=tmp_path / "out")
    before = digests(tmp_path / "out")
    with files_of_at_most(2**20), contextlib.suppress(WriteError):
        inceptory.export(small, to=to, out=tmp_path / "out")
    assert digests(tmp_path / "out") == before
    assert {path.name for path in (tmp_path / "out").iterdir()} <= OWN


@pytest.mark.parametrize("fault", [KeyboardInterrupt, RuntimeError("bug")])
def test_an_interrupt_leaves_nothing_half_written(small, tmp_path, monkeypatch, exports, fault):
    def cut(*_: object) -> None:
        raise fault

    monkeypatch.setattr("inceptory.run.export.write_rest", cut)
    with pytest.raises(type(fault) if isinstance(fault, Exception) else fault):
        inceptory.export(small, to="onnx", out=tmp_path / "out")
    assert os.listdir(tmp_path) == []
