"""Study 000's first steps on open photos: wrong labels found and mended, a test set held out,
classes made equal.

    python recipes/open/cleaning.py DATA OUT

DATA has train/ and test/ with a folder per class (seen with `catsdogs2k`). One training
image in twenty gets a wrong label, since the photos have few of their own; the audit is given
what is left, its flags are followed without looking (a person would look), and all three
sets are trained on. Then every class is brought to 750 training images. What came out:
docs/studies/cleaning.md.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
from running import bowerbird, once

import bowerbird as bb


def with_errors(data: Path, table: Path, share: float = 0.05, seed: int = 0) -> set[str]:
    """Write a table of DATA in which a share of the training labels is wrong; whose they are."""
    dataset = bb.read_images(data)
    draw = np.random.default_rng(seed)
    train = [i for i, sample in enumerate(dataset.samples) if sample.split == "train"]
    wrong = set(draw.choice(train, round(share * len(train)), replace=False).tolist())
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        for i, sample in enumerate(dataset.samples):
            shift = int(draw.integers(1, len(dataset.classes))) if i in wrong else 0
            target = (int(sample.target or 0) + shift) % len(dataset.classes)
            writer.writerow([sample.path, dataset.classes[target], sample.split])
    return {dataset.samples[i].path for i in wrong}


def follow(issues: Path, fixes: Path) -> set[str]:
    """Turn the audit's flags on training labels into decisions; whose they are."""
    with issues.open(encoding="utf-8", newline="") as file:
        flags = [r for r in csv.DictReader(file) if r["kind"] == "suspect"]
    flags = [r for r in flags if r["split"] == "train"]
    with fixes.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "class", "action", "new_class"])
        for row in flags:
            new = row["suggestion"].removeprefix("relabel to ")
            writer.writerow([row["image"], row["class"], "relabel", new])
    return {row["image"] for row in flags}


def main(data: Path, out: Path) -> None:
    """Spoil, audit, mend, train on each; then hold out, and expand."""
    out.mkdir(parents=True, exist_ok=True)
    spoilt, fixes, mended = out / "spoilt.csv", out / "fixes.csv", out / "mended.csv"
    wrong = with_errors(data, spoilt)
    root = ("--image-root", data)
    bowerbird("audit", spoilt, *root, "--out", out / "audit")
    flagged = follow(out / "audit" / "issues.csv", fixes)
    print(f"{len(wrong)} labels are wrong; {len(flagged)} flagged, {len(wrong & flagged)} rightly.")
    bowerbird("apply", spoilt, fixes, *root, "--out", mended)
    once(out / "clean", data, "--method", "probe")
    once(out / "wrong-labels", spoilt, *root, "--method", "probe")
    once(out / "mended", spoilt, *root, "--manifest", mended, "--method", "probe")
    augment = "rotate=15,shift=0.1,shear=0.1,zoom=0.8333-1x0.8333-1,fill=wrap,flip"
    expanded = out / "expanded"
    bowerbird("expand", data, "--per-class", 750, "--augment", augment, "--out", expanded)
    once(out / "on-expanded", expanded, "--method", "probe")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
