"""Runs commands as a person would type them, one after the other, and says how long each took."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["bowerbird", "once"]


def bowerbird(*words: object) -> None:
    """Run one command.

    Raises:
        SystemExit: it failed.
    """
    given = [str(word) for word in words]
    print(f"\n$ bowerbird {shlex.join(given)}", flush=True)
    began = time.monotonic()
    code = subprocess.run([sys.executable, "-m", "bowerbird", *given], check=False).returncode
    print(f"({time.monotonic() - began:.0f} s)", flush=True)
    if code:
        raise SystemExit(code)


def once(run: Path, *words: object) -> None:
    """Train into the folder `run`, unless that was done: a script that was stopped goes on."""
    if (run / "report.html").is_file():
        print(f"\n{run} is there.", flush=True)
    elif run.exists():
        bowerbird("resume", run)
    else:
        bowerbird("train", *words, "--out", run)
