"""How many augmented children per second are made and written at 224 pixels.

    python benchmarks/expand.py DATA [--children 3000] [--out benchmarks/results/expand.md]

Whole expansions into a temporary folder, with the list of changes of study 000: decoding,
one resampling, JPEG, flushed to the disk; with one thread and with one per core, in turn.
Besides the wall clock the processor's time per child is given, which other work on the
machine hardly changes.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median

import bowerbird as bb
from bowerbird.machine import cores

STUDY = "rotate=15,shift=0.1,shear=0.1,zoom=0.8333-1x0.8333-1,fill=wrap,flip"
STRONG = "strong"


def measure(
    ds: bb.Dataset, parts: bb.Split, children: int, augment: str, workers: int
) -> tuple[float, float]:
    """Children per second, and milliseconds of a processor per child."""
    smallest = min(counts for counts in parts.counts(ds)["train"].values())
    settings = bb.ExpandConfig(
        per_class=smallest + children // len(ds.classes), augment=augment, workers=workers
    )
    with tempfile.TemporaryDirectory(dir=".") as folder:
        began, busy = time.perf_counter(), time.process_time()
        found = bb.expand(ds, parts, Path(folder) / "out", settings)
        seconds, busy = time.perf_counter() - began, time.process_time() - busy
    return found.children / seconds, 1000 * busy / found.children


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--children", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--note", default="")
    chosen = parser.parse_args()
    ds = bb.read_images(chosen.data)
    parts = bb.split(ds)
    cases = [(name, n) for name in (STUDY, STRONG) for n in (1, cores())]
    found: dict[tuple[str, int], list[tuple[float, float]]] = {case: [] for case in cases}
    for _ in range(chosen.rounds):
        for case in cases:
            found[case].append(measure(ds, parts, chosen.children, *case))
    lines = [
        "| changes | threads | children/s, median (lowest to highest) | processor, ms/child |",
        "|---|---|---|---|",
    ]
    for (augment, workers), results in found.items():
        rates, busy = [rate for rate, _ in results], median(each for _, each in results)
        lines.append(
            f"| `{augment}` | {workers} | {median(rates):.0f} ({min(rates):.0f} to "
            f"{max(rates):.0f}) | {busy:.1f} |"
        )
    load = f"Load of the machine at the end: {os.getloadavg()[0]:.1f} on {cores()} cores."
    text = "\n".join(lines) + f"\n\n{load} {chosen.note}".rstrip() + "\n"
    print(text)
    if chosen.out:
        command = f"`python benchmarks/expand.py DATA --children {chosen.children}`"
        chosen.out.write_text(f"{command}\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
