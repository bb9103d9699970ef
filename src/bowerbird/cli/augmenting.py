"""Commands about random changes of images: `preview`, `expand`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from bowerbird.cli.app import Flat, Json, SplitOptions, app, print_json, recipe_of
from bowerbird.config import ExpandConfig, ReadConfig

__all__ = ["expand", "preview"]


@app.command
def preview(
    data: str,
    *,
    augment: str = "medium",
    out: Path = Path("preview.png"),
    images: int = 4,
    draws: int = 3,
    seed: int = 0,
    read: Annotated[ReadConfig | None, Flat] = None,
    as_json: Json = False,
) -> None:
    """Draw what augmentation does: each change by itself at its strongest, and all together.

    Parameters
    ----------
    data
        A folder with a folder per class, or a table (CSV, TSV) of images and labels.
    augment
        Changes, as `train --augment` takes them: light, medium, strong, or a list, e.g.
        rotate=15,shift=0.1,zoom=1.2,fill=wrap,flip@0.5.
    out
        Where the drawing goes: png, svg or pdf.
    images
        Rows, from as many classes as there are.
    draws
        Columns of all changes together.
    seed
        Which images, and what is drawn.
    as_json
        Print what was done to each picture as JSON.
    """
    from bowerbird import plots, storage
    from bowerbird.data.augmenting.preview import preview as look
    from bowerbird.data.sources import read_images

    found = look(read_images(data, read), augment, images=images, draws=draws, seed=seed)
    storage.make_folder(out.absolute().parent)
    plots.save(plots.preview_sheet(found), out)
    if as_json:
        print_json(found.to_dict() | {"figure": str(out)})
        return
    for title, words in dict(zip(found.titles, found.words, strict=True)).items():
        if words and title != found.titles[-1]:
            print(f"{title:<15} {words}")
    print(f"Drawn in {out}")
    print(f"Train with it: bowerbird train {data} --augment {augment}")


@app.command
def expand(
    data: str,
    *,
    out: Path | None = None,
    read: Annotated[ReadConfig | None, Flat] = None,
    split: Annotated[SplitOptions | None, Flat] = None,
    settings: Annotated[ExpandConfig | None, Flat] = None,
    as_json: Json = False,
) -> None:
    """Write a balanced set: the originals, and augmented children of the training images.

    What is held out is held out first: no child has a validation or test image as parent.
    The same command goes on after an interrupt.

    Parameters
    ----------
    data
        A folder with a folder per class, or a table (CSV, TSV) of images and labels.
    out
        Folder of the new set; by default the data's name with -expanded, here.
    as_json
        Print the result as JSON.
    """
    from bowerbird.data.augmenting.expand import expand as go
    from bowerbird.workflow import read_and_split

    recipe = recipe_of(data, None, {"read": read, "split": split})
    dataset, parts, _ = read_and_split(recipe)
    found = go(dataset, parts, out or Path(f"{dataset.root.name}-expanded"), settings)
    if as_json:
        print_json(found.to_dict())
        return
    print(found)
    for part, counts in found.counts.items():
        numbers = {sum(pair) for pair in counts.values()} - {0}
        if numbers:
            each = " to ".join(f"{n:,}" for n in sorted({min(numbers), max(numbers)}))
            print(f"{part:<6} {each} images per class")
    print(f"Train on it: bowerbird train {found.path}")
