"""By which pictures 16 bits are compared with 32: given ones, else a run's validation pictures, else the work ahead."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import inceptory
from inceptory import Recipe, Variant
from inceptory.cli import main
from inceptory.data.feed.decoding import sample
from inceptory.data.sources import built_in
from inceptory.data.sources.layout import Layout
from inceptory.data.sources.opening import open_source
from inceptory.data.sources.source import Split
from inceptory.engines.opening import REFERENCE, open_engine
from inceptory.errors import MissingError, UsageError
from inceptory.learn.settings.job import Job
from inceptory.run.pictures import Reading
from inceptory.run.prediction.samples import sample_of
from inceptory.weights.model import open_model
from tests.imports import loaded_by
from tests.small import PREPROCESS, saved

CLASSES, EACH, HELD = ("cat", "dog", "owl"), 140, 210
"""Half of the pictures are held out for validation: enough to prove by."""


def draw(folder: Path, count: int, seed: int) -> None:
    """So many pictures of 8 x 8, no two alike."""
    folder.mkdir(parents=True)
    for number, pixels in enumerate(np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)):
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three class folders, and one with 20 pictures of the work ahead."""
    root = tmp_path_factory.mktemp("drawn")
    for number, name in enumerate(CLASSES):
        draw(root / "photos" / name, EACH, number)
    draw(root / "ahead", 20, 9)
    return root


@dataclass
class Place:
    """A run as `train` leaves it, untrained, beside its data, and pictures of the work ahead."""

    data: Path
    run: Path
    ahead: Reading

    def read(self, data: object = None, count: int = 256) -> tuple[np.ndarray, str]:
        with open_model(self.run) as model:
            return sample_of(model, self.ahead, data).read(count)

    @property
    def job(self) -> Job:
        return Job.read(self.run)

    def rewrite(self, **card: object) -> None:
        """The weights with another card."""
        net = inceptory.load(self.run)
        inceptory.save(net, self.run / "model.safetensors", replace(net.card, **card))


@pytest.fixture
def place(drawn: Path, tmp_path: Path) -> Place:
    data, run = shutil.copytree(drawn / "photos", tmp_path / "photos"), tmp_path / "run"
    recipe = Recipe(validation=0.5)
    source = open_source(data).with_validation(recipe.validation)
    assert source.sizes == {"train": HELD, "validation": HELD}
    job = Job(str(data), "cifar_inception_v2", Variant(width=0.25), recipe, source.fingerprint(), "")
    run.mkdir()
    job.write(run)
    facts = {"name": str(data), "splits": source.sizes, "fingerprint": job.fingerprint}
    saved(run / "model.safetensors", data=facts, recipe=recipe.to_json(), labels=CLASSES)
    return Place(data, run, Reading(sorted((drawn / "ahead").iterdir()), PREPROCESS))


def pixels_of(split: Split, most: int = 256) -> np.ndarray:
    return sample(split.pictures, split.names, PREPROCESS, most)


def validation_of(place: Place) -> np.ndarray:
    return pixels_of(open_source(place.data).with_validation(0.5).split("validation"))


# A run's validation pictures


def test_a_run_is_compared_by_its_validation_pictures(place):
    pixels, whose = place.read()
    assert whose == f"validation pictures of {place.data}"
    assert np.array_equal(pixels, validation_of(place))
    assert len(pixels) == HELD
    assert len(place.read(count=7)[0]) == 7


def gone(place: Place) -> None:
    place.data.rename(place.data.with_name("elsewhere"))


def changed(place: Place) -> None:
    (place.data / "cat" / "003.png").write_bytes((place.data / "cat" / "004.png").read_bytes() + b"\0")


def more(place: Place) -> None:
    shutil.copy(place.data / "cat" / "003.png", place.data / "dog" / "another.png")


def of_another_run(place: Place) -> None:
    place.rewrite(data={"name": "x", "splits": {"train": HELD, "validation": HELD}, "fingerprint": "0" * 64})


def of_no_run(place: Place) -> None:
    (place.run / "run.json").unlink()


def with_a_damaged_record(place: Place) -> None:
    (place.run / "run.json").write_text("{")


def with_a_strange_card(place: Place) -> None:
    place.rewrite(data={"splits": {"validation": "many"}, "fingerprint": place.job.fingerprint})


def handed_over_in_python(place: Place) -> None:
    replace(place.job, given=True).write(place.run)


def fitted_on_all_in_turn(place: Place) -> None:
    place.rewrite(recipe={"folds": 5})


@pytest.mark.parametrize(
    "what",
    [
        gone,
        changed,
        more,
        of_another_run,
        of_no_run,
        with_a_damaged_record,
        with_a_strange_card,
        handed_over_in_python,
        fitted_on_all_in_turn,
    ],
    ids=lambda what: what.__name__,
)
def test_where_they_are_not_what_they_were_the_work_ahead_stands_in(place, what):
    what(place)
    pixels, whose = place.read()
    assert whose == "of these pictures"
    assert np.array_equal(pixels, place.ahead.sample(256))


@pytest.mark.parametrize("sizes", [{"train": 221, "validation": 199}, {"train": 99_800, "validation": 201}])
def test_data_with_too_few_held_out_or_too_much_to_look_through_is_not_opened(place, sizes, monkeypatch):
    place.rewrite(data={"splits": sizes, "fingerprint": place.job.fingerprint})
    monkeypatch.setattr(Job, "source", lambda self: pytest.fail("opened"))
    assert place.read()[1] == "of these pictures"


def test_data_that_is_as_it_was_but_cannot_be_read_proves_nothing(place, monkeypatch):
    for path in (place.data / "owl").iterdir():
        path.write_bytes(b"\0" * path.stat().st_size)
    assert place.read()[1] == "of these pictures"


def test_nothing_is_downloaded_to_compare_by(place, tmp_path, monkeypatch):
    monkeypatch.delenv("INCEPTORY_DATA", raising=False)
    monkeypatch.setenv("INCEPTORY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(built_in, "fetch", lambda *_: pytest.fail("downloaded"))
    replace(place.job, data="cifar10").write(place.run)
    assert place.read()[1] == "of these pictures"


def test_a_run_is_not_looked_at_before_it_is_needed(place, monkeypatch):
    monkeypatch.setattr(Job, "read", lambda folder: pytest.fail("read"))
    with open_model(place.run) as model:
        assert not sample_of(model, place.ahead).given


# Given pictures


def test_given_pictures_come_before_those_of_the_run(place, drawn):
    pixels, whose = place.read(drawn / "ahead")
    assert whose == f"pictures of {drawn / 'ahead'}"
    assert np.array_equal(pixels, place.ahead.sample(256)), "a folder without labels"


def test_of_labelled_pictures_those_are_taken_that_evaluate_would_measure(place, tmp_path):
    assert np.array_equal(place.read(place.data)[0], validation_of(place)), "the run was trained on the others"
    for split, number in (("train", 10), ("test", 11)):
        for row, name in enumerate(CLASSES):
            draw(tmp_path / "split" / split / name, 3, number + 10 * row)
    test = open_source(tmp_path / "split").split("test")
    assert np.array_equal(place.read(tmp_path / "split")[0], pixels_of(test))


def test_python_may_hand_over_pictures(place):
    pictures = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    pixels, _ = place.read((pictures, ["cat", "dog", "cat", "dog", "cat"]))
    assert len(pixels) == 5


# The command


@pytest.fixture
def asked(monkeypatch) -> dict:
    """What a command asks of the choice among engines, while torch computes."""
    seen: dict = {}

    def spied(model, wish, **given):
        seen.update(given)
        return open_engine(model, REFERENCE)

    for command in ("predict", "evaluate"):
        monkeypatch.setattr(f"inceptory.run.{command}.open_engine", spied)
    return seen


def test_predict_hands_given_pictures_to_the_choice(place, drawn, asked):
    picture = place.ahead.paths[0]
    assert main(["predict", str(place.run), str(picture), "--data", str(drawn / "ahead")]) == 0
    assert asked["pictures"] == 1
    assert asked["sample"].given
    assert np.array_equal(asked["sample"].read(256)[0], place.ahead.sample(256))


def test_predict_hands_its_own_pictures_to_the_choice_where_there_is_no_run(place, drawn, asked):
    of_no_run(place)
    inceptory.predict(place.run / "model.safetensors", drawn / "ahead")
    assert not asked["sample"].given
    assert np.array_equal(asked["sample"].read(256)[0], place.ahead.sample(256))


def test_evaluate_hands_the_measured_pictures_to_the_choice(place, asked):
    inceptory.evaluate(place.run, place.data)
    pixels, whose = asked["sample"].read(256)
    assert whose == f"pictures of {place.data}"
    assert np.array_equal(pixels, validation_of(place))


def test_mistakes_about_given_pictures_are_told_before_the_work(place, drawn, exports, asked):
    picture = place.ahead.paths[0]
    with pytest.raises(MissingError, match="nowhere: no such data"):
        inceptory.predict(place.run, picture, data="nowhere")
    with pytest.raises(UsageError, match="--data, --precision bf16: give one of them"):
        inceptory.predict(place.run, picture, data=place.data, precision="bf16")
    with pytest.raises(UsageError, match=r"is an exported folder, which has one precision \(leave it out"):
        inceptory.predict(exports["onnx"], picture, data=place.data)
    with pytest.raises(UsageError, match=r"--path-column, .* of --data \(give it"):
        inceptory.predict(place.run, picture, layout=Layout(path_column="file"))
    assert asked == {}


def test_a_file_that_pictures_are_compared_by_is_never_replaced(place, drawn, tmp_path, capsys):
    table = tmp_path / "table.csv"
    table.write_text(f"path,label\n{place.ahead.paths[0]},cat\n{place.ahead.paths[1]},dog\n")
    before = table.read_text()
    words = ["predict", str(place.run), str(place.ahead.paths[0]), "--data", str(table), "--out", str(table), "--force"]
    assert main(words) != 0
    assert table.read_text() == before
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("data", ["the run's", "given"])
def test_no_source_of_pictures_loads_torch(place, data):
    code = """
from inceptory.run.prediction.samples import sample_of
from inceptory.run.pictures import Reading
from inceptory.weights.model import open_model
with open_model(sys.argv[1]) as model:
    ahead = Reading([], model.require_preprocess())
    pixels, whose = sample_of(model, ahead, *sys.argv[2:]).read(256)
assert len(pixels) == 210, whose
"""
    assert "torch" not in loaded_by(code, str(place.run), *[str(place.data)] * (data == "given"))


@pytest.mark.slow
def test_16_bits_are_proved_for_one_picture(place, tmp_path, monkeypatch):
    pytest.importorskip("openvino", reason='not installed: pip install "inceptory[fast]"')
    monkeypatch.setenv("INCEPTORY_CACHE", str(tmp_path / "cache"))
    inceptory.predict(place.run, place.ahead.paths[0], engine="openvino", data=place.data)
    (note,) = (tmp_path / "cache" / "engines").glob("*.json")
    plain = json.loads(note.read_text())
    assert plain["rates"], "measured for one picture"
    assert all(count == HELD for _, count in plain["proofs"].values())
    assert "photos" not in note.read_text(), "nothing of the pictures but their number"
