"""Break one line of the package after another, and see that the test named for it fails: `make mutants`.

    python -m tests.mutants                     # all of the table
    python -m tests.mutants learn/step schedule  # those whose file, line, test or words hold one of these texts
    python -m tests.mutants -j 2                 # two at a time

All of it happens in copies of the checkout in a temporary folder. Ends with 1 where fewer than 95 %
are noticed, or where the table itself is wrong.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from shutil import copy2

from tests.mutants.table import ROOT, Mutant, faults, mutants

LEAST = 0.95
"""Share of the mutants that tests must notice."""
LIMIT = 300.0
"""Seconds that the test of one mutant may take, on a busy machine."""
FAILED = 1
"""pytest's exit code for tests that ran and failed; a file that cannot be imported or found has others."""


class TableError(Exception):
    """The table is wrong, and nothing can be said of the tests."""


def copied(root: Path, place: Path) -> Path:
    """The files that git knows, as they stand in the work tree, in another place."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True, text=True)
    for name in listed.stdout.split("\0"):
        if name and (root / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            copy2(root / name, place / name)
    return place


def tested(copy: Path, tests: Iterable[str], *options: str, limit: float | None) -> tuple[int, str]:
    """(exit code, output) of pytest on these tests in a copy; its own package is the one imported."""
    # No bytecode: a broken file may have the size of the whole one, and be written in the same second.
    own = {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, *tests]
    done = subprocess.run(
        command, cwd=copy, env={**os.environ, **own}, capture_output=True, text=True, errors="replace", timeout=limit
    )
    return done.returncode, done.stdout + done.stderr


def faults_of_whole(copy: Path, tests: Sequence[str]) -> list[str]:
    """A line for every test that does not pass while nothing is broken, and what pytest says of it."""
    code, output = tested(copy, tests, "-rA", "--tb=no", limit=None)
    lines = output.splitlines()
    passed = {line.removeprefix("PASSED ") for line in lines if line.startswith("PASSED ")}
    # A name without parameters stands for all of its cases.
    names = passed | {name.partition("[")[0] for name in passed}
    wrong = [f"does not pass while nothing is broken: {test}" for test in tests if test not in names]
    told = sorted({line for line in lines if line.startswith(("FAILED ", "ERROR "))})
    if not wrong and not told:
        return [output] if code else []
    # Where a file cannot be read, none of the others were run.
    return [*wrong, *told] if len(wrong) < len(tests) or not told else told


def noticed(copy: Path, mutant: Mutant) -> str:
    """Whether its test fails ("noticed" or "SURVIVED") while the line is broken in the copy; raises TableError."""
    path = copy / mutant.file
    whole = path.read_bytes()
    path.write_bytes(mutant.applied(whole.decode()).encode())
    try:
        code, output = tested(copy, [mutant.test], "-x", limit=LIMIT)
    except subprocess.TimeoutExpired:
        raise TableError(f"{mutant}: its test does not end within {LIMIT:.0f} s (name one that fails)") from None
    finally:
        path.write_bytes(whole)
    if code not in (0, FAILED):
        last = output.strip().splitlines()[-1:]
        raise TableError(f"{mutant}: pytest ended with {code}, no test failed, {' '.join(last)}")
    return "noticed" if code == FAILED else "SURVIVED"


def run(chosen: Sequence[Mutant], jobs: int) -> int:
    """The exit code, after a line for each and a summary."""
    start, wrong = time.monotonic(), [fault for mutant in chosen for fault in faults(mutant, ROOT)]
    if wrong:
        raise TableError("\n".join(wrong))
    known = [mutant for mutant in chosen if mutant.reason]
    asked = [mutant for mutant in chosen if not mutant.reason]
    with ExitStack() as stack, ThreadPoolExecutor(jobs) as pool:
        places = [Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mutants-"))) for _ in range(jobs)]
        idle: SimpleQueue[Path] = SimpleQueue()
        for place in places:
            idle.put(copied(ROOT, place))
        tests = sorted({mutant.test for mutant in asked})
        parts = [tests[job::jobs] for job in range(jobs) if tests[job::jobs]]
        wrong = [fault for found in pool.map(faults_of_whole, places, parts) for fault in found]
        if wrong:
            raise TableError("\n".join(wrong))
        print(f"{len(tests)} tests pass while nothing is broken", flush=True)

        def one(mutant: Mutant) -> str:
            copy, began = idle.get(), time.monotonic()
            try:
                found = noticed(copy, mutant)
            except TableError as fault:
                found = f"TABLE ERROR {fault}"
            finally:
                idle.put(copy)
            print(f"{found:8} {time.monotonic() - began:4.0f} s  {mutant}", flush=True)
            return found

        found = list(pool.map(one, asked))
    for mutant in known:
        print(f"known survivor  {mutant} ({mutant.reason})")
    return summary(found, len(known), time.monotonic() - start)


def summary(found: Sequence[str], known: int, seconds: float) -> int:
    """Print how many were noticed; 1 where it is too few, or where an entry of the table is wrong."""
    right, every = found.count("noticed"), len(found) + known
    used = os.times()
    worked = used.children_user + used.children_system
    share = f"{right} of {every} noticed" + (f", {100 * right / every:.1f} %" if every else "")
    print(f"{share}, {seconds / 60:.1f} minutes, {worked / 60:.1f} of a processor")
    broken = any(one.startswith("TABLE ERROR") for one in found)
    return int(broken or right < LEAST * every)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description="Break lines, and see tests fail.")
    parser.add_argument("texts", nargs="*", help="run only entries that hold one of these texts")
    parser.add_argument("-j", type=int, default=1, metavar="N", help="how many at a time")
    asked = parser.parse_args()

    def wanted(mutant: Mutant) -> bool:
        whole = " ".join((mutant.file, mutant.line, mutant.breaks, mutant.test))
        return not asked.texts or any(text in whole for text in asked.texts)

    chosen = [mutant for mutant in mutants() if wanted(mutant)]
    if not chosen:
        print(f"no mutant holds {' or '.join(asked.texts)}", file=sys.stderr)
        return 1
    try:
        return run(chosen, max(asked.j, 1))
    except TableError as fault:
        print(f"table error:\n{fault}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
