"""Whole journeys, one call each: what the command line runs, and what a script would.

`train` goes from a folder to a reported run; `finish` is its second half, which
`resume` needs, too. Each step is a public verb of a lower room; nothing is decided
here but the order.
"""

from __future__ import annotations

import csv
import io
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bowerbird import progress, storage
from bowerbird.config import Recipe, TrainConfig
from bowerbird.data.dataset import Dataset, Problem
from bowerbird.data.sources import read_images
from bowerbird.data.splits import Split, split
from bowerbird.errors import ConfigError, DataError, Interrupted
from bowerbird.evaluation.results import Evaluation, Predictions
from bowerbird.runs import Run, load_run, new_folder

__all__ = ["demo", "finish", "predict", "resume", "train"]


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
    _tell_unused(recipe.train)
    dataset, parts, resolved = read_and_split(recipe)
    reading = time.monotonic() - began
    from bowerbird.training import fit

    run = fit(None, dataset, parts, out=out, recipe=resolved)
    run.note_environment({"seconds_reading": round(reading, 1)})
    return run, finish(run)


def resume(run: Run) -> tuple[Run, dict[str, Evaluation]]:
    """Go on with an interrupted run to its report."""
    from bowerbird.training import resume as go_on

    run = go_on(run)
    return run, finish(run)


def read_and_split(recipe: Recipe) -> tuple[Dataset, Split, Recipe]:
    """The images, who is trained and tested on, and the recipe with its data resolved.

    Raises:
        ConfigError: the recipe names no data.
        DataError: the data can't be used.
    """
    if recipe.data is None:
        raise ConfigError("No data is named. Use: bowerbird train DATA, or data = ... in the file.")
    data = Path(recipe.data).expanduser().absolute()
    dataset = read_images(data, recipe.read)
    progress.say(f"{dataset} in {recipe.data}{_passed_over(dataset)}")
    settings = recipe.split
    parts = split(dataset, settings.val, settings.test, settings.split_seed)
    if len(parts.indices("train")) == 0:
        raise DataError(f"No readable training images are left in {recipe.data}.")
    _tell_problems(dataset, parts)
    progress.say(repr(parts))
    for note in parts.notes:
        progress.say(f"  {note}")
    return dataset, parts, _resolved(recipe, data)


def finish(run: Run) -> dict[str, Evaluation]:
    """Evaluate a trained run on validation and test, and write figures and report.

    Raises:
        Interrupted: stopped on request; the message says how to go on.
    """
    from bowerbird.training.interrupts import listening

    try:
        with listening():
            return _finish(run)
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

    Images that can't be read are rows with an error and no class; the rest goes on.

    Args:
        run: a finished run's folder.
        names: files and folders.
        output: a file, or None for standard output.
        as_json: JSON instead of CSV.

    Raises:
        DataError: nothing was named, or no image is there.
    """
    from bowerbird.evaluation.predict import Predictor
    from bowerbird.evaluation.predict import predict as predict_images

    opened = load_run(run)
    predictor = Predictor(opened)
    named = [Path(name).expanduser() for name in names if str(name)]
    if not named:
        raise DataError("No images are named. Use: bowerbird predict RUN IMAGES")
    parts = [read_images(name, labelled=False) for name in named if name.is_dir()]
    files = [name for name in named if not name.is_dir()]
    if files:
        parts.append(read_images(files, labelled=False))
    rows: list[dict[str, object]] = []
    for dataset in parts:
        found, problems = predict_images(opened, dataset, predictor=predictor)
        rows += _rows(found, dataset.root) + [_failed(p, dataset.root) for p in problems]
    text = json.dumps(rows, indent=2, ensure_ascii=False) + "\n" if as_json else _csv(rows, opened)
    if output is None:
        sys.stdout.write(text)
    else:
        storage.write_text(output, text)


def demo(out: Path | None = None) -> tuple[Run, dict[str, Evaluation]]:
    """Write scikit-learn's handwritten digits out as images, and train on them.

    Args:
        out: folder for images and run; by default ``bowerbird-demo`` with the next free number.
    """
    folder = new_folder(out, "demo") if out is not None else _numbered(Path("bowerbird-demo"))
    images = folder / "digits"
    count = _write_digits(images)
    progress.say(f"{count} handwritten digits are in {images}: a folder per class.")
    settings = TrainConfig(method="probe", image_size=96, views=1, offline=True)
    recipe = Recipe(data=str(images), train=settings)
    return train(recipe, folder / "run")


def _resolved(recipe: Recipe, data: Path) -> Recipe:
    """The recipe with absolute paths, so that it means the same in any folder."""
    weights, root = Path(recipe.train.weights).expanduser(), recipe.read.image_root
    train, read = recipe.train, recipe.read
    if weights.is_file():
        train = train.model_copy(update={"weights": str(weights.absolute())})
    if root is not None and root.expanduser().is_dir():
        read = read.model_copy(update={"image_root": root.expanduser().absolute()})
    return recipe.model_copy(update={"data": str(data), "train": train, "read": read})


def _finish(run: Run) -> dict[str, Evaluation]:
    from bowerbird.evaluation.predict import Predictor, evaluate
    from bowerbird.report.of_run import write_report

    _, parts = run.manifest()
    scored = ("test",) if run.recipe.train.refit else ("val", "test")
    on = [name for name in scored if len(parts.indices(name))]
    began = time.monotonic()
    predicted = all((run.path / f"predictions_{name}.csv").is_file() for name in on)
    predictor = None if predicted else Predictor(run)
    evaluations = {name: evaluate(run, name, predictor=predictor) for name in on}
    if not predicted:
        run.note_environment({"seconds_evaluation": round(time.monotonic() - began, 1)})
    write_report(run, evaluations=evaluations)
    return evaluations


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


def _rows(found: Predictions, root: Path) -> list[dict[str, object]]:
    columns = (found.paths, found.predicted, found.confidence, found.probabilities)
    return [
        {
            "path": str(root / path),
            "class": found.classes[predicted],
            "confidence": round(float(confidence), 6),
            "probabilities": {
                name: round(float(p), 6) for name, p in zip(found.classes, shares, strict=True)
            },
            "error": None,
        }
        for path, predicted, confidence, shares in zip(*columns, strict=True)
    ]


def _failed(problem: Problem, root: Path) -> dict[str, object]:
    return {
        "path": str(root / problem.path),
        "class": None,
        "confidence": None,
        "probabilities": {},
        "error": problem.reason,
    }


def _csv(rows: Sequence[dict[str, object]], run: Run) -> str:
    text = io.StringIO()
    columns = ["path", "class", "confidence", "error", *(f"p:{name}" for name in run.classes)]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        shares = row["probabilities"]
        cells = [row[name] for name in ("path", "class", "confidence", "error")]
        known = shares if isinstance(shares, dict) else {}
        writer.writerow([*cells, *(known.get(name) for name in run.classes)])
    return text.getvalue()


def _tell_unused(settings: TrainConfig) -> None:
    """Say which settings have no effect, rather than ignore them in silence."""
    if settings.method != "probe":
        return
    changed = settings.model_dump(exclude_defaults=True)
    unused = [name.replace("_", "-") for name in _OF_FINETUNING if name in changed]
    if unused:
        progress.say(f"Without effect with --method probe: --{', --'.join(unused)}.")


_OF_FINETUNING = (
    "budget", "epochs", "train_from", "batch_size", "learning_rate", "layer_decay",
    "weight_decay", "warmup", "label_smoothing", "mixup", "cutmix", "augment", "patience",
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
