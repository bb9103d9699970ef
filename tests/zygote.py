"""Runs the command line many times without paying for its imports, and kills it on the way.

A server process imports everything once and forks a child per run. A child can be sent a
signal at a chosen event (a file about to be renamed, a cache record written, a training
step, …) or after a delay. So a run can be killed at every place where what is on disk
changes, without a race.

As a script it is the server: a request per line of JSON on stdin, an answer per line on stdout.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """How one run ended: exit code (minus the signal if killed), what it printed, its events."""

    code: int
    stdout: str
    stderr: str
    events: list[str]


Ran = Callable[..., Outcome]
"""Runs a command, given as words, in a folder of its own."""


class Zygote:
    """The server, seen from a test. A context manager."""

    def __init__(self) -> None:
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        }
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def __enter__(self) -> Zygote:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate()

    def run(
        self,
        arguments: Sequence[str | Path],
        *,
        folder: Path,
        number: signal.Signals | None = None,
        event: int | None = None,
        delay: float | None = None,
        stdin: str = "",
        report: bool = False,
    ) -> Outcome:
        """Run ``bowerbird ARGUMENTS`` in `folder`, which also gets its cache.

        Args:
            arguments: of the command line.
            folder: working folder.
            number: signal to be sent.
            event: at which event it is sent, counted from 0.
            delay: after how many seconds it is sent.
            stdin: what the command reads.
            report: write the report, too; its figures take longer than all the rest.
        """
        request = {
            "arguments": [str(a) for a in arguments],
            "folder": str(folder),
            "signal": None if number is None else int(number),
            "event": event,
            "delay": delay,
            "stdin": stdin,
            "report": report,
        }
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return Outcome(**json.loads(self._server.stdout.readline()))


def serve() -> None:
    """Answer requests until stdin ends."""
    import sklearn.linear_model  # noqa: F401  (imported here, so that no child has to)
    import timm.optim  # noqa: F401
    import torchvision.models.feature_extraction  # noqa: F401
    from scipy.optimize import minimize  # noqa: F401

    import bowerbird.cli
    import bowerbird.evaluation.predict
    import bowerbird.training
    import bowerbird.workflow  # noqa: F401

    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    folder = Path(request["folder"])
    files = {name: folder / f".{name}" for name in ("stdin", "stdout", "stderr", "events")}
    files["stdin"].write_text(request["stdin"], encoding="utf-8")
    files["events"].write_text("", encoding="utf-8")
    child = os.fork()
    if child == 0:
        _child(request, files)
    with _later(request, child):
        _, status = os.waitpid(child, 0)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "stdout": files["stdout"].read_text(encoding="utf-8"),
        "stderr": files["stderr"].read_text(encoding="utf-8"),
        "events": files["events"].read_text(encoding="utf-8").splitlines(),
    }


@contextlib.contextmanager
def _later(request: dict[str, Any], child: int) -> Iterator[None]:
    if request["delay"] is None:
        yield
        return
    timer = threading.Timer(request["delay"], os.kill, (child, request["signal"]))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _child(request: dict[str, Any], files: dict[str, Path]) -> None:
    code = 70
    try:
        os.chdir(request["folder"])
        os.environ["BOWERBIRD_CACHE"] = str(Path(request["folder"], "cache"))
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            mode = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            os.dup2(os.open(files[name], mode), number)
        note = _counter(request, files["events"])
        _listen(note)
        if not request["report"]:
            _leave_out_report(note)
        from bowerbird.cli import main

        main(request["arguments"])
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _counter(request: dict[str, Any], log: Path) -> Callable[[str], None]:
    """Notes each event, and sends the signal at the chosen one."""
    happened = 0
    lock = threading.Lock()

    def note(name: str) -> None:
        nonlocal happened
        with lock, log.open("a", encoding="utf-8") as file:
            file.write(name.replace("\n", " ") + "\n")
            number, happened = happened, happened + 1
        if request["event"] == number and request["delay"] is None:
            os.kill(os.getpid(), request["signal"])

    return note


def _listen(note: Callable[[str], None]) -> None:
    """Make `note` hear of everything that changes what is on disk, and of each step."""
    from bowerbird import runs, storage
    from bowerbird.features.cache import Store
    from bowerbird.training import optim
    from bowerbird.training.keeping import Keeper

    atomic: Any = storage.atomic

    @contextlib.contextmanager
    def heard(path: Path) -> Iterator[Any]:
        with atomic(path) as file:
            yield file
            file.flush()
            note(f"writing {path.name}")
        note(f"written {path.name}")

    def after(owner: Any, name: str, words: str) -> None:
        original = getattr(owner, name)

        def listened(*arguments: Any, **named: Any) -> Any:
            result = original(*arguments, **named)
            note(words)
            return result

        setattr(owner, name, listened)

    storage.atomic = heard
    after(runs, "new_folder", "folder made")
    after(Store, "_write", "features kept")
    after(Keeper, "drop_epochs", "epochs dropped")
    after(optim, "set_rate", "step")


def _leave_out_report(note: Callable[[str], None]) -> None:
    stub: Any = types.ModuleType("bowerbird.report.of_run")
    stub.write_report = lambda *_, **__: note("report")
    sys.modules["bowerbird.report"] = types.ModuleType("bowerbird.report")
    sys.modules["bowerbird.report.of_run"] = stub


if __name__ == "__main__":
    serve()
