"""What this process takes of the machine: threads for the algebra of small work, memory kept between steps."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

SMALL = 4_000_000
"""Numbers, up to which one thread is as fast as several on a quiet machine."""
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt, by its malloc.h."""


def calm(numbers: int) -> AbstractContextManager[object]:
    """A context in which algebra on a matrix of so many numbers takes one thread, if they are few.

    Beside busy neighbours threads that wait for one another spin: a QR factorisation of 2,048 x 200 numbers took 0.93 s
    (up to 7.8 s) on two threads and 0.14 s (up to 0.17 s) on one (two cores of an EPYC under a load of 5, n 7 each).
    """
    if numbers > SMALL:
        return nullcontext()
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[object] = threadpool_limits(limits=1, user_api="blas")
    return limits


@contextmanager
def keeping_memory() -> Iterator[None]:
    """Inside, memory that is freed stays with this process: the next training step takes it again as it lies.

    glibc gives large buffers back after each step, and the system hands them out anew, page by page and cleared: kept,
    a step takes 0.84 to 0.87 of the time (LOG.md, "Freed memory is kept"). After it malloc is as it is by itself once
    large buffers were freed, and what is free goes back. Other C libraries, and a malloc that the environment tunes or
    replaces, are left alone.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(MMAP_THRESHOLD, 2**31 - 1)
    libc.mallopt(TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        libc.mallopt(MMAP_THRESHOLD, 32 * 2**20)
        libc.mallopt(TRIM_THRESHOLD, 64 * 2**20)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library, if it is glibc and nobody else has a say in its malloc."""
    own = any(name.startswith("MALLOC_") or name in ("GLIBC_TUNABLES", "LD_PRELOAD") for name in os.environ)
    if own or not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
