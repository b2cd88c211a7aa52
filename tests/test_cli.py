"""The command line: every misuse one line and its exit code, and no torch where none is needed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from inceptory.cli import COMMANDS, main

CHEAP = [
    ["--help"],
    ["--version"],
    *([word, "--help"] for word in COMMANDS),
    ["models"],
    ["models", "--json"],
    ["cache"],
    ["show", "inception_v3"],
    ["show", "inception_resnet_v2", "--json", "--aux", "--se"],
]

# words, exit code, what the line must name; {data} is a scratch folder
MISUSE = [
    (["shw"], 64, "show"),
    (["show"], 64, "NAME"),
    (["show", "inception_v5"], 64, "inception_v4"),
    (["show", "inception_v3", "--dialect", "kers"], 64, "keras"),
    (["show", "inception_v3", "--image", "74"], 64, "75"),
    (["show", "inception_v3", "--width", "9"], 64, "--width"),
    (["show", "inception_v3", "--classes", "x"], 64, "--classes x: of the wrong kind (a whole number is wanted)"),
    (["show", "inception_v3", "--scale", "x"], 64, "--scale x: unknown (choose off or a number)"),
    (["show", "inception_v3", "--draw", "x.png"], 64, ".svg"),
    (["show", "xception", "--aux"], 64, "no auxiliary heads"),
    (["models", "--jsn"], 64, "--json"),
    (["train", "digits", "--model", "cifar_inception_v3"], 64, "--out"),
    (["train", "{data}/none", "--model", "cifar_inception_v3", "--out", "{data}/r"], 66, "no such data"),
    (["train", "{data}/none", "--model", "cifar_inceptio_v3", "--out", "{data}/r"], 64, "cifar_inception_v3"),
    (["train", "{data}/one", "--model", "cifar_inception_v3", "--out", "{data}/r"], 65, "one class only"),
    (["train", "{data}/empty", "--model", "cifar_inception_v3", "--out", "{data}/r"], 65, "is empty"),
    (["train", "{data}/bare", "--model", "cifar_inception_v3", "--out", "{data}/r"], 65, "no class folders"),
    (["train", "{data}/file", "--model", "cifar_inception_v3", "--out", "{data}/r"], 65, "not a data set"),
    (["train", "digits", "--model", "cifar_inception_v3", "--out", "{data}/ran"], 78, "already holds a run"),
    (["train", "digits", "--model", "cifar_inception_v3", "--out", "{data}/file/r"], 74, "cannot be written"),
    (["train", "digits", "--model", "cifar_inception_v3", "--out", "{data}/r", "--epochs", "0"], 64, "--epochs"),
    (["train", "digits", "--model", "cifar_inception_v3", "--out", "{data}/r", "--device", "tpu"], 64, "--device"),
    (["train", "digits", "--norm-momentum", "x"], 64, "--norm-momentum x: unknown (choose auto, origin or a number)"),
    (["train", "digits", "--model", "inception_v3", "--out", "{data}/r", "--image", "50"], 64, "75"),
    (["train", "digits", "--model", "inception_v3", "--out", "{data}/r", "--drop-path", "0.1"], 64, "no residual"),
    (["train", "digits", "--model", "inception_v3", "--out", "{data}/r", "--epsilon", "1"], 78, "--epsilon"),
    (
        ["train", "digits", "--model", "inception_v3", "--image", "80", "--out", "{data}/r", "--progressive", "0.5"],
        78,
        "--progressive: inception_v3 takes no pictures of 60 pixels",
    ),
    (["train", "digits", "--model", "cifar_inception_v3", "--out", "{data}/r", "--recipe", "paper"], 64, "tutorial"),
    (["check", "{data}/none"], 66, "no such data"),
    (["check", "{data}/none", "--model", "inception_v5"], 64, "inception_v4"),
    (["check", "{data}/none", "--model", "inception_v3", "--image", "50"], 64, "75"),
    (["check", "{data}/none", "--image", "0"], 64, "--image"),
    (["check", "{data}/none", "--out", "{data}/r.html"], 78, "--out: goes with --from"),
    (["check", "{data}/none", "--device", "cpu"], 78, "--device: goes with --from"),
    (["check", "{data}/one", "--from", "{data}/none", "--out", "{data}/r.html"], 66, "no such file"),
    (["check", "{data}/one", "--from", "{data}/file"], 65, "a plain text"),
    (["evaluate", "{data}/none", "digits"], 66, "no such file"),
    (["evaluate", "{data}/file", "digits"], 65, "a plain text"),
    (["compare", "{data}/ran"], 64, "two or more"),
    (["compare", "{data}/none", "{data}/ran"], 66, "no such folder"),
    (["compare", "{data}/bare", "{data}/ran", "--out", "{data}/r"], 65, "not a run"),
    (["compare", "{data}/ran", "{data}/ran"], 65, "unfinished"),
    (["features", "{data}/none", "digits"], 66, "no such file"),
    (["features", "{data}/file", "digits"], 65, "a plain text"),
    (["features", "{data}/file", "digits", "--out", "{data}/x.csv"], 64, "end it in .npz or .parquet"),
    (["features", "{data}/file", "digits", "--views", "0"], 64, "--views 0: out of range"),
    (["cache", "--keep", "much"], 64, "--keep much: not a size"),
    (["cache", "--clear", "--keep", "1GB"], 64, "--clear, --keep"),
    (["predict", "{data}/none", "{data}/file"], 66, "no such file"),
    (["predict", "{data}/file", "{data}/file"], 65, "a plain text"),
    (["predict", "{data}/file"], 64, "needs pictures"),
    (["predict", "{data}/file", "x.jpg", "--top", "0"], 64, "--top"),
    (["predict", "{data}/file", "{data}/one", "--sort-into", "{data}/one/s"], 64, "which is searched for pictures"),
    (["predict", "{data}/file", "{data}/one", "--sort-into", "{data}/s", "--unsure", "2"], 64, "--unsure 2"),
    (["explain", "{data}/file", "{data}/file"], 64, "--out"),
    (["explain", "{data}/file", "--out", "{data}/r"], 64, "needs pictures"),
    (["explain", "{data}/none", "{data}/file", "--out", "{data}/r"], 66, "no such file"),
    (["explain", "{data}/file", "{data}/file", "--out", "{data}/r", "--top", "11"], 64, "--top"),
    (["explain", "{data}/file", "{data}/one", "--out", "{data}/one/r"], 64, "which is searched for pictures"),
    (["reproduce", "cifar100"], 64, "did you mean 'cifar10'?"),
    (["reproduce", "cifar10", "--networks", "cifar_inception_v4", "--out", "{data}/r"], 64, "cifar_inception_v"),
    (["reproduce", "cifar10", "--recipe", "paper", "--out", "{data}/r"], 64, "tutorial"),
    (["reproduce", "cifar10", "--width", "9", "--out", "{data}/r"], 64, "--width 9: out of range"),
    (["reproduce", "cifar10", "--epochs", "0", "--out", "{data}/r"], 64, "--epochs 0: out of range"),
    (["reproduce", "cifar10", "--time", "20", "--out", "{data}/r"], 64, "--time 20: not a length of time"),
    (["reproduce", "cifar10", "--out", "{data}/file/r"], 74, "cannot be written"),
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with every mistake that a data folder can be."""
    from PIL import Image

    for folder in ("one/a", "empty/a", "empty/b", "bare", "ran"):
        (tmp_path / folder).mkdir(parents=True)
    for place in ("one/a", "empty/a"):
        Image.new("RGB", (8, 8)).save(tmp_path / place / "x.png")
    (tmp_path / "file").write_text("hello")
    (tmp_path / "ran" / "history.csv").write_text("epoch\n")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "code", "named"), MISUSE, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_misuse_is_one_line_with_a_remedy_and_leaves_nothing_behind(words, code, named, data: Path, capsys):
    before = sorted(data.rglob("*"))
    assert main([word.format(data=data) for word in words]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert named in err
    assert sorted(data.rglob("*")) == before


def test_what_needs_no_torch_imports_none(data: Path):
    asked = [(words, 0) for words in CHEAP]
    asked += [([word.format(data=data) for word in misuse], code) for misuse, code, _ in MISUSE]
    script = (
        "import sys, json\n"
        "from inceptory.cli import main\n"
        "for words, code in json.loads(sys.argv[1]):\n"
        "    assert main(words) == code, words\n"
        "    assert 'torch' not in sys.modules, words\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(asked)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-800:]


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["--version"]], ids=" ".join)
def test_the_first_thing_that_a_person_tries_works_in_a_fresh_process(words):
    done = subprocess.run([sys.executable, "-P", "-m", "inceptory", *words], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("train" if "h" in words[0] else "0.") in done.stdout


def test_help_of_the_whole_loads_no_command():
    script = (
        "import sys\nfrom inceptory.cli import main\nassert main(['--help']) == 0\n"
        "print([name for name in sys.modules if name.startswith(('inceptory.nets', 'inceptory.learn', 'numpy'))])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")


@pytest.mark.parametrize("word", COMMANDS)
def test_every_command_explains_itself_with_an_example(word, capsys):
    assert main([word, "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"inceptory {word}" in told.split("For example:")[1]


@pytest.mark.parametrize("word", COMMANDS)
def test_the_help_shows_what_to_write_for_a_value_and_no_types_of_python(word, capsys):
    assert main([word, "--help"]) == 0
    told = capsys.readouterr().out
    assert not re.search(r"\bSTR\b|RECIPE|\bPATH\|", told)
    if word == "train":
        for shown in (
            "--model NAME",
            "--recipe NAME|FILE.toml",
            "--out PATH",
            "--time TIME",
            "--checkpoint-every TIME",
        ):
            assert shown in told


def test_the_options_of_every_command_are_these(capsys):
    """An option is a promise: adding or renaming one is a decision, made here."""
    import inspect
    from dataclasses import fields

    from inceptory import Layout, Recipe, Variant

    variant = ["dialect", "image", "width", "in_channels", "dropout", "se", "scale", "aux"]
    recipe = ["epochs", "time", "batch", "accumulate", "stop_after"]
    recipe += ["optimizer", "lr", "schedule", "warmup", "drops", "decay_rate", "decay_epochs", "decay", "patience"]
    recipe += ["momentum", "nesterov", "momentum_rule", "rms_decay", "epsilon", "weight_decay", "penalty"]
    recipe += ["unfreeze", "depth_rate", "freeze_norms", "whitening", "clip"]
    recipe += ["label_smoothing", "class_weights", "balanced", "skip_easy", "average"]
    recipe += ["norm_momentum", "moving_variance", "drop_path"]
    recipe += ["statistics", "flip", "shift", "shift_kind", "progressive", "crop", "trivial"]
    recipe += ["colour", "light", "erase", "mixup", "cutmix"]
    recipe += ["validation", "seed", "device", "precision", "gradient_checkpointing", "compile"]
    assert [field.name for field in fields(Variant)] == variant
    assert [field.name for field in fields(Recipe)] == recipe
    assert [field.name for field in fields(Layout)] == ["split_folders", "path_column", "label_column"]
    expected = {
        "models": ["json"],
        "show": ["name", "classes", "variant", "draw", "force", "json"],
        "check": ["data", "model", "backbone", "image", "out", "force", "device", "strict", "json", "layout"],
        "train": [
            *("data", "model", "backbone", "out", "resume", "recipe"),
            *("checkpoint_every", "tensorboard", "workers", "find_lr", "variant", "transfer", "options", "layout"),
        ],
        "evaluate": [
            *("model", "data", "split", "out", "force", "engine", "device", "precision", "weights", "raw", "layout"),
            "views",
        ],
        "compare": ["runs", "out", "force", "json"],
        "predict": [
            *("model", "images", "top", "coverage", "out", "format", "force"),
            *("engine", "device", "precision", "data", "layout", "weights", "raw"),
            *("sort_into", "unsure", "views"),
        ],
        "bench": [
            *("models", "engines", "precisions", "batch", "image", "threads", "busy", "peers", "peers_python", "data"),
            "json",
        ],
        "explain": ["model", "images", "out", "layer", "module", "top", "force", "device", "weights", "raw"],
        "features": [
            *("model", "data", "out", "layer", "views", "image", "seed", "force", "engine", "device", "precision"),
            *("cache", "weights", "raw", "layout"),
        ],
        "cache": ["clear", "keep"],
        "weights": ["json"],
        "verify": ["file", "name", "dialect", "raw", "json"],
        "convert": ["ours", "destination", "to", "classes", "raw", "force"],
        "export": ["model", "to", "out", "precision", "data", "max_drop", "force", "weights", "raw", "layout"],
        "reproduce": ["data", "recipe", "networks", "width", "epochs", "time", "out"],
        "demo": ["out"],
    }
    from importlib import import_module

    for word, (target, _) in COMMANDS.items():
        module, function = target.split(":")
        assert list(inspect.signature(getattr(import_module(module), function)).parameters) == expected[word]


def test_a_name_that_the_terminal_cannot_write_is_escaped():
    script = (
        "import sys\nfrom inceptory import cli\n"
        "cli.flags.refuse_fractions = lambda *_: None\n"
        "cli.application = lambda *_: lambda *_, **__: 'results in caf\\udce9, żółw'\n"
        "sys.argv = ['inceptory', 'models']\nsys.exit(cli.main())"
    )
    for encoding, told in (("utf-8", r"caf\udce9, żółw"), ("ascii", r"caf\udce9, \u017c\xf3\u0142w")):
        environment = {**os.environ, "PYTHONIOENCODING": f"{encoding}:strict"}
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, env=environment, check=True)
        assert done.stdout.decode(encoding).rstrip() == f"results in {told}"


def test_models_and_show_print_records(capsys):
    assert main(["models", "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert {"name", "dialect", "classes", "image", "parameters", "statistics", "total", "macs"} == set(records[0])
    assert main(["show", "inception_v3", "--json", "--classes", "5"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["classes"] == 5
    assert record["stages"][0] == {
        "name": "Conv2d_1a_3x3",
        "shape": [32, 149, 149],
        "parameters": 928,
        "macs": 19_181_664,
    }
    assert record["stages"][-1]["shape"] == [5, 1, 1]


def test_show_draws(tmp_path: Path, capsys):
    import xml.etree.ElementTree as ET

    assert main(["show", "inception_v3", "--draw", str(tmp_path / "v3.svg")]) == 0
    assert "Mixed_7c" in capsys.readouterr().out
    assert ET.parse(tmp_path / "v3.svg").getroot().tag.endswith("svg")


def test_the_whole_line_by_command(colours: Path, tmp_path: Path, capsys):
    run = str(tmp_path / "run")
    words = ["--width", "0.25", "--epochs", "1", "--batch", "16", "--precision", "fp32"]
    assert main(["train", str(colours), "--model", "cifar_inception_v3", "--out", run, *words]) == 0
    out, err = capsys.readouterr()
    assert "validation: top-1" in out
    assert "epoch 1:" in err
    assert main(["evaluate", run, str(colours), "--out", str(tmp_path / "m.json")]) == 0
    assert "n 6" in capsys.readouterr().out
    assert main(["compare", run, run]) == 0
    assert capsys.readouterr().out.count("cifar_inception_v3") == 2
    assert main(["predict", run, str(colours / "red"), "--top", "1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 24


def test_a_fault_of_our_own_is_one_line_too(monkeypatch, capsys):
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("boom\nsecond line")

    monkeypatch.delenv("INCEPTORY_TRACEBACK", raising=False)
    monkeypatch.setattr("inceptory.cli.application", broken)
    assert main(["models"]) == 70
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "boom" in err


def test_an_interrupt_ends_with_its_own_code(monkeypatch, capsys):
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("inceptory.cli.application", stopped)
    assert main(["models"]) == 75
    assert capsys.readouterr().err.startswith("error: interrupted")
