"""The commands that look through images and mend their labels: `audit`, `apply`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from bowerbird.cli.app import Flat, Json, app, as_options, print_json
from bowerbird.config import NetworkConfig, ReadConfig

if TYPE_CHECKING:
    from bowerbird.auditing.results import Audit

__all__ = ["apply", "audit"]


@app.command
def audit(
    data: str,
    *,
    out: Path = Path("audit"),
    thorough: bool = False,
    seed: int = 0,
    read: Annotated[ReadConfig | None, Flat] = None,
    network: Annotated[NetworkConfig | None, Flat] = None,
    as_json: Json = False,
) -> None:
    """Find what is wrong with images: files, copies, leaks, labels, strangers, shortcuts.

    Parameters
    ----------
    data
        A folder with a folder per class, a table of images and labels, an archive or a link.
    out
        Folder of the result: audit.html to look at and decide, issues.csv, audit.json.
    thorough
        Ask a second method about the labels, too; takes longer.
    seed
        Of what is drawn at random.
    as_json
        Print the result as JSON.
    """
    from bowerbird.workflow.auditing import audit_data

    found = audit_data(
        data, read or ReadConfig(), network or NetworkConfig(), out, thorough=thorough, seed=seed
    )
    if as_json:
        print_json(found.to_dict())
        return
    print(_told(found))
    print(f"\nLook and decide:  {out / 'audit.html'}")
    if len(found.classes) > 1:
        print(f"Then:             bowerbird apply {shlex.quote(data)} fixes.csv{as_options(read)}")


@app.command
def apply(
    data: str,
    fixes: Path,
    *,
    out: Path | None = None,
    materialize: Path | None = None,
    copy: bool = False,
    new_classes: bool = False,
    undo: bool = False,
    read: Annotated[ReadConfig | None, Flat] = None,
    as_json: Json = False,
) -> None:
    """Apply the decisions of an audit: write a new manifest; no image is changed.

    Parameters
    ----------
    data
        The images that were audited.
    fixes
        What the audit's page has saved: path, class, action (keep, relabel, drop), new_class.
    out
        The new manifest; by default manifest.csv, or the next free number.
    materialize
        Make this folder, too: a folder per class, in one per split where there are splits,
        of hard links to the images.
    copy
        Copies in that folder instead of links.
    new_classes
        Allow classes that don't exist yet.
    undo
        Take these decisions back, out of --manifest.
    as_json
        Print the result as JSON.
    """
    from bowerbird.auditing.applying import apply as go

    fixed, manifest, folder = go(
        data,
        fixes,
        read or ReadConfig(),
        out,
        materialize,
        copy=copy,
        new_classes=new_classes,
        undo=undo,
    )
    if as_json:
        made = folder.to_dict() if folder else None
        print_json(fixed.to_dict() | {"manifest": str(manifest), "materialized": made})
        return
    print(fixed.told())
    print(f"Manifest:  {manifest}")
    if folder is not None:
        print(f"Folder:    {folder.folder} ({folder.links} links, {folder.copies} copies)")
    if len(fixed.dataset.classes) < 2:
        return
    reading = (read or ReadConfig()).model_copy(update={"manifest": manifest})
    print(f"Train:     bowerbird train {shlex.quote(data)}{as_options(reading)}")
    print(f"Audit:     bowerbird audit {shlex.quote(data)}{as_options(reading)}")


def _told(found: Audit) -> str:
    """What was found, a line per kind, and what concerns the whole."""
    from bowerbird.report.of_audit import found_words

    lines = [words for _, words in found_words(found)] or ["Nothing was found."]
    if found.errors is not None:
        errors = found.errors
        lines.append(
            f"about {errors.expected:.0f} wrong labels expected, "
            f"{errors.low:.0f} to {errors.high:.0f}"
        )
    lines += [
        f"{each.name} alone tells the class: {each.accuracy:.0%}, by chance {each.chance:.0%}"
        for each in found.shortcuts
        if each.matters
    ]
    if found.curve is not None and found.curve.doubled is not None:
        reached, low, high = found.curve.doubled
        lines.append(
            f"twice the images would bring {reached:.1%} [{low:.1%}, {high:.1%}] on frozen "
            f"features, against {found.curve.accuracy[-1]:.1%}"
        )
    return "\n".join([*lines, *found.notes])
