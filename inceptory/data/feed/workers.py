"""Decoding in other processes, which may die or hang without the run being lost (`system.children`). No torch.

A question is JSON and bytes: what is done to the pictures, their names, the numbers that choose parts of them, and
for each picture its path, or the bytes that follow: a file's own, or pixels. This process reads whatever is no file
by itself, so that a worker has nothing but what it is asked for.
"""

from __future__ import annotations

import math
import os
import sys
import warnings
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from inceptory.data.feed.decoding import Decoded, Decoder
from inceptory.data.picture.crops import Crops
from inceptory.data.picture.decode import Picture
from inceptory.data.picture.preprocess import Preprocess
from inceptory.data.sources.sequences import Frozen
from inceptory.errors import DataError, Doubt, InceptoryError, InterruptedRun, one_line
from inceptory.system import children
from inceptory.system.children import Children, Lost, program

PATIENCE = 60.0
"""Seconds that a request may take before its worker counts as hanging."""
PATIENCE_EACH = 2.0
"""Seconds more for each picture."""
REPLACEMENTS = 3
"""Workers that are tried after the first one for the same pictures."""
CHILD = program("inceptory.data.feed.workers")
Draws = NDArray[np.float64]
"""(n, DRAWS) numbers that choose a part of each picture."""


class Pool(Protocol):
    """Who decodes."""

    def submit(self, rows: NDArray[np.int64], draws: Draws | None = None) -> Future[Decoded]:
        """Ask for these rows, or for the parts of them that `draws` choose; the future raises what decoding raised."""
        ...

    def rest(self) -> None:
        """Give back what can be had again, while nothing is asked for."""
        ...

    def close(self) -> None:
        """End everything; what was asked for and not begun is dropped."""
        ...


class Threads:
    """Decodes in this process; Pillow's decoders release the interpreter's lock."""

    def __init__(self, decoder: Decoder, names: Sequence[str]) -> None:
        self._decoder, self._names = decoder, names
        self._executor = ThreadPoolExecutor(os.cpu_count())

    def submit(self, rows: NDArray[np.int64], draws: Draws | None = None) -> Future[Decoded]:
        """Ask for these rows."""
        return self._executor.submit(self._decoder, rows, [self._names[row] for row in rows.tolist()], draws)

    def rest(self) -> None:
        """Idle threads cost nothing."""

    def close(self) -> None:
        """Drop what is not begun."""
        self._executor.shutdown(cancel_futures=True)


class Processes:
    """Decodes in `count` other processes; each is started when it is first needed.

    Threads wait for them, so answers are fetched while the caller computes, and read the pictures that are no files
    by themselves.
    """

    def __init__(self, decoder: Decoder, names: Sequence[str], count: int) -> None:
        self._decoder, self._names = decoder, names
        # Its warnings are for the person.
        self._children = Children(CHILD, "data worker", count, loud=True)
        # One thread waits for each process, and one has the next question ready.
        self._executor = ThreadPoolExecutor(2 * count)
        # Also where the caller forgets to close, or ends with an error.
        self._end = weakref.finalize(self, _end, self._executor, self._children)

    @property
    def replaced(self) -> int:
        """Workers that died or hung so far."""
        return self._children.deaths

    def submit(self, rows: NDArray[np.int64], draws: Draws | None = None) -> Future[Decoded]:
        """Ask for these rows; InterruptedRun where four workers in a row died or hung on them."""
        return self._executor.submit(self._answer, rows, draws)

    def _answer(self, rows: NDArray[np.int64], draws: Draws | None) -> Decoded:
        names = [self._names[row] for row in rows.tolist()]
        patience = PATIENCE + PATIENCE_EACH * len(rows)
        try:
            question = _question(self._decoder, rows, names, draws)
            ((answer, body),) = self._children.ask(patience, *question, tries=1 + REPLACEMENTS)
        except Lost:
            where = f"{names[0]} and {len(names) - 1} more" if names else "no picture"
            raise InterruptedRun(
                f"{where}: {1 + REPLACEMENTS} data workers died or hung on them "
                "(look at the pictures and at the machine's memory, then resume)"
            ) from None
        if "bug" in answer:
            raise RuntimeError(f"a data worker failed: {answer['bug']}")
        pixels = np.frombuffer(body, dtype=np.uint8).reshape(answer["shape"])
        faults = [(int(rows[place]), fault) for place, fault in answer["faults"]]
        return Decoded(pixels, rows[np.asarray(answer["places"], dtype=np.int64)], faults)

    def rest(self) -> None:
        """End the processes until the next request: an epoch is long, and each holds 80 MB and more."""
        self._children.rest()

    def close(self) -> None:
        """End the processes."""
        self._end()
        self._executor.shutdown()


def _end(executor: ThreadPoolExecutor, workers: Children) -> None:
    # Nobody is waited for: the last reference may be given up by one of the executor's own threads.
    executor.shutdown(wait=False, cancel_futures=True)
    workers.close()


def _question(decoder: Decoder, rows: NDArray[np.int64], names: list[str], draws: Draws | None) -> tuple[Any, ...]:
    """A question's JSON and bytes: the draws, then every picture that is no file by itself."""
    pictures, parts = list[Any](), list[bytes | memoryview]()
    if draws is not None:
        parts.append(np.ascontiguousarray(draws, dtype="<f8").tobytes())
    for row in rows.tolist():
        piece, *content = _piece(decoder.pictures, row)
        pictures.append(piece)
        parts += content
    question = {
        "preprocess": decoder.preprocess.to_json(),
        "crops": None if decoder.crops is None else asdict(decoder.crops),
        "names": names,
        "draws": None if draws is None else draws.shape,
        "pictures": pictures,
    }
    return question, *parts


def _piece(pictures: Sequence[Picture], row: int) -> tuple[Any, ...]:
    """A picture as JSON: its path, or the number or shape of the bytes beside it, or {"fault": why there are none}."""
    try:
        picture = pictures[row]
    except InceptoryError as fault:
        return ({"fault": str(fault)},)
    if isinstance(picture, Path):
        return (str(picture),)
    if isinstance(picture, bytes):
        return len(picture), picture
    return picture.shape, np.ascontiguousarray(picture).reshape(-1).data


# The worker's side


class Carried(Frozen[Picture]):
    """Pictures that came along with a question; those that could not be read raise a DataError."""

    def __init__(self, pieces: Sequence[Any], content: memoryview) -> None:
        self._pieces: list[Picture | DataError] = []
        for piece in pieces:
            if isinstance(piece, str):
                self._pieces.append(Path(piece))
            elif isinstance(piece, dict):
                self._pieces.append(DataError(piece["fault"]))
            else:
                size = piece if isinstance(piece, int) else math.prod(piece)
                here, content = content[:size], content[size:]
                pixels = np.frombuffer(here, dtype=np.uint8)
                self._pieces.append(bytes(here) if isinstance(piece, int) else pixels.reshape(piece))

    def __len__(self) -> int:
        return len(self._pieces)

    def item(self, row: int) -> Picture:
        """A picture; raises DataError."""
        piece = self._pieces[row]
        if isinstance(piece, DataError):
            raise piece
        return piece


def serve() -> None:
    """The worker: decode what is asked for. It may write what it likes to where the person's own errors go."""
    warnings.filterwarnings("always", category=Doubt)
    warnings.showwarning = lambda message, *_, **__: print(one_line(f"warning: {message}"), file=sys.stderr)
    children.serve(_answer, limited=False)


def _answer(question: dict[str, Any], body: memoryview) -> Iterator[tuple[Any, ...]]:
    """One frame: the places of the pictures that could be read, and their pixels."""
    try:
        decoded = _decoded(question, body)
    except MemoryError:
        raise
    except Exception as bug:
        yield ({"bug": f"{type(bug).__name__}: {bug}"},)
        return
    pixels = np.ascontiguousarray(decoded.pixels)
    yield {"places": decoded.rows.tolist(), "faults": decoded.faults, "shape": pixels.shape}, pixels.reshape(-1).data


def _decoded(question: dict[str, Any], body: memoryview) -> Decoded:
    draws = None
    if question["draws"] is not None:
        draws = np.frombuffer(body, dtype="<f8", count=math.prod(question["draws"])).reshape(question["draws"])
        body = body[draws.nbytes :]
    crops = None if question["crops"] is None else Crops(**question["crops"])
    decoder = Decoder(Carried(question["pictures"], body), Preprocess.from_json(question["preprocess"]), crops)
    return decoder(np.arange(len(question["names"])), question["names"], draws)
