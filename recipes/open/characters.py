"""Studies 000 and 002 on open pictures: gradual unfreezing, a second layer, filters.

    python recipes/open/characters.py DATA OUT

DATA has train/ and test/ with a folder per character (seen with `simpsons10`, 28 pixels). What
came out: docs/studies/characters.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

from running import bowerbird, once

RECIPES = Path(__file__).parent


def main(data: Path, out: Path) -> None:
    """Train in three ways, compare, and look into the first layers."""
    ways = {
        "gradual": RECIPES / "simpsons10-gradual.toml",
        "default": RECIPES / "simpsons10.toml",
        "scratch": RECIPES / "simpsons10-resnet18-scratch.toml",
    }
    for name, recipe in ways.items():
        once(out / name, data, "--config", recipe)
    bowerbird("compare", *(out / name for name in ways), "--out", out / "comparison")
    first = out / "scratch"
    bowerbird("explain", first, "--filters", "1", "2", "3", "--out", out / "filters")
    bowerbird("explain", out / "default", "--per-class", 3, "--out", out / "where")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
