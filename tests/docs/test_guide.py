"""Every command of the guide to one's own photos, run on small pictures with a small network."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch

import inceptory
from inceptory.cli import main
from inceptory.data.picture.preprocess import Preprocess
from tests.conftest import COLOURS, paint

DOCS = Path(__file__).parents[2] / "docs"
GUIDES = ("your-own-photos.md", "your-own-photos.zh-CN.md")
NETWORK = "xception.keras_in1k"


def blocks(name: str, language: str) -> list[str]:
    text = (DOCS / name).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the guide's reader has it, and small pictures for the published network's place."""
    monkeypatch.setenv("INCEPTORY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("inceptory.report.plots.png", lambda *_, **__: b"a picture")
    for name, colour in COLOURS.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(14):
            paint(tmp_path / "photos" / name / f"{number}.png", colour, number)
    (tmp_path / "new").mkdir()
    for number, colour in enumerate(COLOURS.values()):
        paint(tmp_path / "new" / f"{number}.png", colour, 50 + number)
    shutil.copy(tmp_path / "new" / "0.png", tmp_path / "new" / "flower.jpg")
    torch.manual_seed(0)
    net = inceptory.create("xception", dialect="keras", image=71, classes=5)  # Keras knows no other width
    card = inceptory.Card.of(net.plan, preprocess=Preprocess(size=71, resize=71, mean=(0.5,) * 3, std=(0.5,) * 3))
    inceptory.save(net.eval(), tmp_path / "network.safetensors", card)
    return tmp_path


@pytest.mark.slow
def test_every_command_and_every_line_of_python_runs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = [shlex.split(line) for block in blocks(GUIDES[0], "shell") for line in block.strip().splitlines()]
    assert len(commands) == 12
    with contextlib.chdir(place):
        for words in commands:
            assert words[0] == "inceptory"
            words = ["network.safetensors" if word == NETWORK else word for word in words[1:]]
            # The guide's 8 minutes are for photographs; the epochs end it here.
            words += ["--epochs", "1", "--batch", "8"] if "--finetune" in words else []
            assert main(words) in (0, None), (words, capsys.readouterr().err)
        (code,) = blocks(GUIDES[0], "python")
        capsys.readouterr()
        exec(compile(code, GUIDES[0], "exec"), {})
        assert len(capsys.readouterr().out.strip().splitlines()) == 4
    assert (place / "runs" / "finetuned" / "report.html").is_file()
    assert (place / "suspects.html").is_file()
    assert (place / "why" / "flower.png").is_file()
    assert sum(path.is_file() for path in (place / "sorted").rglob("*")) == 4
    assert (place / "photos.weights.h5").stat().st_size > 10_000


def test_what_the_guide_names_is_there() -> None:
    assert NETWORK in set(inceptory.published())
    for name in GUIDES:
        text = (DOCS / name).read_text(encoding="utf-8")
        links = re.findall(r"\]\(([^)#]+)\)", text)
        assert all((DOCS / link).exists() for link in links if "://" not in link), name


def test_both_guides_have_the_same_commands_pictures_and_sections() -> None:
    english, chinese = ((DOCS / name).read_text(encoding="utf-8") for name in GUIDES)
    for language in ("shell", "text", "python"):
        assert blocks(GUIDES[0], language) == blocks(GUIDES[1], language)
    assert re.findall(r"\((pictures/[^)]*)\)", english) == re.findall(r"\((pictures/[^)]*)\)", chinese)
    assert len(re.findall("^## ", english, re.MULTILINE)) == len(re.findall("^## ", chinese, re.MULTILINE))
