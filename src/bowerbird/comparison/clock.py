"""How long networks take for an image, and how much memory: measured side by side.

Each network runs in a process of its own, so that its peak of memory is its own. All are made
first; then they take turns, round by round, one at a time, so that a machine that becomes slower
becomes slower for all. The median of the rounds counts.

Decisions:
- What is timed is what ``bowerbird predict`` does with an image once it is read: the run's own
  precision, batches of the same size, one thread. On a processor its own time is counted, which
  others that keep the machine busy disturb least; on an accelerator that of the wall.
- Peak memory is the system's own figure for the process. It holds Python and PyTorch, too, so
  what the process took before the network came is told beside it.
- A network that fails here is left without figures, and named.

This module is also what runs in those processes: ``python -m bowerbird.comparison.clock RUN``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from bowerbird import progress
from bowerbird.comparison.costs import Speed
from bowerbird.errors import RunError
from bowerbird.runs import load_run

__all__ = ["measure"]

_ROUNDS, _FEWEST = 9, 3
_ROUND_SECONDS, _ALL_SECONDS = 0.15, 20.0
_AT_ONCE = 6


def measure(runs: Mapping[str, Path]) -> tuple[dict[str, Speed], list[str]]:
    """Time per image and peak memory of trained runs.

    Args:
        runs: folders by any name; networks of the same shape need only be measured once.

    Returns:
        What was measured, by name, and sentences on what wasn't.
    """
    found: dict[str, Speed] = {}
    notes: list[str] = []
    names = list(runs)
    groups = [names[start : start + _AT_ONCE] for start in range(0, len(names), _AT_ONCE)]
    with progress.task("Timing networks", len(names) * _ROUNDS) as task:
        for group in groups:
            with ExitStack() as held:
                workers = {name: held.enter_context(_Worker(runs[name])) for name in group}
                found |= _timed(workers, notes, task)
    if len(groups) > 1:
        notes.append(f"Networks were timed in groups of {_AT_ONCE}, one group after the other.")
    return found, notes


class _Worker:
    """A process that has a run's network and times it when told to."""

    def __init__(self, run: Path) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        command = [sys.executable, "-m", "bowerbird.comparison.clock", str(run)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )

    def __enter__(self) -> _Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what was on its way is of no use any more
                    pipe.close()
        self._errors.close()

    def ask(self, word: str = "") -> dict[str, Any]:
        """Say a word, unless it is empty, and wait for the answer.

        Raises:
            RunError: the process has ended instead.
        """
        given, taken = self._process.stdin, self._process.stdout
        if given is None or taken is None:
            raise RunError("The process that was to be timed can't be talked to.")
        with suppress(BrokenPipeError):  # told below
            if word:
                given.write(f"{word}\n")
                given.flush()
        line = taken.readline()
        try:
            return dict(json.loads(line))
        except ValueError:
            raise RunError(self._last_words()) from None

    def _last_words(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        if not lines:
            return f"its process ended with code {code}"
        return lines[-1].removeprefix("bowerbird.errors.").rstrip(".")


def _timed(
    workers: Mapping[str, _Worker], notes: list[str], task: progress.Task
) -> dict[str, Speed]:
    ready = {name: _answer(name, worker, "", notes) for name, worker in workers.items()}
    alive = {name: worker for name, worker in workers.items() if ready[name] is not None}
    rounds: dict[str, list[float]] = {name: [] for name in alive}
    began = time.monotonic()
    for number in range(_ROUNDS):
        if number >= _FEWEST and time.monotonic() - began > _ALL_SECONDS:
            break
        for name, worker in alive.items():
            answer = _answer(name, worker, "round", notes)
            rounds[name] += [answer["seconds"]] if answer else []
            task.advance()
    ended = {name: _answer(name, worker, "end", notes) for name, worker in alive.items()}
    return {
        name: _speed(rounds[name], ready[name] or {}, last)
        for name, last in ended.items()
        if last is not None and rounds[name]
    }


def _answer(name: str, worker: _Worker, word: str, notes: list[str]) -> dict[str, Any] | None:
    try:
        return worker.ask(word)
    except RunError as error:
        words = f"The speed of {name} couldn't be measured: {error}."
        if words not in notes:
            notes.append(words)
        return None


def _speed(rounds: Sequence[float], ready: Mapping[str, Any], last: Mapping[str, Any]) -> Speed:
    low, middle, high = np.quantile(1000 * np.asarray(rounds), [0.25, 0.5, 0.75])
    return Speed(
        float(middle), float(low), float(high), last["memory"], ready["memory"],
        ready["precision"], ready["batch"], 1, ready["device"],
    )  # fmt: skip


def _serve(run: Path) -> None:
    """Make a run's network, then time a round for each line that comes."""
    import torch

    from bowerbird.evaluation.predict import Predictor

    torch.set_num_threads(1)
    before = _peak()
    predictor = Predictor(load_run(run))
    extractor, classifier = predictor.extractor, predictor.classifier
    known = extractor.network.preprocess
    shape = (extractor.batch, *known.input_size, len(known.mean))
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    on_processor = extractor.device.type == "cpu"
    clock = time.thread_time if on_processor else time.perf_counter

    def once() -> None:
        with torch.inference_mode():
            torch.softmax(classifier(extractor(pixels).float()), dim=1)

    once()
    once()
    facts = {"precision": extractor.precision, "batch": extractor.batch, "memory": before}
    _say(facts | {"device": extractor.device.type})
    for line in sys.stdin:
        if line.strip() == "end":
            _say({"memory": _peak()})
            return
        began, batches = clock(), 0
        while batches == 0 or clock() - began < _ROUND_SECONDS:
            once()
            batches += 1
        _say({"seconds": (clock() - began) / (batches * extractor.batch)})


def _say(facts: Mapping[str, Any]) -> None:
    print(json.dumps(facts), flush=True)


def _peak() -> float | None:
    """Most memory that this process has held so far, in MB; None where the system can't tell.

    Linux hands the peak of the process before on to a new program in ``getrusage``, so it is
    asked elsewhere.
    """
    with suppress(OSError, ValueError, LookupError):
        lines = Path("/proc/self/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        return 1024 * int(fields["VmHWM"].split()[0]) / 1e6
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes on a Mac


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
