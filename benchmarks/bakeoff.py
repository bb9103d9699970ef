"""How long a bake-off takes, whether fine-tuning agrees, and how often the best arm is lost.

    python benchmarks/bakeoff.py DATA [DATA ...] [--models a,b,c] [--budget 10m]
                                 [--finetune 5m] [--simulated 20000] [--out FILE]

Each bake-off is a whole process with a cache of its own, imports included. With `--finetune`
all networks are then trained with that budget each (``--method finetune``), on the same splits,
and compared on test: fine-tuning agrees if the recommended network is not significantly worse
than any other (McNemar, Holm). Simulated bake-offs are those of `comparison.simulated`.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bowerbird.comparison.significance import holm, mcnemar
from bowerbird.comparison.simulated import Outcome, lower_half, simulate

MODELS = "tf_efficientnet_lite0,tf_efficientnet_lite1,tf_efficientnet_lite2"


def timed(command: list[str], cache: Path) -> tuple[float, Any]:
    """Seconds of a whole process, and the JSON that it printed."""
    environment = os.environ | {"BOWERBIRD_CACHE": str(cache)}
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    seconds = time.perf_counter() - began
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return seconds, json.loads(done.stdout)


def bake(data: Path, folder: Path, models: str, budget: str) -> tuple[float, Any]:
    """Seconds and result of a bake-off with an empty cache."""
    command = [sys.executable, "-m", "bowerbird", "bakeoff", str(data), "--models", models]
    command += ["--budget", budget, "--json", "--out", str(folder / f"bakeoff-{data.name}")]
    return timed(command, folder / f"cache-{data.name}")


def told(data: Path, seconds: float, found: Any) -> list[str]:
    """A table of one bake-off."""
    lines = [
        f"### {data.name}",
        "",
        f"{seconds:.0f} s, {found['rounds'][-1]['images']:,} of {found['rounds'][-1]['of']:,} "
        f"images, judged {found['decided_on']}. Take {found['recommended']}.",
        "",
        "| network | accuracy | 95 % interval | images | ms/image | against the best |",
        "|---|---|---|---|---|---|",
    ]
    for score in found["networks"]:
        test = found["against_the_best"].get(score["name"])
        words = (
            f"{-100 * test['difference']:+.1f} points, p = {test['p_corrected']:.2g}"
            if test
            else ""
        )
        words = "dropped" if score["dropped"] else words or "the best"
        low, high = score["interval"]
        lines.append(
            f"| {score['name']} | {score['accuracy']:.1%} | {low:.1%} to {high:.1%} | "
            f"{score['images']:,} | {score['milliseconds']:.1f} | {words} |"
        )
    return [*lines, ""]


def finetuned(data: Path, folder: Path, names: Sequence[str], budget: str) -> dict[str, Path]:
    """Runs by network, each trained with the budget."""
    runs = {}
    for name in names:
        run = folder / f"{data.name}-{name}"
        command = [sys.executable, "-m", "bowerbird", "train", str(data), "--model", name, "--json"]
        command += ["--method", "finetune", "--budget", budget, "--out", str(run)]
        timed(command, folder / f"cache-{data.name}")
        runs[name] = run
    return runs


def agreement(runs: dict[str, Path], recommended: str) -> Iterator[str]:
    """Test accuracies after fine-tuning, and whether they agree with the recommendation."""
    correct = {name: rights(run) for name, run in runs.items()}
    others = [name for name in correct if name != recommended]
    raw = [mcnemar(correct[recommended], correct[name]).p_value for name in others]
    corrected = dict(zip(others, holm(raw), strict=True))
    yield from ("", "| fine-tuned | test accuracy | against the recommended |", "|---|---|---|")
    worse = []
    for name, right in correct.items():
        lead = float(right.mean() - correct[recommended].mean())
        words = (
            f"{100 * lead:+.1f} points, p = {corrected[name]:.2g}" if name in others else "taken"
        )
        yield f"| {name} | {right.mean():.1%} | {words} |"
        if name in others and lead > 0 and corrected[name] < 0.05:
            worse.append(name)
    best = max(correct, key=lambda name: float(correct[name].mean()))
    verdict = f"No: {' and '.join(worse)} is better beyond luck." if worse else "Yes."
    yield from ("", f"Agrees: {verdict} Highest test accuracy: {best}.", "")


def rights(run: Path) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Whether a run is right on each test image, in the order of their paths."""
    if not (run / "predictions_test.csv").is_file():
        raise SystemExit(f"{run.name}: without test images fine-tuning can't be compared.")
    with (run / "predictions_test.csv").open(encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["path"])
    return np.array([row["class"] == row["predicted"] for row in rows])


def simulations(count: int) -> Iterator[str]:
    """What becomes of many made-up bake-offs, by the rule for dropping and the number of images."""
    titles = (
        "rule", "best lost", "by more than half a point", "truly best dropped",
        "recommended dropped", "accuracy given away", "work",
    )  # fmt: skip
    yield from (f"### {count:,} simulated bake-offs", "", _row(titles), _row(["---"] * 7))
    yield _simulated("ours", simulate(count, seed=2026))
    yield _simulated("lower half dropped", simulate(count, seed=2026, drop=lower_half))
    for images in (300, 1000, 3000, 6000):
        found = simulate(max(200, count // 10), seed=7, images=images)
        yield _simulated(f"ours, {images:,} images, {found.bakeoffs:,} bake-offs", found)


def _simulated(rule: str, found: Outcome) -> str:
    shares = (found.lost, found.lost_beyond, found.best_dropped, found.taken_dropped)
    cells = [f"{share:.2%}" for share in shares]
    return _row([rule, *cells, f"{100 * found.cost:.3f} points", f"{found.work:.0%}"])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Run what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="*")
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--budget", default="10m")
    parser.add_argument("--finetune", metavar="BUDGET", help="train all of them, too")
    parser.add_argument("--simulated", type=int, default=0)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    lines: list[str] = [f"`python benchmarks/bakeoff.py {' '.join(sys.argv[1:])}`", ""]
    total = 0.0
    with tempfile.TemporaryDirectory() as temporary:
        for data in chosen.data:
            seconds, found = bake(data, Path(temporary), chosen.models, chosen.budget)
            total += seconds
            lines += told(data, seconds, found)
            if chosen.finetune:
                names = [score["name"] for score in found["networks"]]
                runs = finetuned(data, Path(temporary), names, chosen.finetune)
                lines += agreement(runs, found["recommended"])
    if len(chosen.data) > 1:
        lines.append(f"All bake-offs together: {total:.0f} s.\n")
    if chosen.simulated:
        lines += simulations(chosen.simulated)
    text = "\n".join(itertools.chain(lines, [""]))
    print(text)
    if chosen.out:
        chosen.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
