"""The folder of a probe: tables, figures, sheets of top images, and the page.

Decisions:
- Each figure is drawn once, for its file and for the page.
- What an earlier probe wrote into the folder, by its own list, is removed when it isn't
  written again; nothing else is.
- Sheets are drawn for the first 40 classes, and the page shows those of the first 12.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bowerbird import machine, progress, storage

if TYPE_CHECKING:
    from bowerbird.probing.heat import Heat
    from bowerbird.probing.reading import Source
    from bowerbird.probing.results import Probe
    from bowerbird.report.pictures import Chart

__all__ = ["write_probe"]

_LIST, _PAGE = "probe.json", "probe.html"
_OURS = re.compile(r"(top-\d+-[\w.-]+|confusion-[\w.-]+|[a-z]+)\.png|[a-z_]+\.csv|probe\.html")
_SHEETS = 40

Draw = Callable[[], Any]


def write_probe(source: Source, probed: Probe, folder: Path, title: str) -> Probe:
    """Write a probe's folder.

    Args:
        source: what was probed.
        probed: what was found.
        folder: is made; what an earlier probe left there goes.
        title: of the page: a run's or a network's name.

    Returns:
        The probe, with how alike the crops of top images are.

    Raises:
        RunError: the folder can't be written.
    """
    machine.load("bowerbird.plots.probing", "bowerbird.plots.top_images")
    from bowerbird.probing.heat import read_heat
    from bowerbird.probing.tables import csv_tables
    from bowerbird.report.of_probing import write_page

    storage.make_folder(folder)
    targets = sorted({top.target for top in probed.tops})
    if len(targets) > _SHEETS:
        progress.say(
            f"Sheets are drawn for the first {_SHEETS} of {len(targets)} classes; "
            "top_images.csv has them all."
        )
    shown = [top for top in probed.tops if top.target in targets[:_SHEETS]]
    heat = read_heat(source, probed.table, shown)
    probed = _with_clarity(probed, heat)
    earlier, files = _listed(folder), []
    for name, text in csv_tables(probed).items():
        storage.write_text(folder / name, text)
        files.append(name)
    sheets = {target: _sheet_name(probed, target) for target in targets[:_SHEETS]}
    drawn = dict(_figures(probed))
    load = _loader(source, probed)
    pictures = {name: partial(_sheet, probed, t, load, heat) for t, name in sheets.items()}
    charts = _drawn(folder, drawn | pictures, set(drawn))
    shown_sheets = {target: folder / name for target, name in sheets.items()}
    write_page(folder / _PAGE, title, probed, heat, charts, shown_sheets)
    files += [*drawn, *pictures, _PAGE]
    storage.write_json(folder / _LIST, probed.to_dict() | {"files": files})
    for name in set(earlier) - set(files):
        with contextlib.suppress(OSError):  # it is in nobody's way
            (folder / name).unlink(missing_ok=True)
    return probed


def _with_clarity(probed: Probe, heat: Heat | None) -> Probe:
    if heat is None:
        return probed
    tops = tuple(
        dataclasses.replace(top, clarity=heat.clarity.get((top.target, top.column)))
        for top in probed.tops
    )
    return dataclasses.replace(probed, tops=tops)


def _figures(probed: Probe) -> Iterator[tuple[str, Draw]]:
    """Names of files, and what draws them; those that are charts."""
    from bowerbird.plots import confusion_matrix
    from bowerbird.plots import probing as plots

    yield "sweep.png", partial(plots.sweep_curves, probed)
    yield "map.png", partial(plots.image_map, probed)
    yield "agreement.png", partial(plots.agreement_matrix, probed)
    if probed.tops:
        yield "overlap.png", partial(plots.overlap_matrix, probed)
    if probed.stages:
        yield "stages.png", partial(plots.stages_compared, probed)
    for score in probed.scores:
        shown = score.evaluations[probed.scored_on].confusion
        yield f"confusion-{_plain(score.name)}.png", partial(confusion_matrix, shown)


def _drawn(folder: Path, figures: dict[str, Draw], charts: set[str]) -> dict[str, Chart]:
    """Draw all figures into files; those named `charts` for the page, too, by name."""
    from bowerbird.plots import save
    from bowerbird.report.of_probing import chart_of

    found = {}
    with progress.task("Drawing", len(figures)) as task:
        for name, draw in figures.items():
            figure = draw()
            save(figure, folder / name, dpi=130)
            if name in charts:
                figure.set_layout_engine("none")  # it keeps the layout that it got
                found[Path(name).stem] = chart_of(Path(name).stem, figure)
            task.advance()
    return found


def _sheet(probed: Probe, target: int, load: Callable[[int], Any], heat: Heat | None) -> Any:
    from bowerbird.plots.top_images import top_sheet

    return top_sheet(probed, target, load, heat)


def _sheet_name(probed: Probe, target: int) -> str:
    return f"top-{target:03d}-{_plain(probed.table.classes[target])}.png"


def _loader(source: Source, probed: Probe) -> Callable[[int], NDArray[np.uint8] | None]:
    """Gives what the network sees of a row's image."""
    from bowerbird.data.images import load_input
    from bowerbird.errors import ImageError

    def load(row: int) -> NDArray[np.uint8] | None:
        try:
            pixels = load_input(probed.table.path(row), source.network.preprocess)
        except ImageError:
            return None
        return np.repeat(pixels, 3, 2) if pixels.shape[2] == 1 else pixels[:, :, :3]

    return load


def _listed(folder: Path) -> list[str]:
    """What an earlier probe wrote here, by its own word."""
    try:
        names = json.loads((folder / _LIST).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, LookupError, TypeError):
        return []
    return [name for name in names if isinstance(name, str) and _OURS.fullmatch(name)]


def _plain(name: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"[^\w.-]+", "-", storage.readable(name)).strip("-.")[:60] or "class"
