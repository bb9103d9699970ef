"""Where a run's network looks: chooses images, reads them, and explains them.

Decisions:
- Images are chosen from the test split, or from validation where there is none: what the
  network has learnt by heart says little.
- The choice is per class, so that a rare class is seen, too: at random (seeded), the most
  confident mistakes, the least sure, or the most typical (named rightly by the widest margin).
- An image that can't be read is listed and left out.
- The true class of a file given by name is known if the run knows its bytes.

Drawing and writing are not done here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from bowerbird import progress, storage
from bowerbird.config import Preprocess
from bowerbird.data.dataset import SPLITS, Problem
from bowerbird.data.images import load_input, read_bytes
from bowerbird.data.sources import read_images
from bowerbird.errors import ConfigError, DataError, ImageError
from bowerbird.evaluation.predict import evaluate
from bowerbird.explanation.activations import ORDERS, FeatureMaps, feature_maps
from bowerbird.explanation.agreement import Comparison, compare
from bowerbird.explanation.attention import AttentionMaps, attention_maps
from bowerbird.explanation.attribution import METHODS, Attributor, class_index
from bowerbird.explanation.faithfulness import Faithfulness, check
from bowerbird.explanation.results import Attribution, joined
from bowerbird.features.extraction import to_network
from bowerbird.models.networks import Network
from bowerbird.runs import Run, load_run

__all__ = [
    "CHOICES",
    "Choice",
    "check_maps",
    "explain",
    "explain_together",
    "picture",
    "run_attention",
    "run_features",
]

Choice = Literal["random", "mistakes", "unsure", "typical"]
CHOICES: tuple[str, ...] = get_args(Choice)

_CHUNK = 32
_CHECKED = 24


@dataclasses.dataclass(frozen=True, slots=True)
class _Chosen:
    """An image to explain: its file, and its class where it is known."""

    path: Path
    truth: int | None = None


def explain(
    run: Run | str | Path,
    images: Sequence[str | Path] = (),
    *,
    method: str = METHODS[0],
    layer: str | None = None,
    target: str | None = None,
    against: str | None = None,
    choose: Choice = "random",
    per_class: int = 3,
    seed: int = 0,
    **options: Any,
) -> Attribution:
    """Where a run's network looks, in files or in images of the run.

    Args:
        run: finished, or its folder.
        images: files and folders; by default some of the run's own.
        method: one of `attribution.METHODS`.
        layer: path of a module; by default it is found.
        target: name of the class to explain; by default the predicted one.
        against: name of the class to set it against.
        choose: how the run's images are chosen: ``"random"``, ``"mistakes"``, ``"unsure"`` or
            ``"typical"``.
        per_class: at most so many of each class.
        seed: draws the images, and RISE's masks.
        **options: of the method, see `Attributor`.

    Raises:
        ConfigError: there is no such method, class or choice.
        DataError: there is no image, or none can be read.
        ModelError: there is no such layer, or it has no height and width.
        RunError: the run has no model yet.
    """
    opened = run if isinstance(run, Run) else load_run(run)
    chosen = _given(opened, images) if len(images) else _of_run(opened, choose, per_class, seed)
    return _explained(opened, chosen, method, layer, target, against, seed, **options)


def explain_together(
    runs: Sequence[Run], images: Sequence[str | Path] = (), **how: Any
) -> Comparison:
    """Where several runs' networks look in the same images, and how far they agree.

    Args:
        runs: finished; the first one's images are used where none are named.
        images: files and folders.
        **how: see `explain`.

    Raises:
        ConfigError, DataError, ModelError, RunError: see `explain`.
    """
    first = explain(runs[0], images, **how)
    names = [None if t < 0 else first.classes[t] for t in first.truth]
    found = [first]
    for run in runs[1:]:
        part = explain(run, first.paths, **how)
        known = [run.classes.index(n) if n in run.classes else -1 for n in names]
        found.append(dataclasses.replace(part, truth=np.array(known, np.int64)))
    return compare(_told_apart(runs), found, [run.network().preprocess for run in runs])


def check_maps(
    run: Run,
    found: Attribution,
    *,
    own: bool = False,
    target: str | None = None,
    against: str | None = None,
    seed: int = 0,
) -> Faithfulness:
    """Whether maps like these can be trusted, on 24 random images of the run or on their own.

    Args:
        run: finished.
        found: maps of it.
        own: check these very maps.
        target: class that was explained, if one was named.
        against: class that it was set against, if any.
        seed: draws the images and all that is random.
    """
    if not own:
        one_each = max(1, -(-_CHECKED // len(run.classes)))
        chosen = _of_run(run, "random", one_each, seed)
        picks = np.random.default_rng(seed).permutation(len(chosen))[:_CHECKED]
        drawn = [chosen[int(i)] for i in sorted(picks)]
        found = _explained(run, drawn, found.method, found.layer, target, against, seed)
    network = run.network()
    pixels = [load_input(Path(path), network.preprocess) for path in found.paths]
    inputs = to_network(np.stack(pixels), network.preprocess, torch.device("cpu"))
    return check(network, inputs, found, seed=seed)


def run_features(
    run: Run | str | Path,
    layer: str | None = None,
    images: Sequence[str | Path] = (),
    *,
    by: str | Sequence[int] = ORDERS[0],
    count: int = 8,
    target: str | None = None,
    choose: Choice = "random",
    per_class: int = 1,
    seed: int = 0,
) -> tuple[FeatureMaps, tuple[Problem, ...]]:
    """Feature maps of a run's network for a few images, and images that can't be read.

    Args:
        run: finished, or its folder.
        layer: path of a module; by default the one that is explained.
        images: files and folders; by default some of the run's own.
        by: how channels are chosen, see `activations.feature_maps`.
        count: channels per image.
        target: name of the class that channels contribute to.
        choose: how the run's images are chosen.
        per_class: at most so many of each class.
        seed: draws the images.

    Raises:
        ConfigError, DataError, ModelError, RunError: see `explain`.
    """
    opened = run if isinstance(run, Run) else load_run(run)
    network, paths, inputs, problems = _few(opened, images, choose, per_class, seed)
    found = feature_maps(
        network, inputs, layer, by=by, count=count, target=target, classes=opened.classes,
        paths=paths,
    )  # fmt: skip
    return found, problems


def run_attention(
    run: Run | str | Path,
    layers: Sequence[str] = (),
    images: Sequence[str | Path] = (),
    *,
    choose: Choice = "random",
    per_class: int = 1,
    seed: int = 0,
) -> tuple[tuple[AttentionMaps, ...], tuple[Problem, ...]]:
    """Attention maps of a run's transformer for a few images, and images that can't be read.

    Args:
        run: finished, or its folder.
        layers: see `attention.attention_maps`.
        images: files and folders; by default some of the run's own.
        choose: how the run's images are chosen.
        per_class: at most so many of each class.
        seed: draws the images.

    Raises:
        ConfigError, DataError, ModelError, RunError: see `explain`.
    """
    network, paths, inputs, problems = _few(run, images, choose, per_class, seed)
    return attention_maps(network, inputs, layers, paths=paths), problems


def picture(path: str | Path, preprocess: Preprocess, side: int = 448) -> NDArray[np.uint8] | None:
    """What the network sees of an image, with at least `side` pixels: [H, W, 3].

    None if the file can't be read any more.
    """
    height, width = preprocess.input_size
    factor = max(1, -(-side // min(height, width)))
    larger = preprocess.model_copy(update={"input_size": (factor * height, factor * width)})
    try:
        pixels = load_input(Path(path), larger)
    except ImageError:
        return None
    return np.repeat(pixels, 3, 2) if pixels.shape[2] == 1 else pixels[:, :, :3]


def _few(
    run: Run | str | Path, images: Sequence[str | Path], choose: Choice, per_class: int, seed: int
) -> tuple[Network, list[str], torch.Tensor, tuple[Problem, ...]]:
    """A run's network, the first few images, as it takes them, and those that can't be read."""
    opened = run if isinstance(run, Run) else load_run(run)
    chosen = _given(opened, images) if len(images) else _of_run(opened, choose, per_class, seed)
    network, problems = opened.network(), list[Problem]()
    read = list(_batches(chosen[:_CHUNK], network, problems))
    if not read:
        raise DataError(_unreadable(problems))
    some, inputs = read[0]
    return network, [str(one.path) for one in some], inputs, tuple(problems)


def _explained(
    run: Run,
    chosen: Sequence[_Chosen],
    method: str,
    layer: str | None,
    target: str | None,
    against: str | None,
    seed: int,
    **options: Any,
) -> Attribution:
    for name in (target, against):
        if name is not None:
            class_index(name, run.classes)
    network = run.network()
    attributor = Attributor(
        network, method=method, layer=layer, classes=run.classes, seed=seed, **options
    )
    problems: list[Problem] = []
    parts = []
    with progress.task("Explaining", len(chosen)) as task:
        for some, inputs in _batches(chosen, network, problems):
            part = attributor(inputs, target, against)
            truth = np.array([-1 if c.truth is None else c.truth for c in some], np.int64)
            paths = tuple(str(c.path) for c in some)
            parts.append(dataclasses.replace(part, paths=paths, truth=truth))
            task.advance(len(some))
    if not parts:
        raise DataError(_unreadable(problems))
    return dataclasses.replace(joined(parts), problems=tuple(problems))


def _batches(
    chosen: Sequence[_Chosen], network: Network, problems: list[Problem]
) -> Iterator[tuple[list[_Chosen], torch.Tensor]]:
    """Readable images a few at a time, as the network takes them; the others to `problems`."""
    for start in range(0, len(chosen), _CHUNK):
        pixels, some = [], []
        for one in chosen[start : start + _CHUNK]:
            try:
                pixels.append(load_input(one.path, network.preprocess))
                some.append(one)
            except ImageError as error:
                problems.append(Problem(str(one.path), str(error)))
        if some:
            stacked = np.stack(pixels)
            yield some, to_network(stacked, network.preprocess, torch.device("cpu"))


def _given(run: Run, names: Sequence[str | Path]) -> list[_Chosen]:
    """Files, and what is in folders; with the class where the run knows the bytes."""
    paths = [Path(name).expanduser().absolute() for name in names]
    files = [path for path in paths if not path.is_dir()]
    for folder in (path for path in paths if path.is_dir()):
        inside = read_images(folder, labelled=False)
        files += [inside.path(i) for i in range(len(inside))]
    dataset, split = run.manifest()
    known = {
        content: sample.target
        for content, sample in zip(split.hashes, dataset.samples, strict=True)
        if content
    }
    chosen = []
    for path in files:
        try:
            truth = known.get(storage.hash_bytes(read_bytes(path)))
        except ImageError:
            truth = None  # reading it again will say why
        chosen.append(_Chosen(path, truth))
    return chosen


def _of_run(run: Run, choose: str, per_class: int, seed: int) -> list[_Chosen]:
    if choose not in CHOICES:
        raise ConfigError(f"There is no choice {choose!r}. Use one of {', '.join(CHOICES)}.")
    if per_class < 1:
        raise ConfigError(f"At least one image per class must be shown. Found: {per_class}.")
    dataset, split = run.manifest()
    on = next((name for name in ("test", "val", "train") if len(split.indices(name))), None)
    if on is None:
        sizes = ", ".join(f"{len(split.indices(name))} {name}" for name in SPLITS)
        raise DataError(f"The run {run.path} has no images to explain: {sizes}. Name some.")
    if choose == "random":
        rows = np.random.default_rng(seed).permutation([int(i) for i in split.indices(on)])
        ordered = [(dataset.path(int(i)), dataset.samples[int(i)].target) for i in rows]
    else:
        ordered = _by_predictions(run, on, choose)
    chosen = [
        _Chosen(path, truth)
        for number in range(len(run.classes))
        for path, truth in [pair for pair in ordered if pair[1] == number][:per_class]
    ]
    if not chosen:
        raise DataError(
            f"The network made no mistake on the {len(ordered)} {on} images it was scored on. "
            "Use --choose unsure."
            if choose == "mistakes"
            else f"No {on} image of {run.path} has a class."
        )
    return chosen


def _by_predictions(run: Run, on: str, choose: str) -> list[tuple[Path, int | None]]:
    """Files and classes, the first to be chosen first."""
    found = evaluate(run, on).predictions
    if found is None:
        raise DataError(f"The predictions of {run.path} on its {on} images are not there.")
    every = len(found)
    if choose == "mistakes":
        order = found.worst(every)
    elif choose == "unsure":
        order = found.least_sure(every)
    else:
        order = [i for i in found.most_sure(every) if found.correct[i]]
    root = found.root or Path(run.read["root"])
    return [(root / found.paths[i], int(found.targets[i])) for i in order]


def _told_apart(runs: Sequence[Run]) -> list[str]:
    """The runs' names, with the folders above them where names are the same."""
    names = [run.path.name for run in runs]
    if len(set(names)) == len(names):
        return names
    return [f"{run.path.parent.name}/{run.path.name}" for run in runs]


def _unreadable(problems: Sequence[Problem]) -> str:
    first = f" The first: {problems[0].path}: {problems[0].reason}." if problems else ""
    return f"None of the {len(problems)} images can be read.{first}"
