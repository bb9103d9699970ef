"""What a run's report says of the probe in its folder.

It takes sentences and two figures from there, so that it can be written again without the
features, and knows nothing of how they came about.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from bowerbird.report.pictures import Chart, from_file

__all__ = ["ProbeSection", "probe_section"]

_CHARTS = {
    "sweep": "Accuracy against the number of best features, per classifier, with bands over seeds.",
    "stages": "Accuracy of a logistic regression after each stage of the network, with intervals.",
}


@dataclass(frozen=True)
class ProbeSection:
    """What a run's report says of its probe.

    Attributes:
        layer: that was probed.
        sentences: what was found.
        charts: figures from the probe's folder.
        page: name of the probe's page, from the run's folder.
    """

    layer: str
    sentences: tuple[str, ...]
    charts: tuple[Chart, ...]
    page: str


def probe_section(run: Path) -> ProbeSection | None:
    """What a run's report says of the probe in its folder; None if there is none.

    A folder that isn't ours, or of which a part is gone, is no reason not to write a report.
    """
    folder = run / "probe"
    try:
        found = json.loads((folder / "probe.json").read_text(encoding="utf-8"))
        sentences = tuple(str(sentence) for sentence in found["summary"])
        layer, drawn = str(found["layer"]), {Path(name).stem for name in found["files"]}
    except (OSError, ValueError, LookupError, TypeError):
        return None
    charts = [_picture(folder / f"{name}.png") for name in _CHARTS if name in drawn]
    page = "probe/probe.html" if (folder / "probe.html").is_file() else ""
    return ProbeSection(layer, sentences, tuple(c for c in charts if c is not None), page)


def _picture(file: Path) -> Chart | None:
    try:
        return from_file(file, _CHARTS[file.stem])
    except OSError:  # half a file, or none any more
        return None
