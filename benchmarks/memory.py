"""Peak memory of a whole training with 1,000 and with 20,000 images.

    python benchmarks/memory.py DATA [--out benchmarks/results/memory.md]

The 20,000 are 1,000 real photos repeated under new names, each with a few bytes of its own
behind the picture's end, so that no two files count as copies and every feature is computed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path


def fill(folder: Path, photos: dict[str, list[Path]], count: int) -> None:
    """Write `count` files, as many of each class."""
    for label, files in photos.items():
        target = folder / label
        target.mkdir(parents=True)
        for number in range(count // len(photos)):
            data = files[number % len(files)].read_bytes()
            (target / f"{number:05d}.jpg").write_bytes(data + number.to_bytes(4, "big"))


def peak(data: Path, folder: Path) -> float:
    """Peak resident memory in MB of `bowerbird train DATA --method probe`."""
    command = [sys.executable, "-m", "bowerbird", "train", str(data), "--method", "probe"]
    environment = os.environ | {"BOWERBIRD_CACHE": str(folder / "cache")}
    child = subprocess.Popen(
        [*command, "--out", str(folder / "run")], env=environment, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        raise SystemExit("training failed")
    return usage.ru_maxrss / 1024


def main() -> None:
    """Measure both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 20000])
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    photos: dict[str, list[Path]] = {}
    for file in sorted(chosen.data.rglob("*.jpg")):
        photos.setdefault(file.parent.name, []).append(file)
    lines = ["| images | peak memory |", "|---|---|"]
    for count in chosen.counts:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            fill(folder / "data", photos, count)
            lines.append(f"| {count:,} | {peak(folder / 'data', folder):.0f} MB |")
    text = "\n".join(lines) + "\n"
    print(text)
    if chosen.out:
        chosen.out.write_text(f"`python benchmarks/memory.py DATA`\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
