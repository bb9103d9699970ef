"""Counts how often the same test images were looked at, by whichever runs.

A score on test is honest if the test images decided nothing. Who trains ten times and keeps
what did best on test has let them decide (Dwork et al., "The reusable holdout", Science 349,
2015), so the looks are counted and told.

Decisions:
- A look is a score on test that someone gets to see: that at the end of a training, and each
  call of `evaluate` on test. To write a report again, or to resume, is none.
- Test images are the same if the set of their content hashes is. That a test split overlaps
  with another one is not seen.
- Looks are lines of a file per test split in ``looks`` below Bowerbird's cache folder,
  appended in one write, without locks; lines that are damaged are passed over. It is the one
  thing there that can't be computed again.
- A run keeps the last count it knew in ``environment.json``; what is told is the larger one,
  so a ledger that is gone or can't be written takes nothing away. Other machines and other
  users' looks are not known.
- A locked test split is open once the run holds predictions for it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bowerbird import progress, storage
from bowerbird.data.splitting.splits import Split
from bowerbird.errors import RunError
from bowerbird.runs import Run

__all__ = ["Looks", "is_locked", "look", "looks_at", "scored_splits"]


@dataclass(frozen=True)
class Looks:
    """How often a run's test images were looked at.

    Attributes:
        times: looks by all runs on this machine.
        runs: how many runs looked.
        locked: whether the run itself has yet to look, and only does when told to.

    >>> Looks(7, 5)
    Looks(7 times, 5 runs)
    >>> Looks(1, 1).sentence
    'The test images were looked at once.'
    """

    times: int
    runs: int
    locked: bool = False

    def __repr__(self) -> str:
        locked = ", locked" if self.locked else ""
        runs = "run" if self.runs == 1 else "runs"
        return f"Looks({_times(self.times)}, {self.runs} {runs}{locked})"

    @property
    def sentence(self) -> str:
        """What a person should know."""
        if self.locked:
            others = f"; other runs looked at them {_times(self.times)}" if self.times else ""
            return (
                f"The test images are locked: this run hasn't looked at them{others}. "
                "`bowerbird evaluate RUN --on test` unlocks them."
            )
        if self.times == 0:
            return "The test images have not been looked at."
        if self.times == 1:
            return "The test images were looked at once."
        if self.runs <= 1:
            return f"The test images were looked at {_times(self.times)}, by one run."
        return (
            f"These test images were looked at {_times(self.times)} (by {self.runs} runs); choose "
            "between runs on validation: scores of the best of many are optimistic."
        )

    def to_dict(self) -> dict[str, Any]:
        """Counts, whether they are locked, and the sentence, for JSON."""
        return asdict(self) | {"sentence": self.sentence}


def look(run: Run, split: Split, *, asked: bool) -> Looks:
    """Note that someone looks at the test images of a run.

    Args:
        run: whose score is looked at.
        split: of that run.
        asked: whether a person asked for just this; the look at the end of a training is
            counted once per run, however often it is tried.

    Returns:
        The count with this look.
    """
    known = _known(run)
    identity, how = _identity(run, known), "asked" if asked else "training"
    file = _ledger(split)
    if asked or not (known.get("trained") or (identity, how) in _entries(file)):
        _append(file, {"run": identity, "how": how, "name": run.path.name})
        known["times"] = known.get("times", 0) + 1
    known["runs"] = max(1, known.get("runs", 0))
    times, runs = _counted(file, known)
    facts = {"run": identity, "times": times, "runs": runs, "trained": not asked}
    facts["trained"] |= known.get("trained", False)
    try:
        run.note_environment({"test_looks": facts})
    except RunError as error:
        progress.say(f"The run can't note that its test images were looked at: {error}")
    return Looks(times, runs)


def looks_at(run: Run, split: Split) -> Looks | None:
    """How often a run's test images were looked at so far; None if it has none."""
    if not len(split.indices("test")):
        return None
    times, runs = _counted(_ledger(split), _known(run))
    return Looks(times, runs, is_locked(run))


def is_locked(run: Run) -> bool:
    """Whether a run's test images wait for being unlocked."""
    return run.recipe.split.lock_test and not (run.path / "predictions_test.csv").is_file()


def scored_splits(run: Run, split: Split) -> list[str]:
    """The splits that a run is scored on at its end.

    A refit learns from validation, and a locked test split is left alone.
    """
    wanted = ["test"] if run.recipe.train.refit else ["val", "test"]
    if is_locked(run):
        wanted.remove("test")
    return [name for name in wanted if len(split.indices(name))]


def _ledger(split: Split) -> Path:
    hashes = sorted({str(split.hashes[i]) for i in split.indices("test")})
    key = storage.hash_bytes("\n".join(hashes).encode())
    return storage.cache_home() / "looks" / f"{key}.jsonl"


def _known(run: Run) -> dict[str, Any]:
    """What the run's own file says of earlier looks; what isn't as expected is left out."""
    found = run.environment().get("test_looks")
    kinds = {"run": str, "times": int, "runs": int, "trained": bool}
    known = found if isinstance(found, dict) else {}
    return {k: v for k, v in known.items() if k in kinds and isinstance(v, kinds[k])}


def _identity(run: Run, known: Mapping[str, Any]) -> str:
    """What tells a run from others, also after it was moved."""
    facts = f"{run.environment().get('created')}\0{run.path}"
    return str(known.get("run") or storage.hash_bytes(facts.encode("utf-8", "surrogateescape")))


def _counted(file: Path, known: Mapping[str, Any]) -> tuple[int, int]:
    entries = _entries(file)
    runs = len({identity for identity, _ in entries})
    return max(len(entries), known.get("times", 0)), max(runs, known.get("runs", 0))


def _entries(file: Path) -> list[tuple[str, str]]:
    """Run and kind of each look that the ledger holds."""
    try:
        lines = file.read_bytes().splitlines()
    except OSError:  # none yet, or not to be had: the run's own count remains
        return []
    found: list[tuple[str, str]] = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("run"), str):
            found.append((entry["run"], str(entry.get("how"))))
    return found


def _append(file: Path, entry: Mapping[str, str]) -> None:
    """One line, in one write; begun with a break, so that a torn line spoils no other."""
    text = json.dumps({**entry, "when": time.strftime("%Y-%m-%d %H:%M:%S")})
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(handle, f"\n{text}\n".encode())
        finally:
            os.close(handle)
    except OSError as error:
        progress.say(
            f"The ledger of looks at test images can't be written ({error.strerror}: {file}): "
            "looks by other runs are not known."
        )


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
