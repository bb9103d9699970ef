"""An ablation, told: ``ablation.html``, one file, and the same as tables.

It needs no network and no script. What helps and what harms stands on top, in sentences; then
the figures, the table, the runs, and how to read it all.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bowerbird import plots, storage
from bowerbird.comparison.ablation import Ablation, ArmResult, Change
from bowerbird.comparison.significance import p_words
from bowerbird.errors import DataError
from bowerbird.plots import ablation as drawing
from bowerbird.report.content import duration, many, percent
from bowerbird.report.page import templates
from bowerbird.report.pictures import chart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["write_ablation"]

_WORDS = {
    "ladder": "augmentations added one at a time",
    "leave-one-out": "augmentations left out in turn",
    "vary": "settings varied",
}
_ALT = {
    "ladder": "Accuracy at each step of the ladder; the table has the figures.",
    "changes": "Each arm's change against the base with its interval; the table has the figures.",
}


def write_ablation(found: Ablation, folder: Path) -> Path:
    """Write ``ablation.json``, ``ablation.csv``, figures and ``ablation.html``.

    Args:
        found: what came out.
        folder: to write to; files of the same names are replaced.

    Returns:
        The page.

    Raises:
        RunError: a file can't be written.
    """
    storage.write_json(folder / "ablation.json", found.to_dict())
    storage.write_text(folder / "ablation.csv", storage.comma_separated(*found.rows()))
    figures = _figures(found)
    for name, figure in figures.items():
        plots.save(figure, folder / f"{name}.png")
        figure.set_layout_engine("none")
    text = templates().get_template("ablation.html.jinja").render(**_told(found, figures, folder))
    storage.write_bytes(folder / "ablation.html", text.encode("utf-8", "replace"))
    return folder / "ablation.html"


def _figures(found: Ablation) -> dict[str, Figure]:
    """What can be drawn of these arms, by name."""
    figures: dict[str, Figure] = {}
    for name, draw in (("ladder", drawing.ladder), ("changes", drawing.changes)):
        try:
            figures[name] = draw(found)
        except DataError:  # there is nothing of the kind here
            continue
    return figures


def _told(found: Ablation, figures: Mapping[str, Figure], folder: Path) -> dict[str, Any]:
    return {
        "found": found,
        "finding": [_with_options(sentence) for sentence in found.finding],
        "notes": [_with_options(sentence) for sentence in found.notes],
        "kind": _WORDS[found.kind],
        "facts": _facts(found),
        "charts": {name: chart(figure, _ALT[name]) for name, figure in figures.items()},
        "base": _settings(found.base),
        "lines": [_line(found, result) for result in found.results],
        "steps": any(result.step for result in found.results),
        "timed": bool(found.settings.get("recipe", {}).get("train", {}).get("budget")),
        "settings": list(_flat(found.settings.get("recipe", {}))),
        "train": _command(found, folder),
    }


def _with_options(sentence: str) -> str:
    """A sentence whose options are marked as such, so that no line ends within one."""
    from markupsafe import Markup, escape

    plain = str(escape(sentence))  # of Markup, `re.sub` would escape the marks
    option = r"(?<![\w-])(--[a-z]+(?:-[a-z]+)*)"
    return Markup(re.sub(option, r'<code class="option">\1</code>', plain))


def _command(found: Ablation, folder: Path) -> str:
    """That trains the winner again, for a shell."""
    data = found.settings.get("recipe", {}).get("data") or "DATA"
    return shlex.join(["bowerbird", "train", data, "--config", str(folder / "winner.toml")])


def _facts(found: Ablation) -> list[tuple[str, str, str]]:
    """Label, value and hint of the boxes on top."""
    trained = sum(outcome.seconds for result in found.results for outcome in result.outcomes)
    runs = sum(len(result.outcomes) for result in found.results)
    failed = f", {len(found.failures)} failed" if found.failures else ""
    facts = [
        ("arms", str(len(found.results)), _WORDS[found.kind]),
        (
            "seed" if len(found.seeds) == 1 else "seeds",
            str(len(found.seeds)),
            "of the training; the split is the same",
        ),
        ("validation images", f"{found.images:,}", "the same for every arm"),
        ("training", duration(trained), f"{many(runs, 'run')}{failed}"),
    ]
    if found.winner:
        score = percent(found[found.winner].accuracy)
        facts.append(("the winner", score, f"{plots.shortened(found.winner, 40)}, on validation"))
    if found.test:
        ends = f"{percent(found.test.interval.low)} to {percent(found.test.interval.high)}"
        facts.append(("winner on test", percent(found.test.accuracy), f"95 % interval {ends}"))
    return facts


def _line(found: Ablation, result: ArmResult) -> dict[str, Any]:
    """A row of the page's table."""
    known = bool(result.outcomes)
    spread = f"± {100 * result.spread:.1f}" if result.spread is not None else "–"
    return {
        "name": result.arm.name,
        "settings": _settings(result),
        "accuracy": percent(result.accuracy) if known else "failed",
        "spread": spread,
        "log_loss": f"{result.log_loss:.3f}" if known else "–",
        "seconds": duration(result.seconds) if known else "–",
        "epochs": f"{result.epochs:.0f}" if known else "–",
        "change": _cells(found, result, result.change),
        "step": _cells(found, result, result.step),
        "runs": [
            (o.seed, percent(o.accuracy), f"runs/{Path(o.run).name}") for o in result.outcomes
        ],
        "chosen": result.arm.name == found.winner,
    }


def _settings(result: ArmResult) -> str:
    return ", ".join(f"{name} = {value}" for name, value in result.arm.settings.items())


def _cells(found: Ablation, result: ArmResult, change: Change | None) -> dict[str, str]:
    if change is None:
        return {"points": "–", "p": "", "verdict": "", "kind": ""}
    bad, open_ = found.is_bad(change), change.verdict == "not to be told"
    return {
        "points": change.points,
        "p": p_words(change.p_corrected),
        "verdict": found.verdict(change, result),
        "kind": "" if open_ else "wrong" if bad else "right",
    }


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as rows."""
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name}.")
        elif value is not None:
            rows.append((f"{prefix}{name}", str(value)))
    return rows
