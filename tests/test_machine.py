"""Importing the fast way; each in a process of its own."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from bowerbird import machine


def said(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_networks_are_loaded_without_the_compiler() -> None:
    code = (
        "import gc, sys\n"
        "from bowerbird import machine\n"
        "machine.load('timm', 'torchvision.models')\n"
        "import torch\n"
        "print('torch._dynamo' in sys.modules, 'torch._dynamo.utils' in sys.modules)\n"
        "print(torch.compiler.disable.__module__, gc.isenabled())\n"
    )
    assert said(code).split() == ["False", "False", "torch.compiler", "True"]


def test_the_compiler_still_works_for_who_needs_it() -> None:
    code = (
        "from bowerbird import machine\n"
        "machine.load('timm')\n"
        "import sys, torchvision\n"
        "roi = sys.modules['torchvision.ops.roi_align']\n"
        "print(roi.is_compile_supported('cpu') in (True, False))\n"
        "import torch, torch._dynamo.utils as real\n"
        "same = roi.is_compile_supported('cpu') == real.is_compile_supported('cpu')\n"
        "print(type(real).__name__, same)\n"
        "twice = torch.compile(lambda x: 2 * x, backend='eager')\n"
        "print(twice(torch.ones(2)).tolist())\n"
    )
    assert said(code).split("\n")[:3] == ["True", "module True", "[2.0, 2.0]"]


def test_other_names_of_the_compiler_are_the_real_ones() -> None:
    code = (
        "import sys, torch\n"
        "from bowerbird import machine\n"
        "with machine._without_compiler():\n"
        "    from torch._dynamo.utils import CompilationMetrics, is_compile_supported\n"
        "print(isinstance(CompilationMetrics, type))\n"
        "print(sys.modules['torch._dynamo.utils'].__spec__.name)\n"
    )
    assert said(code).split() == ["True", "torch._dynamo.utils"]


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


def test_there_is_a_core_and_memory() -> None:
    assert machine.cores() >= 1
    assert machine.available_memory() > 0
