"""An explanation, told: ``explanations.html``, one file with every sheet in it.

It needs no network and no script. Sheets are JPEG, so that ten classes stay below 2 MB. What
the page says of the maps (how they were made, whether they can be trusted, what they can't
show) stands before the pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bowerbird import storage
from bowerbird.explanation.faithfulness import Faithfulness
from bowerbird.explanation.results import Attribution
from bowerbird.report.page import templates
from bowerbird.report.pictures import from_file

__all__ = ["write_explanations"]


def write_explanations(
    path: Path,
    name: str,
    found: Attribution,
    sheets: Mapping[str, Path],
    checked: Faithfulness | None = None,
    check: Path | None = None,
) -> Path:
    """Write the page of an explanation.

    Args:
        path: of the file; an older one is replaced.
        name: of the run.
        found: what was explained.
        sheets: drawn files by class name.
        checked: whether the maps can be trusted, if that was asked.
        check: drawn file of that.

    Raises:
        RunError: the file can't be written.
    """
    text = (
        templates()
        .get_template("explanations.html.jinja")
        .render(
            name=name,
            found=found,
            facts=_facts(found),
            sheets=[
                (title, from_file(file, f"Heat maps: {title}")) for title, file in sheets.items()
            ],
            checked=checked,
            check=from_file(check, "Insertion and deletion") if check else None,
            empty=int(found.empty.sum()),
            signed=found.method in ("integrated-gradients", "occlusion"),
        )
    )
    storage.write_bytes(path, text.encode("utf-8", "replace"))
    return path


def _facts(found: Attribution) -> list[tuple[str, str, str]]:
    """Label, value and hint of the boxes on top."""
    known = found.truth >= 0
    right = int((found.predicted[known] == found.truth[known]).sum())
    height, width = found.maps.shape[1:]
    facts = [
        ("Images", str(len(found)), f"{len(found.problems)} left out"),
        ("Method", found.method, f"at {found.layer}" if found.layer else "no layer is looked at"),
        ("Places told apart", f"{height} × {width}", "of an input of {} × {}".format(*found.size)),
    ]
    if known.any():
        facts.append(("Named rightly", f"{right} of {int(known.sum())}", "of these images"))
    return facts
