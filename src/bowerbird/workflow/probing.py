"""The journey of `bowerbird probe`: a run or DATA to a probe, its tables and its figures.

Decisions:
- A run is probed with its own network on its own splits; DATA with the network's weights as
  they come, read and split as for a training.
- Whoever sees a score on test has looked at the test images: a run's looks are counted, and
  locked test images are left alone.
- What an earlier probe wrote into the folder, by its own list, is removed when it isn't
  written again; nothing else is.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bowerbird import machine, progress, storage
from bowerbird.config import NetworkConfig, ReadConfig, Recipe, SplitConfig
from bowerbird.data.dataset import SPLITS
from bowerbird.errors import ConfigError
from bowerbird.runs import Run, load_run
from bowerbird.workflow.reading import read_and_split

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bowerbird.probing.reading import Source
    from bowerbird.probing.results import Probe

__all__ = ["folder_of", "probe"]

_LIST = "probe.json"
_OURS = re.compile(r"(top-\d+-[\w.-]+|confusion-[\w.-]+|[a-z]+)\.png|[a-z_]+\.csv")
_SHEETS = 40


def probe(
    source: Run | str | Path,
    *,
    layer: str | None = None,
    estimators: Sequence[str] = (),
    top_k: Sequence[int | str] = (),
    seeds: int = 3,
    compare_stages: bool = True,
    read: ReadConfig | None = None,
    split: SplitConfig | None = None,
    network: NetworkConfig | None = None,
    out: Path | None = None,
) -> Probe:
    """Take a network's features apart: classifiers on them, rankings, sweep, meaning.

    Args:
        source: a finished run or its folder, or DATA as `read_images` takes it.
        layer: a cut, a stage or a module path; by default just before the classifier.
        estimators: names, or import paths; by default random forest and logistic regression.
        top_k: numbers of the best features to try, and ``"all"``; by default log-spaced.
        seeds: how many forests rank the features.
        compare_stages: also say how well each stage tells the classes apart.
        read: of DATA.
        split: of DATA.
        network: for DATA.
        out: folder for tables and figures; by default nothing is written.

    Raises:
        BowerbirdError: anything that a person can mend; see `errors`.
    """
    run = _as_run(source)
    if run is not None and (read or split or network):
        raise ConfigError(
            f"{run.path} is a run: it has its own images, splits and network. Leave --model and "
            "the options about data out, or name DATA."
        )
    machine.load("timm", "bowerbird.probing.examine", "bowerbird.probing.reading")
    from bowerbird.evaluation.looks import look
    from bowerbird.probing.examine import check_asked, probe_table
    from bowerbird.probing.reading import read_stages, read_table

    check_asked(estimators, top_k, seeds)
    found, notes = _of_run(run) if run is not None else _of_data(source, read, split, network)
    if out is not None and run is None:
        from bowerbird.report.of_audit import check_place

        check_place(out, found.dataset.root)
    table = read_table(found, layer)
    stages = read_stages(found) if compare_stages else []
    if run is not None and "test" in table.splits:
        notes.append(look(run, found.split, asked=True).sentence)
    asked = {
        "source": str(source if run is None else run.path), "layer": layer, "seeds": seeds,
        "estimators": list(estimators), "top_k": list(top_k),
    }  # fmt: skip
    probed = probe_table(
        table, estimators=estimators, top_k=top_k, seeds=seeds, stages=stages, notes=notes,
        settings=asked,
    )  # fmt: skip
    if out is not None:
        _write(found, probed, out.expanduser().absolute())
    return probed


def folder_of(source: str | Path) -> Path:
    """Where the command line writes: ``probe`` in a run's folder, else ``probe``."""
    run = _as_run(source)
    return Path("probe") if run is None else run.path / "probe"


def _as_run(source: Run | str | Path) -> Run | None:
    if isinstance(source, Run):
        return source
    folder = Path(source).expanduser()
    try:
        there = (folder / "config.toml").is_file() and (folder / "manifest.csv").is_file()
    except OSError:
        return None
    return load_run(folder) if there else None


def _of_run(run: Run) -> tuple[Source, list[str]]:
    from bowerbird.evaluation.looks import is_locked
    from bowerbird.features.extraction import chosen_device
    from bowerbird.probing.reading import Source

    network = run.network()
    dataset, parts = run.manifest()
    settings, notes = run.recipe.train, []
    there: tuple[str, ...] = SPLITS
    if len(parts.indices("test")) and is_locked(run):
        there = ("train", "val")
        notes.append("The test images are locked and were left alone.")
    if any(row["phase"] != "probe" for row in run.history()):
        notes.append(
            "The network was trained on these training images: its features know them, and what "
            "they are said to respond to is scored on them."
        )
    if settings.refit:
        notes.append("The network has learned from the validation images, too.")
    source = Source(
        network, dataset, parts, there,
        precision=run.environment().get("forward_precision", settings.precision),
        device=chosen_device(settings.device), workers=settings.workers,
    )  # fmt: skip
    return source, notes


def _of_data(
    source: Run | str | Path,
    read: ReadConfig | None,
    split: SplitConfig | None,
    network: NetworkConfig | None,
) -> tuple[Source, list[str]]:
    from bowerbird.models.networks import from_config
    from bowerbird.probing.reading import Source

    chosen, notes = split or SplitConfig(), []
    there: tuple[str, ...] = SPLITS
    recipe = Recipe(
        data=str(source), read=read or ReadConfig(), split=chosen,
        network=network or NetworkConfig(),
    )  # fmt: skip
    dataset, parts, resolved = read_and_split(recipe)
    if chosen.lock_test and len(parts.indices("test")):
        there = ("train", "val")
        notes.append("The test images are locked and were left alone.")
    made = from_config(resolved.network, None, 0)
    return Source(made, dataset, parts, there), notes


def _write(source: Source, probed: Probe, folder: Path) -> None:
    machine.load("bowerbird.plots.probing", "bowerbird.plots.top_images")
    from bowerbird.plots import save
    from bowerbird.probing.tables import csv_tables

    storage.make_folder(folder)
    earlier, files = _listed(folder), []
    for name, text in csv_tables(probed).items():
        storage.write_text(folder / name, text)
        files.append(name)
    drawn = list(_figures(source, probed))
    with progress.task("Drawing", len(drawn)) as task:
        for name, draw in drawn:
            save(draw(), folder / name, dpi=130)
            files.append(name)
            task.advance()
    storage.write_json(folder / _LIST, probed.to_dict() | {"files": files})
    for name in set(earlier) - set(files):
        with contextlib.suppress(OSError):  # it is in nobody's way
            (folder / name).unlink(missing_ok=True)


def _figures(source: Source, probed: Probe) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Names of files, and what draws them."""
    from bowerbird.plots import confusion_matrix
    from bowerbird.plots import probing as plots
    from bowerbird.plots.top_images import top_sheet

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
    targets = sorted({top.target for top in probed.tops})
    if len(targets) > _SHEETS:
        progress.say(
            f"Sheets are drawn for the first {_SHEETS} of {len(targets)} classes; "
            "top_images.csv has them all."
        )
    heat, where = _heat(source, probed, targets[:_SHEETS])
    for target in targets[:_SHEETS]:
        name = f"top-{target:03d}-{_plain(probed.table.classes[target])}.png"
        yield name, partial(top_sheet, probed, target, _loader(source, probed), heat, where)


def _heat(
    source: Source, probed: Probe, targets: Sequence[int]
) -> tuple[dict[tuple[int, int], NDArray[np.float32]], str]:
    """Feature maps by row and column, and the layer they are from."""
    from bowerbird.probing.reading import read_heat

    shown = [top for top in probed.tops if top.target in targets]
    pairs = [(row, top.column) for top in shown for row in top.rows]
    if not pairs:
        return {}, ""
    rows, columns = zip(*pairs, strict=True)
    found = read_heat(source, probed.table, rows, columns)
    if found is None:
        return {}, ""
    return dict(zip(pairs, found.maps, strict=True)), found.cut


def _loader(source: Source, probed: Probe) -> Callable[[int], NDArray[np.uint8] | None]:
    """Gives what the network sees of a row's image."""
    import numpy as np

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
