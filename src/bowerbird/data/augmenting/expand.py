"""Writes a balanced set of images: the originals, and augmented children of those to train on.

``train/CLASS``, ``val/CLASS``, ``test/CLASS``, a ``manifest.csv`` with a row per image (path,
class, split, group, and for children parent, transform and seed), and ``expansion.json``: what
was asked for. The folder can be trained on as it is; the manifest is its table.

Decisions:
- What is held out is held out first; a child has a training image as parent (`offspring`).
- Originals are hard links, or copies where the disk has no links; they are not touched. Who
  edits a linked file in place edits the original, too: ``originals="copy"`` parts them.
- A child is the whole picture, changed, at `ExpandConfig.size`; with ``crop`` a square. It
  has 8 bits and three channels; transparency is laid over white, as `images` does.
- Threads, not processes: Pillow works without the interpreter's lock. Every file is written
  under another name and renamed, so that whatever is there is whole, and a second run only
  makes what is missing. The manifest comes last.
- Another request for the same folder is refused: its images would be a mixture.
- Room is worked out from some children made beforehand.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bowerbird import progress, storage
from bowerbird.config.expand import ExpandConfig
from bowerbird.data.augmenting.offspring import Child, Family, Original, Plan, made_of, make_plan
from bowerbird.data.dataset import SPLITS, Dataset
from bowerbird.data.images import decode
from bowerbird.data.splitting.splits import Split
from bowerbird.data.views import whole
from bowerbird.errors import DataError, ImageError, Interrupted, RunError
from bowerbird.machine import cores

__all__ = ["Expansion", "expand"]

_REQUEST, _MANIFEST = "expansion.json", "manifest.csv"
_HALF = ".part-"
_VERSION = 1
_SAMPLE = 24
_BLOCK = 4096


@dataclass(frozen=True)
class Expansion:
    """A folder of originals and children.

    Attributes:
        path: the folder.
        counts: per split and class, how many originals and how many children.
        made: files written this time; what an earlier run had written is not among them.
        linked: originals that are hard links, of those written this time.
        dropped: training images that a class sampled down does without.
    """

    path: Path
    counts: dict[str, dict[str, tuple[int, int]]]
    made: int
    linked: int
    dropped: int

    @property
    def originals(self) -> int:
        """Number of images of the source."""
        return sum(pair[0] for part in self.counts.values() for pair in part.values())

    @property
    def children(self) -> int:
        """Number of augmented images; all are for training."""
        return sum(pair[1] for part in self.counts.values() for pair in part.values())

    def __repr__(self) -> str:
        total = self.originals + self.children
        return f"Expansion({total} images, {self.children} of them children, in {self.path})"

    def to_dict(self) -> dict[str, Any]:
        """Counts for JSON."""
        return {
            "path": str(self.path),
            "counts": {
                part: {name: {"originals": a, "children": b} for name, (a, b) in counts.items()}
                for part, counts in self.counts.items()
            },
            "originals": self.originals,
            "children": self.children,
            "made": self.made,
            "linked": self.linked,
            "dropped": self.dropped,
        }


def expand(
    ds: Dataset, split: Split, out: str | Path, config: ExpandConfig | None = None
) -> Expansion:
    """Write originals and children, or go on with it.

    Args:
        ds: the images.
        split: what each is for; children have training images as parents.
        out: a new folder, or one where the same was begun before.
        config: how many children, of what kind, in which format.

    Raises:
        DataError: a class has no training images, or an image can't be read any more.
        Interrupted: stopped on request; the same call goes on.
        RunError: the folder holds something else, or the disk is too small.
    """
    config = config or ExpandConfig()
    root = Path(out).expanduser().absolute()
    _check_outside(ds.root, root)
    request = _request(ds, split, config)
    _check_same(root, request)
    plan = make_plan(ds, split, config)
    _tell(ds, plan, config)
    originals = [one for one in plan.originals if not _is_there(root / one.path)]
    families = _missing(root, plan.families)
    _check_room(ds, root, originals, families, plan, config)
    paths = [one.path for one in plan.originals] + [child.path for child in plan.children]
    _begin(root, request, paths)
    linked = _write_originals(ds, root, originals, link=config.originals == "link")
    made = sum(len(children) for _, children in families)
    _write_children(ds, root, families, plan, config)
    _write_manifest(root, plan.rows(ds, split))
    counts = _counted(ds, split, plan)
    return Expansion(root, counts, len(originals) + made, linked, len(plan.dropped))


def _check_outside(source: Path, root: Path) -> None:
    real, inside = Path(os.path.realpath(source)), Path(os.path.realpath(root))
    if inside == real or real in inside.parents:
        raise RunError(
            f"{root} lies in the data folder {source}, which is only ever read. Choose a folder "
            "outside with --out."
        )


def _request(ds: Dataset, split: Split, config: ExpandConfig) -> dict[str, Any]:
    """What is asked for, as far as it decides on the pixels."""
    digest = "\n".join(
        f"{s.path}\0{s.target}\0{s.group}\0{part}\0{content}"
        for s, part, content in zip(ds.samples, split.assignment, split.hashes, strict=True)
    )
    images = storage.hash_bytes("\0".join((*ds.classes, digest)).encode())
    settings = config.model_dump(mode="json", exclude={"workers"})
    return {"expansion": _VERSION, "settings": settings, "images": images}


def _check_same(root: Path, request: dict[str, Any]) -> None:
    """Refuse a folder that holds anything else."""
    if not os.path.lexists(root) or (root.is_dir() and not any(_of_others(root))):
        return
    found: Any = None
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((root / _REQUEST).read_text(encoding="utf-8"))
    if not isinstance(found, dict) or "expansion" not in found:
        raise RunError(f"{root} exists already and is no expansion. Choose another with --out.")
    if found == request:
        return
    there, asked = found.get("settings", {}), request["settings"]
    unlike = [
        f"--{name.replace('_', '-')} {there.get(name)} there, {value} asked for"
        for name, value in asked.items()
        if there.get(name) != value
    ] or ["other images, or the same in other splits"]
    raise RunError(
        f"{root} holds another expansion: {'; '.join(unlike)}. Choose another folder with --out, "
        "or ask for the same again to go on with it."
    )


def _of_others(root: Path) -> Iterator[Path]:
    """What is in a folder but for what a killed run left half-written."""
    return (path for path in root.iterdir() if not path.name.startswith(_HALF))


def _tell(ds: Dataset, plan: Plan, config: ExpandConfig) -> None:
    if plan.larger:
        names = ", ".join(map(repr, plan.larger[:5])) + (" …" if len(plan.larger) > 5 else "")
        progress.say(
            f"Larger than {config.per_class} and kept whole: {names}. --downsample takes "
            f"{config.per_class} of each at random."
        )
    if plan.childless:
        progress.say(
            f"Without children, since copies of them are held out: {len(plan.childless)} training "
            f"images, e.g. {ds.samples[plan.childless[0]].path}."
        )
    if plan.dropped:
        progress.say(f"{len(plan.dropped)} training images are left out: sampled down.")


def _missing(root: Path, families: Sequence[Family]) -> list[Family]:
    rest = [(p, [child for child in cs if not _is_there(root / child.path)]) for p, cs in families]
    return [(parent, children) for parent, children in rest if children]


def _is_there(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return path.stat().st_size > 0
    return False


def _check_room(
    ds: Dataset,
    root: Path,
    originals: Sequence[Original],
    families: Sequence[Family],
    plan: Plan,
    config: ExpandConfig,
) -> None:
    """Say how much room is needed, and refuse where there is less."""
    above = next(place for place in (root, *root.parents) if place.is_dir())
    free = shutil.disk_usage(above).free
    count = sum(len(children) for _, children in families)
    sizes = _sample(ds, families, plan, config)
    each = sum(map(_on_disk, sizes)) / max(1, len(sizes))
    copied = 0
    if config.originals == "copy" or above.stat().st_dev != ds.root.stat().st_dev:
        copied = sum(_on_disk(ds.path(one.index).stat().st_size) for one in originals)
    need = int(each * count) + copied + len(plan.originals) * 128 + len(plan.children) * 512
    if count or copied:
        progress.say(
            f"{count:,} children of about {_size(each)} each: {_size(need)} to write, "
            f"{_size(free)} are free."
        )
    if need > free:
        raise RunError(
            f"The expansion needs about {_size(need)}, and {_size(free)} are free in {above}. "
            "Make room, choose another disk with --out, or ask for less (--per-class, --size, "
            "--quality)."
        )


def _sample(
    ds: Dataset,
    families: Sequence[Family],
    plan: Plan,
    config: ExpandConfig,
) -> list[int]:
    """Sizes of some children in bytes, from all over the set."""
    places = np.linspace(0, len(families) - 1, min(_SAMPLE, len(families))).astype(int)
    found = []
    for parent, children in (families[int(place)] for place in places):
        image = _opened(ds, parent, config)
        found.append(len(_child(image, children[0], plan, config)))
    return found


def _begin(root: Path, request: dict[str, Any], paths: Sequence[str]) -> None:
    """Write down the request, make the folders, clear what a killed run left half-written."""
    for folder in ("", *sorted({path.rpartition("/")[0] for path in paths})):
        for part in storage.make_folder(root / folder).glob(f"{_HALF}*"):
            part.unlink(missing_ok=True)
        if not folder:  # first of all, so that whatever is there is known to be ours
            storage.write_json(root / _REQUEST, request)


def _write_originals(ds: Dataset, root: Path, originals: Sequence[Original], *, link: bool) -> int:
    """Link or copy; how many were linked."""
    linked = 0
    with progress.task("Originals", len(originals)) as bar, _goes_on(root):
        for one in originals:
            source, target = Path(os.path.realpath(ds.path(one.index))), root / one.path
            done = link and _link(source, target)
            if not done:
                _copy(source, target)
            linked += done
            bar.advance()
    return linked


def _link(source: Path, target: Path) -> bool:
    with contextlib.suppress(OSError):  # another disk, or one without hard links
        target.unlink(missing_ok=True)
        target.hardlink_to(source)
        return True
    return False


def _copy(source: Path, target: Path) -> None:
    try:
        opened = source.open("rb")
    except OSError as error:
        raise DataError(
            f"{source} could be read before, and can't be now: {error.strerror}."
        ) from error
    with opened, storage.atomic(target) as file:
        shutil.copyfileobj(opened, file)


def _write_children(
    ds: Dataset,
    root: Path,
    families: Sequence[Family],
    plan: Plan,
    config: ExpandConfig,
) -> None:
    def work(parent: Original, children: Sequence[Child]) -> int:
        image = _opened(ds, parent, config)
        for child in children:
            storage.write_bytes(root / child.path, _child(image, child, plan, config))
        return len(children)

    workers = config.workers or cores()
    total = sum(len(children) for _, children in families)
    with (
        progress.task("Children", total) as bar,
        _goes_on(root),
        ThreadPoolExecutor(workers, thread_name_prefix="expand") as pool,
    ):
        try:
            for done in as_completed([pool.submit(work, *family) for family in families]):
                bar.advance(done.result())
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


@contextlib.contextmanager
def _goes_on(root: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"Stopped; what is in {root} is whole. The same command goes on with the rest."
        ) from error


def _opened(ds: Dataset, parent: Original, config: ExpandConfig) -> Image.Image:
    path = ds.path(parent.index)
    try:
        return decode(path, min_size=config.size)
    except ImageError as error:
        raise DataError(
            f"{path} could be read before, and can't be now: {error}. Restore it, and run the "
            "same command again."
        ) from error


def _child(image: Image.Image, child: Child, plan: Plan, config: ExpandConfig) -> bytes:
    """The file's bytes."""
    preprocess = whole(image.size, config.size, square="crop" in plan.changes)
    pixels = made_of(child, plan.changes).apply(image, preprocess)
    file = io.BytesIO()
    if config.format == "png":
        Image.fromarray(pixels).save(file, "PNG", compress_level=3)
    else:
        Image.fromarray(pixels).save(file, "JPEG", quality=config.quality)
    return file.getvalue()


def _write_manifest(root: Path, rows: Sequence[Sequence[str]]) -> None:
    storage.write_text(root / _MANIFEST, storage.comma_separated(Plan.COLUMNS, rows))


def _counted(ds: Dataset, split: Split, plan: Plan) -> dict[str, dict[str, tuple[int, int]]]:
    own = Counter((split.assignment[o.index], ds.samples[o.index].target) for o in plan.originals)
    born = Counter(ds.samples[child.parent.index].target for child in plan.children)
    return {
        part: {
            name: (own[part, target], born[target] if part == "train" else 0)
            for target, name in enumerate(ds.classes)
        }
        for part in SPLITS
    }


def _on_disk(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _size(count: float) -> str:
    """Bytes as a person reads them.

    >>> _size(1_234_567)
    '1.2 MB'
    """
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= factor:
            return f"{count / factor:.{0 if count >= 10 * factor else 1}f} {unit}"
    return f"{count:.0f} bytes"
