"""The journey of `bowerbird probe`: a run or DATA to a probe. Its folder is in `probe_folder`.

Decisions:
- A run is probed with its own network on its own splits; DATA with the network's weights as
  they come, read and split as for a training.
- Whoever sees a score on test has looked at the test images: a run's looks are counted, and
  locked test images are left alone.
- A run's report tells of the probe in its folder, so it is written again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bowerbird import machine, progress
from bowerbird.config import NetworkConfig, ReadConfig, Recipe, SplitConfig
from bowerbird.data.dataset import SPLITS
from bowerbird.errors import ConfigError
from bowerbird.runs import Run, load_run
from bowerbird.workflow.reading import read_and_split

if TYPE_CHECKING:
    from bowerbird.probing.reading import Source
    from bowerbird.probing.results import Probe

__all__ = ["folder_of", "probe"]


def probe(
    source: Run | str | Path,
    *,
    layer: str | None = None,
    estimators: Sequence[str] = (),
    top_k: Sequence[int | str] = (),
    seeds: int = 3,
    compare_stages: bool = True,
    rank_images: str = "activation",
    map: str = "pca",
    keep: Sequence[str] = (),
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
        rank_images: order of a feature's top images: by ``"activation"``, or by ``"gradient"``,
            activation × gradient towards the class.
        map: how images are put on a plane: ``"pca"``, ``"tsne"``, or ``"umap"`` (an extra).
        keep: estimators that are written into the run, to name images with: see
            `predict(run, dataset, estimator=...)`. They are scored, too.
        read: of DATA.
        split: of DATA.
        network: for DATA.
        out: folder for page, tables and figures; by default nothing is written.

    Raises:
        BowerbirdError: anything that a person can mend; see `errors`.
    """
    run = _as_run(source)
    _refuse(source, run, bool(read or split or network), keep)
    machine.load("timm", "bowerbird.probing.examine", "bowerbird.probing.reading")
    from bowerbird.evaluation.looks import look
    from bowerbird.probing.contributions import contributions
    from bowerbird.probing.examine import check_asked, probe_table
    from bowerbird.probing.keeping import check_kept
    from bowerbird.probing.keeping import keep as keep_estimator
    from bowerbird.probing.reading import read_stages, read_table

    check_asked(estimators, top_k, seeds, rank_images, map)
    check_kept(keep)
    found, notes = _of_run(run) if run is not None else _of_data(source, read, split, network)
    if out is not None and run is None:
        from bowerbird.report.of_audit import check_place

        check_place(out, found.dataset.root)
    table = read_table(found, layer)
    stages = read_stages(found) if compare_stages else ()
    if run is not None and "test" in table.splits:
        notes.append(look(run, found.split, asked=True).sentence)
    asked = {
        "source": str(source if run is None else run.path), "layer": layer, "seeds": seeds,
        "estimators": list(estimators), "top_k": list(top_k), "rank_images": rank_images,
        "map": map, "keep": list(keep),
    }  # fmt: skip
    contribute = contributions(found, table) if rank_images == "gradient" else None
    with machine.giving_back_memory():
        probed = probe_table(
            table, estimators=estimators, top_k=top_k, seeds=seeds, stages=stages, notes=notes,
            contribute=contribute, map=map, settings=asked, keep=keep,
        )  # fmt: skip
    try:
        if run is not None:
            for name in probed.fitted:
                keep_estimator(run, probed, name, found.network.preprocess)
    finally:  # what was found is written, also if an estimator can't be kept
        if out is not None:
            probed = _written(run, found, probed, out.expanduser().absolute())
    return probed


def folder_of(source: str | Path) -> Path:
    """Where the command line writes: ``probe`` in a run's folder, else ``probe``."""
    run = _as_run(source)
    return Path("probe") if run is None else run.path / "probe"


def _refuse(source: object, run: Run | None, on_data: bool, keep: Sequence[str]) -> None:
    """What is meant for DATA and asked of a run, or the other way round."""
    if run is not None and on_data:
        raise ConfigError(
            f"{run.path} is a run: it has its own images, splits and network. Leave --model and "
            "the options about data out, or name DATA."
        )
    if run is None and keep:
        raise ConfigError(
            f"An estimator is kept in a run, and {source} is none. Train first: bowerbird train "
            f"{source} --method probe"
        )


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
        device=chosen_device(settings.device), workers=settings.workers, classifier=True,
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


def _written(run: Run | None, source: Source, probed: Probe, folder: Path) -> Probe:
    """Write the folder, and the report of the run that it lies in."""
    from bowerbird.workflow.probe_folder import write_probe

    title = probed.table.network if run is None else run.path.name
    probed = write_probe(source, probed, folder, title)
    if run is not None and (folder == run.path.absolute() / "probe" or probed.fitted):
        from bowerbird.report.of_run import write_report

        progress.say("Writing the report")
        write_report(run, network=source.network)
    return probed
