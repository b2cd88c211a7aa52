"""An exported folder as a model: looked over before it answers, and without torch."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import inceptory
from inceptory.cli import main
from inceptory.engines.exported import CARD, FILES, KEPT, OUTSIDE, compiled, is_exported, open_exported
from inceptory.engines.opening import Wish, open_engine
from inceptory.errors import ConfigError, DataError, MissingError, UsageError
from inceptory.features.listing import cache as listing
from inceptory.weights.seal import seal
from tests.imports import loaded_by
from tests.small import CLASSES, TARGETS, saved

EXTRA = 'not installed: pip install "inceptory[fast]"'


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where OpenVINO keeps what it compiles."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("INCEPTORY_CACHE", str(folder))
    return folder


@pytest.fixture
def whole(exports: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the ONNX export, to be damaged."""
    pytest.importorskip("onnxruntime", reason=EXTRA)
    return Path(shutil.copytree(exports["onnx"], tmp_path / "whole"))


@pytest.mark.parametrize("to", ["onnx", "openvino"])
@pytest.mark.slow
def test_an_exported_folder_predicts_as_its_model_and_loads_no_torch(exports, small, tmp_path, to):
    picture = tmp_path / "a.png"
    Image.effect_mandelbrot((40, 36), (-2, -1, 1, 1), 50).convert("RGB").save(picture)
    (expected,) = inceptory.predict(small, picture, top=3, engine="torch", precision="fp32")
    (answer,) = inceptory.predict(exports[to], picture, top=3)
    assert answer.labels == expected.labels
    assert answer.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    code = "from inceptory.cli import main; assert main(sys.argv[1:]) == 0"
    loaded = loaded_by(code, "predict", str(exports[to]), str(picture))
    assert {"onnx": "onnxruntime", "openvino": "openvino"}[to] in loaded
    assert not {"torch", "onnx", "pyarrow", "sklearn", "matplotlib", "scipy"} & loaded
    assert not {"inceptory.weights.model", "inceptory.data.sources.opening"} & loaded, "a tenth of a second each"


def test_evaluate_measures_an_exported_folder(exports, small, tmp_path):
    pytest.importorskip("onnxruntime", reason=EXTRA)
    rng, labels = np.random.default_rng(0), [CLASSES[k % 3] for k in range(12)]
    data = [rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in labels], labels
    expected = inceptory.evaluate(small, data, engine="torch", precision="fp32")
    out = tmp_path / "metrics.json"
    metrics = inceptory.evaluate(exports["onnx"], data, out=out)
    assert metrics.top1 == expected.top1
    assert metrics.log_loss == pytest.approx(expected.log_loss, abs=1e-5)
    written = json.loads(out.read_text())
    assert written["file_bytes"] == (exports["onnx"] / "model.onnx").stat().st_size
    assert written["model"] == str(exports["onnx"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"engine": "torch"}, "--engine torch: .*onnx.* was exported for onnxruntime"),
        ({"engine": "openvino"}, "--engine openvino: .* was exported for onnxruntime"),
        ({"precision": "bf16"}, "--precision bf16: .* was exported for fp32"),
        ({"device": "cuda"}, "--device cuda: .* was exported for cpu"),
    ],
)
def test_a_wish_that_the_folder_does_not_fulfil_is_refused(exports, flags, message):
    with pytest.raises(ConfigError, match=message):
        open_engine(open_exported(exports["onnx"]), Wish(**flags))


def test_a_wish_that_it_fulfils_is_granted(exports):
    pytest.importorskip("onnxruntime", reason=EXTRA)
    engine, why = open_engine(open_exported(exports["onnx"]), Wish("onnxruntime", "fp32", "cpu"))
    assert (str(engine), why) == ("onnxruntime fp32", "")


@pytest.mark.parametrize("flags", [{"raw": True}, {"weights": Path("x.pth")}])
def test_flags_for_weight_files_are_refused(exports, flags):
    with pytest.raises(UsageError, match=r"is an exported folder, which holds its own weights"):
        inceptory.predict(exports["onnx"], exports["onnx"] / "labels.txt", **flags)


@pytest.mark.parametrize(
    "words",
    [
        ["explain", "MODEL", "photos", "--out", "why"],
        ["features", "MODEL", "photos", "--out", "x.npz"],
        ["verify", "MODEL"],
        ["convert", "MODEL", "x.pth", "--to", "timm"],
        ["export", "MODEL", "--to", "onnx", "--out", "x"],
    ],
    ids=lambda words: words[0],
)
def test_commands_that_need_the_checkpoint_say_so(exports, tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").touch()
    assert main([str(exports["onnx"]) if word == "MODEL" else word for word in words]) == 78
    (line,) = capsys.readouterr().err.splitlines()
    assert "is an exported folder, which only predict and evaluate take (give the checkpoint" in line
    assert os.listdir() == ["photos"]


@pytest.mark.parametrize("name", [CARD, "model.onnx"])
def test_a_missing_file_is_named(whole, capsys, name):
    (whole / name).unlink()
    assert main(["predict", str(whole), str(whole / "labels.txt")]) == 66
    assert capsys.readouterr().err == f"error: {whole / name}: is missing (export it again)\n"


def changed(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("place", [0, 1000, -1])
def test_a_changed_network_is_refused(whole, place):
    changed(whole / "model.onnx", place)
    with pytest.raises(
        DataError, match=r"model\.onnx: is not the file that was exported, it is damaged or was changed"
    ):
        open_exported(whole)


@pytest.mark.parametrize("size", [0, 1000])
def test_a_cut_network_is_refused(whole, size):
    os.truncate(whole / "model.onnx", size)
    with pytest.raises(DataError, match="is not the file that was exported"):
        open_exported(whole)


def test_a_changed_card_is_refused(whole):
    path = whole / CARD
    path.write_text(path.read_text().replace(f'"{CLASSES[0]}"', '"another"'))
    with pytest.raises(DataError, match="digest does not fit"):
        open_exported(whole)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"export": 3}', '{"export": {"format": 1}}', "\xff", "{" * 10**5])
def test_another_card_is_refused(whole, text):
    (whole / CARD).write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=r"card\.json: not as `export` writes it"):
        open_exported(whole)


def rewritten(folder: Path, **record: object) -> None:
    """Its card with another record, sealed again."""
    plain = json.loads((folder / CARD).read_text())
    plain["export"] |= record
    plain.pop("sha256")
    (folder / CARD).write_text(seal(json.dumps(plain), ()) + "\n")


def test_another_format_is_refused(whole):
    rewritten(whole, format=2)
    with pytest.raises(DataError, match=r"card\.json: is of another format than this version reads .*update inceptory"):
        open_exported(whole)


def test_a_file_that_points_to_another_is_not_opened(whole):
    content = (whole / "model.onnx").read_bytes() + OUTSIDE
    (whole / "model.onnx").write_bytes(content)
    rewritten(whole, files={"model.onnx": hashlib.sha256(content).hexdigest()})
    with pytest.raises(DataError, match="names another file for its numbers"):
        open_exported(whole)


def test_what_onnx_writes_for_another_file_is_what_is_looked_for():
    onnx = pytest.importorskip("onnx", reason=EXTRA)
    tensor = onnx.TensorProto(name="w", data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../etc/passwd")
    assert OUTSIDE in tensor.SerializeToString()


def test_an_engine_that_cannot_load_is_one_line(whole):
    content = b"\x08\x08" + bytes(100)
    (whole / "model.onnx").write_bytes(content)
    rewritten(whole, files={"model.onnx": hashlib.sha256(content).hexdigest()})
    with pytest.raises(DataError, match="ONNX Runtime cannot load it"):
        open_exported(whole).engine()


def test_an_absent_package_gives_the_line_that_installs_it(exports, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'needs onnxruntime \(pip install "inceptory\[fast\]"\)'):
        open_exported(exports["onnx"]).engine()


@pytest.mark.slow
def test_a_program_is_opened_but_never_run(exports):
    exported = open_exported(exports["torch-export"])
    assert exported.card.labels == CLASSES
    with pytest.raises(ConfigError, match=r"is for torch\.export\.load, which runs what a file says"):
        exported.engine()


@pytest.mark.slow
def test_what_openvino_compiled_is_kept_and_never_answers_for_another_network(exports, tmp_path, cache):
    out, pixels = tmp_path / "out", np.zeros((1, 3, 32, 32), dtype=np.uint8)
    answers = []
    for seed in (1, 2, 1):
        inceptory.export(saved(tmp_path / "model.safetensors", seed=seed), to="openvino", out=out)
        answers += [open_exported(out).engine().answers(pixels).logits for _ in range(2)]
    assert np.array_equal(answers[0], answers[1])
    assert np.array_equal(answers[2], answers[3])
    assert np.abs(answers[0] - answers[2]).max() > 1e-3
    assert np.array_equal(answers[0], answers[5])
    assert compiled()
    assert "compiled networks of OpenVINO: 2" in str(listing())
    assert "compiled" not in str(listing(clear=True))
    assert compiled() == []


def test_of_compiled_networks_each_has_a_folder(exports, cache):
    exported = open_exported(exports["openvino"])
    exported.engine()
    assert {path.parent.name for path in compiled()} == {exported.digest()[:32]}


def test_of_compiled_networks_the_last_used_are_kept(exports, cache):
    folder = cache / "engines" / "openvino"
    for age in range(KEPT + 3):
        (folder / f"{age}").mkdir(parents=True)
        (folder / f"{age}" / "a.blob").touch()
        os.utime(folder / f"{age}" / "a.blob", (1e9 - age, 1e9 - age))
    open_exported(exports["openvino"]).engine()
    left = {path.parent.name for path in compiled()}
    assert {f"{age}" for age in range(KEPT)} < left
    assert not {f"{age}" for age in range(KEPT, KEPT + 3)} & set(os.listdir(folder))


def test_a_cache_that_cannot_be_written_is_no_hindrance(exports, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("INCEPTORY_CACHE", str(tmp_path / "file"))
    assert open_exported(exports["openvino"]).engine().classes == 3


@pytest.mark.slow
def test_digests_stand_for_what_answers(exports):
    digests = {to: open_exported(exports[to]).digest() for to in TARGETS}
    assert len(set(digests.values())) == len(TARGETS)
    assert open_exported(exports["onnx"]).digest() == digests["onnx"]


def test_only_folders_of_an_export_are_taken_for_one(exports, tmp_path, run):
    assert all(is_exported(folder) for folder in exports.values())
    assert all(is_exported(str(folder)) for folder in exports.values())
    assert not any(is_exported(each) for each in (tmp_path, run, exports["onnx"] / CARD, "inception_v3.tf_in1k", 3))
    for names in FILES.values():
        (tmp_path / names[0]).touch()
        assert is_exported(tmp_path)
        with pytest.raises(MissingError, match=r"card\.json: is missing"):
            open_exported(tmp_path)
        (tmp_path / names[0]).unlink()
