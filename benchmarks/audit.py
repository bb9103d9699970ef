"""What the audit finds of errors that were put in, side by side with other methods; and how fast.

    python benchmarks/audit.py DATA... [--out benchmarks/results/audit.md]

DATA are folders or tables of labelled images. Per set: wrong labels are injected (uniformly, and
towards the nearest class) and ranked by our leave-one-out margin, by cleanlab's
self-confidence (five-fold logistic regression on the same features) and by the share of the
ten nearest neighbours; photos are copied with changes and planted among the others, twenty of
them across splits; twelve files in six formats are cut off. Needs the extra `bench`.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import cross_val_predict
from sklearn.preprocessing import StandardScaler

from bowerbird.auditing import audit
from bowerbird.auditing.copies import copies
from bowerbird.auditing.labels import leave_one_out, second_opinion
from bowerbird.auditing.neighbours import projected, resemblance
from bowerbird.config import NetworkConfig
from bowerbird.data.checks import check
from bowerbird.data.dataset import Dataset
from bowerbird.data.images import decode
from bowerbird.data.sources import read_images
from bowerbird.features import extract
from bowerbird.features.extraction import Image as ImageFile
from bowerbird.models.networks import from_config

PLANTED = 60
LEAKS = 20


def recompressed(image: Image.Image) -> Image.Image:
    """As a JPEG of quality 20."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=20)
    return Image.open(io.BytesIO(file.getvalue())).convert("RGB")


def cropped(image: Image.Image, share: float) -> Image.Image:
    """Less a share of each side, half of it at each end."""
    x, y = image.width * share / 2, image.height * share / 2
    return image.crop((int(x), int(y), int(image.width - x), int(image.height - y)))


CERTAIN: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half size": lambda i: i.resize((max(1, i.width // 2), max(1, i.height // 2)), 3),
    "JPEG 20": recompressed,
    "brighter 1.4": lambda i: ImageEnhance.Brightness(i).enhance(1.4),
    "darker 0.6": lambda i: ImageEnhance.Brightness(i).enhance(0.6),
    "blur 2 px": lambda i: i.filter(ImageFilter.GaussianBlur(2)),
    "grey": lambda i: i.convert("L").convert("RGB"),
    "mirrored": lambda i: i.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "upside down": lambda i: i.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "turned by 90": lambda i: i.transpose(Image.Transpose.ROTATE_90),
    "aspect 0.7": lambda i: i.resize((max(1, int(0.7 * i.width)), i.height), 3),
}
LOOSE: dict[str, Callable[[Image.Image], Image.Image]] = {
    "cut by 10 %": lambda i: cropped(i, 0.1),
    "cut by 20 %": lambda i: cropped(i, 0.2),
    "turned by 5 degrees": lambda i: i.rotate(5, Image.Resampling.BICUBIC),
}


def features(ds: Dataset) -> np.ndarray:
    """Frozen features of all images, which must be readable."""
    checked = check([ds.path(i) for i in range(len(ds))])
    images = [ImageFile(ds.path(i), c.content_hash or "") for i, c in enumerate(checked)]
    (found,), _ = extract(from_config(NetworkConfig(), None, 0), images)
    return np.asarray(found.numpy())


def injected(y: np.ndarray, x: np.ndarray, share: float, how: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels with errors, and which are wrong."""
    random, classes = np.random.default_rng(1), int(y.max()) + 1
    wrong = random.permutation(len(y))[: round(share * len(y))]
    noisy = y.copy()
    if how == "uniform":
        noisy[wrong] = (y[wrong] + random.integers(1, classes, len(wrong))) % classes
    else:
        means = np.stack([x[y == c].mean(axis=0) for c in range(classes)])
        apart = ((means[:, None] - means[None]) ** 2).sum(axis=2)
        np.fill_diagonal(apart, np.inf)
        noisy[wrong] = apart.argmin(axis=1)[y[wrong]]
    return noisy, np.isin(np.arange(len(y)), wrong)


def neighbour_share(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Share of the ten nearest that carry the same label; low is suspect."""
    unit = projected(x)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -2)
    nearest = np.argpartition(-cosine, 10, axis=1)[:, :10]
    return np.asarray((y[nearest] == y[:, None]).mean(axis=1))


def labels(name: str, x: np.ndarray, y: np.ndarray) -> list[str]:
    """A row per kind of noise: average precision of each ranking, and of the first twenty."""
    from cleanlab.rank import get_label_quality_scores

    rows = []
    for share, how in ((0.05, "uniform"), (0.1, "uniform"), (0.05, "nearest"), (0.1, "nearest")):
        noisy, wrong = injected(y, x, share, how)
        began = time.perf_counter()
        ours = leave_one_out(x, noisy, int(y.max()) + 1)
        seconds = time.perf_counter() - began
        both = np.argsort(second_opinion(ours, x))
        began = time.perf_counter()
        model = LogisticRegression(C=0.01, max_iter=300)
        scaled = StandardScaler().fit_transform(x)
        found = cross_val_predict(model, scaled, noisy, cv=5, method="predict_proba")
        theirs = get_label_quality_scores(noisy, found)
        their_seconds = time.perf_counter() - began
        precision = [
            average_precision_score(wrong, -score)
            for score in (ours.margin, both, theirs, neighbour_share(x, noisy))
        ]
        told = wrong[ours.flagged].mean() if len(ours.flagged) else float("nan")
        rows.append(
            f"| {name} | {share:.0%} {how} | " + " | ".join(f"{p:.3f}" for p in precision)
            + f" | {wrong[ours.order[:20]].mean():.2f} | {told:.2f} | "
            f"{wrong[ours.flagged].sum() / wrong.sum():.2f} | "
            f"{ours.expected_errors()[0]:.0f} of {wrong.sum()} | "
            f"{seconds:.1f} s, {their_seconds:.1f} s |"
        )  # fmt: skip
    clean = leave_one_out(x, y, int(y.max()) + 1)
    rows.append(
        f"| {name} | as given | | | | | | | | {clean.expected_errors()[0]:.0f}, "
        f"{len(clean.flagged)} flagged ({len(clean.flagged) / len(y):.1%}) | |"
    )
    return rows


def planted(name: str, ds: Dataset, folder: Path) -> list[str]:
    """A row per change: how many copies are found, and how many false pairs beside them."""
    random = np.random.default_rng(0)
    rows = []
    originals = [ds.path(int(i)) for i in random.permutation(len(ds))[: min(600, len(ds))]]
    for change, apply in {**CERTAIN, **LOOSE}.items():
        place = folder / name / change.replace(" ", "-")
        for number, path in enumerate(originals):
            target = place / ("a" if number % 2 else "b")
            target.mkdir(parents=True, exist_ok=True)
            picture = decode(path)
            picture.save(target / f"{number:04d}.png")
            if number < PLANTED:
                apply(picture).save(target / f"{number:04d}-copy.png")
        made = read_images(place)
        checked = check([made.path(i) for i in range(len(made))])
        found = copies(made, checked)
        sure = {frozenset(made.samples[i].path for i in pair) for pair in found.how}
        unit = projected(features(made))
        targets = np.array([s.target for s in made.samples])
        alike = resemblance(unit, targets).pairs
        loose = sure | {
            frozenset(made.samples[int(i)].path for i in pair)
            for pair in [*found.possible, *alike.tolist()]
        }
        true = {
            frozenset((s.path, s.path.replace("-copy", "")))
            for s in made.samples
            if "-copy" in s.path
        }
        own = base_pairs(sure, loose, true)
        rows.append(
            f"| {name} | {change} | {len(sure & true)} of {len(true)} | {own[0]} | "
            f"{len(loose & true)} of {len(true)} | {own[1]} |"
        )
    return rows


def base_pairs(sure: set[frozenset[str]], loose: set[frozenset[str]],
               true: set[frozenset[str]]) -> tuple[int, int]:  # fmt: skip
    """Pairs that are not copies of ours: certain ones, and ones to look at."""
    return len(sure - true), len(loose - sure - true)


def leaks(name: str, ds: Dataset, folder: Path) -> str:
    """Changed copies of training images among the test images of another folder."""
    random = np.random.default_rng(2)
    chosen = random.permutation(len(ds))[:600]
    place = folder / name / "leaks"
    changes = list(CERTAIN.values())
    for number, i in enumerate(chosen):
        part = "train" if number % 2 else "test"
        target = place / part / ds.classes[ds.samples[int(i)].target or 0]
        target.mkdir(parents=True, exist_ok=True)
        picture = decode(ds.path(int(i)))
        picture.save(target / f"{number:04d}.png")
        if part == "train" and number < 2 * LEAKS:
            other = place / "test" / target.name
            other.mkdir(parents=True, exist_ok=True)
            changes[number // 2 % len(changes)](picture).save(other / f"{number:04d}-copy.png")
    made = read_images(place)
    found = audit(made)
    paths = [{case.path for case in finding.cases} for finding in found.of("leak")]
    right = sum(any("-copy" in path for path in group) for group in paths)
    return f"| {name} | {right} of {LEAKS} | {len(paths) - right} |"


def broken(ds: Dataset, folder: Path) -> str:
    """Twelve files in six formats, cut off at a half and at nine tenths."""
    picture = decode(ds.path(0))
    place = folder / "broken"
    place.mkdir()
    for ending in ("jpg", "png", "gif", "bmp", "tif", "webp"):
        for share in (0.5, 0.9):
            file = place / f"{ending}-{share}.{ending}"
            picture.save(file)
            file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    found = check(sorted(place.iterdir()))
    return f"{sum(c.reason is not None for c in found)} of {len(found)}"


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    heads = {
        "Injected label errors: average precision of each ranking": (
            "set|noise|margin|margin + logistic|cleanlab|10 nearest|first 20|flags right|"
            "errors flagged|expected errors|ours, cleanlab"
        ),
        f"{PLANTED} changed copies among 600 photos (180,000 pairs)": (
            "set|change|certain|false|certain or to look at|false to look at"
        ),
        f"{LEAKS} changed copies of training images among the test images": "set|found|false",
        "Whole audit, features cached": "set|images|seconds|parts",
    }
    tables: list[list[str]] = [[], [], [], []]
    for data in chosen.data:
        ds, name = read_images(data), data.parent.name if data.is_file() else data.name
        began = time.perf_counter()
        x = features(ds)
        y = np.array([s.target for s in ds.samples])
        tables[0] += labels(name, x, y)
        with tempfile.TemporaryDirectory() as temporary:
            tables[1] += planted(name, ds, Path(temporary))
            tables[2].append(leaks(name, ds, Path(temporary)))
            cut_off = broken(ds, Path(temporary))
        began = time.perf_counter()
        found = audit(ds)
        seconds = time.perf_counter() - began
        parts = ", ".join(f"{part} {spent:.1f}" for part, spent in found.seconds.items())
        tables[3].append(f"| {name} | {len(ds):,} | {seconds:.1f} | {parts} |")
        print(*(row for table in tables for row in table), sep="\n", flush=True)
    parts = [f"`python benchmarks/audit.py {' '.join(d.name for d in chosen.data)}`"]
    for (title, head), rows in zip(heads.items(), tables, strict=True):
        cells = head.split("|")
        parts.append("\n".join([
            f"{title}\n", f"| {' | '.join(cells)} |", "|---" * len(cells) + "|", *rows
        ]))  # fmt: skip
    parts.append(f"Cut-off files found, six formats: {cut_off}.")
    text = "\n\n".join(parts) + "\n"
    print(text)
    if chosen.out:
        chosen.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
