"""Importing the fast way; each in a process of its own."""

from __future__ import annotations

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
