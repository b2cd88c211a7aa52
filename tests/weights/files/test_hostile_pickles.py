"""No pickle is ever run: each is refused by the name that it wanted, and nothing happened."""

from __future__ import annotations

import os

import pytest

from tests.weights.files.hostile import CALLS, EXTENSIONS, files, styles
from tests.weights.files.makers import (
    MAGIC,
    every_kind,
    fault_of,
    hdf5,
    keras_3,
    legacy,
    mapping,
    saved,
    text,
    torch_zip,
)
from tests.weights.files.test_hostile_hdf5 import external_link, external_storage, virtual
from tests.weights.files.watching import watch


def test_the_watch_would_see_what_must_not_happen(tmp_path):
    canary = tmp_path / "canary"
    told = watch(tmp_path, {"os.system": files(styles("os.system", f"touch {canary}")["reduce"])["bare"]}, "--unpickle")
    events = {event for event, _ in told["os.system"][2]}
    assert {"pickle.find_class", "os.system"} <= events
    assert canary.exists()


def test_no_call_in_any_style_or_file_is_run(tmp_path):
    canary = tmp_path / "canary"
    touch = f"touch {canary}"
    contents = {f"{call}, {style}": value for call in CALLS for style, value in styles(call, touch).items()}
    wanted = {f"{name}, {file}": content for name, value in contents.items() for file, content in files(value).items()}
    # All styles and files of one name, and each name in a few of them: the readers share one machine.
    chosen = {name: wanted[name] for i, name in enumerate(wanted) if name.startswith("os.system") or i % 7 == 0}
    for name, (came, seconds, events) in watch(tmp_path, chosen).items():
        call = name.partition(",")[0]
        assert came.startswith("65 "), (name, came)
        assert f": it names {call} (" in came, (name, came)
        assert events == [], (name, events)
        assert seconds < 1
    assert not canary.exists()
    assert len(chosen) > 1000


def test_calls_without_a_name_are_refused(tmp_path):
    contents = {f"{name}, {file}": body for name, value in EXTENSIONS.items() for file, body in files(value).items()}
    for name, (came, _, events) in watch(tmp_path, contents).items():
        assert came.startswith("65 "), (name, came)
        assert "which no weights need" in came, (name, came)
        assert events == []


def test_honest_files_are_read_without_any_event(tmp_path):
    for name, (came, _, events) in watch(tmp_path, every_kind()).items():
        assert came == f"0 {name.split(',')[0]}"
        if "deflated" not in name:
            assert events == [], (name, events)
        assert {event for event, _ in events} <= {"open", "tempfile.mkstemp", "os.remove"}


def test_no_file_beside_the_one_that_was_given_is_opened(tmp_path):
    outside = tmp_path / "outside.h5"
    outside.write_bytes(hdf5(keras_3))
    hostile = {
        fill.__name__: hdf5(lambda root, fill=fill: fill(root, outside))
        for fill in (external_link, external_storage, virtual)
    }
    for came, _, events in watch(tmp_path, hostile).values():
        assert came.startswith("65 ")
        assert events == []


OLDEST = [
    b"cos\nsystem\n(S'touch canary'\ntR.",
    b"(S'touch canary'\nios\nsystem\n.",
    b"(cos\nsystem\nS'touch canary'\no.",
    b"c__builtin__\neval\n(V1\ntR.",
    b"(lp0\ncposix\nsystem\np1\n(S'id'\np2\ntp3\nRp4\na.",
]


@pytest.mark.parametrize("content", OLDEST)
def test_pickles_of_the_oldest_protocol_are_text_and_still_refused_by_name(tmp_path, content):
    assert ": a program, not weights: it names " in str(fault_of(tmp_path, content))


def test_prose_that_looks_like_a_call_is_prose(tmp_path):
    assert "a plain text" in str(fault_of(tmp_path, b"Read the doc\nmusic\nthen\nstop."))
    assert "a plain text" in str(fault_of(tmp_path, b"(c) 2020\nall\nrights reserved."))


class Call:
    """Pickles into a call of a function."""

    def __init__(self, function, *arguments):
        self.told = function, arguments

    def __reduce__(self):
        return self.told


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("old", [False, True])
def test_what_torch_saves_of_a_call_is_refused_by_name(tmp_path, old, protocol):
    canary = tmp_path / "canary"
    for function, name in ((os.system, f"{os.name}.system"), (eval, "eval"), (getattr, "getattr")):
        content = saved({"weight": Call(function, f"touch {canary}")}, old, protocol)
        assert name in str(fault_of(tmp_path, content))
    assert not canary.exists()


BROKEN = {
    "nothing": b"",
    "no value": b"\x80\x02.",
    "two values": b"\x80\x02NN.",
    "an open mark": b"\x80\x02(N.",
    "no mark": b"\x80\x02Nt.",
    "a value from under a mark": b"\x80\x02N(0\x85.",
    "a memo that is empty": b"\x80\x02h\x07.",
    "a memo beyond all counting": b"\x80\x02Nr\xff\xff\xff\xff.",
    "a memo below zero": b"\x80\x02Np-1\n.",
    "a memo of no number": b"\x80\x02Npx\n.",
    "a text longer than the file": b"\x80\x02X\xff\xff\xff\xffab.",
    "a text of less than nothing": b"\x80\x02T\xff\xff\xff\xffab.",
    "a text that is no UTF-8": b"\x80\x02X\x02\0\0\0\xff\xfe.",
    "bytes beyond all memory": b"\x80\x02\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
    "a number of 2 GiB": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "a number of 5,000 digits": b"\x80\x02I" + b"9" * 5000 + b"\n.",
    "a line without an end": b"\x80\x02I12",
    "a number that is none": b"\x80\x02Iabc\n.",
    "items of a number": b"\x80\x02K\1NNs.",
    "a dict of three": b"\x80\x02(NNNd.",
    "an item of a dict": b"\x80\x02}Na.",
    "an unknown instruction": b"\x80\x02\xfe.",
    "a buffer outside": b"\x80\x05\x97.",
    "a reference by text": b"\x80\x02Pos\n.",
    "a reference to nothing": b"\x80\x02NQ.",
    "a name of a number": b"\x80\x04K\1K\2\x93.",
    "a name that is no text": b"\x80\x02c\xff\n\xfe\n.",
    "a list in itself": b"\x80\x02]q\0h\0a}" + text("a") + b"h\0s.",
    "200,000 marks": b"\x80\x02" + b"(" * 200_000 + b".",
    "100,000 lists in lists": b"\x80\x02" + b"(" * 100_000 + b"l" * 100_000 + b".",
    "100,000 tuples in tuples": b"\x80\x02N" + b"\x85" * 100_000 + b".",
    "500,000 instructions": b"\x80\x02" + b"N0" * 250_000 + b"N.",
    "one list as items over and over": b"\x80\x02ccollections\nOrderedDict\nq\0]q\1("
    + (text("a") + b"N\x86") * 50_000
    + b"e0"
    + b"h\0h\1\x85R0" * 20_000
    + b"N.",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_pickles_that_no_one_wrote_are_refused_in_a_moment(tmp_path, kind):
    body = BROKEN[kind]
    for content in (MAGIC + body, legacy(body), legacy(mapping(), body), torch_zip(body), body):
        assert fault_of(tmp_path, content).exit_code == 65


def test_a_dict_in_itself_is_searched_once(tmp_path):
    body = b"\x80\x02}q\0" + text("a") + b"h\0s" + text("state_dict") + b"h\0s."
    assert "holds no tensors by name" in str(fault_of(tmp_path, torch_zip(body)))
