"""The command that shows why: `explain`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from bowerbird.cli.app import Json, app, print_json

if TYPE_CHECKING:
    from bowerbird.workflow.explaining import Explained

__all__ = ["explain"]


@app.command
def explain(
    run: Path,
    images: Annotated[list[str] | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    method: str = "hirescam",
    layer: str | None = None,
    target: str | None = None,
    against: str | None = None,
    choose: Literal["random", "mistakes", "unsure", "typical"] = "random",
    per_class: int = 3,
    seed: int = 0,
    check: Annotated[bool, Parameter(negative="")] = False,
    filters: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    features: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    attention: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    channel: Annotated[list[int] | None, Parameter(consume_multiple=True)] = None,
    by: Literal["contribution", "variance"] = "contribution",
    out: Path | None = None,
    as_json: Json = False,
) -> None:
    """Show where a trained network looks: heat maps over images, and whether to trust them.

    Parameters
    ----------
    run
        The run's folder.
    images
        Files and folders; by default some of the run's test images. Folders of other runs are
        explained on the same images, side by side.
    method
        hirescam, gradcam, gradcam++, layercam, eigencam, rise; or integrated-gradients and
        occlusion, which need pip install 'bowerbird[attribution]'.
    layer
        The layer to look at, e.g. layer3; by default the last with a height and a width.
    target
        The class to explain; by default the predicted one.
    against
        Explain what speaks for the class rather than for this one.
    choose
        Which of the run's images: random, the worst mistakes, the least sure, or the most
        typical.
    per_class
        At most so many of each class.
    seed
        Draws the images.
    check
        Measure on 24 images whether such maps can be trusted; takes a minute or two.
    filters
        Draw the filters of these layers instead: names, or 1 for the first, and so on.
    features
        Draw the feature maps of these layers instead.
    attention
        Draw what a transformer attends to instead, at these layers: names, or 1 for the first,
        and so on; by default the last.
    channel
        The feature maps' channels, or the input channel whose filters are shown.
    by
        How channels of feature maps are chosen where none is given.
    out
        Folder to write to; by default explanations/ in the run's folder.
    as_json
        Print the result as JSON.
    """
    if filters or features or attention is not None:
        chosen = {"choose": choose, "seed": seed}
        asked = {"filters": filters, "features": features, "attention": attention}
        _layers(run, images or [], asked, channel, by, target, out, as_json, chosen)
        return
    how: dict[str, Any] = {
        "method": method, "layer": layer, "target": target, "against": against,
        "choose": choose, "per_class": per_class, "seed": seed, "out": out,
    }  # fmt: skip
    others = [name for name in images or [] if (Path(name) / "config.toml").is_file()]
    if others:
        _together(
            [run, *map(Path, others)], [n for n in images or [] if n not in others], how, as_json
        )
        return
    from bowerbird.workflow.explaining import explain as go

    done = go(run, images or (), check=check, **how)
    if as_json:
        print_json(done.to_dict())
        return
    _print(done, run)


def _together(runs: list[Path], images: list[str], how: dict[str, Any], as_json: bool) -> None:
    from bowerbird.workflow.explaining import compare

    found, file = compare(runs, images, **how)
    if as_json:
        print_json(found.to_dict() | {"file": str(file)})
        return
    for words in found.sentences():
        print(words)
    print(file)


def _layers(
    run: Path,
    images: list[str],
    asked: dict[str, list[str] | None],
    channel: list[int] | None,
    by: str,
    target: str | None,
    out: Path | None,
    as_json: bool,
    chosen: dict[str, Any],
) -> None:
    from bowerbird.workflow.explaining import show_attention, show_features, show_filters

    files: list[Path] = []
    filters, features, attention = (asked[name] for name in ("filters", "features", "attention"))
    if filters:
        one = channel[0] if channel and not features else None
        files += show_filters(run, filters, channel=one, out=out)
    if features:
        files += show_features(
            run, features, images, by=channel or by, target=target, out=out, **chosen
        )
    if attention is not None:
        files += show_attention(run, attention, images, out=out, **chosen)
    if as_json:
        print_json({"files": [str(file) for file in files]})
        return
    for file in files:
        print(file)
    print(f"Where it looks:  bowerbird explain {run}")


def _print(done: Explained, run: Path) -> None:
    print(done.found)
    if done.checked:
        print(done.checked.verdict)
    print(f"Page:   {done.folder / 'explanations.html'}")
    print(f"Each:   {done.folder / 'images'}")
    print(f"Maps:   {done.folder / 'maps.npz'}")
    if not done.checked:
        print(f"Can they be trusted?  bowerbird explain {run} --check")
