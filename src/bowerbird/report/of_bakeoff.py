"""A bake-off, told: ``bakeoff.html``, one file that says first which network to take, and why.

The tables lie beside it as CSV, all of it as JSON, and the figures as PNG.
"""

from __future__ import annotations

from pathlib import Path

from bowerbird import plots, storage
from bowerbird.comparison.bakeoff import WAY_WORDS, Bakeoff
from bowerbird.comparison.bakeoff_tables import csv_tables
from bowerbird.comparison.choosing import FEWEST
from bowerbird.comparison.significance import p_words
from bowerbird.plots.bakeoff import against_cost, against_images
from bowerbird.report.content import duration, many, percent
from bowerbird.report.page import templates
from bowerbird.report.pictures import chart

__all__ = ["write_bakeoff"]


def write_bakeoff(found: Bakeoff, folder: Path) -> Path:
    """Write page, tables and figures of a bake-off; older ones of the same names are replaced.

    Args:
        found: what came out.
        folder: made if it isn't there.

    Returns:
        The page.

    Raises:
        RunError: a file can't be written.
    """
    place = storage.make_folder(folder)
    figures = {"images": against_images(found), "cost": against_cost(found)}
    for name, figure in figures.items():
        plots.save(figure, place / f"{name}.png")
    for name, text in csv_tables(found).items():
        storage.write_text(place / name, text)
    storage.write_json(place / "bakeoff.json", found.to_dict())
    page = place / "bakeoff.html"
    text = (
        templates()
        .get_template("bakeoff.html.jinja")
        .render(
            found=found,
            taken=found.score,
            lede=_lede(found),
            facts=_facts(found),
            hollow=_hollow(found),
            way=WAY_WORDS[found.way],
            p_words=p_words,
            charts={name: chart(figure, _ALT[name]) for name, figure in figures.items()},
        )
    )
    storage.write_bytes(page, text.encode("utf-8", "replace"))
    return page


_ALT = {
    "images": "Accuracy of each network against the number of images; the table has the figures.",
    "cost": "Accuracy of each network against milliseconds per image; the table has the figures.",
}


def _lede(found: Bakeoff) -> str:
    """What took part, on how many images, and whether these are enough."""
    last = found.rounds[-1]
    images = f"{last.images:,} of {last.of:,}" if not found.finished else f"{last.of:,}"
    late = "" if found.finished else ", for want of time"
    few = " These are too few to choose between networks" if found.too_few else ""
    return (
        f"{many(len(found.arms), 'network')} on {images} images of {len(found.classes)} classes in "
        f"{found.data}{late}.{few}{f': about {FEWEST} would do.' if few else ''}"
    )


def _hollow(found: Bakeoff) -> str:
    """What hollow points are, if there are any."""
    gone = [score.images for score in found.scores if score.dropped is not None]
    if not gone:
        return ""
    last = found.rounds[-1].images
    judged = "they were judged on fewer images than the others"
    if min(gone) == last:
        judged = "they were judged on as many images as the others"
    elif max(gone) == last:
        judged = "some were judged on fewer images than the others"
    return f" Networks that were dropped are hollow; {judged}."


def _facts(found: Bakeoff) -> list[tuple[str, str, str]]:
    """Label, value and hint of the boxes on top."""
    last, arm = found.rounds[-1], found.recommended
    gone = sum(score.dropped is not None for score in found.scores)
    size = " × ".join(map(str, arm.input_size))
    return [
        ("Networks", str(len(found.arms)), f"{gone} dropped, {len(found.skipped)} left out"),
        ("Images", f"{last.images:,}", f"of {last.of:,}, in {many(len(found.rounds), 'round')}"),
        ("Accuracy", percent(found.score.accuracy), f"{_interval(found)}, frozen features"),
        ("Time per image", f"{arm.milliseconds:.1f} ms", f"one thread, {arm.precision}, {size} px"),
        ("Model", f"{arm.megabytes:.1f} MB", f"{arm.parameters / 1e6:.2f} M parameters"),
        ("Took", duration(found.seconds), f"of {duration(found.budget)}"),
    ]


def _interval(found: Bakeoff) -> str:
    ends = found.score.interval
    return f"{100 * ends.low:.1f} to {100 * ends.high:.1f} %"
