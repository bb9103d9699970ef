"""Study 001 on open photos: 102 flowers with ten training images each.

    python recipes/open/flowers.py DATA OUT

DATA is a table with a split column (seen with `flowers102` at 64 pixels). Networks under one time
limit, augmentations added one at a time, and the best network refitted on training and
validation images. What came out: docs/studies/flowers.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

from running import bowerbird, once

RECIPES = Path(__file__).parent


def main(data: Path, out: Path) -> None:
    """Networks, augmentations, refit."""
    bowerbird("bakeoff", data, "--out", out / "bakeoff")
    ladder = ["flip", "rotate=45,fill=0", "brightness=0.5,contrast=0.5,saturation=0.5,hue=0.1"]
    plain = ["--method", "finetune", "--image-size", 128, "--epochs", 6, "--seeds", 2]
    bowerbird("ablate", data, "--ladder", *ladder, "grey@0.1", *plain, "--out", out / "ladder")
    once(out / "refit", data, "--config", RECIPES / "flowers102-refit.toml")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
