"""Nothing that lies in the current folder is run or read as a setting: it may be a data set from the web."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

PACKAGES = (
    "numpy",
    "torch",
    "torchvision",
    "PIL",
    "matplotlib",
    "safetensors",
    "pyarrow",
    "sklearn",
    "cyclopts",
    "rich",
)
"""What the tool imports beside the standard library; sitecustomize is what Python itself imports."""
RC = b"backend: module://canary\nfigure.facecolor: red\n\xff\xfe\n"
"""A matplotlibrc that cannot be decoded either."""
STREAMED = """
import sys
from inceptory.cli import main
from inceptory.data.feed import feed
feed.IN_MEMORY = 0
sys.exit(main())
"""
"""The command where nothing fits in memory, so that workers decode."""

CHECKS = {
    "models": ["models"],
    "show": ["show", "cifar_inception_v1", "--draw", "net.svg"],
    "check": ["check", "data"],
    "train": ["train", "data", "--model", "cifar_inception_v1", "--width", "0.25", "--epochs", "1", "--out", "new"],
    "train, streamed": [
        *("train", "data", "--model", "cifar_inception_v1", "--width", "0.25", "--epochs", "1", "--out", "streamed"),
        *("--workers", "1"),
    ],
    "evaluate": ["evaluate", "run", "data", "--out", "out.json"],
    "compare": ["compare", "run", "run", "--out", "compared"],
    "predict": ["predict", "run", "data/red", "--out", "out.parquet"],
    "explain": ["explain", "run", "data/red/0.png", "--out", "why"],
    "weights": ["weights"],
    "verify": ["verify", "run/model.safetensors"],
    "convert": ["convert", "plain.safetensors", "out.pth", "--to", "torchvision"],
    "demo": ["demo"],
}


@pytest.fixture(scope="module")
def planted(run: Path, colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a module of every name that Python and the tool import, each of which leaves a trace."""
    import inceptory

    place = tmp_path_factory.mktemp("planted")
    shutil.copytree(colours, place / "data")
    shutil.copytree(run, place / "run")
    inceptory.save(inceptory.create("googlenet", classes=2, aux=False), place / "plain.safetensors")
    trace = f"open({str(place / 'traces')!r}, 'a').write(__name__ + '\\n')\nraise SystemExit(3)\n"
    for name in {*sys.stdlib_module_names, *PACKAGES, "sitecustomize", "usercustomize", "inceptory", "canary"}:
        (place / f"{name}.py").write_text(trace)
    (place / "matplotlibrc").write_bytes(RC)
    (place / "pyvenv.cfg").write_text("home = .")
    return place


FAST = ("models", "check", "compare", "predict")
"""One that needs little, one with children, one that draws, one that computes."""


@pytest.mark.parametrize(
    "command", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in CHECKS]
)
def test_no_command_runs_what_lies_in_the_current_folder(planted: Path, command: str):
    started = [sys.executable, "-P", "-m", "inceptory"]
    if command == "models":
        started = [str(Path(sysconfig.get_path("scripts"), "inceptory"))]
    if command == "train, streamed":
        started = [sys.executable, "-P", "-c", STREAMED]
    done = subprocess.run([*started, *CHECKS[command]], cwd=planted, capture_output=True, text=True)
    assert not (planted / "traces").exists(), (planted / "traces").read_text()
    assert done.returncode == 0, done.stderr[-2000:]
    assert "matplotlibrc" not in done.stderr


def test_the_traces_are_left_where_the_folder_is_read(planted: Path, tmp_path: Path):
    """The proof of the proof: without -P the planted modules do run."""
    (tmp_path / "json.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'w')\nraise SystemExit(3)\n")
    done = subprocess.run([sys.executable, "-m", "inceptory", "models", "--json"], cwd=tmp_path, capture_output=True)
    assert done.returncode == 3
    assert (tmp_path / "trace").exists()


def first_imports(code: str) -> list[str]:
    """Functions that import from matplotlib where no call of `load` stands above, in the order of the file."""
    found = []
    for function in (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.FunctionDef)):
        loaded = False
        for line in function.body:
            loaded = loaded or ast.unparse(line).endswith("load()")
            imported = isinstance(line, ast.ImportFrom) and str(line.module).startswith("matplotlib")
            if imported and not loaded:
                found.append(function.name)
    return found


def test_every_import_from_matplotlib_is_behind_the_one_that_ignores_the_folder():
    """Any of them may be the first of a command, and the first one reads the settings."""
    package = Path(__file__).parents[1] / "inceptory"
    drawing = [path for path in package.rglob("*.py") if "from matplotlib" in path.read_text("utf-8")]
    assert {path.name for path in drawing} == {"plots.py", "explained.py"}
    for path in drawing:
        assert not first_imports(path.read_text("utf-8")), path
    assert first_imports("def draw():\n    from matplotlib import colors\n    load()\n") == ["draw"]
