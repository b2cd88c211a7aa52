"""Children: what is asked is answered, whatever happens to the process that does it."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time

import numpy as np
import pytest

from inceptory.errors import InterruptedRun
from inceptory.system import children as room
from inceptory.system.children import Children, Lost, program

ECHO = program("inceptory.system.children").replace(
    "import serve; serve()",
    """import serve
import os, time
def answer(told, body):
    if "die" in told: os._exit(3)
    if "sleep" in told: time.sleep(told["sleep"])
    if "bug" in told: raise ValueError
    for left in reversed(range(told.get("frames", 1))):
        yield {"pid": os.getpid(), **({"more": left} if left else {})}, body, b"."
serve(answer, limited=True)
""",
)
"""A child that answers with its number and the bytes that it was sent."""


@pytest.fixture
def children():
    with Children(ECHO, "echo", 2) as made:
        yield made


def pid(children, **told):
    return children.ask(20, told)[0][0]["pid"]


def test_json_and_bytes_cross_as_they_are(children):
    content = np.arange(5 * 2**20, dtype=np.uint8)
    ((told, body),) = children.ask(20, {"word": "żółw\udcff"}, content.data, b"end")
    assert told["pid"] == children.processes[0].pid
    assert bytes(body) == content.tobytes() + b"end."
    body[0] = 1  # what came is the caller's


def test_an_answer_may_have_several_frames(children):
    assert [told.get("more") for told, _ in children.ask(20, {"frames": 3})] == [2, 1, None]


def test_a_child_is_kept_for_the_next_question(children):
    met = {pid(children) for _ in range(4)}
    assert met == {process.pid for process in children.processes}
    assert len(met) == 2
    assert children.deaths == 0


@pytest.mark.parametrize("question", [{"die": 1}, {"bug": 1}, {"sleep": 600}], ids=lambda each: next(iter(each)))
@pytest.mark.slow
def test_a_child_that_dies_or_hangs_is_lost_and_replaced(children, question):
    with pytest.raises(Lost) as caught:
        children.ask(0.5 if "sleep" in question else 20, question, tries=2)
    assert caught.value.late == ("sleep" in question)
    assert children.deaths == 2
    assert children.processes == []
    assert children.ask(20, {})


def test_one_killed_between_two_questions_costs_a_try(children):
    for _ in range(2):
        children.ask(20, {})
    for process in children.processes:
        process.kill()
        process.wait()
    assert children.ask(20, {}, tries=3)
    assert 1 <= children.deaths <= 2


def test_an_interrupt_ends_the_child_whose_answer_nobody_reads(monkeypatch):
    with Children(ECHO, "echo") as children:
        first = pid(children)

        def interrupted(_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(room, "receive", interrupted)
            with pytest.raises(KeyboardInterrupt):
                children.ask(20, {})
        assert children.processes == []
        assert pid(children) != first


def test_closing_wakes_who_waits_and_leaves_no_process_and_no_thread():
    before = set(threading.enumerate())
    children, lost = Children(ECHO, "echo"), []

    def ask():
        try:
            children.ask(60, {"sleep": 600}, tries=4)
        except Lost:
            lost.append(True)

    asking = threading.Thread(target=ask)
    asking.start()
    while not children.processes:
        time.sleep(0.01)
    (process,) = children.processes
    children.close()
    asking.join(20)
    assert lost == [True]
    assert process.poll() is not None
    assert children.processes == []
    assert set(threading.enumerate()) <= before
    with pytest.raises(Lost):
        children.ask(20, {})


def test_forgotten_children_are_ended():
    before = set(threading.enumerate())
    children = Children(ECHO, "echo", idle=60)
    children.ask(20, {})
    (process,) = children.processes
    del children
    gc.collect()
    assert process.poll() is not None
    assert set(threading.enumerate()) <= before


def test_one_that_nobody_asks_gives_its_memory_back():
    with Children(ECHO, "echo", idle=0.05) as children:
        first = pid(children)
        deadline = time.monotonic() + 10
        while children.processes:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert pid(children) != first
        assert children.deaths == 0


def test_rest_ends_the_idle_ones(children):
    first = pid(children)
    children.rest()
    assert children.processes == []
    assert pid(children) != first


@pytest.mark.parametrize("source", ["raise SystemExit(1)", "import os; os.abort()"])
def test_a_child_that_cannot_be_started_is_told_in_one_line(source):
    with Children(source, "echo") as children, pytest.raises(InterruptedRun) as caught:
        children.ask(20, {})
    assert str(caught.value) == "no echo can be started (free memory or processes, then try again)"
    assert children.processes == []


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_child_leaves_interrupts_to_its_parent():
    with Children(ECHO, "echo") as children:
        first = pid(children)
        os.kill(first, signal.SIGINT)
        assert pid(children) == first


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such limits")
def test_a_limited_child_gets_no_more_memory_than_it_may_have():
    source = ECHO.replace("os._exit(3)", "bytearray(5 * 2**30)")
    with Children(source, "echo") as children, pytest.raises(Lost):
        children.ask(20, {"die": 1})
