"""The command that takes a network's features apart: `probe`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from bowerbird.cli.app import Flat, Json, SplitOptions, app, print_json
from bowerbird.config import NetworkConfig, ReadConfig

if TYPE_CHECKING:
    from bowerbird.probing.results import Probe

__all__ = ["probe"]


@app.command
def probe(
    source: str,
    *,
    layer: str | None = None,
    estimators: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = (),
    top_k: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = (),
    seeds: int = 3,
    stages: bool = True,
    rank_images: Literal["activation", "gradient"] = "activation",
    map: Literal["pca", "tsne", "umap"] = "pca",
    keep: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = (),
    out: Path | None = None,
    read: Annotated[ReadConfig | None, Flat] = None,
    split: Annotated[SplitOptions | None, Flat] = None,
    network: Annotated[NetworkConfig | None, Flat] = None,
    as_json: Json = False,
) -> None:
    """Take a network's features apart: classifiers on them, ranking, sweep, what they respond to.

    Parameters
    ----------
    source
        A run's folder: its network, images and splits. Or DATA, as train takes it.
    layer
        Where the features are from: a stage, a module or a cut, averaged over the picture; by
        default just before the classifier.
    estimators
        random_forest, logistic_regression, ridge, linear_svm, k_nearest_neighbours,
        gradient_boosting, or any of scikit-learn's make as package.module:Class; by default the
        first two.
    top_k
        Numbers of the best features to try, and all; by default 10, 32, 100 … and all.
    seeds
        How many random forests rank the features.
    stages
        Compare the network's stages, too.
    rank_images
        What orders a feature's top images: activation, or gradient: activation × gradient
        towards the class.
    map
        How all images are put on a plane: pca, tsne, or umap (an extra: bowerbird[umap]).
    keep
        Estimators to keep in the run, so that predict and evaluate can use them with
        --estimator; they are scored, too.
    out
        Folder of the result; by default probe in the run's folder, else probe.
    as_json
        Print the result as JSON.
    """
    from bowerbird.workflow.probing import folder_of
    from bowerbird.workflow.probing import probe as go

    folder = out or folder_of(source)
    found = go(
        source, layer=layer, estimators=estimators, top_k=top_k, seeds=seeds,
        compare_stages=stages, rank_images=rank_images, map=map, keep=keep,
        read=read, split=split, network=network, out=folder,
    )  # fmt: skip
    if as_json:
        print_json(found.to_dict())
        return
    print(_told(found))
    print(f"\nPage:                {folder / 'probe.html'}")
    print(f"Tables and figures:  {folder}")
    for name in found.fitted:
        print(f"Kept, to be used:    bowerbird predict {source} IMAGES --estimator {name}")
    print(_next(source))


def _next(source: str) -> str:
    if (Path(source) / "manifest.csv").is_file():
        return f"Where it looks:      bowerbird explain {source}"
    return f"Train on it:         bowerbird train {source}"


def _told(found: Probe) -> str:
    from bowerbird.report.content import duration

    table, on = found.table, found.scored_on
    lines = [f"{table.width:,} features of {table.network} at {table.layer}", ""]
    wide = max(24, *(len(score.name) + 2 for score in found.scores))
    lines.append(f"{'estimator':<{wide}}{on:>8}   95 % interval     fitted in  enough features")
    for score in found.scores:
        shown, ends = score.evaluations[on], score.evaluations[on].interval
        enough = found.sweep.enough(score.name)
        words = f"{enough:,} of {found.sweep.width:,}" if enough else "not known"
        lines.append(
            f"{score.name:<{wide}}{shown.accuracy:8.1%}   {ends.low:6.1%} to {ends.high:6.1%}"
            f"{duration(score.fit_seconds):>12}  {words}"
        )
    for index, name in enumerate(table.classes[:10]):
        tops = [top for top in found.tops if top.target == index][:3]
        lines += ["", f"{name}:"] if tops else []
        for top in tops:
            number = table.numbers[top.column]
            lines.append(f"  feature {number:<5} {found.interpretability.sentence(top.column)}")
    good = found.interpretability.interpretable
    lines += ["", f"Interpretable: {int(good.sum()):,} of {len(good):,} features"]
    return "\n".join(lines + [f"Note: {words}" for words in found.notes])
