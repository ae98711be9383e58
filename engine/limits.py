"""How many threads and how much address space this process may have, where that is less than the processors could use.

numpy's BLAS begins its threads when it is imported. Where it may not, it writes to the terminal and interrupts or ends
the process: so it is told before how many there can be.
"""

import ctypes
import errno
import mmap
import os
import resource
import threading
from contextlib import suppress

from .errors import DeviceError, EngineError

_LIBRARIES, _EACH = 60 * 2**20, 150 * 2**20
"""Bytes of address space that libraries take, and a thread: most of it is a buffer of the BLAS, which stays empty."""

_M_ARENA_MAX = -8
"""Of glibc's `mallopt`."""

_NO_THREAD = "can't start new thread"


_MOST_THREADS = 64
"""Threads that numpy's BLAS begins at most."""


def usable_cores() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def fit_to_limits(spare: int = 2) -> None:
    """Have the BLAS begin as many threads as there may be; before numpy is imported.

    Args:
        spare: how many threads this process and those that it starts need besides those that solve.

    Raises:
        DeviceError: there may not be one.
    """
    cores = min(usable_cores(), _MOST_THREADS)
    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        _share_heap()
    fitting = next((count for count in range(cores, 0, -1) if _is_free(_LIBRARIES + count * _EACH)), 0)
    if not fitting:
        raise DeviceError(
            f"This process may not use {(_LIBRARIES + _EACH) >> 20} MB more of address space, which svdtui needs.",
            "Raise its limit (ulimit -v).",
        )
    fitting = min(fitting, (_threads(2 * fitting + spare) - spare) // 2)  # the BLAS's, and ours that call it
    if fitting < 1:
        raise _no_thread()
    if fitting < cores:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", str(fitting))


def shortage(error: BaseException) -> EngineError | None:
    """A sentence for an error that says that there is no more memory, or no more threads or processes; else None."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return DeviceError(
            "There is not enough memory.", "Close other programs; where its address space is limited, raise that."
        )
    if isinstance(error, RuntimeError) and _NO_THREAD in str(error):
        return _no_thread()
    return None


def _no_thread() -> DeviceError:
    return DeviceError(
        "No more threads can be begun: this user's or container's number of processes is limited.",
        "End other programs, or raise the limit (ulimit -u).",
    )


def _share_heap() -> None:
    """Have all threads allocate from one heap: of each other one, glibc would take 64 MB of the address space."""
    os.environ.setdefault("MALLOC_ARENA_MAX", "1")  # for processes that are begun here
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def _threads(most: int) -> int:
    """How many threads can be begun beside each other, up to `most`."""
    begun: list[threading.Thread] = []
    may_end = threading.Event()
    try:
        while len(begun) < most:
            thread = threading.Thread(target=may_end.wait, daemon=True)
            thread.start()
            begun.append(thread)
    except RuntimeError:
        pass
    finally:
        may_end.set()
        for thread in begun:
            thread.join()
    return len(begun)


def _is_free(size: int) -> bool:
    """Whether so many bytes of address space can be taken."""
    try:
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except (OSError, MemoryError):
        return False
    return True
