"""What this machine is, and how to be gentle with it.

`keep_freed_memory` asks the C library not to hand every large buffer back to the
system, only to be given it again page by page at the next layer: with glibc that took
a fifth to a quarter off forward and backward passes of convolutions here (`LOG.md`).
It concerns the whole process, so only the command line calls it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

__all__ = ["cores", "keep_freed_memory"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_BYTES = 1 << 30


def cores() -> int:
    """Processor cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def keep_freed_memory() -> None:
    """Let glibc reuse large buffers; elsewhere nothing happens."""
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):  # another C library, e.g. musl
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(_M_MMAP_THRESHOLD, _BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _BYTES)
