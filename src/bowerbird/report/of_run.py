"""A run's folder, told: figures, report, model card and `metrics.json`.

Reads only what the run has saved, so it can be written again at any time, and the
images themselves for the pictures; one that has gone is a grey tile. The network is run on a few
of them to show where it looks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bowerbird import storage
from bowerbird.comparison.diagnosis import read_diagnosis
from bowerbird.config import NetworkConfig
from bowerbird.data.dataset import Dataset, Problem
from bowerbird.data.images import decode
from bowerbird.data.splitting.splits import Split
from bowerbird.errors import ImageError
from bowerbird.evaluation.kept import kept_estimators
from bowerbird.evaluation.looks import looks_at, scored_splits
from bowerbird.evaluation.results import Evaluation
from bowerbird.report.card import write_model_card
from bowerbird.report.content import ModelFacts, ReportData, headline
from bowerbird.report.figures import draw_charts, draw_sheets, save_all
from bowerbird.report.method import kept_rows, training_words
from bowerbird.report.page import write_report as write_page
from bowerbird.report.probe_section import probe_section
from bowerbird.report.where_it_looks import where_it_looks
from bowerbird.runs import Run

if TYPE_CHECKING:
    from PIL.Image import Image

    from bowerbird.models.networks import Network

__all__ = ["collect", "write_report"]

_PICTURE, _EXAMPLES = 160, 8


def write_report(
    run: Run,
    path: str | Path | None = None,
    *,
    evaluations: Mapping[str, Evaluation] | None = None,
    network: Network | None = None,
) -> Path:
    """Write a run's figures, ``report.html``, ``README.md`` and ``metrics.json``.

    Args:
        run: finished.
        path: of the page; by default ``report.html`` in the run's folder.
        evaluations: by split; by default those of validation and test.
        network: of this run, if it is loaded already.

    Raises:
        RunError: the run isn't finished, or the folder can't be written.
    """
    known = evaluations if evaluations is not None else _evaluated(run)
    data = collect(run, known)
    root = run.manifest()[0].root
    data = replace(data, where_it_looks=where_it_looks(run, root, headline(data), network))
    scores = {name: evaluation.to_dict() for name, evaluation in known.items()}
    storage.write_json(run.path / "metrics.json", scores)
    folder = storage.make_folder(run.path / "figures")
    charts = draw_charts(data)
    save_all(charts, folder, dpi=150)
    save_all(draw_sheets(data), folder, dpi=90)
    write_model_card(data, run.path / "README.md")
    page = Path(path) if path is not None else run.path / "report.html"
    return write_page(data, page, charts)


def collect(run: Run, evaluations: Mapping[str, Evaluation]) -> ReportData:
    """Everything the report says, from what the run has saved."""
    dataset, parts = run.manifest()
    environment = run.environment()
    history = kept_rows(run.history(), environment)
    return ReportData(
        name=run.path.name,
        created=str(environment.get("created", "")),
        command=_command(run, environment),
        classes=run.classes,
        counts=parts.counts(dataset),
        evaluations=evaluations,
        model=_model(run, environment),
        history=history,
        config=run.recipe.model_dump(mode="json", exclude_none=True),
        environment={k: v for k, v in environment.items() if k in _SHOWN},
        problems=[*dataset.problems, *(Problem(p.path, p.reason) for p in parts.problems)],
        ignored=dataset.ignored,
        notes=(*parts.notes, *_on_looks(run, parts)),
        training=training_words(run.recipe, environment, history),
        examples=_examples(dataset, parts),
        timings=_timings(environment),
        leaked=len(parts.leaked),
        usage=_usage(run),
        probing=probe_section(run.path),
        diagnosis=read_diagnosis(run),
        load=_loader(dataset),
    )


def _examples(dataset: Dataset, parts: Split) -> dict[str, list[str]]:
    """A few training pictures of each class, from all over it: often files lie in some order."""
    found: dict[str, list[str]] = {name: [] for name in dataset.classes}
    for index in parts.indices("train"):
        sample = dataset.samples[int(index)]
        if sample.target is not None:
            found[dataset.classes[sample.target]].append(sample.path)
    return {name: _spread(paths, _EXAMPLES) for name, paths in found.items()}


def _spread(paths: list[str], most: int) -> list[str]:
    """At most so many, at equal distances.

    >>> _spread(list("abcdefgh"), 3), _spread(["a"], 3)
    (['a', 'c', 'f'], ['a'])
    """
    number = min(most, len(paths))
    return [paths[place * len(paths) // number] for place in range(number)]


_SHOWN = ("python", "platform", "versions", "forward_precision", "chosen")


def _evaluated(run: Run) -> dict[str, Evaluation]:
    from bowerbird.evaluation.predict import evaluation_of

    _, parts = run.manifest()
    return {name: evaluation_of(run, name) for name in scored_splits(run, parts)}


def _on_looks(run: Run, parts: Split) -> list[str]:
    looks = looks_at(run, parts)
    return [looks.sentence.replace("RUN", str(run.path))] if looks else []


def _command(run: Run, environment: Mapping[str, Any]) -> str:
    if environment.get("command"):
        return f"bowerbird train --config {run.path / 'config.toml'}"
    return (
        f"# trained from Python: the settings are in {run.path / 'config.toml'}, "
        "the images and splits in manifest.csv beside it"
    )


def _timings(environment: Mapping[str, Any]) -> dict[str, float]:
    steps = ("reading", "training", "evaluation")
    known = {step: environment.get(f"seconds_{step}") for step in steps}
    found = {step: float(seconds) for step, seconds in known.items() if seconds is not None}
    return found | {"total": sum(found.values())} if found else {}


def _model(run: Run, environment: Mapping[str, Any]) -> ModelFacts:
    network = environment.get("network", {})
    weights, preprocess = network.get("weights", {}), network.get("preprocess", {})
    parameters = int(network.get("parameters", 0))
    kind, origin = weights.get("kind", "unknown"), weights.get("origin", "unknown")
    return ModelFacts(
        name=run.recipe.network.model,
        parameters=parameters,
        trainable=int(environment.get("parameters_learned", parameters)),
        input_size=tuple(preprocess.get("input_size", (0, 0))),
        weights="" if kind == "none" else f"{kind}: {origin}",
        licence=weights.get("licence") or "unknown",
        in_timm=_loads_in_timm(run.recipe.network),
    )


def _loads_in_timm(network: NetworkConfig) -> bool:
    """Whether the network's name alone makes it: nothing was rebuilt."""
    rebuilt = network.surgery or network.head != "linear" or network.head_dropout
    return not rebuilt and not network.model.startswith("torchvision:")


def _usage(run: Run) -> dict[str, str]:
    folder = run.path
    python = (
        "import bowerbird as bb\n\n"
        f"run = bb.load_run({str(folder)!r})\n"
        'found, unreadable = bb.predict(run, bb.read_images("IMAGES", labelled=False))'
    )
    usage = {"Command line": f"bowerbird predict {folder} IMAGES", "Python": python}
    for kept in kept_estimators(run):
        usage[f"With the kept estimator {kept.name}"] = (
            f"# {kept.sentence}\nbowerbird predict {folder} IMAGES --estimator {kept.name}"
        )
    if _loads_in_timm(run.recipe.network):
        usage["Plain timm"] = (
            "import timm\n\n"
            f"model = timm.create_model({f'local-dir:{folder}/model'!r}, pretrained=True).eval()\n"
            "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))"
        )
    return usage


def _loader(dataset: Dataset) -> Callable[[str], Image | None]:
    def load(path: str) -> Image | None:
        try:
            return decode(dataset.root / path, min_size=_PICTURE)
        except ImageError:  # shown as a grey tile with the file's name
            return None

    return load
