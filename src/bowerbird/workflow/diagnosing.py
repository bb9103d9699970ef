"""The journey to a diagnosis: collect a run's figures, judge them, write ``diagnosis.json``.

It reads what the run has saved and nothing else: no image, no network. A training that was
interrupted is diagnosed as far as it got; nothing is written then.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bowerbird import storage
from bowerbird.config import NetworkConfig, Settings, SplitConfig, TrainConfig
from bowerbird.errors import RunError
from bowerbird.evaluation.results import Evaluation
from bowerbird.runs import Run

if TYPE_CHECKING:
    from bowerbird.comparison.diagnosis import Diagnosis
    from bowerbird.comparison.figures import Figures, Row, Score
    from bowerbird.models.siblings import Siblings
    from bowerbird.training.phases import PhasePlan

__all__ = ["collect", "diagnose"]


def diagnose(run: Run, evaluations: Mapping[str, Evaluation] | None = None) -> Diagnosis:
    """Say what holds a run back: underfitting, overfitting, too few images, noisy labels, or none.

    Args:
        run: finished, or as far as it got.
        evaluations: by split; by default those that the run has saved predictions for.

    Returns:
        What was found, what costs most first; of a finished run also written to
        ``diagnosis.json``.

    Raises:
        RunError: the run is damaged.
    """
    from bowerbird.comparison.diagnosis import diagnose as judge

    found = judge(collect(run, evaluations), lambda: _siblings(run))
    if run.finished:
        storage.write_json(run.path / "diagnosis.json", found.to_dict())
    return found


def collect(run: Run, evaluations: Mapping[str, Evaluation] | None = None) -> Figures:
    """The figures that a diagnosis rests on, from what a run has saved.

    Raises:
        RunError: the run is damaged.
    """
    from bowerbird.auditing.doubts import read_doubts
    from bowerbird.comparison.figures import Figures

    dataset, parts = run.manifest()
    facts, history, settings = run.environment(), run.history(), run.recipe.train
    plan = _plan(run)
    held, sure, learned = _scores(run, evaluations)
    doubts = read_doubts(run)
    network = facts.get("network", {})
    data, parts_asked = run.recipe.data or str(dataset.root), run.recipe.split
    return Figures(
        history=history,
        chosen=str(facts.get("chosen", "")) if run.finished else "",
        counts=dict(parts.counts(dataset)["train"]),
        validation=len(parts.indices("val")),
        tested=len(parts.indices("test")),
        held=held,
        learned=learned,
        sure=sure,
        doubts=doubts,
        why_no_doubts="" if doubts else _why(run, history),
        changes=_changes(settings, run.recipe.network.head_dropout, history, plan),
        mixed=settings.mixup > 0 or settings.cutmix > 0,
        planned=sum(phase.stop_after or phase.epochs for phase in plan),
        last_phase=plan[-1].epochs if plan else 0,
        budget=settings.budget or "",
        model=run.recipe.network.model,
        parameters=int(network.get("parameters", 0)),
        pretrained=_pretrained(run, network),
        method=settings.method,
        frozen=settings.freeze is not None
        or (settings.method == "plain" and settings.freeze_until is not None),
        alike=bool(facts.get("features_alike")),
        surgery=bool(run.recipe.network.surgery),
        bound=_bound(run),
        augment=settings.augment,
        views=settings.views,
        fold=run.recipe.split.fold is not None,
        refit=settings.refit,
        config=str(run.path / "config.toml"),
        data=_as_argument(data, run.recipe.read),
        same=_as_argument(data, run.recipe.read, parts_asked),
        folded=_as_argument(data, run.recipe.read, _in_folds(parts_asked)) + _trained_so(run),
        run=shlex.quote(str(run.path)),
    )


def _trained_so(run: Run) -> str:
    """Options for the same network and method, where they aren't the usual ones."""
    model, method = run.recipe.network.model, run.recipe.train.method
    words = [f"--model={model}"] if model != NetworkConfig().model else []
    words += [f"--method={method}"] if method in ("probe", "finetune", "plain") else []
    return "".join(f" {shlex.quote(word)}" for word in words)


def _bound(run: Run) -> bool:
    network, settings = run.recipe.network, run.recipe.train
    named = (network.surgery, network.model_arg, settings.freeze, settings.unfreeze)
    return any(named) or settings.freeze_until is not None or network.weights != "auto"


def _siblings(run: Run) -> Siblings:
    from bowerbird.models.siblings import siblings

    return siblings(run.recipe.network.model)


def _scores(
    run: Run, evaluations: Mapping[str, Evaluation] | None
) -> tuple[Score | None, Score | None, Score | None]:
    """On validation, on validation without suspect labels, on training: without leaked images.

    A refit has learned from validation, so what its network scores there and on its training
    images says nothing of the training that is diagnosed.
    """
    if run.recipe.train.refit or not run.finished:
        return None, None, None
    known = dict(evaluations or {})
    for name in ("val", "train"):
        if name not in known and (run.path / f"predictions_{name}.csv").is_file():
            from bowerbird.evaluation.predict import evaluation_of

            known[name] = evaluation_of(run, name)
    held, learned = known.get("val"), known.get("train")
    sure = held.without_doubts if held else None
    return _score(held and (held.without_leaks or held)), _score(sure), _score(learned)


def _score(evaluation: Evaluation | None) -> Score | None:
    from bowerbird.comparison.figures import Score

    return Score(evaluation.accuracy, evaluation.n) if evaluation else None


def _plan(run: Run) -> list[PhasePlan]:
    """The phases that were planned; none where there was nothing to plan, or it is gone."""
    from bowerbird.training.phases import read_plan

    try:
        return read_plan(run.state / "plan.json")
    except RunError:
        return []


def _why(run: Run, history: Sequence[Row]) -> str:
    """Why the frozen features say nothing."""
    audit = f"bowerbird audit {_as_argument(run.recipe.data or 'DATA', run.recipe.read)}"
    if any(row["phase"] == "probe" for row in history) and run.finished:
        return f"This run has not noted what its features say of the images. To ask them: {audit}"
    if any(row["phase"] == "probe" for row in history):
        return "Labels, and what more images would bring, are judged when training has ended."
    return (
        "Without a probe there are no frozen features to judge labels by, or what more images "
        f"would bring. Both are told by: {audit}"
    )


def _changes(
    settings: TrainConfig, dropout: float, history: Sequence[Row], plan: Sequence[PhasePlan]
) -> tuple[str, ...]:
    """How training images, and the layers that see them, were changed at random in the end."""
    epochs = [row for row in history if row["phase"] != "probe"]
    if not epochs:
        return ()
    last = str(epochs[-1].get("step_name"))
    steps = {step.name: step.source for phase in plan for step in phase.steps}
    found = []
    if settings.augment != "none" and steps.get(last, "images") == "images":
        level = settings.augment
        plain = level in ("light", "medium", "strong")
        found.append(f"{level} changes" if plain else f"changes ({level})")
    if settings.mixup or settings.cutmix:
        found.append("mixing")
    if dropout:
        found.append("dropout")
    if settings.balance == "sampler":
        found.append("drawing rare classes more often")
    return tuple(found)


def _pretrained(run: Run, network: Mapping[str, Any]) -> bool:
    kind = network.get("weights", {}).get("kind")
    return kind != "none" if kind else run.recipe.network.source != "none"


def _in_folds(asked: SplitConfig) -> SplitConfig:
    """The same images held out for testing; each of the others validation once."""
    return asked.model_copy(
        update={"val": None, "fold": None, "folds": asked.folds or 5, "lock_test": False}
    )


def _as_argument(data: str, *settings: Settings) -> str:
    """The images as a command takes them, with the options that differ from the defaults."""
    given: dict[str, Any] = {}
    for group in settings:
        given |= group.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    words = [
        f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
        for name, value in given.items()
    ]
    return shlex.join([data, *words])
