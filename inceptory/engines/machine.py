"""What this machine has to compute with, found out without loading any of it."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
import time
from pathlib import Path

from inceptory.engines.answers import Name

PACKAGES: dict[Name, tuple[str, ...]] = {
    "openvino": ("openvino", "onnx"),
    "onnxruntime": ("onnxruntime", "onnx"),
    "torch": ("torch",),
}
"""What an engine needs, the engines that answer soonest first: those before torch need no torch."""
SETTLED = 0.2
"""Seconds over which the load of the machine is looked at."""
NEIGHBOUR = 0.5
"""Processors kept busy by others, from which on the machine counts as shared."""


def installed() -> tuple[Name, ...]:
    """The engines that this Python has, those that answer soonest first."""
    return tuple(
        name for name, packages in PACKAGES.items() if all(importlib.util.find_spec(package) for package in packages)
    )


def cores() -> int:
    """Processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def may_have_gpu() -> bool:
    """Whether it is worth loading torch to ask for a GPU."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if sys.platform == "win32":
        return Path(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "nvcuda.dll").exists()
    return any(Path(place).exists() for place in ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg"))


def processor() -> str:
    """What the processor calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    wanted = ("model name", "flags")
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return "; ".join(told.get(key, "") for key in wanted)


def busy() -> bool | None:
    """Whether other processes keep this machine's processors busy; None where the system does not tell."""
    before = _ticks()
    if before is None:
        return None
    own = time.process_time()
    time.sleep(SETTLED)
    after = _ticks()
    assert after is not None
    elsewhere = (after - before) / os.sysconf("SC_CLK_TCK") - (time.process_time() - own)
    return elsewhere > NEIGHBOUR * SETTLED


def _ticks() -> int | None:
    """Clock ticks that all processors together have worked, of Linux."""
    try:
        line = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
        user, nice, system, *_ = map(int, line.split()[1:])
    except (OSError, ValueError, IndexError):
        return None
    return user + nice + system
