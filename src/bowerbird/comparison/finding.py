"""Which runs are meant: folders, patterns and folders full of runs become a list with names.

Decisions:
- A name that fits nothing is an error, since it is a typo; a folder that was found and can't be
  read is left to the reader, who names and skips it.
- Runs are called by their folder. Where two have the same name, as much of the path above is
  put before it as tells them apart.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from bowerbird.errors import RunError
from bowerbird.storage import readable

__all__ = ["find_runs", "names_of"]

_DEPTH = 4
_PARTS = ("classes.txt", "manifest.csv", "data.json", "state", "model")


def find_runs(sources: Sequence[str | Path]) -> list[Path]:
    """Absolute paths of the runs that are meant, each once, in the order named.

    Args:
        sources: runs' folders, patterns such as ``runs/lite*``, or folders that contain runs.

    Raises:
        RunError: a name fits nothing, or a folder holds no run.
    """
    found: dict[Path, Path] = {}
    for source in sources:
        for folder in _meant(str(source)):
            found.setdefault(folder.resolve(), folder.absolute())
    return list(found.values())


def names_of(paths: Sequence[Path]) -> list[str]:
    """A name for each run: its folder's, and what is above where that occurs twice.

    >>> names_of([Path("/a/x/run"), Path("/a/y/run"), Path("/a/y/other")])
    ['x/run', 'y/run', 'other']
    """
    names = [path.name for path in paths]
    for length in range(2, max((len(path.parts) for path in paths), default=0) + 1):
        twice = {name for name, count in Counter(names).items() if count > 1}
        if not twice:
            break
        names = [
            "/".join(path.parts[-length:]) if name in twice else name
            for path, name in zip(paths, names, strict=True)
        ]
    return [readable(name) for name in names]


def _meant(source: str) -> list[Path]:
    path = Path(source).expanduser()
    if path.is_dir():
        return [path] if _looks_like_run(path) else _below(path, source)
    whole = path.absolute()
    fitting = Path(whole.anchor).glob(str(whole.relative_to(whole.anchor)))
    matches = sorted(match for match in fitting if match.is_dir())
    if not matches:
        raise RunError(f"There is no run {source}.{_nearest(path)}")
    runs = [
        run for match in matches for run in ([match] if _looks_like_run(match) else _all(match))
    ]
    if not runs:
        raise RunError(f"None of the {len(matches)} folders that {source} fits holds a run.")
    return runs


def _below(folder: Path, source: str) -> list[Path]:
    if (folder / "config.toml").exists() or any((folder / part).exists() for part in _PARTS):
        return [folder]  # a run once: who reads it says what is missing
    runs = _all(folder)
    if not runs:
        raise RunError(
            f"{source} is not a run and holds none. A run's folder has a config.toml; runs are "
            "made by `bowerbird train`, by default in runs/."
        )
    return runs


def _all(folder: Path) -> list[Path]:
    return list(_walk(folder, _DEPTH))


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """Runs below a folder, those inside of others left out, in the order of their names."""
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        if _looks_like_run(inner):
            yield inner
        elif depth > 1 and not inner.name.startswith("."):
            yield from _walk(inner, depth - 1)


def _looks_like_run(folder: Path) -> bool:
    there = (folder / "config.toml").is_file()
    return there and any((folder / part).exists() for part in _PARTS)


def _nearest(path: Path) -> str:
    above = path.parent
    names = [entry.name for entry in above.iterdir() if entry.is_dir()] if above.is_dir() else []
    close = difflib.get_close_matches(path.name, names, n=3)
    if close:
        return f" Did you mean {', '.join(str(above / name) for name in close)}?"
    return " Runs are folders, by default in runs/."
