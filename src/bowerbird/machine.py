"""What this machine is, and how to be gentle with it.

`keep_freed_memory` asks the C library not to hand every large buffer back to the
system, only to be given it again page by page at the next layer: with glibc that took
a fifth to a quarter off forward and backward passes of convolutions here (`LOG.md`).
It concerns the whole process, so only the command line calls it; `giving_back_memory` takes it
back for work on large tables, and `give_back_memory` is for the end of a part of it.

`load` and `settle` spare large packages the search for garbage, as they come and at the end.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

__all__ = [
    "available_memory",
    "cores",
    "give_back_memory",
    "giving_back_memory",
    "is_first_process",
    "keep_freed_memory",
    "load",
    "settle",
    "take_over",
]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_BYTES, _LARGE = 1 << 30, 32 << 20
_alone = _keeps = False


def cores() -> int:
    """Processor cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def is_first_process() -> bool:
    """Whether this process is the first of those that torchrun started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def available_memory() -> int:
    """Bytes of main memory that this process could still take, or 2 GB where none can tell."""
    found = []
    with contextlib.suppress(OSError, ValueError, LookupError):
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        found.append(1024 * int(lines["MemAvailable"].split()[0]))
    with contextlib.suppress(OSError, ValueError):  # a container's limit, if it has one
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        found.append(limit - int((group / "memory.current").read_text()))
    return max(0, min(found)) if found else 2 * 1024**3


def keep_freed_memory() -> None:
    """Let glibc reuse large buffers; elsewhere nothing happens."""
    global _keeps  # noqa: PLW0603
    _keeps = _set_threshold(_BYTES)


@contextlib.contextmanager
def giving_back_memory() -> Iterator[None]:
    """Within the block, buffers over 32 MB go back to the system when they are freed.

    For work on a few large tables: kept, each one's place is too small for the next. One block
    at a time: the end of an inner one would end the outer one, too.
    """
    if _keeps:
        give_back_memory()
        _set_threshold(_LARGE)
    try:
        yield
    finally:
        if _keeps:
            _set_threshold(_BYTES)


def give_back_memory() -> None:
    """Hand what is free now back to the system, with glibc; elsewhere nothing happens.

    Else the room of many small things, such as the nodes of a forest, is kept for the next ones.
    """
    with contextlib.suppress(OSError, AttributeError):
        if sys.platform.startswith("linux"):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def _set_threshold(size: int) -> bool:
    """Whether buffers of up to so many bytes are kept when they are freed from now on."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        library = ctypes.CDLL("libc.so.6")
        return all(
            [library.mallopt(_M_MMAP_THRESHOLD, size), library.mallopt(_M_TRIM_THRESHOLD, size)]
        )
    except (OSError, AttributeError):  # another C library, e.g. musl
        return False


def load(*names: str) -> None:
    """Import modules without looking for garbage: while modules are imported there is none.

    Ctrl-C waits until they are there: some packages swallow it, and are then in pieces.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        with _interrupted_later():
            for name in names:
                importlib.import_module(name)
    finally:
        settle()
        if collecting:
            gc.enable()


def take_over() -> None:
    """Say that this process is Bowerbird's alone, as that of the command line is."""
    global _alone  # noqa: PLW0603
    _alone = True


def settle() -> None:
    """Take all that exists for lasting, if the process is ours: searches pass over it.

    With torch imported each search for garbage takes a third of a second, the one at the
    end of the process a whole one.
    """
    if _alone:
        gc.freeze()


@contextlib.contextmanager
def _interrupted_later() -> Iterator[None]:
    """The first Ctrl-C or SIGTERM in the block counts at its end, a second one at once."""
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        if len(asked) > 1:
            raise KeyboardInterrupt

    mine = []
    if threading.current_thread() is threading.main_thread():
        usual = signal.default_int_handler
        mine = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is usual]
    for number in mine:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, signal.default_int_handler)
    if asked:
        raise KeyboardInterrupt
