"""`predict` marks pictures unlike those of the training, from a checkpoint that knows how far pictures may be."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import inceptory
from inceptory.cli import main
from inceptory.engines.torch import torch_engine
from inceptory.errors import DataError
from inceptory.measure.novelty import Novelty
from inceptory.run.pictures import Reading
from inceptory.weights.model import open_model


def vectors_of(model, pictures):
    with open_model(model) as opened:
        engine = torch_engine(opened)
        batches = Reading(pictures, opened.card.preprocess).batches("looking", 32)
        return np.concatenate([engine.answers(batch.pixels).vectors for batch in batches])


@pytest.fixture(scope="module")
def known(run, colours, tmp_path_factory):
    """The checkpoint of a run that knows how far 36 of its pictures are from the other 36."""
    net, path = inceptory.load(run), tmp_path_factory.mktemp("known") / "model.safetensors"
    vectors = vectors_of(run, sorted(colours.rglob("*.png")))
    inceptory.save(net, path, replace(net.card, novelty=Novelty.of(vectors[::2], vectors[1::2]).to_json()))
    return path


@pytest.fixture(scope="module")
def strange(tmp_path_factory):
    """Four pictures of noise."""
    folder = tmp_path_factory.mktemp("strange")
    for number in range(4):
        noise = np.random.default_rng(number).integers(0, 256, (36, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    return folder


def test_noise_is_marked_and_pictures_like_the_training_ones_are_not(known, colours, strange):
    found = inceptory.predict(known, strange, colours, engine="torch")
    noise, like = found.found[:4], found.found[4:]
    assert [(one.p_value, one.unlike) for one in noise] == [(1 / 37, True)] * 4
    assert sum(one.unlike for one in like) <= 2
    assert all(str(one).endswith(" (unlike the training pictures, p 0.027)") for one in noise)
    assert not any("unlike" in str(one) for one in like if not one.unlike)
    expected = inceptory.load(known).card.novelty
    p_values = Novelty.from_json(expected).p_values(vectors_of(known, [Path(one.picture) for one in like]))
    assert [one.p_value for one in like] == pytest.approx(p_values, abs=1 / 37)


def test_answers_are_bit_for_bit_those_of_a_checkpoint_that_knows_nothing(run, known, colours):
    with_it, without = (inceptory.predict(model, colours) for model in (known, run))
    for mine, theirs in zip(with_it, without, strict=True):
        assert (mine.labels, mine.probabilities) == (theirs.labels, theirs.probabilities)
        assert (theirs.p_value, theirs.unlike) == (None, False)


def test_the_network_is_run_once(known, colours, monkeypatch):
    from inceptory.run import predict

    passes, own = [], predict.open_engine

    def opened(*given, **more):
        engine, why = own(*given, **more)
        return SimpleNamespace(
            answers=lambda pixels: passes.append(len(pixels)) or engine.answers(pixels),
            multi_label=engine.multi_label,
            name=engine.name,
            preprocess=engine.preprocess,
            precision=engine.precision,
        ), why

    monkeypatch.setattr(predict, "open_engine", opened)
    inceptory.predict(known, *sorted((colours / "red").iterdir())[:5])
    assert passes == [5]


@pytest.mark.slow
def test_the_files_hold_p_value_and_mark(known, run, strange, tmp_path):
    import pyarrow.parquet as pq

    for kind in ("csv", "jsonl", "parquet"):
        out = tmp_path / f"answers.{kind}"
        for _ in range(2):  # its own file is replaced
            assert main(["predict", str(known), str(strange), "--top", "1", "--out", str(out)]) == 0
    (line, *_) = (tmp_path / "answers.jsonl").read_text().splitlines()
    assert list(json.loads(line)) == ["picture", "labels", "probabilities", "p_value", "unlike"]
    assert (json.loads(line)["p_value"], json.loads(line)["unlike"]) == (1 / 37, True)
    with open(tmp_path / "answers.csv", newline="") as file:
        row = next(csv.DictReader(file))
    assert list(row) == ["picture", "rank", "label", "probability", "p_value", "unlike"]
    assert (float(row["p_value"]), row["unlike"]) == (1 / 37, "True")
    table = pq.read_table(tmp_path / "answers.parquet").to_pylist()
    assert [(one["p_value"], one["unlike"]) for one in table] == [(1 / 37, True)] * 4
    for ending in ("csv", "jsonl"):
        inceptory.predict(run, strange, out=tmp_path / f"plain.{ending}")
        assert "p_value" not in (tmp_path / f"plain.{ending}").read_text()


def test_what_is_unlike_is_sorted_apart_however_sure_its_class(known, strange, colours, tmp_path):
    like = next(one.picture for one in inceptory.predict(known, colours / "red") if not one.unlike)
    inceptory.predict(known, strange, like, sort_into=tmp_path / "sorted", unsure=0)
    copies = sorted(path.relative_to(tmp_path / "sorted").parts for path in (tmp_path / "sorted").rglob("*.png"))
    assert [folder for folder, _ in copies] == ["red", *["unsure"] * 4]


def test_a_new_head_knows_no_novelty_and_a_copy_does(known, tmp_path):
    net = inceptory.load(known)
    inceptory.save(net, tmp_path / "copy.safetensors")
    assert inceptory.load(tmp_path / "copy.safetensors").card.novelty == net.card.novelty
    net.reset_classifier(3)
    assert net.card.novelty == {}


HUGE = 10**400


@pytest.mark.parametrize(
    "damage",
    [
        {"n": 0},
        {"n": HUGE, "distances": [0.5] * 1_000},
        {"mean": "AAAA"},
        {"mean": "AAAAAA==", "axes": ""},
        {"axes": "AAAA" * 100_000},
        {"distances": [HUGE]},
        {"distances": "far"},
        {"mean": None},
        {"more": 1, "n": "x"},
    ],
    ids=repr,
)
def test_a_damaged_or_huge_record_is_one_line(run, known, strange, tmp_path, capsys, damage):
    net, path = inceptory.load(run), tmp_path / "m.safetensors"
    inceptory.save(net, path, replace(net.card, novelty={**inceptory.load(known).card.novelty, **damage}))
    assert main(["predict", str(path), str(strange)]) == 65
    told = capsys.readouterr().err
    assert told.startswith(f"error: {path}: its novelty is damaged, ")
    assert told.count("\n") == 1


def test_a_record_of_more_directions_than_any_is_refused(known, run, strange, tmp_path):
    net, path = inceptory.load(run), tmp_path / "m.safetensors"
    novelty = Novelty.from_json(inceptory.load(known).card.novelty)
    many = replace(novelty, axes=np.ones((33, len(novelty.mean)), novelty.axes.dtype))
    inceptory.save(net, path, replace(net.card, novelty=many.to_json()))
    with pytest.raises(DataError, match="33 directions"):
        inceptory.predict(path, strange)


@pytest.mark.parametrize("entry", [[], 5, "far"], ids=repr)
def test_an_entry_that_is_no_record_is_a_damaged_card(entry):
    from inceptory.weights.card import Card

    text = Card.of(inceptory.plan("cifar_inception_v1")).to_json()
    with pytest.raises(DataError, match="its card is damaged"):
        Card.from_json(json.dumps({**json.loads(text), "novelty": entry}), "a")
