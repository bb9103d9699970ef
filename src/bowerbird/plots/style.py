"""The look of every figure, and how figures become files.

Decisions:
- One look: light ground, thin grey spines, Okabe and Ito's colours for categories
  (readable for the colour-blind, always backed by a mark or a word).
- Names are shown as they are: `$` starts no formula, and scripts that the machine has a
  font for are drawn with it. Long ones are shortened in the middle, where they differ
  least.
- The same figure gives the same bytes: no date, no random identifiers.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bowerbird.errors import ConfigError
from bowerbird.storage import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["labels", "new_figure", "percent", "render", "save", "shortened", "style"]

BLUE, ORANGE, GREEN, RED, YELLOW = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#F0E442"
SERIES = (BLUE, RED, GREEN, ORANGE, "#CC79A7", "#56B4E9", "#6B4C9A")
"""Colours of things that are compared, in order; those of Okabe and Ito that lines can bear."""
INK, MUTED, LINE, EMPTY = "#1F2430", "#667085", "#D5D9E0", "#ECEEF2"
_SCRIPTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "PingFang SC", "Microsoft YaHei", "Noto Sans")


def save(figure: Figure, path: Path, dpi: int = 150) -> Path:
    """Write a figure atomically; the format is the name's ending (png, svg, pdf).

    Raises:
        ConfigError: figures have no such format.
        RunError: the file can't be written.
    """
    format = path.suffix.removeprefix(".").lower() or "png"
    if format not in figure.canvas.get_supported_filetypes():
        raise ConfigError(
            f"Figures are written as png, svg or pdf. Found: {path.name}. Choose another ending."
        )
    write_bytes(path, render(figure, format, dpi))
    return path


def render(figure: Figure, format: str = "png", dpi: int = 150) -> bytes:
    """A figure as the bytes of a file; the same figure gives the same bytes."""
    import matplotlib

    buffer = io.BytesIO()
    options: dict[str, dict[str, Any]] = {
        "png": {"pil_kwargs": {"compress_level": 1}},  # faster, and a tenth larger
        "svg": {"metadata": {"Date": None}},
        "pdf": {"metadata": {"CreationDate": None}},
    }
    with matplotlib.rc_context({"svg.hashsalt": "bowerbird"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(buffer, format=format, dpi=dpi, **options.get(format, {}))
    return buffer.getvalue()


def labels(names: Sequence[str]) -> list[str]:
    """Class names for an axis: shortened to 24 characters, or more where they would coincide."""
    for length in (24, 32, 40):
        short = [shortened(name, length) for name in names]
        if len(set(short)) == len(set(names)):
            break
    return short


def shortened(name: str, length: int = 24) -> str:
    """A name of at most `length` characters, its middle replaced by an ellipsis.

    >>> shortened("a very long class name indeed", 12)
    'a very…ndeed'
    """
    name = " ".join(name.encode("utf-8", "replace").decode("utf-8").split())
    if len(name) <= length:
        return name
    tail = (length - 1) // 2
    return name[: length - 1 - tail].rstrip() + "…" + name[len(name) - tail :]


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The look of every figure, in one place."""
    import matplotlib
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    settings: dict[Any, Any] = {
        "font.family": ["DejaVu Sans", *(name for name in _SCRIPTS if name in installed)],
        "font.size": 9,
        "text.color": INK,
        "text.parse_math": False,
        "figure.facecolor": "white",
        "axes.titlesize": 10.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlepad": 9,
        "axes.labelcolor": MUTED,
        "axes.edgecolor": LINE,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.grid": False,
        "grid.color": "#E8EBF0",
        "grid.linewidth": 0.8,
        "xtick.color": LINE,
        "ytick.color": LINE,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "legend.frameon": False,
        "figure.constrained_layout.w_pad": 0.1,
        "figure.constrained_layout.h_pad": 0.1,
        "hatch.color": "#C3C8D1",
        "hatch.linewidth": 0.7,
    }
    with matplotlib.rc_context(settings):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that many inches, whose parts make room for each other."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def percent(share: float, _: object = None) -> str:
    """A share as a person reads it; also a tick formatter.

    >>> percent(0.9375)
    '93.8 %'
    """
    return f"{100 * share:.3g} %"
