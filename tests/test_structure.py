from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bowerbird

ROOT = Path(str(bowerbird.__file__)).parent
MODULES = sorted(ROOT.rglob("*.py"))
_VAGUE = {"utils", "util", "common", "helper", "helpers", "misc", "manager"}


def tree(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"))


def functions(module: Path) -> Iterator[tuple[str, int]]:
    """Name and body length of each function, without its docstring."""
    for node in ast.walk(tree(module)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        body = node.body[1:] if ast.get_docstring(node) else node.body
        length = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
        yield f"{module.relative_to(ROOT)}:{node.lineno} {node.name}", length


def test_modules_are_short() -> None:
    lengths = {str(m.relative_to(ROOT)): len(m.read_text().splitlines()) for m in MODULES}
    assert {name: n for name, n in lengths.items() if n >= 420} == {}


def test_functions_are_short() -> None:
    lengths = dict(pair for module in MODULES for pair in functions(module))
    assert len(lengths) > 300
    assert {name: n for name, n in lengths.items() if n > 45} == {}
    assert statistics.median(lengths.values()) < 10


def test_every_module_says_what_it_is() -> None:
    silent = [str(m.relative_to(ROOT)) for m in MODULES if not ast.get_docstring(tree(m))]
    assert silent == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    parts = {part for m in MODULES for part in m.relative_to(ROOT).with_suffix("").parts}
    assert parts & _VAGUE == set()


def test_nothing_is_left_to_do() -> None:
    marks = ("TODO", "FIXME", "XXX", "raise NotImplemented")
    found = [m.name for m in MODULES for mark in marks if mark in m.read_text(encoding="utf-8")]
    assert found == []


def test_errors_are_raised_not_asserted() -> None:
    asserts = [
        f"{module.relative_to(ROOT)}:{node.lineno}"
        for module in MODULES
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Assert)
    ]
    assert asserts == []


@pytest.mark.parametrize(
    "code",
    [
        "import bowerbird",
        "import bowerbird.cli",
        "import bowerbird.data, bowerbird.config, bowerbird.runs, bowerbird.workflow",
        "import runpy; runpy.run_module('bowerbird', run_name='__main__')",
    ],
    ids=["package", "cli", "rooms", "help"],
)
def test_importing_and_help_load_no_heavy_package(code: str) -> None:
    watch = (
        "import atexit, sys; sys.argv = ['bowerbird', '--help']; heavy = "
        "{'torch', 'torchvision', 'timm', 'sklearn', 'matplotlib'}\n"
        "atexit.register(lambda: print('\\nloaded:', sorted(heavy & set(sys.modules))))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", watch + code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded: []"
    assert ("Usage" in done.stdout) == ("runpy" in code)
