"""Whole journeys, one call each: what the command line runs, and what a script would.

`train` goes from a folder to a reported run; `finish` is its second half, which
`resume` needs, too. Each step is a public verb of a lower room; nothing is decided
here but the order.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bowerbird import machine, progress, storage
from bowerbird.config import NetworkConfig, Recipe, TrainConfig
from bowerbird.data.dataset import Dataset
from bowerbird.data.remote.fetch import fetch, is_link
from bowerbird.data.sources import read_images
from bowerbird.data.splitting.groups import read_grouped
from bowerbird.data.splitting.splits import Split, hold_out
from bowerbird.errors import ConfigError, DataError, Interrupted
from bowerbird.evaluation.results import Evaluation
from bowerbird.runs import Run, check_free, load_run, new_folder

if TYPE_CHECKING:
    from bowerbird.training.rates import RateCurve

__all__ = [
    "demo",
    "find_rate",
    "finish",
    "predict",
    "read_and_split",
    "read_and_split_all",
    "resume",
    "train",
]

_CHUNK = 4096


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
    _load_all()
    from bowerbird.training import fit, processes

    run = fit(None, dataset, parts, out=out, recipe=resolved)

    def conclude() -> dict[str, Evaluation]:
        run.note_environment({"seconds_reading": round(reading, 1)})
        return finish(run)

    return run, processes.from_main(conclude)


def resume(run: Run) -> tuple[Run, dict[str, Evaluation]]:
    """Go on with an interrupted run to its report."""
    _load_all()
    from bowerbird.training import processes
    from bowerbird.training import resume as go_on

    with run.resumable():
        run = go_on(run)
    return run, processes.from_main(lambda: finish(run))


def read_and_split(recipe: Recipe) -> tuple[Dataset, Split, Recipe]:
    """The images, who is trained and tested on, and the recipe with its data resolved.

    Raises:
        ConfigError: the recipe names no data, or folds and not which.
        DataError: the data can't be used.
    """
    k = recipe.split.folds
    if k is not None and recipe.split.fold is None:
        raise ConfigError(f"Which of the {k} folds is validation? Choose with --fold 1 to {k}.")
    dataset, (parts,), resolved = read_and_split_all(recipe)
    _tell_problems(dataset, parts)
    return dataset, parts, resolved


def read_and_split_all(recipe: Recipe) -> tuple[Dataset, tuple[Split, ...], Recipe]:
    """The same, with every fold where the recipe says how many and not which.

    Raises:
        ConfigError: the recipe names no data.
        DataError: the data can't be used.
    """
    if recipe.data is None:
        raise ConfigError("No data is named. Use: bowerbird train DATA, or data = ... in the file.")
    data = recipe.data if is_link(recipe.data) else Path(recipe.data).expanduser().absolute()
    dataset = read_grouped(data, recipe.read, recipe.split.group_by)
    progress.say(f"{dataset} in {recipe.data}{_passed_over(dataset)}")
    found = hold_out(dataset, recipe.split)
    if len(found[0].indices("train")) == 0:
        raise DataError(f"No readable training images are left in {recipe.data}.")
    for parts in found:
        progress.say(repr(parts))
    for note in found[0].notes:
        progress.say(f"  {note}")
    return dataset, found, _resolved(recipe, data)


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


def predict(
    run: str | Path,
    names: Sequence[str | Path],
    output: Path | None = None,
    *,
    as_json: bool = False,
) -> None:
    """Write class probabilities of files and folders to a file, or to standard output.

    Images that can't be read are rows with an error and no class, folders without images
    are told; the rest goes on. A row is written as soon as its image is done.

    Args:
        run: a finished run's folder.
        names: files and folders.
        output: a file, or None for standard output.
        as_json: JSON instead of CSV.

    Raises:
        DataError: nothing was named, or no image is there.
    """
    opened = load_run(run)
    machine.load("timm", "bowerbird.evaluation.predict")
    from bowerbird.evaluation.predict import Predictor
    from bowerbird.evaluation.predict import predict as predict_images
    from bowerbird.evaluation.rows import rows_of, writing

    predictor = Predictor(opened)
    named = [fetch(name).expanduser() for name in names if str(name)]
    if not named:
        raise DataError("No images are named. Use: bowerbird predict RUN IMAGES")
    parts = _unlabelled(named)
    total = sum(len(part) for part in parts)
    with (
        writing(output, opened.classes, as_json=as_json) as write,
        progress.task("Predicting", total) as task,
    ):
        for part in _chunks(parts):
            found, problems = predict_images(opened, part, predictor=predictor)
            for row in rows_of(found, problems, part.root):
                write(row)
            task.advance(len(part))


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
    _load_all()
    from bowerbird import plots
    from bowerbird.models.networks import from_config
    from bowerbird.plots.rates import rate_curve
    from bowerbird.training.rates import find_rate as look

    network = from_config(resolved.network, len(dataset.classes), resolved.train.seed)
    found = look(network, dataset, parts, resolved.train)
    storage.make_folder(figure.absolute().parent)
    plots.save(rate_curve(found), figure)
    return found


def demo(out: Path | None = None) -> tuple[Run, dict[str, Evaluation]]:
    """Write scikit-learn's handwritten digits out as images, and train on them.

    Args:
        out: folder for images and run; by default ``bowerbird-demo`` with the next free number.
    """
    folder = new_folder(out, "demo") if out is not None else _numbered(Path("bowerbird-demo"))
    images = folder / "digits"
    count = _write_digits(images)
    progress.say(f"{count} handwritten digits are in {images}: a folder per class.")
    settings = TrainConfig(method="probe", views=1)
    network = NetworkConfig(image_size=96, offline=True)
    recipe = Recipe(data=str(images), network=network, train=settings)
    return train(recipe, folder / "run")


def _resolved(recipe: Recipe, data: str | Path) -> Recipe:
    """The recipe with absolute paths, so that it means the same in any folder."""
    weights, root = Path(recipe.network.weights).expanduser(), recipe.read.image_root
    network, read = recipe.network, recipe.read
    if weights.is_file():
        network = network.model_copy(update={"weights": str(weights.absolute())})
    if root is not None and root.expanduser().is_dir():
        read = read.model_copy(update={"image_root": root.expanduser().absolute()})
    if read.manifest is not None:
        read = read.model_copy(update={"manifest": read.manifest.expanduser().absolute()})
    return recipe.model_copy(update={"data": str(data), "network": network, "read": read})


def _finish(run: Run) -> dict[str, Evaluation]:
    from bowerbird.evaluation.looks import looks_at, scored_splits
    from bowerbird.evaluation.predict import Predictor, evaluation_of
    from bowerbird.report.of_run import write_report

    dataset, parts = run.manifest()
    on = scored_splits(run, parts)
    _note_doubts(run, dataset, parts)
    began = time.monotonic()
    predicted = all((run.path / f"predictions_{name}.csv").is_file() for name in on)
    predictor = None if predicted else Predictor(run)
    evaluations = {name: evaluation_of(run, name, predictor) for name in on}
    if not predicted:
        run.note_environment({"seconds_evaluation": round(time.monotonic() - began, 1)})
    write_report(run, evaluations=evaluations)
    if looks := looks_at(run, parts):
        progress.say(looks.sentence.replace("RUN", str(run.path)))
    return evaluations


def _note_doubts(run: Run, dataset: Dataset, parts: Split) -> None:
    """Find suspect labels with the probe's features, once; without a probe there are none."""
    file = run.path / "doubts.json"
    if file.is_file() or not any(row["phase"] == "probe" for row in run.history()):
        return
    from bowerbird.audit.doubts import suspect_labels
    from bowerbird.features.extraction import Extractor, chosen_device

    settings, measured = run.recipe.train, run.environment().get("forward_precision", "auto")
    extractor = Extractor(
        run.initial_network(), precision=measured, device=chosen_device(settings.device)
    )
    found = suspect_labels(extractor, dataset, parts, workers=settings.workers)
    storage.write_json(file, {"suspects": found})
    if found:
        progress.say(
            f"Suspect labels: {len(found)}, e.g. {next(iter(found))}. "
            f"To look at them: bowerbird audit {run.recipe.data}"
        )


def _write_digits(folder: Path) -> int:
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = (digits.images * (255 / 16)).astype(np.uint8)
    for number, (pixels, target) in enumerate(zip(grey, digits.target, strict=True)):
        target_folder = storage.make_folder(folder / str(target))
        digit = Image.fromarray(pixels).resize((48, 48), Image.Resampling.BICUBIC)
        image = Image.new("L", (64, 64))  # a margin, so that the usual crop cuts nothing off
        image.paste(digit, (8, 8))
        image.save(target_folder / f"{number:04d}.png", compress_level=1)
    return len(grey)


def _numbered(path: Path) -> Path:
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return storage.make_folder(candidate.absolute())


def _load_all() -> None:
    """Import what training and reporting need, and take it for lasting."""
    machine.load(
        "bowerbird.training", "timm", "scipy.optimize", "bowerbird.report.of_run", "jinja2",
        "matplotlib.figure", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg",
    )  # fmt: skip


def _unlabelled(named: Sequence[Path]) -> list[Dataset]:
    """The images in folders, and the files; a folder without images is told."""
    parts: list[Dataset] = []
    empty: list[str] = []
    for folder in (name for name in named if name.is_dir()):
        try:
            parts.append(read_images(folder, labelled=False))
        except DataError as error:
            empty.append(str(error))
    if files := [name for name in named if not name.is_dir()]:
        parts.append(read_images(files, labelled=False))
    if not parts:
        raise DataError(" ".join(empty))
    for words in empty:
        progress.say(words)
    return parts


def _chunks(parts: Sequence[Dataset]) -> Iterator[Dataset]:
    """So few images at a time that their probabilities fit any memory."""
    for part in parts:
        for start in range(0, max(1, len(part)), _CHUNK):
            samples = part.samples[start : start + _CHUNK]
            problems = () if start else part.problems
            yield dataclasses.replace(part, samples=samples, problems=problems)


def _leaves_a_score(recipe: Recipe) -> None:
    if recipe.split.lock_test and recipe.train.refit:
        raise ConfigError(
            "--lock-test and --refit leave no score to report: a refit learns from the validation "
            "images, and the test images stay locked. Leave one of them out."
        )


def _tell_unused(settings: TrainConfig) -> None:
    """Say which settings have no effect, rather than ignore them in silence."""
    idle: set[str] = set()
    if settings.method == "probe":
        idle |= _OF_FINETUNING
    if settings.method != "gradual":
        idle.add("unfreeze_factor")
    if settings.optimizer.lower() in ("adam", "adamw"):
        idle.add("momentum")
    if settings.schedule not in ("step", "plateau"):
        idle |= {"decay_epochs", "decay_rate"}
    changed = settings.model_dump(exclude_defaults=True)
    unused = [name.replace("_", "-") for name in changed if name in idle]
    if unused:
        words = f"--method {settings.method}" if settings.method == "probe" else "these settings"
        progress.say(f"Without effect with {words}: --{', --'.join(unused)}.")


_OF_FINETUNING = frozenset(
    (
        "budget", "epochs", "freeze_until", "freeze", "batch_norm", "head_start", "batch_size",
        "accumulate", "optimizer", "learning_rate", "layer_decay", "weight_decay", "schedule",
        "warmup", "clip_norm", "ema", "soup", "label_smoothing", "mixup", "cutmix", "augment",
        "patience",
    )
)  # fmt: skip


def _passed_over(dataset: Dataset) -> str:
    if not dataset.ignored:
        return "."
    words = ", ".join(f"{count} {reason}" for reason, count in dataset.ignored.items())
    return f". Passed over: {words}."


def _tell_problems(dataset: Dataset, parts: Split) -> None:
    problems = [*dataset.problems, *parts.problems]
    if not problems:
        return
    reasons = Counter(problem.reason for problem in problems)
    words = ", ".join(f"{count} × {reason}" for reason, count in reasons.most_common(4))
    progress.say(f"{len(problems)} images are left out ({words}); manifest.csv lists them.")
