"""Feeds: the same pictures from memory and from a stream, whatever happens to the workers."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

from inceptory.data.feed import feed as feeding
from inceptory.data.feed import workers as working
from inceptory.data.feed.batches import histogram, statistics_of
from inceptory.data.feed.decoding import Decoder
from inceptory.data.feed.feed import InMemory, Stream, feed, statistics
from inceptory.data.picture.preprocess import Preprocess
from inceptory.data.sources.source import Split
from inceptory.errors import DataError, InterruptedRun
from tests.data.pictures import noise
from tests.data.troubled import FILES, child

COLOUR = Preprocess(size=8, mean=(0.0,) * 3, std=(1.0,) * 3)
CLASSES = ("cat", "dog")
PIXELS = torch.from_numpy(np.stack([noise(8, 8, seed=seed) for seed in range(40)]).transpose(0, 3, 1, 2))

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def split(pictures=FILES):
    labels = np.arange(len(pictures)) % 2
    return Split(pictures, labels.astype(np.int64), [f"photos/{row}.png" for row in range(len(pictures))])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def opened():
    """Feeds that are closed after the test."""
    made = []

    def open_feed(pictures=FILES, **options):
        made.append(feed(split(pictures), CLASSES, COLOUR, **options))
        return made[-1]

    yield open_feed
    for one in made:
        one.close()


@pytest.fixture
def troubled(monkeypatch):
    """Let workers have some trouble with their pictures."""
    return lambda *told: monkeypatch.setattr(working, "CHILD", child(*told))


WAYS = {"memory": {}, "threads": {"memory": 0, "workers": 0}, "processes": {"memory": 0, "workers": 2}}
STREAMS = {name: options for name, options in WAYS.items() if name != "memory"}


def collect(one, groups):
    return list(one.batches(groups))


@pytest.mark.parametrize("way", WAYS)
def test_batches_hold_the_pictures_of_the_rows_asked_for_in_their_order(opened, way):
    groups = [torch.tensor([3, 0, 39]), torch.tensor([7]), torch.tensor([3, 3])]
    for batch, rows in zip(collect(opened(**WAYS[way]), groups), groups, strict=True):
        assert torch.equal(batch.rows, rows)
        assert torch.equal(batch.pixels, PIXELS[rows])
        assert torch.equal(batch.labels, rows % 2)
        assert (batch.pixels.dtype, batch.labels.dtype) == (torch.uint8, torch.int64)


@pytest.mark.parametrize("way", WAYS)
def test_an_epoch_has_every_picture_once(opened, way):
    one = opened(**WAYS[way])
    rows = torch.cat([batch.rows for batch in one.batches(one.order(generator()).split(7))])
    assert sorted(rows.tolist()) == list(range(40))
    assert rows.tolist() != list(range(40))
    assert len(one) == len(one.labels) == len(one.names) == 40


@pytest.mark.parametrize("way", WAYS)
def test_the_order_is_the_generator_s(opened, way):
    one = opened(**WAYS[way])
    source = generator(1)
    first, second, again = one.order(source), one.order(source), one.order(generator(1))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("way", WAYS)
def test_a_feed_can_be_read_as_often_as_wanted(opened, way):
    one = opened(**WAYS[way])
    for _ in range(3):
        (batch,) = one.batches([torch.arange(5)])
        assert torch.equal(batch.pixels, PIXELS[:5])


@pytest.mark.parametrize("way", WAYS)
def test_an_unreadable_picture_is_left_out_and_named_once(opened, way):
    files = [*FILES[:2], FILES[2][:50], *FILES[3:]]
    one = opened(files, **WAYS[way])
    for _ in range(2):
        batches = collect(one, [torch.tensor([1, 2, 3]), torch.tensor([4, 5]), torch.tensor([2])])
        assert [batch.rows.tolist() for batch in batches] == [[1, 3], [4, 5], []]
        assert torch.equal(batches[0].pixels, PIXELS[[1, 3]])
        assert batches[0].labels.tolist() == [1, 1]
    assert len(one.skipped) == 1
    assert one.skipped[0].startswith("photos/2.png: truncated")


def test_in_memory_the_order_leaves_unreadable_pictures_out(opened):
    one = opened([*FILES[:2], b"text", *FILES[3:]])
    assert sorted(one.order(generator()).tolist()) == [0, 1, *range(3, 40)]
    assert (len(one), len(one.labels)) == (39, 40)


@pytest.mark.parametrize("way", STREAMS)
def test_the_order_of_a_stream_does_not_depend_on_what_was_found_unreadable(opened, way):
    one = opened([*FILES[:2], b"text", *FILES[3:]], **WAYS[way])
    before = one.order(generator())
    collect(one, [torch.arange(40)])
    assert torch.equal(one.order(generator()), before)


@pytest.mark.parametrize("way", WAYS)
def test_a_class_without_a_readable_picture_is_a_data_error(opened, way):
    files = [FILES[0], b"text", FILES[2], b""]
    with pytest.raises(DataError, match="class 'dog': none of its pictures can be read"):
        collect(opened(files, **WAYS[way]), [torch.arange(2), torch.arange(2, 4)])


def test_the_number_of_workers_changes_no_byte(opened):
    found = []
    for workers in (0, 1, 3):
        one = opened(memory=0, workers=workers)
        found.append(torch.cat([batch.pixels for batch in one.batches(one.order(generator()).split(6))]))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_a_set_is_held_in_memory_up_to_the_last_byte_that_it_may_take(opened):
    need = 40 * 3 * 8 * 8
    assert isinstance(opened(memory=need), InMemory)
    assert isinstance(opened(memory=need - 1, workers=0), Stream)


def test_without_a_word_the_cap_and_half_of_the_machine_s_memory_decide(opened, monkeypatch):
    need = 40 * 3 * 8 * 8
    monkeypatch.setattr(feeding, "machine_memory", lambda: 2 * need)
    assert isinstance(opened(), InMemory)
    monkeypatch.setattr(feeding, "machine_memory", lambda: 2 * need - 2)
    assert isinstance(opened(workers=0), Stream)
    monkeypatch.setattr(feeding, "machine_memory", lambda: 2**40)
    monkeypatch.setattr(feeding, "IN_MEMORY", need - 1)
    assert isinstance(opened(workers=0), Stream)


def test_progress_is_told_while_decoding_into_memory(opened):
    told = []
    opened(progress=lambda done, total: told.append((done, total)))
    assert told == [(40, 40)]


def test_a_stream_asks_for_a_few_groups_ahead_and_no_more(opened):
    taken = []

    def groups():
        for row in range(40):
            taken.append(row)
            yield torch.tensor([row])

    stream = opened(memory=0, workers=2).batches(groups())
    next(stream)
    assert len(taken) == 2 * feeding.AHEAD + 1
    stream.close()


def test_an_epoch_may_be_left_in_the_middle(opened):
    one = opened(memory=0, workers=2)
    stream = one.batches(one.order(generator()).split(2))
    next(stream)
    stream.close()
    (batch,) = one.batches([torch.arange(3)])
    assert torch.equal(batch.pixels, PIXELS[:3])


@POSIX
@pytest.mark.parametrize(
    "how", ["is killed", *(pytest.param(how, marks=pytest.mark.slow) for how in ("hangs", "is stopped"))]
)
def test_a_worker_that_dies_or_hangs_is_replaced_and_nothing_is_lost(opened, troubled, tmp_path, monkeypatch, how):
    times = 2 if how == "is killed" else 1
    if how != "is killed":
        monkeypatch.setattr(working, "PATIENCE", 8.0)
        monkeypatch.setattr(working, "PATIENCE_EACH", 0.0)
    (tmp_path / "count").write_text(str(times))
    troubled("deadly", str(tmp_path / "count"), 11, how)
    one = opened(memory=0, workers=2)
    batches = collect(one, torch.arange(40).split(6))
    assert torch.equal(torch.cat([batch.rows for batch in batches]), torch.arange(40))
    assert torch.equal(torch.cat([batch.pixels for batch in batches]), PIXELS)
    assert one._pool.replaced == times
    assert one.skipped == []


@POSIX
def test_pictures_that_kill_four_workers_interrupt_the_run_with_exit_code_75(opened, troubled, tmp_path):
    (tmp_path / "count").write_text("4")
    troubled("deadly", str(tmp_path / "count"), 11, "is killed")
    one = opened(memory=0, workers=2)
    with pytest.raises(InterruptedRun, match=r"photos/6.png and 5 more: 4 data workers died") as caught:
        collect(one, torch.arange(40).split(6))
    assert caught.value.exit_code == 75


@POSIX
def test_three_dead_workers_are_forgiven(opened, troubled, tmp_path):
    (tmp_path / "count").write_text("3")
    troubled("deadly", str(tmp_path / "count"), 11, "is killed")
    one = opened(memory=0, workers=1)
    (batch,) = one.batches([torch.arange(40)])
    assert torch.equal(batch.pixels, PIXELS)


def test_a_worker_that_cannot_be_started_interrupts_the_run(opened, monkeypatch):
    monkeypatch.setattr(working.sys, "executable", "/no/such/python")
    with pytest.raises(InterruptedRun, match="no data worker can be started, no such file"):
        collect(opened(memory=0, workers=1), [torch.arange(4)])


def test_a_bug_in_a_worker_is_told_as_one_and_not_repeated(opened, troubled):
    troubled("faulty")
    one = opened(memory=0, workers=1)
    with pytest.raises(RuntimeError, match="a data worker failed: ZeroDivisionError: row 0"):
        collect(one, [torch.arange(4)])
    assert one._pool.replaced == 0


def test_what_a_library_prints_does_not_disturb_the_answers(opened, troubled):
    troubled("chatty")
    (batch,) = opened(memory=0, workers=1).batches([torch.arange(40)])
    assert torch.equal(batch.pixels, PIXELS)


def test_workers_import_no_torch(opened, troubled):
    troubled("torchless")
    (batch,) = opened(memory=0, workers=1).batches([torch.arange(40)])
    assert torch.equal(batch.pixels, PIXELS)


def processes_of(one):
    return one._pool._children.processes


def test_closing_ends_the_workers(opened):
    one = opened(memory=0, workers=2)
    reading = one.batches(torch.arange(40).split(4))
    for _ in range(6):
        next(reading)
    processes = processes_of(one)
    assert len(processes) == 2
    one.close()
    assert all(process.poll() is not None for process in processes)
    one.close()


def test_a_forgotten_stream_ends_its_workers():
    one = Stream(split(), CLASSES, COLOUR, 1)
    reading = one.batches(torch.arange(4).split(2))
    next(reading)
    (process,) = processes_of(one)
    del one, reading
    gc.collect()
    assert process.wait(timeout=20) is not None


def test_workers_rest_after_an_epoch_and_not_while_another_is_read(opened):
    one = opened(memory=0, workers=1)
    reading = one.batches(torch.arange(8).split(1))
    next(reading)
    collect(one, [torch.arange(4)])
    assert len(processes_of(one)) == 1
    assert torch.equal(torch.cat([batch.pixels for batch in reading]), PIXELS[1:8])
    assert processes_of(one) == []
    assert one._pool.replaced == 0


def test_every_kind_of_picture_crosses_to_a_worker_as_it_is(opened, tmp_path):
    (tmp_path / "żółw\udcff.png").write_bytes(FILES[1])
    grey = noise(8, 8, 1, 5)
    gone = tmp_path / "gone.png"
    pictures = [FILES[0], tmp_path / "żółw\udcff.png", noise(8, 8, seed=2), noise(8, 8, seed=3)[:, ::-1], grey, gone]
    here, there = (opened(pictures, memory=0, workers=workers) for workers in (0, 1))
    (wanted,), (batch,) = (collect(one, [torch.tensor([5, 4, 3, 2, 1, 0])]) for one in (here, there))
    assert batch.rows.tolist() == wanted.rows.tolist() == [4, 3, 2, 1, 0]
    assert torch.equal(batch.pixels, wanted.pixels)
    assert torch.equal(batch.pixels[2:], PIXELS[[2, 1, 0]])
    assert there.skipped == here.skipped
    assert "gone.png" in there.skipped[0]


def test_no_thread_outlives_a_stream(opened):
    before = set(threading.enumerate())
    one = opened(memory=0, workers=2)
    collect(one, torch.arange(40).split(6))
    one.close()
    assert set(threading.enumerate()) <= before


def test_no_process_is_started_before_a_picture_is_asked_for(opened):
    assert processes_of(opened(memory=0, workers=2)) == []


SCRIPT = """
import sys
import numpy as np, torch
from inceptory.data.feed.feed import Stream
from inceptory.data.picture.preprocess import Preprocess
from inceptory.data.sources.source import Split
pictures = np.zeros((8, 4, 4, 3), dtype=np.uint8)
split = Split(list(pictures), np.arange(8) % 2, [str(i) for i in range(8)])
one = Stream(split, ("a", "b"), Preprocess(size=4, mean=(0.0,) * 3, std=(1.0,) * 3), 2)
reading = one.batches(torch.arange(8).split(2))
print(len(next(reading).rows), flush=True)
{end}
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [("", 0), *(pytest.param(*case, marks=pytest.mark.slow) for case in (("raise SystemExit(3)", 3), ("1 / 0", 1)))],
)
@pytest.mark.slow
def test_a_script_needs_no_guard_around_its_main_part_and_ends_at_once(tmp_path, end, code):
    (tmp_path / "script.py").write_text(SCRIPT.format(end=end))
    done = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("2\n", code)


@pytest.mark.slow
@POSIX
def test_the_workers_of_a_killed_program_end_by_themselves(tmp_path):
    told = "print(*[w.pid for w in one._pool._children.processes], flush=True); import time; time.sleep(60)"
    (tmp_path / "script.py").write_text(SCRIPT.format(end=told))
    program = subprocess.Popen([sys.executable, tmp_path / "script.py"], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    with program.stdout:
        program.stdout.readline()
        workers = [int(word) for word in program.stdout.readline().split()]
        program.kill()
        program.wait()
    assert workers
    deadline = time.monotonic() + 20
    while any(alive(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(pid):
    """Whether a process runs; one that has ended and was not yet waited for by its new parent does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("way", WAYS)
def test_statistics_of_a_feed_are_those_of_its_pictures(opened, way):
    assert statistics(opened(**WAYS[way])) == statistics_of(histogram(PIXELS))


def test_statistics_leave_unreadable_pictures_out(opened):
    assert statistics(opened([b"", b"", *FILES[2:]])) == statistics_of(histogram(PIXELS[2:]))


def test_statistics_of_a_long_stream_are_those_of_an_even_sample(opened, monkeypatch):
    monkeypatch.setattr(feeding, "SAMPLE", 4)
    assert statistics(opened(memory=0, workers=0)) == statistics_of(histogram(PIXELS[[0, 13, 26, 39]]))
    assert statistics(opened()) == statistics_of(histogram(PIXELS))


def test_decoding_is_a_function_of_the_rows():
    decoder = Decoder(FILES, COLOUR)
    whole, part = decoder(np.arange(40), [""] * 40), decoder(np.array([5, 2]), ["", ""])
    assert np.array_equal(part.pixels, whole.pixels[[5, 2]])
    assert part.rows.tolist() == [5, 2]
