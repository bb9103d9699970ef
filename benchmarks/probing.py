"""The feature lab against the study's own way, on the same images and the same machine.

    python benchmarks/probing.py DATA [--out benchmarks/results/probing.md]

Ours: features from the cache, random forest and logistic regression on the best 10, 100, 500,
1,000 and all features with three seeds, five rankings, interpretability, and the sheets of top
images. The study's way (mission, rows 4.5 to 4.8): features in float32 without a cache, 32
images at a time; for each number of features and each seed 100 trees and lbfgs from scratch;
for each of five features the ten training images that excite it most. Both get the same network
with the same weights. Seconds of the processor tell more than those of the clock where other
programs run beside.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from bowerbird.config import NetworkConfig, Recipe
from bowerbird.data.images import load_input
from bowerbird.features.extraction import to_network
from bowerbird.models.cuts import trace
from bowerbird.models.networks import from_config
from bowerbird.probing.reading import Source, read_stages, read_table
from bowerbird.workflow.probing import probe
from bowerbird.workflow.reading import read_and_split

NUMBERS = (10, 100, 500, 1000)
SEEDS = (42, 43, 44)


def timed(work: Callable[[], object]) -> tuple[float, float, object]:
    """Seconds on the clock, seconds of the processor, and the result."""
    clock, processor = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - clock, time.process_time() - processor, result


def study(source: Source) -> dict[str, float]:
    """Test accuracies by classifier and number of features, as the study computes them."""
    network = source.network
    traced = trace(network.module)
    body = traced.prefix(traced.before_classifier()).eval()
    names = ("train", "test")
    features, targets = {}, {}
    for part in names:
        rows = [int(i) for i in source.split.indices(part)]
        found = []
        for start in range(0, len(rows), 32):
            pixels = [
                load_input(source.dataset.path(i), network.preprocess)
                for i in rows[start : start + 32]
            ]
            batch = to_network(np.stack(pixels), network.preprocess, torch.device("cpu"))
            with torch.no_grad():
                found.append(body(batch).flatten(1).numpy())
        features[part] = np.concatenate(found)
        targets[part] = np.array([source.dataset.samples[i].target for i in rows])
    return classified(features, targets)


def classified(features: dict[str, np.ndarray], targets: dict[str, np.ndarray]) -> dict[str, float]:
    """Everything fitted from scratch."""
    scores: dict[str, list[float]] = {}
    width = features["train"].shape[1]
    for seed in SEEDS:
        forest = RandomForestClassifier(n_estimators=100, random_state=seed)
        forest.fit(features["train"], targets["train"])
        order = np.argsort(-forest.feature_importances_)
        for column in order[:5]:
            np.argsort(-features["train"][:, column])[:10]
        for number in (*(n for n in NUMBERS if n < width), width):
            best = order[:number]
            for name, model in (
                ("random_forest", RandomForestClassifier(n_estimators=100, random_state=seed)),
                ("logistic_regression", LogisticRegression(max_iter=1000)),
            ):
                model.fit(features["train"][:, best], targets["train"])
                right = model.score(features["test"][:, best], targets["test"])
                scores.setdefault(f"{name} {number}", []).append(float(right))
    return {name: float(np.mean(found)) for name, found in scores.items()}


def main() -> None:
    """Measure both and write a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    dataset, split, resolved = read_and_split(Recipe(data=asked.data))
    source = Source(from_config(NetworkConfig(), None, 0), dataset, split)
    read_table(source)
    list(read_stages(source))  # both are in the cache from here on
    with tempfile.TemporaryDirectory() as folder:
        everything = timed(
            lambda: probe(asked.data, top_k=[*NUMBERS, "all"], seeds=3, out=Path(folder))
        )
        again = timed(
            lambda: probe(asked.data, top_k=[*NUMBERS, "all"], seeds=3, compare_stages=False)
        )
    theirs = timed(lambda: study(source))
    text = table(resolved.data or "", everything, again, theirs)
    print(text)
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(text, encoding="utf-8")


def table(
    data: str,
    everything: tuple[float, float, object],
    again: tuple[float, float, object],
    theirs: tuple[float, float, object],
) -> str:
    """Both ways side by side."""
    found, scores = everything[2], theirs[2]
    lines = [
        f"`python benchmarks/probing.py {Path(data).name}`", "",
        "| way | seconds | seconds of the processor |", "|---|---|---|",
        f"| ours, features cached: reading, classifiers, five rankings, sweep, interpretability, "
        f"stages, tables, all figures, page | {everything[0]:.1f} | {everything[1]:.1f} |",
        f"| ours, the same without stages, tables and figures | {again[0]:.1f} | {again[1]:.1f} |",
        f"| the study's way: features, forests and regressions from scratch | {theirs[0]:.1f} | "
        f"{theirs[1]:.1f} |",
        f"| times as fast | {theirs[0] / everything[0]:.1f} and {theirs[0] / again[0]:.1f} | "
        f"{theirs[1] / everything[1]:.1f} and {theirs[1] / again[1]:.1f} |", "",
        "| test accuracy, mean of three seeds | ours | the study's way |", "|---|---|---|",
    ]  # fmt: skip
    for name in found.sweep.estimators:
        for number, mean, _, _ in found.sweep.curve(name, "test"):
            other = scores.get(f"{name} {number}", float("nan"))
            lines.append(f"| {name}, {number} features | {mean:.2%} | {other:.2%} |")
    parts = ", ".join(f"{part} {spent:.1f}" for part, spent in found.seconds.items())
    return "\n".join([*lines, "", f"Ours in seconds: {parts}.", ""])


if __name__ == "__main__":
    main()
