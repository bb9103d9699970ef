"""The command ``bowerbird``, also as ``python -m bowerbird``.

What comes before the command line can tell Ctrl-C from a failure, the import of its own
modules, ends at once: nothing has begun yet. When it has said all, the process ends without
being taken apart: with torch that takes a quarter of a second.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from typing import Any

__all__ = ["start"]

_STOPPED = b"bowerbird: Stopped.\n"
_CODE = 130


def start() -> None:
    """Run the command line and exit with its code."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # else someone wants it ignored, as nohup does
        signal.signal(signal.SIGINT, _stop)
    from bowerbird.cli import main

    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, before)
    try:
        try:
            main()
        except SystemExit as end:
            if isinstance(end.code, int) and _is_done():
                os._exit(end.code)
            raise
    except KeyboardInterrupt:  # between two moments that `main` answers for
        _stop()


def _is_done() -> bool:
    """Whether nothing is left to do at the end: for threads, handlers, words, or a profiler."""
    if any(not t.daemon for t in threading.enumerate() if t is not threading.main_thread()):
        return False
    if sys.flags.interactive or sys.getprofile() is not None or sys.gettrace() is not None:
        return False
    atexit._run_exitfuncs()
    try:
        for words in (sys.stdout, sys.stderr):
            if words is not None:  # it was closed before we began
                words.flush()
    except (OSError, ValueError):  # whoever read our output has gone
        return False
    return True


def _stop(*_: Any) -> None:
    """Not by an exception: modules that are being imported would make others of it."""
    os.write(2, _STOPPED)
    os._exit(_CODE)


if __name__ == "__main__":
    start()
