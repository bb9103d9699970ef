"""How close feature extraction comes to what the machine can do.

    python benchmarks/extraction.py DATA [--out benchmarks/results/extraction.md]

Extraction rate against the limit 1 / (1 / decode rate + 1 / network rate), both measured
alone with all cores in the same run.
DATA has a folder per class somewhere below it.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from bowerbird import storage
from bowerbird.data.images import load_input
from bowerbird.features import FeatureCache, Image, extract
from bowerbird.features.extraction import Extractor
from bowerbird.machine import cores
from bowerbird.models.networks import Network, create_model


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
    text = "\n".join(lines) + "\n"
    print(text)
    if chosen.out:
        chosen.out.write_text(f"`python benchmarks/extraction.py DATA`\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
