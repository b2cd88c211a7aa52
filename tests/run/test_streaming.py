"""`predict --out` over a folder: killed at any moment, it goes on and loses nothing; memory holds a few batches."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections import Counter
from functools import partialmethod
from pathlib import Path

import pytest

import inceptory
from inceptory.cli import main
from inceptory.data.feed import ahead
from inceptory.errors import ConfigError, WriteError
from inceptory.run import predict as module
from inceptory.run.prediction.journal import Journal, beside, nameless
from inceptory.run.predictions import Prediction
from tests.features.test_features import files_of_at_most


@pytest.fixture(scope="module")
def folder(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """216 pictures, of which 3 cannot be read."""
    place = tmp_path_factory.mktemp("many") / "photos"
    for copy in range(3):
        shutil.copytree(colours, place / str(copy))
        (place / str(copy) / "red" / "5.png").write_bytes(b"\x89PNG")
    return place


@pytest.fixture(scope="module")
def undisturbed(run: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what `predict` writes in each format when nobody disturbs it."""
    place = tmp_path_factory.mktemp("undisturbed")
    for ending in ("csv", "jsonl", "parquet"):
        inceptory.predict(run, folder, out=place / f"x.{ending}")
    return place


def rows(path: Path) -> object:
    if path.suffix != ".parquet":
        return path.read_text(encoding="utf-8").splitlines()
    import pyarrow.parquet as pq

    return pq.read_table(path).to_pylist()


class Stopped(Exception):
    """What stands for any end of the work."""


@pytest.fixture
def stopped_after(monkeypatch):
    """Ends the work when so many batches are answered."""

    def set_up(batches: int) -> None:
        real, left = module._Answering.of, [batches]

        def of(self, pixels, pictures):
            if not left[0]:
                raise Stopped
            left[0] -= 1
            return real(self, pixels, pictures)

        monkeypatch.setattr(module._Answering, "of", of)

    return set_up


def interrupted(run, folder, out, stopped_after, monkeypatch, batches=2, **asked) -> Path:
    """The parts of a call that was ended."""
    stopped_after(batches)
    with pytest.raises(Stopped):
        inceptory.predict(run, folder, out=out, **asked)
    monkeypatch.undo()
    return out.with_name(f"{out.name}.parts")


# Going on


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_the_same_rows(run, folder, undisturbed, tmp_path):
    out, parts = tmp_path / "x.parquet", tmp_path / "x.parquet.parts" / "answers.jsonl"
    # Every batch takes a while, so that no child ends by itself.
    slow = (
        "import sys, time; from inceptory.run import predict as m; real = m._Answering.of\n"
        "m._Answering.of = lambda *given: (time.sleep(0.1), real(*given))[1]\n"
        "from inceptory.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    words = [sys.executable, "-c", slow, "predict", str(run), str(folder), "--out", str(out)]
    size = 0
    for _ in range(3):
        child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not (parts.exists() and parts.stat().st_size > size):
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert not out.exists()
        size = parts.stat().st_size
    with open(parts, "ab") as file:
        file.write(b'{"picture": "torn')
    found = inceptory.predict(run, folder, out=out)
    assert rows(out) == rows(undisturbed / out.name)
    assert len(found) == 213
    assert [Path(fault.partition(":")[0]).name for fault in found.skipped] == ["5.png"] * 3
    assert os.listdir(tmp_path) == [out.name]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_nothing_is_answered_twice_and_all_that_cannot_be_read_are_counted(
    ending, run, folder, undisturbed, tmp_path, stopped_after, monkeypatch, capsys
):
    out = tmp_path / f"x.{ending}"
    parts = interrupted(run, folder, out, stopped_after, monkeypatch, batches=6)
    assert len((parts / "answers.jsonl").read_text().splitlines()) == 6 * module.BATCH
    assert not out.exists()
    stopped_after(1)
    inceptory.predict(run, folder, out=out)
    told = capsys.readouterr().err
    assert "going on after 192 of 216 pictures" in told
    assert "skipped 3 unreadable pictures, 213 remain" in told
    assert rows(out) == rows(undisturbed / out.name)


def test_what_was_answered_completely_is_only_written(run, folder, undisturbed, tmp_path, stopped_after, monkeypatch):
    out = tmp_path / "x.jsonl"
    monkeypatch.setattr("inceptory.run.predictions.Predictions.write", lambda *_: (_ for _ in ()).throw(Stopped))
    with pytest.raises(Stopped):
        inceptory.predict(run, folder, out=out)
    monkeypatch.undo()
    stopped_after(0)
    inceptory.predict(run, folder, out=out)
    assert rows(out) == rows(undisturbed / "x.jsonl")


def test_results_in_the_folder_that_is_searched_are_no_pictures(
    run, folder, undisturbed, tmp_path, stopped_after, monkeypatch
):
    shutil.copytree(folder, tmp_path / "photos")
    monkeypatch.chdir(tmp_path / "photos")
    stopped_after(3)
    for _ in range(2):
        with pytest.raises(Stopped):
            inceptory.predict(run, ".", out="x.jsonl")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path / "photos")
    for _ in range(2):
        assert len(inceptory.predict(run, ".", out="x.jsonl").skipped) == 3
    assert len(rows(Path("x.jsonl"))) == len(rows(undisturbed / "x.jsonl"))


# What is refused


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"top": 1}, "top"),
        ({"views": "flip"}, "views"),
        ({"precision": "bf16"}, "precision"),
        ({"pictures": True}, "pictures"),
        ({"model": True}, "model"),
    ],
)
@pytest.mark.slow
def test_another_model_option_or_list_is_refused_and_force_starts_over(
    other, named, run, folder, tmp_path, stopped_after, monkeypatch, capsys
):
    out = tmp_path / "x.csv"
    parts = interrupted(run, folder, out, stopped_after, monkeypatch)
    before = (parts / "answers.jsonl").read_bytes()
    model, pictures = run, [str(folder)]
    if "model" in other:
        net, model = inceptory.load(run / "model.safetensors"), tmp_path / "other.safetensors"
        net.head.classifier.weight.data += 1
        inceptory.save(net, model, net.card)
    elif "pictures" in other:
        pictures = [str(folder / "0")]
    options = (
        [] if {"model", "pictures"} & other.keys() else [f"--{next(iter(other))}", str(next(iter(other.values())))]
    )
    words = ["predict", str(model), *pictures, "--out", str(out), *options]
    capsys.readouterr()
    assert main(words) == 78
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {parts}: holds the answers of an interrupted call with another {named}")
    assert line.endswith("(repeat that call to end it, or --force to start over)")
    assert (parts / "answers.jsonl").read_bytes() == before
    assert main([*words, "--force"]) == 0
    fresh = tmp_path / "fresh.csv"
    assert main([*words[: -1 - len(options)], str(fresh), *options]) == 0
    assert rows(out) == rows(fresh)
    assert not parts.exists()


def test_a_damaged_manifest_and_another_process_are_one_line(run, folder, tmp_path, stopped_after, monkeypatch):
    out = tmp_path / "x.csv"
    parts = interrupted(run, folder, out, stopped_after, monkeypatch)
    for damage in (b"", b"[]", b"\xff", b"[" * 100_000):
        (parts / "manifest.json").write_bytes(damage)
        with pytest.raises(ConfigError, match=r"manifest\.json: is damaged \(--force to start over\)"):
            inceptory.predict(run, folder, out=out)
    (parts / "manifest.json").unlink()
    with pytest.raises(ConfigError, match=r"nobody knows what \(--force to start over\)"):
        inceptory.predict(run, folder, out=out)
    inceptory.predict(run, folder, out=out, force=True)
    with (
        beside(out, {}, 1, [], False),
        pytest.raises(ConfigError, match="another run is at work here"),
        beside(out, {}, 1, [], True),
    ):
        pass


def test_what_others_laid_into_the_folder_stays(run, folder, tmp_path, stopped_after, monkeypatch):
    out = tmp_path / "x.csv"
    parts = interrupted(run, folder, out, stopped_after, monkeypatch)
    (parts / "mine.txt").write_text("mine")
    inceptory.predict(run, folder, out=out, force=True)
    assert os.listdir(parts) == ["mine.txt"]


# Faults


def test_a_disk_that_is_full_keeps_what_is_answered(run, folder, undisturbed, tmp_path, capsys):
    out = tmp_path / "x.csv"
    with files_of_at_most(15_000):
        assert main(["predict", str(run), str(folder), "--out", str(out)]) == 74
    line = capsys.readouterr().err.splitlines()[-1]
    assert "answers.jsonl: cannot be written, file too large (make room; the same call then goes on from here)" in line
    assert not out.exists()
    inceptory.predict(run, folder, out=out)
    assert "going on after " in capsys.readouterr().err
    assert rows(out) == rows(undisturbed / "x.csv")


def test_where_nothing_is_answered_nothing_is_left(run, folder, tmp_path, stopped_after):
    stopped_after(0)
    with pytest.raises(Stopped):
        inceptory.predict(run, folder, out=tmp_path / "new" / "x.csv")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_one_line(run, folder, tmp_path):
    (tmp_path / "x.csv.parts").write_text("in the way")
    with pytest.raises(WriteError, match=r"x\.csv\.parts: cannot be made"):
        inceptory.predict(run, folder, out=tmp_path / "x.csv")


# Memory


@pytest.mark.parametrize("few", [0, ahead.FEW])  # processes and threads
def test_few_batches_are_in_memory_at_a_time(few, run, folder, tmp_path, monkeypatch):
    counts, real, add = Counter(), ahead._taken, Journal.add

    def submit(self, *given, own):
        counts["asked"] += 1
        assert counts["asked"] - counts["answered"] <= ahead.AHEAD + 2
        return own(self, *given)

    def taken(waiting):
        tag, decoded = real(waiting)
        counts["alive"] += 1
        assert counts["alive"] <= 2
        weakref.finalize(decoded, counts.subtract, ["alive"])
        return tag, decoded

    def added(*given):
        counts["answered"] += 1
        add(*given)

    for pool in (ahead.Threads, ahead.Processes):
        monkeypatch.setattr(pool, "submit", partialmethod(submit, own=pool.submit))
    monkeypatch.setattr(ahead, "_taken", taken)
    monkeypatch.setattr(Journal, "add", added)
    monkeypatch.setattr(ahead, "FEW", few)
    monkeypatch.setattr(module, "BATCH", 4)
    assert len(inceptory.predict(run, folder, out=tmp_path / "x.csv")) == 213
    assert counts["answered"] == counts["asked"] == 54


def test_answers_come_out_of_the_file_as_they_went_in():
    journal = nameless()
    answers = [
        Prediction("caf\udce9.png", ("a\nb", "ü"), (0.1, 1e-300)),
        Prediction("b", (), (), 0.25, True),
        Prediction("c", ("x",), (1 / 3,)),
    ]
    journal.add(answers[:2], ["broken"])
    journal.add(answers[2:], [])
    assert [*journal] == answers
    assert journal[-1] == answers[2]
    assert journal[:2] == answers[:2]
    assert (journal.done, journal.faults) == (4, ["broken"])


def test_a_line_that_was_torn_goes_and_its_batch_is_answered_again(tmp_path):
    answers = [Prediction(str(number), ("x",), (0.5,)) for number in range(7)]

    def done_before(first: int, end: int, torn: bytes) -> int:
        """What a call finds, which adds some answers and half a line."""
        with contextlib.suppress(Stopped), beside(tmp_path / "x", {}, 2, range(7), False) as journal:
            done = journal.done
            assert [*journal] == answers[:done]
            journal.add(answers[first:end], [])
            with open(tmp_path / "x.parts" / "answers.jsonl", "ab") as file:
                file.write(torn)
            raise Stopped
        return done

    assert done_before(0, 3, b'{"picture": "3') == 0
    assert done_before(2, 5, b"[]\n") == 2
    assert done_before(4, 7, b"\xff\n") == 4
    assert done_before(7, 7, b"") == 7


# What is printed


def test_many_pictures_in_a_file_are_told_by_their_classes(run, folder, tmp_path, capsys, monkeypatch):
    out = tmp_path / "x.csv"
    assert main(["predict", str(run), str(folder), "--out", str(out)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"213 pictures, answers in {out}; by best class: ")
    counts = [int(part.rpartition(" ")[2]) for part in line.partition("class: ")[2].split(", ")]
    assert sum(counts) == 213
    monkeypatch.setattr("inceptory.run.predictions.SHOWN", 1)
    found = inceptory.predict(run, folder, out=out)
    assert str(found).endswith(" and 2 more")
    # Without a file every picture has its line, for that is the answer.
    assert main(["predict", str(run), str(folder)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 213


def test_a_device_gets_all_of_it_and_has_no_parts(run, folder, undisturbed, tmp_path):
    words = [sys.executable, "-m", "inceptory", "predict", str(run), str(folder), "--format", "jsonl"]
    done = subprocess.run([*words, "--out", "/dev/stdout"], capture_output=True, check=True, cwd=tmp_path)
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        json.loads(line) for line in rows(undisturbed / "x.jsonl")
    ]
    assert os.listdir(tmp_path) == []


def test_a_call_that_goes_on_computes_as_it_began(run, folder, tmp_path, stopped_after, monkeypatch):
    out = tmp_path / "x.csv"
    interrupted(run, folder, out, stopped_after, monkeypatch, engine="torch", precision="bf16")
    wishes, own = [], module.open_engine

    def opened(model, wish, **more):
        wishes.append((wish.engine, wish.precision))
        return own(model, wish, **more)

    monkeypatch.setattr(module, "open_engine", opened)
    assert inceptory.predict(run, folder, out=out).precision == "bf16"
    inceptory.predict(run, folder, out=out)
    assert wishes == [("torch", "bf16"), ("auto", "auto")]
