"""Makes the charts of docs/tutorial-features.md in docs/pictures/, from any labelled images.

python docs/features.py DATA

The tutorial's are of 2,000 photos of cats and dogs. It trains the fast classifier, probes the
run as the tutorial does, and keeps four charts; photos stay where they are. It prints what was
found, with which the tutorial's figures can be compared.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from bowerbird.config import Recipe, TrainConfig
from bowerbird.plots import probing, save
from bowerbird.probing.results import Probe
from bowerbird.workflow import train
from bowerbird.workflow.probing import probe

HERE = Path(__file__).parent
CHARTS: dict[str, Callable[[Probe], Figure]] = {
    "sweep": probing.sweep_curves,
    "stages": probing.stages_compared,
    "overlap": probing.overlap_matrix,
    "map": probing.image_map,
}


def main() -> None:
    """Train, probe, draw."""
    if len(sys.argv) != 2:
        raise SystemExit("python docs/features.py DATA")
    with tempfile.TemporaryDirectory() as temporary:
        run, _ = train(
            Recipe(data=sys.argv[1], train=TrainConfig(method="probe")), Path(temporary) / "run"
        )
        found = probe(run, top_k=[10, 100, 500, 1000, "all"])
        print("\n".join(found.to_dict()["summary"]))
        for top in found.tops:
            about = found.interpretability.row(top.column)
            print(found.table.classes[top.target], about["feature"], about["sentence"])
        for name, draw in CHARTS.items():
            keep(draw(found), Path(temporary) / f"{name}.png", name)


def keep(figure: Figure, drawn: Path, name: str) -> None:
    """Save in 64 colours: below 100 kB."""
    save(figure, drawn, dpi=110)
    with Image.open(drawn) as image:
        small = image.convert("RGB").quantize(64)
    small.save(HERE / "pictures" / f"features-{name}.png", optimize=True)


if __name__ == "__main__":
    main()
