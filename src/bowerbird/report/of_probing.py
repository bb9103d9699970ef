"""A probe, told: ``probe.html``, one file with every chart and sheet in it.

Decisions:
- What was found stands in sentences on top, the same that ``probe.json`` keeps; then the
  classifiers, how many features, which ones, what they respond to, and where the network tells
  the classes apart.
- The page needs no network and no script. Sheets of the first 12 classes are in it, as JPEG.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bowerbird import storage
from bowerbird.probing.summary import come_apart, plain_name
from bowerbird.report.content import percent, split_words
from bowerbird.report.page import templates
from bowerbird.report.pictures import Chart, chart, from_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bowerbird.probing.heat import Heat
    from bowerbird.probing.results import Probe, TopImages

__all__ = ["chart_of", "write_page"]

_SHEETS, _LISTED, _TOP, _WIDEST = 12, 100, 5, 1300
_ALT = {
    "sweep": "Accuracy against the number of best features, per classifier, with bands over seeds; "
    "the table below has the figures.",
    "stages": "Accuracy of a logistic regression after each stage of the network, with intervals.",
    "map": "All images on a plane by their features, coloured by class.",
    "agreement": "Rank correlation of each two rankings of the features.",
    "overlap": "Share of top images that each two of the top features have in common.",
}


@dataclass(frozen=True)
class FeatureRow:
    """A line of a class's table: one of its most important features."""

    top: TopImages
    about: Mapping[str, Any]

    @property
    def moved(self) -> str:
        """Points of probability that the class gains when the feature is switched off."""
        effect = self.about["effect_of_switching_off"]
        return "–" if effect is None else f"{-100 * effect:+.2f}".replace("-", "−")


def write_page(
    path: Path,
    title: str,
    probe: Probe,
    heat: Heat | None,
    charts: Mapping[str, Chart],
    sheets: Mapping[int, Path],
) -> Path:
    """Write the page of a probe.

    Args:
        path: of the file; an older one is replaced.
        title: a run's or a network's name.
        probe: what was found.
        heat: where features are excited, if that is known.
        charts: of `chart_of`, by name.
        sheets: drawn files by class index.

    Raises:
        RunError: the file can't be written.
    """
    on, table = probe.scored_on, probe.table
    best = max(probe.scores, key=lambda s: s.evaluations[on].accuracy)
    kept = dict(list(sheets.items())[:_SHEETS])
    text = (
        templates()
        .get_template("probe.html.jinja")
        .render(
            title=title, probe=probe, table=table, on=on, best=best, heat=heat,
            main=best.evaluations[on],
            best_name=plain_name(best.name),
            sentences=probe.to_dict()["summary"],
            facts=_facts(probe),
            headline=_headline(probe),
            names={score.name: plain_name(score.name) for score in probe.scores},
            charts=charts,
            confusions=list(
                zip(
                    (plain_name(score.name) for score in probe.scores),
                    (charts[name] for name in charts if name.startswith("confusion-")),
                    strict=True,
                )
            ),
            sweep=list(_sweep(probe)),
            held_out=_held_out(probe),
            rankings=[(r, r.method.replace("_", " ")) for r in probe.rankings],
            favourites=list(_favourites(probe)) if len(table.classes) <= _SHEETS else [],
            classes=list(_classes(probe, kept)),
            apart=come_apart(probe),
            command=_command(probe),
            files=len(sheets) - len(kept),
        )
    )  # fmt: skip
    storage.write_bytes(path, text.encode("utf-8", "replace"))
    return path


def chart_of(name: str, figure: Figure) -> Chart:
    """A figure of a probe for its page."""
    words = f"Confusion matrix of {plain_name(name.removeprefix('confusion-'))}."
    return chart(figure, _ALT.get(name, words))


def _headline(probe: Probe) -> str:
    """How few features are enough, in a sentence."""
    width = probe.sweep.width
    found = [
        f"{enough:,} for {plain_name(name)}" if enough < width else f"all for {plain_name(name)}"
        for name in probe.sweep.estimators
        if (enough := probe.sweep.enough(name)) is not None
    ]
    if not found:
        return f"The network gives {width:,} features of each image."
    words = " and ".join(", ".join(found).rsplit(", ", 1))
    return f"Of {width:,} features, it takes {words}."


def _facts(probe: Probe) -> list[tuple[str, str, str]]:
    """Label, value and hint of the boxes on top."""
    table, meaning = probe.table, probe.interpretability
    counts = {part: len(table.rows(part)) for part in table.splits}
    parts = ", ".join(f"{n:,} {split_words(part)}" for part, n in counts.items())
    good = int(meaning.interpretable.sum())
    facts = [
        ("images", f"{len(table):,}", parts),
        ("features", f"{table.width:,}", f"{len(table.numbers):,} of them vary"),
    ]
    facts += [
        (f"enough for {plain_name(name)}", f"{enough:,}", "of the best features")
        for name in probe.sweep.estimators[:2]
        if (enough := probe.sweep.enough(name)) is not None
    ]
    facts.append(
        ("interpretable", f"{good:,}", f"{percent(good / max(1, len(meaning.numbers)))} of them")
    )
    if (stage := come_apart(probe)) is not None:
        place = 1 + probe.stages.index(stage)
        facts.append(("classes come apart at", stage.name, f"stage {place} of {len(probe.stages)}"))
    return facts


def _sweep(probe: Probe) -> Iterator[tuple[str, list[tuple[int, list[str], bool]]]]:
    """Per estimator: number of features, mean and range over seeds per split, whether enough."""
    parts = _held_out(probe)
    for name in probe.sweep.estimators:
        curves = {part: probe.sweep.curve(name, part) for part in parts}
        rows = []
        for place, (number, *_) in enumerate(curves[parts[0]]):
            cells = [_spread(*curves[part][place][1:]) for part in parts]
            rows.append((number, cells, number == probe.sweep.enough(name)))
        yield plain_name(name), rows


def _held_out(probe: Probe) -> list[str]:
    """Validation and test, as far as they are there, else training."""
    return [part for part in probe.table.splits if part != "train"] or ["train"]


def _spread(mean: float, low: float, high: float) -> str:
    if low == high:
        return percent(mean)
    return f"{percent(mean)} ({100 * low:.1f} – {100 * high:.1f})"


def _favourites(probe: Probe) -> Iterator[tuple[str, list[list[int]]]]:
    """Per class the numbers of its five best features by each ranking."""
    for target, name in enumerate(probe.table.classes):
        cells = []
        for ranking in probe.rankings:
            order = ranking.for_class(target)[:_TOP]
            order = order[ranking.per_class[target, order] > 0]
            cells.append([int(number) for number in probe.table.numbers[order]])
        yield name, cells


def _classes(
    probe: Probe, sheets: Mapping[int, Path]
) -> Iterator[tuple[str, list[FeatureRow], Chart | None]]:
    """Per class its name, its features, and its sheet."""
    for target, name in enumerate(probe.table.classes[:_LISTED]):
        tops = [top for top in probe.tops if top.target == target]
        rows = [FeatureRow(top, probe.interpretability.row(top.column)) for top in tops]
        words = f"Training images that excite the {len(tops)} most important features of {name}."
        sheet = from_file(sheets[target], words, 75, _WIDEST) if target in sheets else None
        yield name, rows, sheet


def _command(probe: Probe) -> str:
    """The command that repeats the probe, as far as its settings tell."""
    asked = probe.settings
    words = [f"bowerbird probe {asked.get('source', 'DATA')}"]
    words += [f"--layer {asked['layer']}"] if asked.get("layer") else []
    for option in ("estimators", "top_k", "keep"):
        if asked.get(option):
            values = " ".join(map(str, asked[option]))
            words.append(f"--{option.replace('_', '-')} {values}")
    words += [f"--seeds {asked['seeds']}"] if asked.get("seeds", 3) != 3 else []
    words += ["--rank-images gradient"] if asked.get("rank_images") == "gradient" else []
    words += [f"--map {asked['map']}"] if asked.get("map", "pca") != "pca" else []
    return " ".join(words)
