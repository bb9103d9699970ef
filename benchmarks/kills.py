"""Kill a training at random moments, again and again, and compare with the undisturbed run.

    python benchmarks/kills.py DATA [--kills 20] [--out benchmarks/results/kills.md]

Whole processes, SIGKILL, moments drawn over a run's length. When a victim finishes before all
kills are spent, it is compared and another begins. Weights and predictions must be the same
bytes, the history the same but for seconds. The precision of forward passes is given, since it is
measured anew where the cache is empty. About a quarter of an hour with few small images.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SAME_FOR_ALL = "--epochs 4 --ema 0.9 --accumulate 2 --batch-size 8 --precision float32"
METHODS = {name: f"--method {name} {SAME_FOR_ALL}" for name in ("finetune", "gradual")}
SAME = ("model/model.safetensors", "predictions_val.csv")


def numbers(run: Path) -> list[object]:
    """All of a run that must not depend on being killed."""
    with (run / "history.csv").open(encoding="utf-8") as file:
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]
    return [rows, *((run / name).read_bytes() for name in SAME)]


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """`bowerbird ...` in `folder`, with a cache of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "bowerbird", *arguments],
        cwd=folder,
        env=os.environ | {"BOWERBIRD_CACHE": str(folder / "cache")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def finished(process: subprocess.Popen[bytes], seconds: float | None) -> bool:
    """Whether the process ended by itself; after `seconds` it is killed."""
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    if code != 0:
        raise SystemExit(f"bowerbird ended with {code}")
    return True


def resumable(run: Path) -> bool:
    """Whether there is something to go on with."""
    facts = run / "environment.json"
    return facts.is_file() and "network_given" in facts.read_text(encoding="utf-8")


def spend(
    kills: int, folder: Path, train: list[str], longest: float, drawn: random.Random
) -> tuple[int, list[list[object]], list[float]]:
    """Kill until all kills are spent; returns how many hit a run, its ends, and the moments."""
    ends, moments, hits = [], [], 0
    while len(moments) < kills:
        shutil.rmtree(folder / "victim", ignore_errors=True)
        arguments, done = [*train, "--out", "victim"], False
        while not done:
            left = len(moments) < kills
            moment = drawn.uniform(0, longest) if left else None
            done = finished(start(folder, *arguments), moment)
            if moment is not None and not done:
                moments.append(moment)
            if resumable(folder / "victim"):
                hits += not done
                arguments = ["resume", "victim"]
            else:
                shutil.rmtree(folder / "victim", ignore_errors=True)
        ends.append(numbers(folder / "victim"))
    return hits, ends, moments


def main() -> None:
    """Measure both methods and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    lines = [
        "| method | kills | of a run on disk | undisturbed | runs compared | different |",
        "|---|---|---|---|---|---|",
    ]
    for method in chosen.methods:
        options = METHODS[method]
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            train = ["train", str(chosen.data.resolve()), *options.split()]
            began = time.monotonic()
            finished(start(folder, *train, "--out", "whole"), None)
            lasted = time.monotonic() - began
            expected = numbers(folder / "whole")
            shutil.rmtree(folder / "cache")
            drawn = random.Random(chosen.seed)
            hits, ends, moments = spend(chosen.kills, folder, train, lasted, drawn)
            different = sum(end != expected for end in ends)
        lines.append(
            f"| {method} | {len(moments)} | {hits} | {lasted:.0f} s | {len(ends)} | {different} |"
        )
        print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    if chosen.out:
        chosen.out.write_text(f"`python benchmarks/kills.py DATA`\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
