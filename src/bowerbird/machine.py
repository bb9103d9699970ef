"""What this machine is, and how to be gentle with it.

`keep_freed_memory` asks the C library not to hand every large buffer back to the
system, only to be given it again page by page at the next layer: with glibc that took
a fifth to a quarter off forward and backward passes of convolutions here (`LOG.md`).
It concerns the whole process, so only the command line calls it.

`load` imports large packages in half the time. Measured here for torch, timm, SciPy and
matplotlib, as seconds of the processor: 5.6 before, 2.6 now (`LOG.md`).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

__all__ = [
    "available_memory",
    "cores",
    "is_first_process",
    "keep_freed_memory",
    "load",
    "settle",
    "take_over",
]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_BYTES = 1 << 30
_alone = False


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
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):  # another C library, e.g. musl
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(_M_MMAP_THRESHOLD, _BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _BYTES)


def load(*names: str) -> None:
    """Import modules, the fast way where they bring torch along for the first time.

    - Nothing becomes garbage while modules are imported, so none is looked for.
    - torchvision and timm import torch's compiler (2 s), the one for a function that only
      its own compiled code calls, the other for decorators that matter to compiled code
      alone. Within the block it stays away; who needs it later imports it as ever.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        with _without_compiler() if "torch" not in sys.modules else contextlib.nullcontext():
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


_COMPILER, _DEFERRED = "torch._dynamo.utils", "is_compile_supported"


class _Later(types.ModuleType):
    """Stands for `_COMPILER`; what is taken from it becomes the real thing when needed."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _is_compile_supported if name == _DEFERRED else getattr(_real_compiler(), name)


def _is_compile_supported(*values: Any) -> Any:
    return getattr(_real_compiler(), _DEFERRED)(*values)


def _real_compiler() -> types.ModuleType:
    if isinstance(sys.modules.get(_COMPILER), _Later):
        del sys.modules[_COMPILER]
    return importlib.import_module(_COMPILER)


@contextlib.contextmanager
def _without_compiler() -> Iterator[None]:
    torch = importlib.import_module("torch")
    disable = torch.compiler.disable
    sys.modules.setdefault(_COMPILER, _Later(_COMPILER))
    torch.compiler.disable = _as_it_is
    try:
        yield
    finally:
        torch.compiler.disable = disable
        if isinstance(sys.modules.get(_COMPILER), _Later):
            del sys.modules[_COMPILER]


def _as_it_is(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Any:
    """In place of torch's decorator that keeps a function from being compiled."""
    return (lambda wrapped: wrapped) if function is None else function
