"""Peak memory of the feature lab by the number of images, on made features.

    python benchmarks/probing_memory.py [--images 12500 25000 50000] [--features 2048]
                                        [--out benchmarks/results/probing_memory.md]

Ten classes, one part in ten each for validation and test; every class lifts twenty features of
its own. All that `bowerbird probe` computes from features: random forest and logistic regression,
rankings, sweep, interpretability, map, and the comparison of stages, where a second table of the
same size stands for the last one. Each number is a process of its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bowerbird.probing.table import FeatureTable

CLASSES, OWN = 10, 20
TOP = (10, 100, "all")


def made(images: int, features: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Features [N, D] that are positive, as after a ReLU; a row's class is its number modulo 10."""
    drawn = np.random.default_rng(0)
    values = np.empty((images, features), np.float32)
    for start in range(0, images, 1000):
        rows = values[start : start + 1000]
        drawn.standard_normal(out=rows, dtype=np.float32)
        for label in range(CLASSES):
            rows[label::CLASSES, label * OWN : (label + 1) * OWN] += 1
        np.maximum(rows, 0, out=rows)
    return values


def stages(table: FeatureTable) -> Iterator[FeatureTable]:
    """One more table, made when it is asked for."""
    yield dataclasses.replace(table, values=table.values.copy())


def one(images: int, features: int, seeds: int) -> None:
    """Probe that many, and print a row of the table."""
    from bowerbird import machine
    from bowerbird.probing.examine import probe_table
    from bowerbird.probing.table import FeatureTable

    parts = np.array(["train"] * 8 + ["val", "test"])[np.arange(images) // CLASSES % 10]
    machine.keep_freed_memory()  # as the command line does
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    table = FeatureTable(
        values=made(images, features),
        numbers=np.arange(features),
        width=features,
        targets=np.arange(images) % CLASSES,
        parts=parts,
        paths=tuple(f"{number}.jpg" for number in range(images)),
        root=Path(),
        classes=tuple(f"class {label}" for label in range(CLASSES)),
        network="made",
        layer="made",
        twin=np.arange(images),
    )
    began = time.perf_counter()
    with machine.giving_back_memory():
        found = probe_table(table, seeds=seeds, top_k=TOP, stages=stages(table))
    seconds = time.perf_counter() - began
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    right = found.scores[0].evaluations["test"].accuracy
    print(f"| {images:,} | {table.values.nbytes >> 20} MB | {before >> 10} MB | {most >> 10} MB | "
          f"{seconds:.0f} | {right:.1%} |")  # fmt: skip


def main() -> None:
    """A process per number of images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[12_500, 25_000, 50_000])
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if asked.only:
        one(asked.only, asked.features, asked.seeds)
        return
    lines = [
        f"`python benchmarks/probing_memory.py`, {asked.features:,} features, {CLASSES} classes",
        "",
        "| images | table | packages | peak memory | seconds | forest, test |",
        "|---|---|---|---|---|---|",
    ]
    for images in asked.images:
        command = [sys.executable, __file__, "--only", str(images)]
        command += ["--features", str(asked.features), "--seeds", str(asked.seeds)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        lines.append(done.stdout.strip().splitlines()[-1])
        print(lines[-1], flush=True)
    if asked.out:
        asked.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
