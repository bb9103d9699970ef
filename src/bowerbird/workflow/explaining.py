"""The journey of `bowerbird explain`: images of a run to maps, figures and files.

Decisions:
- Everything goes to ``explanations/`` in the run's folder, or to another folder. What an
  earlier explanation wrote there, by its own list, is removed when it isn't written again;
  nothing else is.
- Figures are written one by one, so that the first can be looked at while others are drawn.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bowerbird import machine, progress, storage
from bowerbird.runs import Run, load_run

if TYPE_CHECKING:
    from bowerbird.data.dataset import Problem
    from bowerbird.explanation.agreement import Comparison
    from bowerbird.explanation.faithfulness import Faithfulness
    from bowerbird.explanation.results import Attribution

__all__ = ["Explained", "compare", "explain", "show_attention", "show_features", "show_filters"]

_LIST = "explanation.json"


@dataclasses.dataclass(frozen=True)
class Explained:
    """What was explained, and where it is written.

    Attributes:
        folder: holds everything.
        found: the maps.
        checked: whether they can be trusted, if that was asked.
        files: names of what was written, relative to the folder.
    """

    folder: Path
    found: Attribution
    checked: Faithfulness | None
    files: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Explained({self.found!r}, {len(self.files)} files in {self.folder})"

    def to_dict(self) -> dict[str, Any]:
        """Everything but the maps, for JSON."""
        facts = {"folder": str(self.folder), "files": list(self.files)} | self.found.to_dict()
        return facts | ({"check": self.checked.to_dict()} if self.checked else {})


def explain(
    run: str | Path,
    images: Sequence[str | Path] = (),
    *,
    out: Path | None = None,
    check: bool = False,
    **how: Any,
) -> Explained:
    """Explain images of a run, draw them, and write all that was found.

    Args:
        run: a finished run's folder.
        images: files and folders; by default some of the run's own.
        out: folder to write to; by default ``explanations`` in the run's.
        check: measure whether the maps can be trusted, too.
        **how: see `bowerbird.explanation.of_run.explain`.

    Raises:
        BowerbirdError: anything that a person can mend; see `errors`.
    """
    opened = load_run(run)
    machine.load("timm", "bowerbird.explanation.of_run", "bowerbird.plots.explanations")
    from bowerbird.explanation import of_run

    found = of_run.explain(opened, images, **how)
    _tell(found.problems)
    if found.empty.all():
        progress.say(
            "Every map is empty: nothing there speaks for the class, or no gradient reaches the "
            "layer. Try another --layer or --target."
        )
    folder = _folder(opened, out)
    earlier = _listed(folder)
    files = [_write_maps(folder, found), *_draw(opened, folder, found)]
    checked = None
    if check:
        asked = {name: how.get(name) for name in ("target", "against")}
        seed = how.get("seed", 0)
        checked = of_run.check_maps(opened, found, own=bool(images), seed=seed, **asked)
        files.append(_draw_check(folder, checked))
    files.append(_write_page(opened, folder, found, files, checked))
    explained = Explained(folder, found, checked, tuple(files))
    storage.write_json(folder / _LIST, explained.to_dict())
    _remove(folder, [name for name in earlier if name not in files])
    return explained


def compare(
    runs: Sequence[str | Path],
    images: Sequence[str | Path] = (),
    *,
    out: Path | None = None,
    **how: Any,
) -> tuple[Comparison, Path]:
    """Explain the same images with several runs, and draw them side by side.

    Args:
        runs: folders of finished runs; the first one's images are used where none are named.
        images: files and folders.
        out: folder to write to; by default ``explanations`` in the first run's.
        **how: see `bowerbird.explanation.of_run.explain`.

    Returns:
        What was found, and the drawing's file.
    """
    opened = [load_run(run) for run in runs]
    machine.load("timm", "bowerbird.explanation.of_run", "bowerbird.plots.explanations")
    from bowerbird.explanation.of_run import explain_together, picture
    from bowerbird.plots import save
    from bowerbird.plots.explanations import comparison_sheet

    found = explain_together(opened, images, **how)
    _tell(found.found[0].problems)
    folder, shown = _folder(opened[0], out), range(min(len(found), _ON_A_SHEET))
    seen = [run.network().preprocess for run in opened]
    figure = comparison_sheet(found, shown, lambda n, path: picture(path, seen[n], 224))
    storage.write_json(folder / "side-by-side.json", found.to_dict())
    return found, save(figure, folder / "side-by-side.png")


def show_filters(
    run: str | Path, layers: Sequence[str], *, channel: int | None = None, out: Path | None = None
) -> list[Path]:
    """Draw the filters of some layers of a run's network.

    Args:
        run: a finished run's folder.
        layers: paths of convolutions, or 1 for the first one, and so on.
        channel: input channel to show; by default colours, or the mean of all.
        out: folder to write to; by default ``explanations`` in the run's.

    Returns:
        The files.
    """
    opened = load_run(run)
    machine.load("timm", "bowerbird.explanation.filters", "bowerbird.plots.layers")
    from bowerbird.explanation.filters import filters
    from bowerbird.plots import save
    from bowerbird.plots.layers import filter_sheet

    network = opened.network()
    found = [filters(network, layer, channel=channel) for layer in layers]
    folder = _folder(opened, out)
    return [save(filter_sheet(f), folder / f"filters-{_plain(f.layer)}.png") for f in found]


def show_features(
    run: str | Path,
    layers: Sequence[str],
    images: Sequence[str | Path] = (),
    *,
    out: Path | None = None,
    **how: Any,
) -> list[Path]:
    """Draw the feature maps of some layers of a run's network.

    Args:
        run: a finished run's folder.
        layers: paths of modules.
        images: files and folders; by default one image of each class.
        out: folder to write to; by default ``explanations`` in the run's.
        **how: see `bowerbird.explanation.of_run.run_features`.

    Returns:
        The files.
    """
    opened = load_run(run)
    machine.load("timm", "bowerbird.explanation.of_run", "bowerbird.plots.layers")
    from bowerbird.explanation.of_run import picture, run_features
    from bowerbird.plots import save
    from bowerbird.plots.layers import feature_sheet

    found = [run_features(opened, layer, images, **how) for layer in layers]
    preprocess, folder, files = opened.network().preprocess, _folder(opened, out), []
    for maps, problems in found:
        if maps is found[0][0]:
            _tell(problems)
        pictures = [picture(path, preprocess, 224) for path in maps.paths]
        figure = feature_sheet(maps, pictures, range(len(maps)))
        files.append(save(figure, folder / f"features-{_plain(maps.layer)}.png"))
    return files


def show_attention(
    run: str | Path,
    layers: Sequence[str] = (),
    images: Sequence[str | Path] = (),
    *,
    out: Path | None = None,
    **how: Any,
) -> list[Path]:
    """Draw what a run's transformer attends to, at some layers.

    Args:
        run: a finished run's folder.
        layers: paths of attentions or blocks, or 1 for the first one, and so on; by default the
            last one.
        images: files and folders; by default one image of each class.
        out: folder to write to; by default ``explanations`` in the run's.
        **how: see `bowerbird.explanation.of_run.run_attention`.

    Returns:
        The files.
    """
    opened = load_run(run)
    machine.load("timm", "bowerbird.explanation.of_run", "bowerbird.plots.attention")
    from bowerbird.explanation.of_run import picture, run_attention
    from bowerbird.plots import save
    from bowerbird.plots.attention import attention_sheet

    found, problems = run_attention(opened, layers, images, **how)
    _tell(problems)
    preprocess, folder = opened.network().preprocess, _folder(opened, out)
    pictures = [picture(path, preprocess, 224) for path in found[0].paths]
    return [
        save(
            attention_sheet(maps, pictures, range(len(maps))),
            folder / f"attention-{_plain(maps.layer)}.png",
        )
        for maps in found
    ]


def _folder(run: Run, out: Path | None) -> Path:
    return storage.make_folder((out or run.path / "explanations").expanduser().absolute())


def _tell(problems: Sequence[Problem]) -> None:
    for problem in problems:
        progress.say(f"Left out: {problem.path}: {problem.reason}.")


def _write_maps(folder: Path, found: Attribution) -> str:
    """``maps.npz``: plain arrays, which numpy reads without pickles."""
    import numpy as np

    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        maps=found.maps,
        targets=found.targets,
        against=found.against,
        truth=found.truth,
        probabilities=found.probabilities,
        classes=np.array(found.classes, np.str_),
        paths=np.array([storage.readable(path) for path in found.paths], np.str_),
        method=np.array(found.method),
        layer=np.array(found.layer or ""),
        input_size=np.array(found.size),
    )
    storage.write_bytes(folder / "maps.npz", buffer.getvalue())
    return "maps.npz"


def _draw(run: Run, folder: Path, found: Attribution) -> list[str]:
    """A figure per image, and a sheet per class."""
    from bowerbird.explanation.of_run import picture
    from bowerbird.plots import save
    from bowerbird.plots.explanations import explanation, explanation_sheet

    preprocess = run.network().preprocess
    storage.make_folder(folder / "images")
    files = []
    with progress.task("Drawing", len(found)) as task:
        for index, path in enumerate(found.paths):
            name = f"images/{index:04d}-{_plain(Path(path).stem)}.png"
            save(explanation(found, index, picture(path, preprocess)), folder / name, dpi=120)
            files.append(name)
            task.advance()
    groups: dict[int, list[int]] = {}
    for index in range(len(found)):
        shown = found.truth[index] if found.truth[index] >= 0 else found.targets[index]
        groups.setdefault(int(shown), []).append(index)
    for number, indices in sorted(groups.items()):
        name = f"sheet-{number:03d}-{_plain(found.classes[number])}.png"
        some, title = indices[:_ON_A_SHEET], found.classes[number]
        figure = explanation_sheet(found, some, lambda p: picture(p, preprocess), title)
        save(figure, folder / name)
        files.append(name)
    return files


_ON_A_SHEET = 60


def _draw_check(folder: Path, checked: Faithfulness) -> str:
    from bowerbird.plots import save
    from bowerbird.plots.faithfulness import faithfulness

    save(faithfulness(checked), folder / "check.png")
    return "check.png"


def _write_page(
    run: Run,
    folder: Path,
    found: Attribution,
    files: Sequence[str],
    checked: Faithfulness | None,
) -> str:
    """``explanations.html``: all sheets in one file."""
    from bowerbird.report.of_explanation import write_explanations

    drawn = [name for name in files if name.startswith("sheet-")]
    numbers = [int(name.split("-")[1]) for name in drawn]
    sheets = {found.classes[n]: folder / name for n, name in zip(numbers, drawn, strict=True)}
    check = folder / "check.png" if checked else None
    page = folder / "explanations.html"
    write_explanations(page, run.path.name, found, sheets, checked, check)
    return page.name


def _listed(folder: Path) -> list[str]:
    """What an earlier explanation wrote here, by its own word."""
    try:
        names = json.loads((folder / _LIST).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, LookupError, TypeError):
        return []
    return [name for name in names if isinstance(name, str) and _OURS.fullmatch(name)]


_OURS = re.compile(r"(images/[\w.-]+|sheet-[\w.-]+)\.png|check\.png")


def _remove(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        with contextlib.suppress(OSError):  # it is in nobody's way
            (folder / name).unlink(missing_ok=True)


def _plain(name: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"[^\w.-]+", "-", storage.readable(name)).strip("-.")[:60] or "image"
