"""Run as a script: open weight files while every event of the interpreter is logged.

    python watched.py [--unpickle] FILE...

Prints one JSON list per file: what came of it, seconds, and the events that reading does not need.
"""

from __future__ import annotations

import json
import pickle
import sys
import time
from pathlib import Path

HARMLESS = {"builtins.id", "object.__getattr__", "sys._getframe", "os.putenv", "sys.unraisablehook", "gc.collect"}
"""Events of the interpreter's own that touch nothing."""


def high_water() -> float:
    """Most memory that this process ever held, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: on Linux that starts at what the parent held.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def read(path: str) -> str:
    from inceptory.errors import InceptoryError
    from inceptory.weights.files.formats import open_weights

    try:
        with open_weights(path) as weights:
            for name in weights.entries:
                weights.read(name)
    except InceptoryError as fault:
        return f"{fault.exit_code} {fault}"
    return f"0 {weights.kind}"


def unpickle(path: str) -> str:
    """What must never happen, to prove that it would be seen."""
    return repr(pickle.loads(Path(path).read_bytes()))


def main() -> None:
    files = sys.argv[1:]
    open_ = unpickle if files[0] == "--unpickle" else read
    files = files[open_ is unpickle :]
    log: list[list[str]] = []
    told: list[list[object]] = []
    warm = Path(files[0]).with_name("warm")
    warm.write_bytes(b"x")
    read(str(warm))
    idle = high_water()

    def note(event: str, arguments: tuple[object, ...]) -> None:
        own = event == "open" and str(arguments[0]) in (path, "/proc/self/status")
        if not own and event not in HARMLESS:
            log.append([event, str(arguments)[:80]])

    path = files[0]
    sys.addaudithook(note)
    for path in files:
        log.clear()
        start = time.process_time()
        came = open_(path)
        told.append([came, time.process_time() - start, log.copy()])
        log.clear()
    print(json.dumps({"files": told, "grown": high_water() - idle}))


if __name__ == "__main__":
    main()
