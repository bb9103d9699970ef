"""A run is a folder that holds everything: what was asked, what was read, what came out.

Decisions:
- A run's folder is never overwritten: a name that is taken gets a number, a folder
  named with ``--out`` must be new or empty.
- Everything is written atomically, so a run can be read at any moment, and after a
  crash.
- A run knows nothing of training or evaluation: it keeps their files.
- Who trains a run holds a lock of the operating system on ``state/lock``: it ends with
  the process, however that ends. The file stays.

Files: ``config.toml``, ``classes.txt``, ``manifest.csv``, ``data.json``,
``environment.json``, ``history.csv``, ``log.txt``, ``state/`` (what resuming needs) and
``model/`` (what using needs).
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import errno
import io
import json
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from bowerbird import progress, storage
from bowerbird.config import Recipe, load_recipe
from bowerbird.data.dataset import Dataset
from bowerbird.data.manifest import (
    read_classes,
    read_manifest,
    write_classes,
    write_manifest,
)
from bowerbird.data.remote.fetch import found_again, name_of
from bowerbird.data.splitting.splits import Split
from bowerbird.errors import CacheError, ConfigError, RunError

if TYPE_CHECKING:
    from bowerbird.models.networks import Network

__all__ = [
    "BEGINNING",
    "HISTORY_COLUMNS",
    "Run",
    "check_free",
    "create_run",
    "load_run",
    "new_folder",
]

HISTORY_COLUMNS = (
    "phase",
    "epoch",
    "step_name",
    "regularization",
    "learning_rate",
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "val_loss_error",
    "seconds",
    "chosen",
)
HistoryRow = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Run:
    """A run's folder.

    Attributes:
        path: the folder.
        recipe: every setting, resolved.
        classes: class names in index order.
    """

    path: Path
    recipe: Recipe
    classes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Run({self.path}, {self.recipe.network.model}, {len(self.classes)} classes)"

    @property
    def finished(self) -> bool:
        """Whether training came to its end."""
        return (self.path / "model" / "model.safetensors").is_file()

    @property
    def state(self) -> Path:
        """Folder of what resuming needs."""
        return self.path / "state"

    @cached_property
    def read(self) -> dict[str, Any]:
        """What was read from the source: root, counts of ignored files, notes on the split."""
        found = self._json("data.json")
        wanted = {"root": str, "ignored": dict, "notes": list}
        if any(not isinstance(found.get(name), kind) for name, kind in wanted.items()):
            raise _damaged(self.path, "data.json", "expected root, ignored and notes")
        return found

    def manifest(self) -> tuple[Dataset, Split]:
        """The images with class, split, group and hash, as they were frozen."""
        root = found_again(Path(self.read["root"]), self.recipe.data)
        dataset, split = read_manifest(self.path / "manifest.csv", root, self.classes)
        full = dataclasses.replace(dataset, ignored=self.read["ignored"])
        place = {sample.path: i for i, sample in enumerate(dataset.samples)}
        alike = self.read.get("alike", [])
        return full, dataclasses.replace(
            split,
            seed=self.recipe.split.split_seed,
            notes=tuple(self.read["notes"]),
            alike=tuple(tuple(place[path] for path in unit if path in place) for unit in alike),
        )

    @cached_property
    def suspects(self) -> dict[str, str]:
        """Images whose label all others contradict, and the class these favour."""
        if not (self.path / "doubts.json").is_file():
            return {}
        found = self._json("doubts.json").get("suspects")
        if not isinstance(found, dict):
            raise _damaged(self.path, "doubts.json", "expected suspects")
        return found

    def history(self) -> list[HistoryRow]:
        """Rows of ``history.csv``; numbers are floats, empty cells are left out."""
        file = self.path / "history.csv"
        if not file.is_file():
            return []
        try:
            with file.open(encoding="utf-8", newline="") as text:
                return [_typed(row) for row in csv.DictReader(text)]
        except (OSError, ValueError, TypeError, csv.Error) as error:
            raise _damaged(self.path, "history.csv", error) from error

    def write_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replace ``history.csv``."""
        text = io.StringIO()
        writer = csv.DictWriter(text, HISTORY_COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        storage.write_text(self.path / "history.csv", text.getvalue())

    def network(self) -> Network:
        """The trained network.

        Raises:
            RunError: training hasn't come to its end, or the model is damaged.
        """
        from bowerbird.models.networks import load_network

        if not self.finished:
            raise RunError(
                f"{self.path} has no model yet: its training was interrupted. "
                f"Go on with: bowerbird resume {self.path}"
            )
        network, classes = load_network(self.path / "model")
        if classes != self.classes:
            raise RunError(f"The model in {self.path} was made for other classes than its run.")
        return network

    def initial_network(self) -> Network:
        """The network as it was before training."""
        from bowerbird.models.networks import from_config, load_network

        if self.environment().get("network_given"):
            return load_network(self.state / "initial")[0]
        return from_config(self.recipe.network, len(self.classes), self.recipe.train.seed)

    def environment(self) -> dict[str, Any]:
        """Versions, machine, times and the measured choices."""
        return self._json("environment.json")

    def note_environment(self, facts: Mapping[str, Any]) -> None:
        """Add facts to ``environment.json``."""
        storage.write_json(self.path / "environment.json", self.environment() | dict(facts))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Only one process at a time is in this block of a run.

        Raises:
            RunError: another one is.
        """
        file = storage.make_folder(self.state) / "lock"
        try:
            held = file.open("a+b")
        except OSError as error:
            raise RunError(f"{file} can't be written: {error.strerror}.") from error
        with held:
            if not _lock(held):
                raise RunError(
                    f"The run {self.path} is being trained by another process{_named(file)}. Wait "
                    f"until it has ended, or stop it; then: bowerbird resume {self.path}"
                )
            with contextlib.suppress(OSError):  # the number is a courtesy
                file.write_text(str(os.getpid()))
            yield

    @contextlib.contextmanager
    def resumable(self) -> Iterator[None]:
        """A disk that is full in this block is explained with the way to go on."""
        try:
            yield
        except (RunError, CacheError) as error:
            way = f"bowerbird resume {self.path}"
            if not storage.is_full(error) or way in str(error):
                raise
            words = str(error).replace(storage.FREE_SPACE, "Free some space.")
            raise type(error)(f"{words} Then go on with: {way}") from error

    def tidy(self) -> None:
        """Remove what writes that were cut off have left; see `storage`."""
        storage.make_folder(self.state)
        for leftover in self.path.rglob(".part-*"):
            leftover.unlink(missing_ok=True)

    def to_dict(self) -> dict[str, Any]:
        """Facts for JSON."""
        return {
            "path": str(self.path),
            "finished": self.finished,
            "classes": list(self.classes),
            "recipe": self.recipe.model_dump(mode="json"),
        }

    def _json(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise _damaged(self.path, name, error) from error
        if not isinstance(found, dict):
            raise _damaged(self.path, name, "expected names and values")
        return found


def create_run(recipe: Recipe, dataset: Dataset, split: Split, out: Path | None = None) -> Run:
    """Make a run's folder and write what was asked and what was read, before work starts.

    Args:
        recipe: every setting, resolved.
        dataset: what was read.
        split: who is trained on, validated on, tested on.
        out: the folder; by default a new one in ``runs/``, named after the data.

    Raises:
        RunError: the folder is taken, or can't be written.
    """
    folder = new_folder(out, name_of(recipe.data or dataset.root))
    try:
        _write_beginning(folder, recipe, dataset, split)
    except RunError:
        shutil.rmtree(folder, ignore_errors=True)  # made above; so that the name stays free
        raise
    return Run(folder, recipe, dataset.classes)


def load_run(path: str | Path) -> Run:
    """Open a run's folder.

    Raises:
        RunError: it is not a run, or it is damaged (the message names the file).
    """
    folder = Path(path).expanduser().absolute()
    if not storage.is_folder(folder):
        raise RunError(f"There is no run {path}. Runs are folders, by default in runs/.")
    if not (folder / "config.toml").is_file():
        raise RunError(f"{path} is not a run: it has no config.toml.")
    try:
        recipe = load_recipe(folder / "config.toml")
    except ConfigError as error:
        raise _damaged(folder, "config.toml", error) from error
    return Run(folder, recipe, read_classes(folder / "classes.txt"))


def check_free(out: Path | None) -> None:
    """Refuse, before any work, a folder that a new run couldn't have; nothing is made.

    Raises:
        RunError: `out` exists and isn't empty, or it can't be made.
    """
    folder = (out or Path("runs")).expanduser().absolute()
    if out is not None and _taken(folder):
        raise RunError(
            f"{out} exists already and is never overwritten. Choose another name with --out, "
            f"or go on with it: bowerbird resume {out}"
        )
    storage.check_writable(folder)


def new_folder(out: Path | None, stem: str) -> Path:
    """Make the folder of a new run.

    Raises:
        RunError: `out` exists and isn't empty, or it can't be made.
    """
    check_free(out)
    if out is not None:
        return storage.make_folder(out.expanduser().absolute())
    base = storage.make_folder(Path("runs").absolute())
    name = re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "run"
    number = 1
    while True:
        folder = base / f"{name[:60]}-{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
            continue
        except OSError as error:
            raise RunError(f"{folder} can't be made: {error.strerror}. Use --out.") from error
        return folder


def _taken(folder: Path) -> bool:
    try:
        return folder.is_file() or (folder.is_dir() and any(folder.iterdir()))
    except OSError as error:  # no permission, or too long a name
        raise RunError(
            f"{folder} can't be used: {error.strerror}. Choose another folder with --out."
        ) from error


def _lock(file: IO[bytes]) -> bool:
    """Take the lock on an open file until it is closed; False if someone else has it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
            return False
        progress.say(
            f"This disk can't lock files ({error.strerror}): nothing keeps another process from "
            "training the same run at the same time."
        )
    return True


def _named(lock: Path) -> str:
    try:
        return f" (number {int(lock.read_text())})"
    except (OSError, ValueError):  # elsewhere, or just starting
        return ""


BEGINNING = ("config.toml", "classes.txt", "manifest.csv", "data.json", "environment.json")
"""Files of a run in which nothing is computed yet."""


def _write_beginning(folder: Path, recipe: Recipe, dataset: Dataset, split: Split) -> None:
    storage.write_text(folder / "config.toml", recipe.to_toml())
    write_classes(folder / "classes.txt", dataset.classes)
    write_manifest(folder / "manifest.csv", dataset, split)
    read = {
        "root": str(dataset.root),
        "ignored": dict(dataset.ignored),
        "notes": list(split.notes),
        "alike": [[dataset.samples[i].path for i in unit] for unit in split.alike],
    }
    storage.write_json(folder / "data.json", read)
    storage.write_json(folder / "environment.json", _environment())


def _typed(row: Mapping[str, str]) -> HistoryRow:
    words = ("phase", "step_name")
    return {k: (v if k in words else float(v)) for k, v in row.items() if v not in ("", None)}


def _environment() -> dict[str, Any]:
    from importlib.metadata import PackageNotFoundError, version

    ours = Path(sys.argv[0]).stem in ("bowerbird", "__main__")
    versions = {}
    for package in ("bowerbird", "torch", "torchvision", "timm", "numpy", "pillow", "scikit-learn"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "created": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": [storage.readable(word) for word in sys.argv[1:]] if ours else [],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
    }


def _damaged(folder: Path, name: str, error: Exception | str) -> RunError:
    return RunError(
        f"The run {folder} is damaged: {name} can't be read ({error}). Restore the file from a "
        "copy, or train again."
    )
