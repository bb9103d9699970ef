"""Study 003 on open photographs: pretrained against random weights, kappa, the matrix by rows.

    python recipes/open/eyes.py DATA OUT

DATA is a table of eye photographs in five grades (seen with the labels of IDRiD, column
``retinopathy_grade``). What came out: docs/studies/eyes.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

from running import bowerbird, once

RECIPES = Path(__file__).parent
COLUMN = ("--label-column", "retinopathy_grade")


def main(data: Path, out: Path) -> None:
    """Train on features, in full from pretrained and from random weights, and compare."""
    once(out / "probe", data, *COLUMN, "--method", "probe")
    for name in ("pretrained", "scratch"):
        once(out / name, data, *COLUMN, "--config", RECIPES / f"idrid5-{name}.toml")
    runs = [out / name for name in ("probe", "pretrained", "scratch")]
    bowerbird("compare", *runs, "--out", out / "comparison")
    bowerbird("explain", out / "probe", "--per-class", 3, "--out", out / "where")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
