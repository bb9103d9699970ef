"""The command ``bowerbird``, also as ``python -m bowerbird``.

What comes before the command line can tell Ctrl-C from a failure, the import of its own
modules, ends at once: nothing has begun yet.
"""

from __future__ import annotations

import os
import signal
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
        main()
    except KeyboardInterrupt:  # between two moments that `main` answers for
        _stop()


def _stop(*_: Any) -> None:
    """Not by an exception: modules that are being imported would make others of it."""
    os.write(2, _STOPPED)
    os._exit(_CODE)


if __name__ == "__main__":
    start()
