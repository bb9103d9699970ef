"""An audit, told: ``issues.csv`` for spreadsheets, ``audit.json`` for programs, ``audit.html``.

Decisions:
- The page is one file that loads and sends nothing; a policy in it says so to the browser.
  Unlike a run's report it has a script: a person decides on it, and saves ``fixes.csv``,
  which `auditing.fixes` applies.
- What was found stands on top, a sentence per kind; then what concerns the data as a whole,
  then the findings. Whatever comes from the data is escaped.
- Nothing is written among the images.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from bowerbird import storage
from bowerbird.auditing.results import KINDS, Audit, Case, Finding, LearningCurve
from bowerbird.data.dataset import SPLITS
from bowerbird.data.scan import is_table
from bowerbird.errors import RunError
from bowerbird.report.content import many, percent
from bowerbird.report.of_audit_cards import Cards, cards_of
from bowerbird.report.page import templates
from bowerbird.report.pictures import Chart, chart

__all__ = ["check_place", "found_words", "write_audit"]

_COLUMNS = (
    "kind", "image", "class", "score", "suggestion", "partner", "evidence", "split", "reason",
)  # fmt: skip
_PARTNERS = 8

_SENTENCES = {
    "unreadable": ("file can’t be read", "files can’t be read"),
    "leak": ("picture lies in more than one split", "pictures lie in more than one split"),
    "conflict": ("picture carries several labels", "pictures carry several labels"),
    "suspect": ("label looks wrong", "labels look wrong"),
    "doubtful": ("label is worth a look", "labels are worth a look"),
    "copy": ("picture is there more than once", "pictures are there more than once"),
    "review": ("pair looks alike", "pairs look alike"),
    "stranger": ("image resembles nothing else here", "images resemble nothing else here"),
    "odd": ("file is unlike the others", "files are unlike the others"),
}


def write_audit(audit: Audit, folder: Path) -> None:
    """Write ``issues.csv``, ``audit.json`` and ``audit.html`` into a folder.

    Args:
        audit: what was found; its images are read for their pictures.
        folder: made if it is missing; older files of these names are replaced.

    Raises:
        RunError: the folder lies among the images, or can't be written.
    """
    table = is_table(str(audit.settings.get("data", "")))
    place = storage.make_folder(check_place(folder, audit.root, audit.hashes if table else ()))
    storage.write_text(place / "issues.csv", _issues(audit))
    storage.write_json(place / "audit.json", json.loads(json.dumps(audit.to_dict(), default=str)))
    storage.write_bytes(place / "audit.html", _page(audit).encode("utf-8", "replace"))


def check_place(folder: Path, root: Path, listed: Iterable[str] = ()) -> Path:
    """Refuse, before any work, a folder for what is found out about the images in `root`.

    Nothing is made yet.

    Args:
        folder: where results go.
        root: folder of the images; nothing is written in it.
        listed: paths of the images where a table lists them. Then only the folders that hold
            them are kept free, so that a result can lie beside its table.

    Returns:
        The folder as an absolute path.

    Raises:
        RunError: it lies among the images, or can't be made.
    """
    place = folder.expanduser().resolve()
    for kept in {(root / path).parent for path in listed} or {root}:
        if place.is_relative_to(kept.resolve()):
            raise RunError(
                f"{folder} lies in {kept}, which is only ever read. Choose a folder elsewhere "
                "with --out."
            )
    storage.check_writable(place)
    return place


def found_words(audit: Audit) -> list[tuple[str, str]]:
    """A sentence for each kind of which something was found: its name, and how much.

    >>> from bowerbird.auditing.results import Case, Finding
    >>> leak = Finding("leak", "same bytes", 1.0, (Case("a.png"), Case("b.png")))
    >>> found_words(Audit(Path("/x"), ("a",), {"all": {"a": 2}}, (leak,)))
    [('leak', '1 picture lies in more than one split (2 files)')]
    """
    told = []
    for name, (one, several) in _SENTENCES.items():
        findings = audit.of(name)
        if not findings:
            continue
        count, images = len(findings), len(audit.paths(name))
        files = f" ({images:,} files)" if images != count and name != "review" else ""
        told.append((name, f"{count:,} {one if count == 1 else several}{files}"))
    return told


@dataclass(frozen=True)
class _Bar:
    """A class in the chart of balance: counts per split, in shares of the largest class."""

    name: str
    total: int
    parts: tuple[tuple[str, int, float], ...]


def _page(audit: Audit) -> str:
    cards = cards_of(audit)
    data = cards.data | {"key": _key(audit), "command": _command(audit)}
    totals = {name: sum(counts.values()) for name, counts in _by_class(audit).items()}
    found, bars = found_words(audit), _bars(audit)
    return (
        templates()
        .get_template("audit.html.jinja")
        .render(
            audit=audit,
            name=audit.root.name or str(audit.root),
            kinds=KINDS,
            found=found,
            clean=[kind for kind in KINDS.values() if not audit.of(kind.name)],
            facts=_facts(audit, totals),
            bars=bars,
            splits=list(dict.fromkeys(split for bar in bars for split, _, _ in bar.parts)),
            imbalance=_imbalance(totals),
            curve=_curve(audit.curve) if audit.curve else None,
            doubled=_doubled(audit.curve) if audit.curve else "",
            cards=cards,
            notes=_notes(audit, cards),
            data=_script(data),
            pictures=_script(cards.pictures),
            settings=[(name, str(value)) for name, value in audit.settings.items() if _said(value)],
        )
    )


def _said(value: Any) -> bool:
    return value not in (None, {}, [])


def _by_class(audit: Audit) -> dict[str, dict[str, int]]:
    """Images per class and split; every class is there, also without an image."""
    names = dict.fromkeys(chain(audit.classes, *audit.counts.values()))
    splits = [name for name in (*SPLITS, *audit.counts) if name in audit.counts]
    return {name: {split: audit.counts[split].get(name, 0) for split in splits} for name in names}


def _bars(audit: Audit) -> list[_Bar]:
    """Largest class first where they are many."""
    table = _by_class(audit)
    most = max((sum(counts.values()) for counts in table.values()), default=0) or 1
    bars = [
        _Bar(
            name,
            sum(counts.values()),
            tuple((split, n, 100 * n / most) for split, n in counts.items() if n),
        )
        for name, counts in table.items()
    ]
    return sorted(bars, key=lambda bar: -bar.total) if len(bars) > 12 else bars


def _imbalance(totals: Mapping[str, int]) -> str:
    if len(totals) < 2:
        return ""
    largest, smallest = max(totals, key=totals.__getitem__), min(totals, key=totals.__getitem__)
    if totals[smallest] == 0:
        return f"“{smallest}” has no readable image."
    ratio = totals[largest] / totals[smallest]
    if ratio < 1.05:
        return "The classes are of the same size."
    return (
        f"“{largest}” has {ratio:.3g} times the images of “{smallest}” "
        f"({totals[largest]:,} against {totals[smallest]:,})."
    )


def _facts(audit: Audit, totals: Mapping[str, int]) -> list[tuple[str, str, str]]:
    """The figures below the title: (label, value, hint)."""
    cases = {case.path: case for f in audit.findings for case in f.cases}
    proposed = sum(case.action != "keep" for case in cases.values())
    hint = f"{proposed:,} with a proposed change" if cases else "nothing was found"
    facts = [
        ("images", f"{audit.images:,}", "that can be read"),
        ("classes", f"{len(audit.classes):,}", _sizes(totals)),
        ("images to look at", f"{len(cases):,}", hint),
    ]
    if errors := audit.errors:
        share = (
            f", {percent(errors.expected / audit.images)} of all" if errors.expected >= 1 else ""
        )
        interval = f"95 % interval {errors.low:,.0f} to {errors.high:,.0f}{share}"
        facts.append(("labels probably wrong", f"{errors.expected:,.0f}", interval))
    return facts


def _sizes(totals: Mapping[str, int]) -> str:
    if not totals:
        return "no labels"
    low, high = min(totals.values()), max(totals.values())
    return f"{low:,} images each" if low == high else f"{low:,} to {high:,} images each"


def _curve(curve: LearningCurve) -> Chart:
    from bowerbird.plots.learning import learning_curve

    points = zip(curve.images, curve.accuracy, strict=True)
    words = ", ".join(f"{percent(accuracy)} with {images:,}" for images, accuracy in points)
    return chart(learning_curve(curve), f"Accuracy against training images: {words}.")


def _doubled(curve: LearningCurve) -> str:
    if curve.doubled is None:
        return "There are too few points to say what more images would bring."
    expected, low, high = curve.doubled
    now, gain = curve.accuracy[-1], 100 * (expected - curve.accuracy[-1])
    words = "hardly anything" if gain < 0.5 else f"about {gain:.1f} points"
    return (
        f"Twice the images would bring {words}: {percent(expected)} "
        f"(95 % interval {percent(low)} to {percent(high)}) instead of {percent(now)}."
    )


def _notes(audit: Audit, cards: Cards) -> list[str]:
    notes = list(audit.notes)
    if cards.left_out:
        notes.append(
            f"{many(cards.left_out, 'further finding')} can be seen in issues.csv only, to keep "
            "this page usable. Apply what is here, then audit again."
        )
    return notes


def _command(audit: Audit) -> str:
    """What applies the decisions, wherever the file is saved."""
    reading = dict(audit.settings.get("read") or {})
    for name in ("manifest", "image_root"):
        if name in reading:
            reading[name] = str(Path(reading[name]).expanduser().absolute())
    words = ["bowerbird", "apply", _absolute(audit), "fixes.csv"]
    for name, value in reading.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def _absolute(audit: Audit) -> str:
    """The data as it was named, or their folder."""
    named = str(audit.settings.get("data") or audit.root)
    path = Path(named).expanduser()
    return str(path.absolute()) if path.exists() else named


def _key(audit: Audit) -> str:
    """What decisions are remembered under: the images to decide on, in their order."""
    paths = dict.fromkeys(case.path for finding in audit.findings for case in finding.cases)
    images = [(path, audit.hashes.get(path)) for path in paths]
    return storage.hash_bytes(json.dumps([str(audit.root), images]).encode())


def _script(value: Any) -> Any:
    """JSON that can stand in a page: nothing in it ends the element."""
    from markupsafe import Markup

    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


def _issues(audit: Audit) -> str:
    """One row per finding and image."""
    rows = (row for finding in audit.findings for row in _rows(finding))
    return storage.comma_separated(_COLUMNS, rows)


def _rows(finding: Finding) -> Iterator[tuple[str, ...]]:
    evidence = " | ".join(case.path for case in finding.evidence)
    for place, case in enumerate(finding.cases):
        yield (
            finding.kind,
            case.path,
            case.label or "",
            f"{finding.score:.6g}",
            _suggestion(case),
            _partners(finding, place),
            evidence,
            case.split or "",
            finding.reason,
        )


def _suggestion(case: Case) -> str:
    return f"relabel to {case.new_label}" if case.action == "relabel" else case.action


def _partners(finding: Finding, place: int) -> str:
    """The other images of a finding; of very many, the first."""
    others = [case.path for case in (*finding.cases[:place], *finding.cases[place + 1 :])]
    more = [f"and {len(others) - _PARTNERS} more"] if len(others) > _PARTNERS else []
    return " | ".join(others[:_PARTNERS] + more)
