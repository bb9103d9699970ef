"""What a person sees while work goes on: messages, and bars with the time left.

Library functions call `say` and `task`; by default both are silent. The command
line shows them on stderr with `show`, so that stdout stays for results.
Messages also reach every log file that `log_to` has opened.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Task", "in_terminal", "log_to", "say", "show", "task", "without_bars"]


class Task(Protocol):
    """A bar that moves."""

    def advance(self, steps: int = 1) -> None:
        """Move on by `steps`."""

    def note(self, text: str) -> None:
        """Replace the words at the bar's end, e.g. the latest loss."""


class _Silent:
    def advance(self, steps: int = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class _Bar:
    def __init__(self, bars: Any, identifier: Any) -> None:
        self._bars, self._identifier = bars, identifier

    def advance(self, steps: int = 1) -> None:
        self._bars.advance(self._identifier, steps)

    def note(self, text: str) -> None:
        self._bars.update(self._identifier, note=text)


_console: Any = None
_bars: Any = None
_logs: list[Path] = []


def say(text: str) -> None:
    """Tell the person one thing, in a sentence."""
    text = text.encode("utf-8", "backslashreplace").decode()  # names of files may be any bytes
    stamp = datetime.datetime.now().strftime("%Y-%m-%d %H:%M:%S")
    for path in _logs:
        with contextlib.suppress(OSError), path.open("a", encoding="utf-8") as log:
            log.write(f"{stamp}  {text}\n")  # a full disk loses a line of log, not the work
    if _console is not None:
        _console.print(text, highlight=False, markup=False, soft_wrap=True)


@contextlib.contextmanager
def task(description: str, total: int) -> Iterator[Task]:
    """A bar of `total` steps for the length of the block."""
    if _bars is None or total == 0:
        yield _Silent()
        return
    identifier = _bars.add_task(description, total=total, note="")
    try:
        yield _Bar(_bars, identifier)
    finally:
        _bars.remove_task(identifier)


def in_terminal() -> bool:
    """Whether what is printed is seen in a terminal, rather than kept elsewhere, or nowhere."""
    return sys.stdout is not None and sys.stdout.isatty()


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """No bars for the length of the block, where results are written into the same terminal."""
    global _bars  # noqa: PLW0603
    before, _bars = _bars, None
    try:
        yield
    finally:
        _bars = before


@contextlib.contextmanager
def show() -> Iterator[None]:
    """Show messages and bars on stderr for the length of the block.

    Of several processes that train together only the first one speaks.
    """
    global _bars, _console
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[note]}"),
        console=console,
        transient=True,
        redirect_stdout=False,  # results go where they were sent, and are not wrapped
        redirect_stderr=False,
        disable=not console.is_terminal,
    )
    previous = _console, _bars
    with bars:
        _console, _bars = console, bars
        try:
            yield
        finally:
            _console, _bars = previous


@contextlib.contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Append every message to `path` for the length of the block."""
    _logs.append(path)
    try:
        yield
    finally:
        _logs.remove(path)
