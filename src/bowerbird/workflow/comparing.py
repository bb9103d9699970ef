"""The journey of `bowerbird compare`: runs' folders to a leaderboard, its tables and its page.

Decisions:
- Runs are compared on test where all have test images that aren't locked, else on validation.
  Whoever compares on test has looked at the test images: each run's look is counted.
- What can't be compared (damaged, nothing measured yet) is named and skipped; what would make
  the comparison meaningless (other classes, other images) is refused.
- What an earlier comparison wrote into the folder, by its own list, is removed when it isn't
  written again; nothing else is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bowerbird import machine, progress, storage
from bowerbird.data.dataset import SPLITS
from bowerbird.errors import ConfigError, DataError, ModelError, RunError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from bowerbird.comparison.costs import Costs
    from bowerbird.comparison.entrants import Entrant
    from bowerbird.comparison.leaderboard import Contender, Leaderboard
    from bowerbird.comparison.matching import Matched
    from bowerbird.evaluation.results import Predictions

__all__ = ["leaderboard"]

_LIST = "comparison.json"
_OURS = re.compile(r"comparison\.html|(leaderboard|pairs|images)\.csv|[a-z-]+\.png")
_NEEDED = ("timm", "bowerbird.comparison.costs", "bowerbird.evaluation.predict")
_PICTURE = 160


def leaderboard(
    runs: Sequence[str | Path],
    *,
    on: str | None = None,
    common: bool = False,
    speed: bool = True,
    out: Path | None = None,
) -> Leaderboard:
    """Compare runs on the same images: scores, significance, costs.

    Args:
        runs: runs' folders, patterns, or folders that contain runs.
        on: the split; by default test where it can be looked at, else validation.
        common: where runs have different images, compare on those that all have.
        speed: measure time per image and peak memory, too.
        out: folder for the page, tables and figures; by default nothing is written.

    Raises:
        ConfigError: there is no such split, or fewer than two runs can be compared.
        DataError: the runs have different classes or images.
        RunError: a name fits no run, or test images are locked.
    """
    if on is not None and on not in SPLITS:
        raise ConfigError(f"There is no split {on!r}. Use one of {', '.join(SPLITS)}.")
    from bowerbird.comparison.finding import find_runs

    paths = find_runs(runs)
    machine.load(*_NEEDED)
    skipped: dict[str, str] = {}
    entrants = _entered(paths, skipped)
    chosen, notes = _split(entrants, on)
    entrants, matched = _matched(entrants, chosen, skipped, common=common)
    _enough(entrants, skipped)
    if out is not None:
        _check_place(out, entrants)
    notes += _told(entrants, chosen, matched)
    costs, told = _costs(entrants, speed=speed)
    found = _ranked(entrants, chosen, matched, costs, skipped, [*notes, *told])
    if out is not None:
        _write(found, entrants, out.expanduser().absolute())
    return found


def _entered(paths: Sequence[Path], skipped: dict[str, str]) -> list[Entrant]:
    from bowerbird.comparison.entrants import enter
    from bowerbird.comparison.finding import names_of
    from bowerbird.comparison.matching import check_classes

    entrants = []
    for name, path in zip(names_of(paths), paths, strict=True):
        try:
            entrants.append(enter(name, path))
        except RunError as error:
            _skip(skipped, name, error)
    _enough(entrants, skipped)
    check_classes([(entrant.name, entrant.run.classes) for entrant in entrants])
    return entrants


def _skip(skipped: dict[str, str], name: str, error: Exception) -> None:
    skipped[name] = str(error)
    progress.say(f"Skipped {name}: {error}")


def _enough(entrants: Sequence[Entrant], skipped: Mapping[str, str]) -> None:
    if len(entrants) > 1:
        return
    left = f"; skipped: {', '.join(skipped)}" if skipped else ""
    there = entrants[0].name if entrants else "none"
    raise ConfigError(
        f"A comparison needs two runs or more. Found: {there}{left}. Name more runs, or a folder "
        "that contains some."
    )


def _split(entrants: Sequence[Entrant], on: str | None) -> tuple[str, list[str]]:
    """The split to compare on, and what is to be said of that choice."""
    trained = [entrant for entrant in entrants if entrant.finished] or list(entrants)
    locked = [entrant for entrant in trained if entrant.has("test") and entrant.locked]
    if on == "test" and locked:
        raise RunError(
            f"The test images of {locked[0].name} are locked. Compare on validation (--on val), or "
            f"unlock them: bowerbird evaluate {locked[0].run.path} --on test"
        )
    if on is not None:
        lacking = [entrant.name for entrant in trained if not entrant.has(on)]
        if lacking:
            raise DataError(f"{lacking[0]} has no {on} images. Compare on another split with --on.")
        return on, []
    if not locked and all(entrant.has("test") for entrant in trained):
        return "test", []
    why = f"the test images of {locked[0].name} are locked" if locked else "not all runs have any"
    return "val", [f"Compared on validation, not on test: {why}."]


def _matched(
    entrants: Sequence[Entrant], on: str, skipped: dict[str, str], *, common: bool
) -> tuple[list[Entrant], Matched | None]:
    """The runs that stay, those with predictions first, and these on the same images."""
    from bowerbird.comparison.entrants import table_of
    from bowerbird.comparison.matching import match

    kept, unfinished, tables = [], [], []
    for entrant in entrants:
        if not entrant.finished:
            unfinished.append(entrant)
            continue
        try:
            _refuse_learned(entrant, on)
            tables.append(table_of(entrant, on))
            kept.append(entrant)
        except (RunError, DataError, ModelError) as error:
            _skip(skipped, entrant.name, error)
    matched = match(tables, on, common=common) if tables else None
    return kept + unfinished, matched


def _refuse_learned(entrant: Entrant, on: str) -> None:
    if on == "val" and entrant.run.recipe.train.refit:
        raise DataError(
            f"{entrant.name} has learned from its validation images, too (refit), so it can't be "
            "compared on them."
        )


def _told(entrants: Sequence[Entrant], on: str, matched: Matched | None) -> list[str]:
    """What a reader must know of these runs and images; looks at test images are counted."""
    from bowerbird.evaluation.looks import look

    notes = []
    trained = [entrant for entrant in entrants if entrant.finished]
    if matched is not None and any(matched.left_out):
        counts = zip(trained, matched.left_out, strict=True)
        left = ", ".join(f"{entrant.name} {number:,}" for entrant, number in counts if number)
        notes.append(f"Compared on the images that all have; left out: {left}.")
    if matched is not None and (groups := matched.predictions[0].group_count):
        notes.append(
            f"These {len(matched.hashes):,} images are {groups:,} groups of images that belong "
            "together or show the same: intervals and p values go by groups."
        )
    if on == "train":
        notes.append(
            "These are the images that the runs have learned from: the best here has learned most "
            "by heart. Choose on validation (--on val)."
        )
    if any(entrant.split.leaked for entrant in trained) and on != "train":
        notes.append(
            "Some of the images can be found in training, too, so scores may flatter; each run's "
            "report has the score without them."
        )
    if on == "val":
        notes.append(
            "Each run chose what it kept on validation images, so these scores are optimistic, "
            "and more so the more often it chose."
        )
    if on == "test" and trained:
        looks = [look(entrant.run, entrant.split, asked=True) for entrant in trained]
        notes.append(max(looks, key=lambda found: (found.times, found.runs)).sentence)
    if unfinished := [entrant for entrant in entrants if not entrant.finished]:
        named = ", ".join(f"{entrant.name} was {entrant.status}" for entrant in unfinished)
        notes.append(
            f"{named}: only the best score on validation so far is shown. Go on with: "
            f"bowerbird resume {unfinished[0].run.path}"
        )
    if len({entrant.pictures("val") for entrant in entrants}) > 1:
        notes.append("The runs have different validation images: compare their curves with care.")
    return notes


def _costs(entrants: Sequence[Entrant], *, speed: bool) -> tuple[dict[str, Costs], list[str]]:
    """By name; networks of the same shape are timed once."""
    from bowerbird.comparison.clock import measure
    from bowerbird.comparison.costs import costs_of, shape_of

    found: dict[str, Costs] = {}
    notes = []
    for entrant in entrants:
        try:
            found[entrant.name] = costs_of(entrant)
        except (ModelError, RunError) as error:
            notes.append(f"The costs of {entrant.name} are not known: {error}")
    if not speed:
        return found, notes
    shapes = {entrant.name: shape_of(entrant) for entrant in entrants if entrant.name in found}
    firsts: dict[str, Entrant] = {}
    for entrant in entrants:
        if entrant.finished and entrant.name in found:
            firsts.setdefault(shapes[entrant.name], entrant)
    speeds, told = measure({first.name: first.run.path for first in firsts.values()})
    for name, shape in shapes.items():
        if shape in firsts and firsts[shape].name in speeds:
            found[name] = dataclasses.replace(found[name], speed=speeds[firsts[shape].name])
    return found, notes + told


def _ranked(
    entrants: Sequence[Entrant],
    on: str,
    matched: Matched | None,
    costs: Mapping[str, Costs],
    skipped: Mapping[str, str],
    notes: Sequence[str],
) -> Leaderboard:
    from bowerbird.comparison.differing import differing
    from bowerbird.comparison.leaderboard import rank

    settings = differing([entrant.run.recipe for entrant in entrants])
    tables: list[Predictions | None] = list(matched.predictions) if matched else []
    tables += [None] * (len(entrants) - len(tables))
    contenders = [
        _contender(entrant, table, costs.get(entrant.name), apart)
        for entrant, table, apart in zip(entrants, tables, settings, strict=True)
    ]
    hashes = matched.hashes if matched else ()
    return rank(contenders, on, hashes=hashes, skipped=skipped, notes=notes)


def _contender(
    entrant: Entrant,
    predictions: Predictions | None,
    costs: Costs | None,
    settings: Mapping[str, str],
) -> Contender:
    from bowerbird.comparison.leaderboard import Contender

    return Contender(
        entrant.name, entrant.run.path, entrant.run.recipe.network.model, entrant.method,
        entrant.status, predictions, entrant.validation, len(entrant.split.indices("val")),
        costs, settings, entrant.curve,
    )  # fmt: skip


def _check_place(out: Path, entrants: Sequence[Entrant]) -> None:
    from bowerbird.report.of_audit import check_place

    check_place(out, entrants[0].run.manifest()[0].root)


def _write(found: Leaderboard, entrants: Sequence[Entrant], folder: Path) -> None:
    """Tables, figures, page, and last the list of them."""
    machine.load("bowerbird.plots.comparison", "bowerbird.report.of_comparison")
    from bowerbird.comparison.tables import csv_tables
    from bowerbird.plots import save
    from bowerbird.report.of_comparison import figures_of, write_comparison

    storage.make_folder(folder)
    earlier, files = _listed(folder), []
    for name, text in csv_tables(found).items():
        storage.write_text(folder / name, text)
        files.append(name)
    drawn: dict[str, Figure] = figures_of(found, _loader(entrants[0]))
    with progress.task("Drawing", len(drawn)) as task:
        for name, figure in drawn.items():
            save(figure, folder / f"{name}.png", dpi=130)
            files.append(f"{name}.png")
            task.advance()
    write_comparison(folder / "comparison.html", found, drawn, _loader(entrants[0]))
    files.append("comparison.html")
    storage.write_json(folder / _LIST, found.to_dict() | {"files": files})
    for name in set(earlier) - set(files):
        with contextlib.suppress(OSError):  # it is in nobody's way
            (folder / name).unlink(missing_ok=True)


def _loader(entrant: Entrant) -> Callable[[str], Image | None]:
    """Gives an image of the first run by its path, or None where it has gone."""
    from bowerbird.data.images import decode
    from bowerbird.errors import ImageError

    root = entrant.run.manifest()[0].root

    def load(path: str) -> Image | None:
        try:
            return decode(root / path, min_size=_PICTURE)
        except ImageError:
            return None

    return load


def _listed(folder: Path) -> list[str]:
    """What an earlier comparison wrote here, by its own word."""
    try:
        names = json.loads((folder / _LIST).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, LookupError, TypeError):
        return []
    return [name for name in names if isinstance(name, str) and _OURS.fullmatch(name)]
