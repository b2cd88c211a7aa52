"""One case after another, each in a child that may die."""

from __future__ import annotations

import json
import select
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import TracebackType

from tests.attack.damage import damaged
from tests.attack.samples import prepared

ROOT = Path(__file__).parents[2]
CODES = (0, 64, 65, 66, 74, 75, 78)
DEADLINE = 60.0
"""Seconds of the clock until a child counts as hanging: a busy machine is slow."""
SLOWEST = 5.0
"""Seconds of the processor that a command may take."""
LARGEST = 1024.0
"""MiB that it may grow by."""


class Attack:
    """A sandbox, its samples, and the child that runs commands in it."""

    def __init__(self, place: Path, only: str = "") -> None:
        self.sandbox = place / "sandbox"
        self.sandbox.mkdir()
        (place / "canary").write_text("nobody reads this")
        self.samples = [sample for sample in prepared(self.sandbox) if only in sample.name]
        self.count, self.findings = 0, list[str]()
        self.codes: Counter[str] = Counter()
        self._child: subprocess.Popen[str] | None = None
        self._whole = self._content()

    def __enter__(self) -> Attack:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    def case(self, seed: int) -> list[str]:
        """Damage one sample by this seed, run its commands, and give a line for each thing that must not be."""
        sample = self.samples[seed % len(self.samples)]
        place = self.sandbox / sample.place
        before = place.read_bytes() if place.exists() else None
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(sample.mend(damaged(sample.content, seed)))
        found = []
        for line in sample.lines:
            self.count += 1
            words = shlex.split(line.replace("{}", sample.place))
            found += [f"{sample.name}, seed {seed}: {shlex.join(words)}: {fault}" for fault in self._run(words)]
        if before is None:
            place.unlink()
        else:
            place.write_bytes(before)
        found += [f"{sample.name}, seed {seed}: changed {name}" for name in self._changed()]
        self.findings += found
        return found

    def told(self) -> str:
        """What was done, in one line."""
        codes = ", ".join(f"{code}: {count:,}" for code, count in sorted(self.codes.items()))
        return f"{self.count:,} commands ({codes}), {len(self.findings)} findings"

    def _run(self, words: list[str]) -> list[str]:
        child = self._running()
        assert child.stdin is not None
        child.stdin.write(json.dumps(words) + "\n")
        child.stdin.flush()
        answer = self._answer(child)
        if not answer:
            told = f"hung for {DEADLINE:.0f} s" if answer is None else f"died with {child.wait()}"
            self._end()
            self.codes["died or hung"] += 1
            return [told]
        found = json.loads(answer)
        self.codes[str(found["code"])] += 1
        last = found["told"].strip().rpartition("\n")[2][:300]
        faults = [f"{event}" for event in found["seen"]]
        if found["code"] not in CODES:
            faults.append(f"ended with {found['code']}, {last}")
        if "Traceback" in found["told"]:
            faults.append(f"told a traceback, {last}")
        if found["code"] in CODES[1:] and not last.startswith("error: "):
            faults.append(f"ended with {found['code']} and no error, {last}")
        if found["seconds"] > SLOWEST:
            faults.append(f"took {found['seconds']:.1f} s, {last}")
        if found["grown"] > LARGEST:
            faults.append(f"grew by {found['grown']:.0f} MiB, {last}")
        return faults

    def _running(self) -> subprocess.Popen[str]:
        if self._child is None or self._child.poll() is not None:
            command = [sys.executable, "-P", str(ROOT / "tests" / "attack" / "child.py"), str(self.sandbox)]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            self._child = subprocess.Popen(command, text=True, **pipes)
            assert self._answer(self._child, 300), "the child cannot even do honest work"
        return self._child

    @staticmethod
    def _answer(child: subprocess.Popen[str], patience: float = DEADLINE) -> str | None:
        """Its next line; empty where it has died, None where it has none in time."""
        assert child.stdout is not None
        ready, _, _ = select.select([child.stdout], [], [], patience)
        return child.stdout.readline() if ready else None

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def _content(self) -> dict[str, tuple[int, int]]:
        """Size and moment of every file that no command may change."""
        found = {}
        for path in self.sandbox.rglob("*"):
            name = str(path.relative_to(self.sandbox))
            if path.is_file() and not name.startswith(("out/", "forged/")):
                stat = path.stat()
                found[name] = (stat.st_size, stat.st_mtime_ns)
        return found

    def _changed(self) -> list[str]:
        now = self._content()
        own = {sample.place for sample in self.samples}
        names = sorted(name for name in now.keys() | self._whole.keys() if now.get(name) != self._whole.get(name))
        self._whole = now
        return [name for name in names if name not in own]
