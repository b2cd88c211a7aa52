"""Which engine: measured once, remembered, and 16 bits only where they were compared with 32."""

from __future__ import annotations

import json
import threading
import time
import weakref
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import inceptory
from inceptory.cli import main
from inceptory.engines import choice, machine
from inceptory.engines.answers import Answers
from inceptory.engines.choice import FEW, LEAST, Choice, Rate, Sample, Setting
from inceptory.errors import DataError
from inceptory.nets.network import create
from inceptory.weights.card import Card
from inceptory.weights.model import Model, open_model
from tests.engines.conftest import PREPROCESS

EXACT, HALF, OTHER = Setting("openvino"), Setting("openvino", "bf16"), Setting("torch", "bf16")
MANY = 1000
"""Pictures ahead, on which a precision of ten times the rate saves more than a comparison takes."""


@dataclass
class Shop:
    """Engines that need the seconds that they were given, and say "class 0" but for the first `wrong` pictures."""

    seconds: dict[Setting, float]
    wrong: dict[Setting, int] = field(default_factory=dict)
    broken: set[Setting] = field(default_factory=set)
    asked: list[Setting] = field(default_factory=list)
    """One entry for each batch."""

    def make(self, setting: Setting) -> Fake:
        if setting in self.broken:
            raise DataError("this network: OpenVINO cannot compile it (take --engine torch)")
        return Fake(self, setting)

    def settle(self, model: Model, pictures: int = FEW, sample=None, **more) -> tuple[Setting, str]:
        return Choice(model, list(self.seconds), self.make).settle(pictures, sample, **more)


@dataclass(eq=False)
class Fake:
    shop: Shop
    setting: Setting

    def answers(self, pixels: NDArray[np.uint8]) -> Answers:
        self.shop.asked.append(self.setting)
        time.sleep(self.shop.seconds[self.setting])
        # A picture of a sample holds its own number.
        wrong = pixels[:, 0, 0, 0] < self.shop.wrong.get(self.setting, 0)
        logits = np.eye(3, dtype=np.float32)[wrong.astype(int)]
        return Answers(logits, logits, logits)


def numbered(there: int, *, given: bool = False) -> Sample:
    """A sample of so many pictures at most."""

    def read(count: int) -> tuple[NDArray[np.uint8], str]:
        pixels = np.zeros((min(count, there), 3, 32, 32), dtype=np.uint8)
        pixels[:, 0, 0, 0] = np.arange(len(pixels))
        return pixels, "pictures of holiday"

    return Sample(read, given=given)


def unread(why: str, *, given: bool = False) -> Sample:
    """A sample that nobody may look at."""
    return Sample(lambda _: pytest.fail(why), given=given)


def at_rates(monkeypatch: pytest.MonkeyPatch, rates: dict[Setting, float]) -> None:
    """What a measurement gives."""
    monkeypatch.setattr(Choice, "_measured", lambda self: [Rate(one, rate) for one, rate in rates.items()])


def shop(**more) -> Shop:
    """bf16 is ten times as fast as fp32."""
    return Shop({EXACT: 0.01, HALF: 0.001}, **more)


def notes(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "engines").iterdir())


def test_it_is_measured_once_and_remembered(model, tmp_path):
    first = shop()
    found, why = first.settle(model)
    assert found == EXACT, "nothing has proved bf16"
    assert set(first.asked) == {EXACT, HALF}
    (note,) = notes(tmp_path)
    again = shop()
    assert again.settle(model) == (found, why)
    assert again.asked == []
    assert notes(tmp_path) == [note]
    assert "images/s" in why
    assert "openvino bf16 is not used, not compared with fp32" in why


@pytest.mark.parametrize("what", ["machine", "versions", "model"])
def test_another_machine_version_or_model_is_measured_anew(model, what, tmp_path, monkeypatch):
    shop().settle(model)
    if what == "machine":
        monkeypatch.setattr(machine, "processor", lambda: "another")
    elif what == "versions":
        monkeypatch.setattr(choice, "_version", lambda package: "0.0")
    else:
        torch.manual_seed(1)
        net = create("cifar_inception_v1", width=0.25, classes=3)
        inceptory.save(net, tmp_path / "b.safetensors", Card.of(net.plan, labels=tuple("abc"), preprocess=PREPROCESS))
        model = open_model(tmp_path / "b.safetensors")
    other = shop()
    other.settle(model)
    model.close()
    assert other.asked
    assert len(notes(tmp_path)) == 2


def test_for_few_pictures_nothing_is_measured_and_the_first_setting_answers(model, tmp_path):
    seen = shop()
    assert seen.settle(model, FEW - 1) == (EXACT, "")
    assert seen.asked == []
    assert not (tmp_path / "cache").exists()


def test_what_was_measured_on_a_busy_machine_is_said_and_measured_anew(model, monkeypatch):
    monkeypatch.setattr(machine, "busy", lambda: True)
    assert "measured on a busy machine, and so again the next time" in shop().settle(model)[1]
    few = shop()
    few.settle(model, FEW - 1)
    assert few.asked == [], "a busy note still serves a single picture"
    monkeypatch.setattr(machine, "busy", lambda: False)
    again = shop()
    assert "busy" not in again.settle(model)[1]
    assert again.asked
    quiet = shop()
    quiet.settle(model)
    assert quiet.asked == []


def test_16_bits_are_used_where_they_were_compared_and_that_is_done_once(model):
    found, why = shop(wrong={HALF: 1}).settle(model, MANY, numbered(1000))
    assert found == HALF
    assert "same first label as fp32 on 255 of 256 pictures of holiday" in why
    seen = shop()
    for given in (False, True):
        again, told = seen.settle(model, MANY, unread("the proof is remembered", given=given))
        assert again == found
        assert told == why.replace("pictures of holiday", "pictures, compared earlier")
    assert seen.settle(model, 1)[0] == HALF
    assert seen.asked == []


def test_16_bits_that_disagree_are_never_used(model):
    found, why = shop(wrong={HALF: 2}).settle(model, MANY, numbered(1000))
    assert found == EXACT
    assert "openvino bf16 is not used, same first label as fp32 on only 254 of 256 pictures of holiday" in why
    told = shop().settle(model, MANY, unread("the disproof is remembered", given=True))[1]
    assert told == why.replace("pictures of holiday", "pictures, compared earlier")


@pytest.mark.parametrize(("there", "expected"), [(LEAST - 1, EXACT), (LEAST, HALF)])
def test_199_pictures_prove_nothing(model, there, expected):
    for given in (False, True):
        found, why = shop().settle(model, MANY, numbered(there, given=given))
        assert found == expected
        few = "openvino bf16 is not used, 199 pictures of holiday prove nothing, 200 would"
        assert (few in why) == (expected == EXACT)


def test_pictures_that_would_prove_nothing_are_not_compared(model):
    seen = shop()
    seen.settle(model, FEW)
    seen.asked.clear()
    seen.settle(model, MANY, numbered(LEAST - 1))
    assert seen.asked == []


@pytest.mark.parametrize(("pictures", "expected"), [(554, EXACT), (555, HALF)])
def test_a_comparison_must_take_less_time_than_it_saves(model, pictures, expected, monkeypatch):
    # 256 pictures in 1/10 and 1/16 s each are 41.6 s; in two calls each picture ahead is answered 0.075 s sooner.
    at_rates(monkeypatch, {EXACT: 10.0, HALF: 16.0})
    sample = numbered(1000) if expected == HALF else unread("it takes longer than it saves")
    found, why = Shop(dict.fromkeys([EXACT, HALF], 0.0)).settle(model, pictures, sample)
    assert found == expected
    assert ("openvino bf16 is not used, comparing it with fp32 would take longer than it saves" in why) == (
        expected == EXACT
    )


@pytest.mark.parametrize(("pictures", "expected"), [(FEW - 1, EXACT), (FEW, HALF)])
def test_few_pictures_ahead_never_wait_for_a_comparison(model, pictures, expected, monkeypatch):
    at_rates(monkeypatch, {EXACT: 10.0, HALF: 1000.0})
    both = Shop(dict.fromkeys([EXACT, HALF], 0.0))
    both.settle(model, FEW)
    sample = numbered(1000) if expected == HALF else unread("for few pictures")
    assert both.settle(model, pictures, sample)[0] == expected


def test_what_is_saved_is_saved_against_what_is_proved_already(model, monkeypatch):
    at_rates(monkeypatch, {EXACT: 10.0, HALF: 40.0})
    Shop(dict.fromkeys([EXACT, HALF], 0.0)).settle(model, MANY, numbered(1000))
    at_rates(monkeypatch, {EXACT: 10.0, HALF: 40.0, OTHER: 41.0})
    three = Shop(dict.fromkeys([EXACT, HALF, OTHER], 0.0))
    assert three.settle(model, MANY, unread("it saves a fortieth at most"))[0] == HALF
    assert three.settle(model, 10**6, numbered(1000))[0] == OTHER


@pytest.mark.parametrize(
    ("wrong", "expected", "compared"), [(0, HALF, {EXACT, HALF}), (2, OTHER, {EXACT, HALF, OTHER})]
)
def test_no_more_is_compared_once_the_fastest_is_proved(model, wrong, expected, compared, monkeypatch):
    at_rates(monkeypatch, {EXACT: 10.0, HALF: 40.0, OTHER: 30.0})
    three = Shop(dict.fromkeys([EXACT, HALF, OTHER], 0.0), wrong={HALF: wrong})
    assert three.settle(model, MANY, numbered(1000))[0] == expected
    assert set(three.asked) == compared


def test_given_pictures_are_compared_however_few_are_ahead(model, monkeypatch):
    found, why = shop().settle(model, 1, numbered(LEAST, given=True))
    assert found == HALF
    assert "same first label as fp32 on 200 of 200 pictures of holiday" in why


def test_for_given_pictures_and_few_ahead_a_busy_measurement_will_do(model, monkeypatch):
    monkeypatch.setattr(machine, "busy", lambda: True)
    shop().settle(model)
    monkeypatch.setattr(Choice, "_measured", lambda self: pytest.fail("measured for one picture"))
    assert shop().settle(model, 1, numbered(LEAST, given=True))[0] == HALF


def test_a_precision_that_was_asked_for_needs_no_proof(model):
    found, why = shop().settle(model, MANY, unread("nobody asked"), proved=True)
    assert found == HALF
    assert "fp32 on" not in why


def test_for_a_precision_that_was_asked_for_given_pictures_start_no_measurement(model):
    seen = shop()
    assert seen.settle(model, 1, unread("nobody asked", given=True), proved=True) == (EXACT, "")
    assert seen.asked == []


def test_an_engine_that_fails_is_left_out_said_and_not_tried_again(model):
    found, why = shop(broken={HALF}).settle(model, MANY, numbered(1000))
    assert found == EXACT
    assert "openvino bf16 failed" in why
    seen = shop()
    assert seen.settle(model) == (found, why)
    assert seen.asked == []


def test_where_every_engine_fails_the_fault_is_told(model):
    seen = shop(broken={EXACT, HALF})
    chosen = Choice(model, list(seen.seconds), seen.make)
    setting, _ = chosen.settle(FEW, None)
    with pytest.raises(DataError, match="cannot compile it"):
        chosen.taken(setting)


DAMAGED = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe",
    b'{"rates": 3}',
    b'{"rates": [{"setting": {"engine": "gpu"}}]}',
    b"[" * 10**5,
]


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_note_is_as_none(model, tmp_path, content):
    shop().settle(model)
    (note,) = notes(tmp_path)
    before = json.loads(note.read_text())
    note.write_bytes(content)
    again = shop()
    assert again.settle(model)[0] == EXACT
    assert again.asked
    assert json.loads(note.read_text()).keys() == before.keys(), "written anew"


def test_a_cache_that_cannot_be_written_costs_the_memory_only(model, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("INCEPTORY_CACHE", str(tmp_path / "file"))
    for _ in range(2):
        seen = shop()
        assert seen.settle(model, MANY, numbered(1000))[0] == HALF
        assert seen.asked


def test_those_that_measure_at_once_leave_a_whole_note(model, checkpoint, tmp_path):
    def settle() -> None:
        with open_model(checkpoint) as own:
            shop().settle(own)

    threads = [threading.Thread(target=settle) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = shop()
    seen.settle(model)
    assert seen.asked == []
    assert len(notes(tmp_path)) == 1, "nothing else lies there"


def test_no_picture_is_kept_nor_where_it_lay(model, tmp_path):
    shop().settle(model, MANY, numbered(1000))
    (note,) = notes(tmp_path)
    plain = json.loads(note.read_text())
    assert set(plain) == {"model", "date", "busy", "rates", "proofs"}
    assert plain["proofs"] == {"openvino bf16": [256, 256]}, "nothing but counts"
    assert "holiday" not in note.read_text()
    assert note.stat().st_size < 2000


def test_only_one_engine_is_held_at_a_time_and_the_last_one_is_not_made_again(model):
    seen, alive, made = shop(), weakref.WeakSet(), []

    def make(setting: Setting) -> Fake:
        engine = seen.make(setting)
        alive.add(engine)
        made.append(setting)
        assert len(alive) == 1, "two would take the memory of both"
        return engine

    chosen = Choice(model, list(seen.seconds), make)
    setting, _ = chosen.settle(MANY, numbered(1000))
    assert chosen.taken(setting).setting == setting == HALF
    assert made == [EXACT, HALF, EXACT, HALF], "measured, then compared; the last one answers"


def test_the_command_cache_says_that_choices_are_kept_and_clears_them(model, tmp_path, capsys):
    assert main(["cache"]) == 0
    assert "engine" not in capsys.readouterr().out
    shop().settle(model)
    assert main(["cache", "--keep", "1GB"]) == 0
    assert f"{tmp_path / 'cache' / 'engines'}: the fastest engine by measurement, models: 1" in capsys.readouterr().out
    assert len(notes(tmp_path)) == 1
    assert main(["cache", "--clear"]) == 0
    assert "engine" not in capsys.readouterr().out
    assert notes(tmp_path) == []
