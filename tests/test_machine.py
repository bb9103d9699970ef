"""Importing the fast way, and memory; each in a process of its own."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
from pathlib import Path

import pytest

from bowerbird import machine


def said(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_loading_leaves_the_search_for_garbage_as_it_was() -> None:
    machine.load("json")
    assert gc.isenabled()
    gc.disable()
    try:
        machine.load("json")
        assert not gc.isenabled()
    finally:
        gc.enable()
    with pytest.raises(ModuleNotFoundError):
        machine.load("no_such_module")
    assert gc.isenabled()


def test_only_a_process_of_our_own_is_settled() -> None:
    code = (
        "import gc\n"
        "from bowerbird import machine\n"
        "machine.load('json')\n"
        "machine.settle()\n"
        "print(gc.get_freeze_count())\n"
        "machine.take_over()\n"
        "machine.load('json')\n"
        "print(gc.get_freeze_count() > 1000)\n"
    )
    assert said(code).split() == ["0", "True"]


def test_ctrl_c_waits_for_modules_that_would_swallow_it(tmp_path: Path) -> None:
    (tmp_path / "greedy.py").write_text(
        "import os, signal\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    sum(range(100_000))\n"
        "except BaseException:\n"
        "    broken = True\n"
    )
    code = (
        "import signal, sys\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "from bowerbird import machine\n"
        "try:\n"
        "    machine.load('greedy', 'colorsys')\n"
        "except KeyboardInterrupt:\n"
        "    import greedy\n"
        "    print(hasattr(greedy, 'broken'), 'colorsys' in sys.modules)\n"
        "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)\n"
    )
    assert said(code).split() == ["False", "True", "True"]


def test_there_is_a_core_and_memory() -> None:
    assert machine.cores() >= 1
    assert machine.available_memory() > 0


@pytest.mark.skipif(
    not (sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim")),
    reason="needs glibc",
)
def test_large_tables_go_back_to_the_system_when_asked() -> None:
    code = (
        "from pathlib import Path\n"
        "from resource import getpagesize\n"
        "from bowerbird import machine\n"
        "def held():\n"
        "    return int(Path('/proc/self/statm').read_text().split()[1]) * getpagesize() >> 20\n"
        "def work():\n"
        "    before = held()\n"
        "    table = bytearray(200 << 20)\n"
        "    table[::4096] = bytes(len(table[::4096])).replace(b'\\0', b'1')\n"
        "    del table\n"
        "    return held() - before\n"
        "machine.keep_freed_memory()\n"
        "if not machine._keeps:\n"
        "    raise SystemExit\n"
        "kept = work()\n"
        "with machine.giving_back_memory():\n"
        "    given = work()\n"
        "print(kept, given, work())\n"
    )
    printed = said(code)
    if not printed:
        pytest.skip("this glibc keeps no large buffers")
    kept, given, again = map(int, printed.split())
    assert kept > 150
    assert given < 50
    assert again > 150
