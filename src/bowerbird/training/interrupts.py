"""Ctrl-C and SIGTERM as one clean stop.

Outside the training loop a signal raises `KeyboardInterrupt` at once: everything on disk
is written atomically, so there is nothing to lose, and no ``except Exception`` on the way
(tracing a network, reading weights) can mistake it for an error. Inside the loop it is
only noted; the loop finishes its step, saves and stops with `Interrupted`. A second
signal doesn't wait.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

from bowerbird.errors import Interrupted

__all__ = ["StopSignal", "listening"]


class StopSignal:
    """Whether someone asked to stop."""

    def __init__(self) -> None:
        self.requested = False
        self._patient = False

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Within the block the first signal is only noted in `requested`."""
        self._patient = True
        try:
            yield
        finally:
            self._patient = False
        if self.requested:
            raise Interrupted

    def receive(self, *_: Any) -> None:
        """The signal handler."""
        if self._patient and not self.requested:
            self.requested = True
            return
        self.requested = True
        raise KeyboardInterrupt


@contextlib.contextmanager
def listening() -> Iterator[StopSignal]:
    """Handle SIGINT and SIGTERM for the length of the block (in the main thread only)."""
    stop = StopSignal()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {s: signal.signal(s, stop.receive) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
