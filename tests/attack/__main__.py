"""Damage files of every kind and give them to the commands that read them: `make attack`.

    INCEPTORY_ATTACK=10m python -m tests.attack          # for ten minutes, from seed 0 on
    python -m tests.attack --cases 200 --seed 7          # so many cases, the first with this seed

Ends with 1 where any command ended with another code than its kind allows, told a traceback, died, took
more than five seconds of the processor or a gibibyte, wrote outside of its output, read the canary,
connected, unpickled, or started a program. Each finding names its sample and seed, which make it again.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
import time
from pathlib import Path

from inceptory.system.clock import seconds
from tests.attack.attack import Attack


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, help="so many cases instead of a time")
    parser.add_argument("--seed", type=int, default=0, help="of the first case (0)")
    parser.add_argument("--only", default="", help="samples whose name holds this text")
    asked = parser.parse_args()
    length = seconds(os.environ.get("INCEPTORY_ATTACK", "10m"), "INCEPTORY_ATTACK")
    with tempfile.TemporaryDirectory() as place, Attack(Path(place), asked.only) as attack:
        end, seed = time.monotonic() + length, asked.seed
        while time.monotonic() < end if asked.cases is None else seed < asked.seed + asked.cases:
            for finding in attack.case(seed):
                print(finding, flush=True)
            seed += 1
            if sys.stderr.isatty():
                print(f"\r{attack.count:,} cases, {len(attack.findings)} findings", end="", file=sys.stderr)
    print(f"{attack.told()}; again: {shlex.join(['python', '-m', 'tests.attack', '--seed', str(asked.seed)])}")
    return 1 if attack.findings else 0


if __name__ == "__main__":
    sys.exit(main())
