"""Study 001 on open photos: 102 flowers with ten training images each.

    python recipes/open/flowers.py DATA OUT

DATA is a table with a split column (seen with `flowers102` at 64 pixels). Networks under one time
limit, augmentations added one at a time, layers cut off and put on; three networks as far as they
go, alone and together; and the cheapest refitted on training and validation images. What came
out: docs/studies/flowers.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

from running import bowerbird, once

RECIPES = Path(__file__).parent
EXTENDED = (
    "append blocks Conv2d(_, 512, 3, padding=1)", "append blocks ReLU(inplace=True)",
    "append blocks Conv2d(_, 320, 3, padding=1)", "append blocks ReLU(inplace=True)",
)  # fmt: skip
SURGERY: dict[str, tuple[str, ...]] = {
    "as-it-came": (),
    "cut": ("cut blocks.5", "replace conv_head Conv2d(_, 1280, 1, bias=False)"),
    "extended": EXTENDED,
}
"""The last two stages cut off; two convolutions put on, so that the layers behind still fit."""
NETWORKS = ("tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2")


def main(data: Path, out: Path) -> None:
    """Networks, augmentations, surgery, three networks together, refit."""
    bowerbird("bakeoff", data, "--out", out / "bakeoff")
    ladder = ["flip", "rotate=45,fill=0", "brightness=0.5,contrast=0.5,saturation=0.5,hue=0.1"]
    plain = ["--method", "finetune", "--image-size", 128, "--epochs", 6, "--seeds", 2]
    bowerbird("ablate", data, "--ladder", *ladder, "grey@0.1", *plain, "--out", out / "ladder")
    for name, lines in SURGERY.items():
        plain = ["--method", "finetune", "--image-size", 128, "--epochs", 6, "--lock-test"]
        plain += [word for line in lines for word in ("--surgery", line)]
        once(out / "surgery" / name, data, *plain)
        trained = [*plain, "--batch-norm", "trained"]
        once(out / "surgery" / f"{name}-statistics-trained", data, *trained)
    bowerbird("compare", out / "surgery", "--out", out / "surgery-compared")
    whole = ["--config", RECIPES / "flowers102-refit.toml"]
    for model in NETWORKS:
        once(out / "networks" / model, data, *whole, "--no-refit", "--model", model)
    bowerbird("compare", out / "networks", "--out", out / "networks-compared")
    once(out / "refit", data, *whole)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
