"""From a recipe to a reported run; each step is a public verb of a lower room.

`train` goes all the way; `finish` is its second half, which `resume` needs, too. Nothing is
decided here but the order.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bowerbird import machine, progress, storage
from bowerbird.config import Recipe, TrainConfig
from bowerbird.data.dataset import Dataset
from bowerbird.data.splitting.splits import Split
from bowerbird.errors import ConfigError, Interrupted, RunError
from bowerbird.evaluation.results import Evaluation
from bowerbird.runs import BEGINNING, Run, check_free, load_run

if TYPE_CHECKING:
    from bowerbird.evaluation.predict import Predictor
    from bowerbird.training.rates import RateCurve

from bowerbird.workflow.diagnosing import diagnose
from bowerbird.workflow.reading import read_and_split

__all__ = ["begun", "clear_beginning", "find_rate", "finish", "idle_settings", "resume", "train"]


def train(recipe: Recipe, out: Path | None = None) -> tuple[Run, dict[str, Evaluation]]:
    """Read, split, train, evaluate and report.

    Args:
        recipe: every setting; `recipe.data` names the images.
        out: folder of the run; by default a new one in ``runs/``.

    Returns:
        The run, and its evaluations on validation and test.

    Raises:
        ConfigError: the recipe names no data.
        BowerbirdError: anything that a person can mend; see `errors`.
    """
    began = time.monotonic()
    if machine.is_first_process():  # the others may come when it has made the folder
        check_free(out)
    _tell_unused(recipe.train)
    _leaves_a_score(recipe)
    dataset, parts, resolved = read_and_split(recipe)
    reading = time.monotonic() - began
    machine.load(*_NEEDED)
    from bowerbird.training import fit, processes

    run = fit(None, dataset, parts, out=out, recipe=resolved)

    def conclude() -> dict[str, Evaluation]:
        run.note_environment({"seconds_reading": round(reading, 1)})
        return finish(run)

    return run, processes.from_main(conclude)


def resume(run: Run) -> tuple[Run, dict[str, Evaluation]]:
    """Go on with an interrupted run to its report."""
    machine.load(*_NEEDED)
    from bowerbird.training import processes
    from bowerbird.training import resume as go_on

    with run.resumable():
        run = go_on(run)
    return run, processes.from_main(lambda: finish(run))


def finish(run: Run) -> dict[str, Evaluation]:
    """Evaluate a trained run on validation and test, and write figures and report.

    Raises:
        Interrupted: stopped on request; the message says how to go on.
        RunError: the disk is full; the message says how to go on.
    """
    from bowerbird.training.interrupts import listening

    try:
        with listening(), run.resumable():
            run.tidy()
            return _finish(load_run(run.path))  # training has written into its settings
    except KeyboardInterrupt as error:
        raise Interrupted(
            "Stopped; the trained model is saved. For its scores and its report: "
            f"bowerbird resume {run.path}"
        ) from error


def begun(folder: Path) -> bool:
    """Whether a run's folder was made to its end; see `training.fit`."""
    try:
        return "network_given" in load_run(folder).environment()
    except RunError:
        return False


def clear_beginning(folder: Path) -> None:
    """Remove what is left of a run that was stopped while its folder was being made.

    Raises:
        RunError: the folder holds anything else: a damaged run (the message says how), or files
            that aren't ours.
    """
    if not folder.exists():
        return
    if (folder / "history.csv").exists():  # it was trained, and is damaged: say how
        load_run(folder).environment()
    if any(not _is_beginning(path.name) for path in folder.iterdir()):
        check_free(folder)  # refuses it
    shutil.rmtree(folder)


def _is_beginning(name: str) -> bool:
    return name in BEGINNING or name.startswith(".part-")


def find_rate(recipe: Recipe, figure: Path) -> RateCurve:
    """Look for a good learning rate on the training images, and draw what was seen.

    Args:
        recipe: every setting; `recipe.data` names the images.
        figure: file of the drawing; an older one is replaced.

    Raises:
        ConfigError: the recipe names no data.
        BowerbirdError: anything that a person can mend; see `errors`.
    """
    dataset, parts, resolved = read_and_split(recipe)
    machine.load(*_NEEDED)
    from bowerbird import plots
    from bowerbird.models.networks import from_config
    from bowerbird.plots.rates import rate_curve
    from bowerbird.training.rates import find_rate as look

    network = from_config(resolved.network, len(dataset.classes), resolved.train.seed)
    found = look(network, dataset, parts, resolved.train)
    storage.make_folder(figure.absolute().parent)
    plots.save(rate_curve(found), figure)
    return found


def _finish(run: Run) -> dict[str, Evaluation]:
    from bowerbird.evaluation.looks import looks_at, scored_splits
    from bowerbird.evaluation.predict import Predictor, evaluation_of
    from bowerbird.report.of_run import write_report

    dataset, parts = run.manifest()
    on = scored_splits(run, parts)
    began = time.monotonic()
    predicted = all((run.path / f"predictions_{name}.csv").is_file() for name in on)
    predictor = None if predicted else Predictor(run)
    _note_doubts(run, dataset, parts if "test" in on else _without_test(parts), predictor)
    evaluations = {name: evaluation_of(run, name, predictor) for name in on}
    if not predicted:
        run.note_environment({"seconds_evaluation": round(time.monotonic() - began, 1)})
    diagnose(run, evaluations)
    write_report(run, evaluations=evaluations, network=predictor.network if predictor else None)
    if looks := looks_at(run, parts):
        progress.say(looks.sentence.replace("RUN", str(run.path)))
    return evaluations


def _without_test(parts: Split) -> Split:
    """The split as it is seen while its test images are locked."""
    seen = tuple(None if part == "test" else part for part in parts.assignment)
    return dataclasses.replace(parts, assignment=seen)


def _note_doubts(run: Run, dataset: Dataset, parts: Split, predictor: Predictor | None) -> None:
    """Find suspect labels with the probe's features, once; without a probe there are none."""
    file = run.path / "doubts.json"
    if file.is_file() or not any(row["phase"] == "probe" for row in run.history()):
        return
    from bowerbird.auditing.doubts import doubts
    from bowerbird.features.extraction import Extractor, chosen_device

    settings, facts = run.recipe.train, run.environment()
    if predictor is not None and facts.get("chosen") == "probe":
        extractor = predictor.extractor  # all but the classifier is as it was
    else:
        extractor = Extractor(
            run.initial_network(),
            precision=facts.get("forward_precision", "auto"),
            device=chosen_device(settings.device),
        )
    found = doubts(extractor, dataset, parts, workers=settings.workers)
    storage.write_json(file, found.to_dict())
    if found.suspects:
        progress.say(
            f"Suspect labels: {len(found.suspects)}, e.g. {next(iter(found.suspects))}. "
            f"To look at them: bowerbird audit {run.recipe.data}"
        )


def _leaves_a_score(recipe: Recipe) -> None:
    if recipe.split.lock_test and recipe.train.refit:
        raise ConfigError(
            "--lock-test and --refit leave no score to report: a refit learns from the validation "
            "images, and the test images stay locked. Leave one of them out."
        )


def idle_settings(settings: TrainConfig) -> set[str]:
    """Names of the settings that have no effect beside the others."""
    idle: set[str] = set()
    if settings.method == "probe":
        idle |= _OF_FINETUNING
    if settings.method != "gradual":
        idle.add("unfreeze_factor")
    if settings.optimizer.lower() in ("adam", "adamw"):
        idle.add("momentum")
    if settings.schedule not in ("step", "plateau"):
        idle |= {"decay_epochs", "decay_rate"}
    return idle


def _tell_unused(settings: TrainConfig) -> None:
    """Say which settings have no effect, rather than ignore them in silence."""
    changed, idle = settings.model_dump(exclude_defaults=True), idle_settings(settings)
    unused = [name.replace("_", "-") for name in changed if name in idle]
    if unused:
        words = f"--method {settings.method}" if settings.method == "probe" else "these settings"
        progress.say(f"Without effect with {words}: --{', --'.join(unused)}.")


_NEEDED = (
    "bowerbird.training", "timm", "scipy.optimize", "bowerbird.report.of_run", "jinja2",
    "matplotlib.figure", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg",
)  # fmt: skip

_OF_FINETUNING = frozenset(
    (
        "budget", "epochs", "freeze_until", "freeze", "batch_norm", "head_start", "batch_size",
        "accumulate", "optimizer", "learning_rate", "layer_decay", "weight_decay", "schedule",
        "warmup", "clip_norm", "ema", "soup", "label_smoothing", "mixup", "cutmix", "augment",
        "patience",
    )
)  # fmt: skip
