"""How many threads the algebra of numpy and scipy may take for small work.

Beside busy neighbours threads that wait for one another spin: a QR factorisation of 2,048 x 200 numbers took 0.93 s
(up to 7.8 s) on two threads and 0.14 s (up to 0.17 s) on one (two cores of an EPYC under a load of 5, n 7 each).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

SMALL = 4_000_000
"""Numbers, up to which one thread is as fast as several on a quiet machine."""


def calm(numbers: int) -> AbstractContextManager[object]:
    """A context in which algebra on a matrix of so many numbers takes one thread, if they are few."""
    if numbers > SMALL:
        return nullcontext()
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[object] = threadpool_limits(limits=1, user_api="blas")
    return limits
