"""States are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import multiprocessing
import os
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from inceptory.errors import DataError, UsageError
from inceptory.learn import state
from inceptory.learn.settings.folder import STATE, remove_states, states_in, tidy
from inceptory.learn.settings.job import Every
from inceptory.learn.state import Position, State, number, seeded
from inceptory.measure.single_label import SingleEpoch
from inceptory.system import files

ROW = SingleEpoch(1, 0.1, 2.2, 2.0, 0.3, 1.9, 0.4, 12.5, 100.0)


def made(step: int) -> State:
    chance = torch.Generator().manual_seed(step)
    kernel = torch.randn(4, 3, 3, 3, generator=chance).contiguous(memory_format=torch.channels_last)
    tensors = {
        "net/a": kernel,
        "net/b": torch.randn(7, generator=chance, dtype=torch.float64),
        "optimizer/a/step": torch.tensor(3.0),
        "net/empty": torch.empty(0),
        "net/half": torch.randn(5, generator=chance).bfloat16(),
    }
    return State(Position(step=step, rate=0.1, history=[ROW]), tensors, {"threads": 2})


def same(found: State | None, wanted: State) -> bool:
    return (
        found is not None
        and found.position == wanted.position
        and found.facts == wanted.facts
        and found.tensors.keys() == wanted.tensors.keys()
        and all(torch.equal(value, wanted.tensors[name]) for name, value in found.tensors.items())
    )


def test_what_was_saved_is_what_is_found(tmp_path: Path):
    path = state.save(tmp_path, made(3))
    found, notes = state.newest(tmp_path)
    assert same(found, made(3))
    assert notes == []
    assert set(load_file(path)) == set(made(3).tensors), "it is a safetensors file as any other"


def test_the_last_two_are_kept(tmp_path: Path):
    for step in (1, 2, 3):
        state.save(tmp_path, made(step))
    assert [int(path.name[:9]) for path in states_in(tmp_path)] == [3, 2]
    remove_states(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_saved_is_nothing_found(tmp_path: Path):
    assert state.newest(tmp_path) == (None, [])


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff" * 100])
def test_where_all_are_damaged_nobody_starts_over(damage, tmp_path: Path):
    for step in (1, 2):
        state.save(tmp_path, made(step)).write_bytes(damage)
    with pytest.raises(DataError, match=r"all 2 saved states are damaged, the newest: .*000000002-.*: damaged, "):
        state.newest(tmp_path)


def test_a_flip_anywhere_is_found_and_the_one_before_is_used(tmp_path: Path):
    state.save(tmp_path, made(1))
    newest = state.save(tmp_path, made(2))
    content, chance = newest.read_bytes(), random.Random(0)
    for _ in range(1000):
        at = chance.randrange(len(content))
        newest.write_bytes(content[:at] + bytes([content[at] ^ chance.randrange(1, 256)]) + content[at + 1 :])
        found, notes = state.newest(tmp_path)
        assert same(found, made(1))
        assert len(notes) == 1
    newest.write_bytes(content)
    assert same(state.newest(tmp_path)[0], made(2))


@pytest.mark.parametrize("length", range(64))
def test_a_state_that_was_cut_is_found(length, tmp_path: Path):
    newest = state.save(tmp_path, made(2))
    content = newest.read_bytes()
    newest.write_bytes(content[: len(content) * length // 64])
    with pytest.raises(DataError, match="its content is not what was written"):
        state.newest(tmp_path)


def _cut(folder: Path, at: int) -> None:
    """Save a second state, and die before the call of that number that touches a file."""
    calls = 0

    def counted(function):
        def call(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == at:
                os._exit(137)
            return function(*args, **kwargs)

        return call

    files.Pending.write = counted(files.Pending.write)
    Path.unlink = counted(Path.unlink)
    for name in ("open", "fsync", "chmod", "replace", "unlink", "close"):
        setattr(os, name, counted(getattr(os, name)))
    state.save(folder, made(3))
    os._exit(0)


@pytest.mark.skipif(os.name == "nt", reason="needs fork")
@pytest.mark.slow
def test_killed_before_any_call_of_a_save_the_old_or_the_new_state_is_whole(tmp_path: Path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["inceptory.learn.fit", "inceptory.learn.verbs"])
    seen, at, code = set(), 0, 137
    while code == 137:
        at += 1
        folder = tmp_path / str(at)
        for step in (1, 2):
            state.save(folder, made(step))
        child = context.Process(target=_cut, args=(folder, at))
        child.start()
        child.join()
        code = child.exitcode
        found, notes = state.newest(folder)
        assert notes == [], at
        assert same(found, made(2)) or same(found, made(3)), at
        assert found is not None
        seen.add(found.position.step)
        tidy(folder)
        assert all(STATE.fullmatch(path.name) for path in (folder / "state").iterdir()), at
    assert code == 0
    assert seen == {2, 3}, "both sides of the rename were tried"
    assert at > 10, "every call was counted"


def test_a_write_that_fails_once_is_tried_again(tmp_path: Path, monkeypatch):
    real, calls = os.replace, []

    def failing(*paths):
        calls.append(paths)
        if len(calls) == 1:
            raise OSError(5, "Input/output error")
        real(*paths)

    monkeypatch.setattr(os, "replace", failing)
    state.save(tmp_path, made(3))
    monkeypatch.undo()
    assert len(calls) == 2
    assert same(state.newest(tmp_path)[0], made(3))
    assert len(list((tmp_path / "state").iterdir())) == 1


def test_seeds_depend_on_every_part_and_repeat():
    assert number(1, 2) == number(1, 2)
    assert len({number(1, 2), number(2, 1), number(1), number(1, 2, 0)}) == 4
    one, other = (torch.rand(3, generator=seeded(5, 1)) for _ in range(2))
    assert torch.equal(one, other)
    assert not torch.equal(one, torch.rand(3, generator=seeded(5, 2)))


def test_names_of_tensors_that_are_not_finite():
    tensors = {"a": torch.ones(3), "b": torch.tensor([1.0, float("nan")]), "c": torch.tensor([float("inf")])}
    assert list(state.finite(tensors)) == ["b", "c"]


@pytest.mark.parametrize(
    ("text", "steps", "elapsed", "due"),
    [("5m", 10**6, 299.0, False), ("5m", 0, 300.0, True), ("200steps", 199, 1e9, False), ("1 step", 1, 0.0, True)],
)
def test_how_often_a_state_is_due(text, steps, elapsed, due):
    assert Every.of(text).due(steps, elapsed) is due


@pytest.mark.parametrize("text", ["", "5", "0steps", "steps", "-1m", "5 parsecs"])
def test_how_often_that_means_nothing(text):
    with pytest.raises(UsageError, match="--checkpoint-every"):
        Every.of(text)
