"""How close feature extraction comes to what the machine can do, and what a step costs.

    python benchmarks/extraction.py DATA [--out benchmarks/results/extraction.md]

1. Extraction rate against the limit 1 / (1 / decode rate + 1 / network rate), both measured
   alone with all cores in the same run.
2. A fine-tuning step with the last stages trainable, from cached activations, against the
   plain float32 loop with the same layers frozen.
DATA has a folder per class somewhere below it.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
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
from bowerbird.data.images import load_input
from bowerbird.features import FeatureCache, Image, extract
from bowerbird.features.extraction import Extractor
from bowerbird.machine import cores
from bowerbird.models.networks import Network, create_model
from bowerbird.training import optim, plan
from bowerbird.training.interrupts import StopSignal
from bowerbird.training.tuning import Tuner


def decode_rate(network: Network, images: list[Image]) -> float:
    """Images per second from file to input, all cores, no network."""
    began = time.perf_counter()
    with ThreadPoolExecutor(cores()) as pool:
        for _ in pool.map(lambda i: load_input(i.path, network.preprocess), images):
            pass
    return len(images) / (time.perf_counter() - began)


def network_rate(extractor: Extractor, batches: int) -> float:
    """Images per second through the frozen part, all cores, no decoding."""
    height, width = extractor.network.preprocess.input_size
    pixels = np.random.default_rng(0).integers(
        0, 256, (extractor.batch, height, width, 3), np.uint8
    )

    def work() -> None:
        torch.set_num_threads(1)
        for _ in range(batches):
            extractor(pixels)

    threads = [threading.Thread(target=work) for _ in range(cores())]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(threads) * batches * extractor.batch / (time.perf_counter() - began)


def extraction(images: list[Image], rounds: int) -> list[tuple[float, float, float]]:
    """(decode rate, network rate, extraction rate), several rounds in turn."""
    network = create_model(num_classes=2)
    extractor = Extractor(network)
    network_rate(extractor, 4)
    found = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            cache = FeatureCache(Path(folder))
            decoding = decode_rate(network, images)
            running = network_rate(extractor, len(images) // 16)
            began = time.perf_counter()
            extract(network, images, extractor=extractor, cache=cache)
            found.append((decoding, running, len(images) / (time.perf_counter() - began)))
    return found


def step_times(images: list[Image], steps: int) -> tuple[float, float]:
    """Seconds per step of 32: (ours from cached activations, the plain loop)."""
    config = TrainConfig()
    targets = torch.arange(32) % 2
    with tempfile.TemporaryDirectory() as folder:
        tuner = Tuner(
            create_model(num_classes=2), config, FeatureCache(Path(folder)), cores(),
            StopSignal(), "cpu",
        )  # fmt: skip
        cut = plan.last_stages_cut(tuner.evaluation)
        precision = plan._cost(tuner, cut, images, config, cached=True).precision
        features, _ = extract(tuner.network, images, cut=cut, cache=tuner.cache)
        learner = tuner.training.suffix(cut)
        optimizer = optim.make_optimizer(learner, tuner.training.stages, 1e-3, 0.7, 0.02)
        learner.train()
        half = precision == "bfloat16"

        def ours(first: int) -> None:
            batch = features[0].tensor(np.arange(first, first + 32)).float()
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                scores = learner(batch)
            _learn(scores.float(), targets, optimizer)

        trained = {name for name, _ in learner.named_parameters()}
        mine = _median(ours, steps)
    return mine, _median(_plain(images, targets, trained), steps)


def _plain(images: list[Image], targets: torch.Tensor, trained: set[str]) -> Callable[[int], None]:
    """The loop of every tutorial, with a worker pool in place of a DataLoader's processes."""
    module = create_model(num_classes=2).module.train()
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in trained)
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=1e-4)
    prepare = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize((0.5,) * 3, (0.5,) * 3),
        ]
    )
    pool = ThreadPoolExecutor(2)

    def step(first: int) -> None:
        chosen = images[first : first + 32]
        batch = torch.stack(list(pool.map(lambda i: prepare(default_loader(i.path)), chosen)))
        _learn(module(batch), targets, optimizer)

    return step


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


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    files = sorted(chosen.data.rglob("*.jpg"))[: chosen.images]
    images = [Image(file, storage.hash_file(file)) for file in files]
    lines = ["| measure | value |", "|---|---|"]
    for decoding, running, got in extraction(images, chosen.rounds):
        limit = 1 / (1 / decoding + 1 / running)
        lines.append(
            f"| extraction, images/s | {got:.0f} of {limit:.0f} possible ({got / limit:.0%}; "
            f"decode alone {decoding:.0f}, network alone {running:.0f}) |"
        )
    mine, plain = step_times(images, 12)
    lines.append(
        f"| fine-tuning step of 32, last stages | {mine * 1e3:.0f} ms from the cache, "
        f"{plain * 1e3:.0f} ms plain float32 loop: {plain / mine:.1f} × |"
    )
    text = "\n".join(lines) + "\n"
    print(text)
    if chosen.out:
        chosen.out.write_text(f"`python benchmarks/extraction.py DATA`\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
