"""Training time and accuracy against a plain loop and fastai, side by side in one run.

    python benchmarks/training.py DATA [--out benchmarks/results/training.md]

DATA has train/ and test/ with a folder per class (measured on `catsdogs2k`: 1,000 + 1,000
photos). Needs the extra `bench`. Every contestant is a whole process, imports included; what
they read, packages and photos, has been read from the disk once before, so that the first
doesn't pay for all. Takes about a quarter of an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent


def timed(command: list[str], cache: Path) -> tuple[float, str]:
    """Seconds of a whole process, and what it printed."""
    environment = os.environ | {"BOWERBIRD_CACHE": str(cache)}
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    seconds = time.perf_counter() - began
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return seconds, done.stdout


def read_from_disk(data: Path, skipped: list[str]) -> None:
    """Bring packages and photos into memory, for whoever comes first."""
    packages = ["bowerbird.report.of_run", "bowerbird.training", "timm", "scipy.optimize"]
    packages += [] if "fastai" in skipped else ["fastai.vision.all"]
    subprocess.run([sys.executable, "-c", f"import {', '.join(packages)}"], check=True)
    for file in data.rglob("*"):
        if file.is_file():
            file.read_bytes()


def bowerbird(data: Path, folder: Path, name: str, *options: str) -> tuple[float, float]:
    """Seconds and test accuracy of `bowerbird train`."""
    command = [sys.executable, "-m", "bowerbird", "train", str(data), "--json"]
    seconds, text = timed([*command, "--out", str(folder / name), *options], folder / "cache")
    return seconds, float(json.loads(text)["evaluations"]["test"]["accuracy"])


def baseline(name: str, data: Path, folder: Path) -> tuple[float, float]:
    """Seconds and test accuracy of a baseline."""
    command = [sys.executable, str(HERE / "baselines.py"), name, str(data)]
    seconds, text = timed(command, folder / "cache")
    return seconds, float(json.loads(text.strip().splitlines()[-1])["test_accuracy"])


def main() -> None:
    """Run all contestants and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--skip", nargs="*", default=[], help="plain, fastai, auto")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        read_from_disk(chosen.data, chosen.skip)
        rows = {"bowerbird, probe": bowerbird(chosen.data, folder, "1", "--method", "probe")}
        rows["bowerbird, probe, features cached"] = bowerbird(
            chosen.data, folder, "2", "--method", "probe"
        )
        if "auto" not in chosen.skip:
            rows["bowerbird, default settings, features cached"] = bowerbird(
                chosen.data, folder, "3"
            )
        if "plain" not in chosen.skip:
            rows["plain loop, 2 epochs"] = baseline("plain", chosen.data, folder)
        if "fastai" not in chosen.skip:
            rows["fastai fine_tune(1)"] = baseline("fastai", chosen.data, folder)
        again = bowerbird(chosen.data, folder / "again", "4", "--method", "probe")
        rows["bowerbird, probe, once more from nothing"] = again
    first = rows["bowerbird, probe"][0]
    lines = [
        "| contestant | test accuracy | seconds | against bowerbird probe |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {accuracy:.1%} | {seconds:.1f} | {seconds / first:.2f} × |"
        for name, (seconds, accuracy) in rows.items()
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if chosen.out:
        chosen.out.write_text(f"`python benchmarks/training.py DATA`\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
