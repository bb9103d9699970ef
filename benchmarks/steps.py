"""What a training step costs from cached activations, against the plain loop.

    python benchmarks/steps.py DATA [--out benchmarks/results/steps.md]

The same layers learn in both, with batches of 32. The plain loop is that of every tutorial:
decode, resize, whole network in float32, backward to the layers that aren't frozen. Ours
reads activations of enumerated views from the cache. DATA has a folder per class somewhere
below it. The weights don't matter for the time; only lite0's are real.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torchvision import transforms
from torchvision.datasets.folder import default_loader

from bowerbird import storage
from bowerbird.config import TrainConfig
from bowerbird.features import FeatureCache, Image, extract
from bowerbird.machine import cores
from bowerbird.models.networks import Network, create_model
from bowerbird.training import cost, optim, plan
from bowerbird.training.interrupts import StopSignal
from bowerbird.training.loop import training_mode
from bowerbird.training.release import asked_start
from bowerbird.training.tuning import Tuner

CASES = [
    ("tf_efficientnet_lite0", "auto", None, "last two stages"),
    ("tf_efficientnet_lite0", "auto", "blocks.6", "last stage"),
    ("resnet50", "none", "layer4", "layer4"),
]


def ours(
    network: Network, images: list[Image], until: str | None, steps: int
) -> tuple[float, set[str]]:
    """Seconds per step from cached activations, and the names of what learns."""
    config = TrainConfig(freeze_until=until)
    targets = torch.arange(32) % 2
    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(Path(folder))
        tuner = Tuner(network, config, cache, cores(), StopSignal(), "cpu")
        start = asked_start(tuner.evaluation, network.module, config)
        cut = start.cut if start else plan.last_stages_cut(tuner.evaluation)
        half = cost.measure(tuner, cut, images, config, cached=True).precision == "bfloat16"
        features, _ = extract(network, images, cut=cut, cache=cache)
        learner = tuner.training.suffix(cut)
        optimizer = optim.make_optimizer(learner, tuner.training.stages, config)
        training_mode(learner, "frozen")

        def step(first: int) -> None:
            batch = features[0].tensor(np.arange(first, first + 32)).float()
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                scores = learner(batch)
            _learn(scores.float(), targets, optimizer)

        return _median(step, steps), {name for name, _ in learner.named_parameters()}


def plain(network: Network, images: list[Image], trained: set[str], steps: int) -> float:
    """Seconds per step of the plain loop, with a worker pool for a DataLoader's processes."""
    module, targets = network.module.train(), torch.arange(32) % 2
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in trained)
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=1e-4)
    known = network.preprocess
    prepare = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(known.mean, known.std),
        ]
    )
    pool = ThreadPoolExecutor(2)

    def step(first: int) -> None:
        chosen = images[first : first + 32]
        batch = torch.stack(list(pool.map(lambda i: prepare(default_loader(i.path)), chosen)))
        _learn(module(batch), targets, optimizer)

    return _median(step, steps)


def _learn(scores: torch.Tensor, targets: torch.Tensor, optimizer: Any) -> None:
    optimizer.zero_grad()
    nn.functional.cross_entropy(scores, targets).backward()
    optimizer.step()


def _median(step: Callable[[int], None], steps: int) -> float:
    times = []
    for number in range(steps + 2):
        began = time.perf_counter()
        step(32 * number)
        times.append(time.perf_counter() - began)
    return float(np.median(times[2:]))


def _made(name: str, weights: str) -> Network:
    return create_model(name, num_classes=2, weights=weights, image_size=224)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    files = sorted(chosen.data.rglob("*.jpg"))[: 32 * (chosen.steps + 2)]
    images = [Image(file, storage.hash_file(file)) for file in files]
    lines = [
        "| network | learns | cached step | plain float32 step | ratio |",
        "|---|---|---|---|---|",
    ]
    for name, weights, until, words in CASES:
        mine, trained = ours(_made(name, weights), images, until, chosen.steps)
        theirs = plain(_made(name, weights), images, trained, chosen.steps)
        lines.append(
            f"| {name} | {words} | {mine * 1e3:.0f} ms | {theirs * 1e3:.0f} ms "
            f"| {theirs / mine:.1f} × |"
        )
    text = "\n".join(lines) + "\n"
    print(text)
    if chosen.out:
        chosen.out.write_text(f"`python benchmarks/steps.py DATA`\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
