"""Commands that use a trained run: `evaluate`, `predict`, `report`; and `cache`."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from bowerbird import machine, storage
from bowerbird.cli.app import Json, app, print_json

if TYPE_CHECKING:
    from bowerbird.evaluation.results import Evaluation

__all__ = ["cache", "evaluate", "predict", "report"]


@app.command
def evaluate(
    run: Path,
    *,
    on: str = "test",
    again: bool = False,
    estimator: str | None = None,
    sheet: Path | None = None,
    sheet_most: int = 480,
    as_json: Json = False,
) -> None:
    """Score a trained run on its test, validation or training images.

    Parameters
    ----------
    run
        The run's folder.
    on
        train, val or test.
    again
        Predict anew, even if the run holds its predictions.
    estimator
        Score an estimator that `probe RUN --keep` has kept, in place of the run's classifier.
    sheet
        Draw the mistakes, then what was right, as pictures into this file (png, svg, pdf); what
        doesn't fit follows in -2, -3 and so on.
    sheet_most
        Pictures that are drawn, in all.
    as_json
        Print the result as JSON.
    """
    machine.load("timm", "bowerbird.evaluation.predict")
    from bowerbird.evaluation.kept import kept_estimators
    from bowerbird.evaluation.looks import looks_at
    from bowerbird.evaluation.predict import evaluate as go
    from bowerbird.runs import load_run
    from bowerbird.workflow.sheets import check_sheet, evaluation_sheets

    opened = load_run(run)
    if sheet is not None:
        check_sheet(sheet, sheet_most)
    evaluation = go(opened, on, again=again, estimator=estimator)
    if sheet is not None:
        evaluation_sheets(evaluation, sheet, sheet_most)
    looks = looks_at(opened, opened.manifest()[1]) if on == "test" else None
    if as_json:
        print_json(evaluation.to_dict() | ({"looks": looks.to_dict()} if looks else {}))
        return
    print(_described(evaluation))
    if looks:
        print(f"\n{looks.sentence}")
    if estimator:
        print(f"\nUse it: bowerbird predict {run} IMAGES --estimator {estimator}")
        return
    if beside := kept_estimators(opened):
        print("\nKept beside, each to be used with --estimator NAME:")
        print("\n".join(f"  {kept.sentence}" for kept in beside))
    print(f"\nPictures and curves: bowerbird report {run}")


@app.command
def predict(
    run: Path,
    images: Annotated[list[str] | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    output: Path | None = None,
    estimator: str | None = None,
    ensemble: Annotated[list[Path] | None, Parameter(name="--with")] = None,
    sheet: Path | None = None,
    sheet_most: int = 480,
    as_json: Json = False,
) -> None:
    """Name the class of images: files, folders, or a list on standard input.

    Parameters
    ----------
    run
        The run's folder.
    images
        Files and folders; "-" or nothing reads paths from standard input, one per line.
    output
        Write to this file instead of standard output.
    estimator
        Use an estimator that `probe RUN --keep` has kept, in place of the run's classifier.
    ensemble
        Another run of the same classes, once or several times: the mean of what all say is taken.
        Whether that is better: `compare`.
    sheet
        Draw the images with what they were taken for into this file (png, svg, pdf); what
        doesn't fit follows in -2, -3 and so on.
    sheet_most
        Images that are drawn, in all.
    as_json
        Write JSON instead of CSV.
    """
    from bowerbird.workflow import predict as go

    names = images if images and images != ["-"] else list(_listed())
    go(
        run, names, output, estimator=estimator, ensemble=ensemble or (), sheet=sheet,
        sheet_most=sheet_most, as_json=as_json,
    )  # fmt: skip


@app.command
def report(run: Path) -> None:
    """Write a run's report and figures again.

    Parameters
    ----------
    run
        The run's folder.
    """
    from bowerbird.runs import load_run
    from bowerbird.workflow import finish

    opened = load_run(run)
    machine.load("timm", "bowerbird.report.of_run", "bowerbird.evaluation.predict")
    finish(opened)
    print(run / "report.html")


@app.command
def cache(
    *,
    clear: bool = False,
    only: Literal["features", "downloads"] | None = None,
    as_json: Json = False,
) -> None:
    """Show what the cache holds, features and downloads, or clear it.

    Parameters
    ----------
    clear
        Delete everything in it: features are computed again when needed, and what was fetched
        or unpacked is fetched again.
    only
        Only features, or only downloads.
    as_json
        Print the result as JSON.
    """
    from bowerbird.data.remote.downloads import clear_downloads, downloads
    from bowerbird.features.cache import FeatureCache

    store = FeatureCache()
    if clear:
        freed = store.clear() if only != "downloads" else 0
        freed += clear_downloads() if only != "features" else 0
        if as_json:
            print_json({"freed": freed, "folder": str(store.folder.parent)})
        else:
            print(f"{_size(freed)} freed in {store.folder.parent}")
        return
    features = store.contents() if only != "downloads" else []
    fetched = downloads() if only != "features" else []
    if as_json:
        shown = [{"kind": "features"} | info.to_dict() for info in features]
        print_json(shown + [{"kind": "download"} | info.to_dict() for info in fetched])
        return
    for info in features:
        print(f"{_size(info.size):>9}  {info.network}  to {info.cut}  {info.view}")
    for download in fetched:
        state = "" if download.fetched else "  (incomplete)"
        print(f"{_size(download.size):>9}  {download.address}{state}")
    if only != "downloads":
        total = _size(sum(info.size for info in features))
        print(f"{total:>9}  of {_size(store.limit)} in {store.folder}")
    if only != "features":
        total = _size(sum(download.size for download in fetched))
        print(f"{total:>9}  in {storage.cache_home() / 'downloads'}")


def _described(evaluation: Evaluation) -> str:
    images = f"{evaluation.n} images"
    images += f" in {evaluation.groups} groups" if evaluation.groups else ""
    figures = {
        "accuracy": f"{evaluation.accuracy:.1%}  95 % interval "
        f"{evaluation.interval.low:.1%} to {evaluation.interval.high:.1%}, {images}",
        "balanced accuracy": f"{evaluation.balanced_accuracy:.1%}",
        "macro F1": f"{evaluation.macro_f1:.3f}",
        "always the commonest": f"{evaluation.majority_baseline:.1%}",
    }
    if not math.isnan(evaluation.log_loss):
        figures["log loss"] = f"{evaluation.log_loss:.3f}"
    figures |= {f"top {k}": f"{share:.1%}" for k, share in evaluation.top_k.items()}
    if evaluation.roc_auc is not None:
        figures["ROC AUC"] = f"{evaluation.roc_auc:.3f}"
    if evaluation.kappa is not None:
        figures["quadratic kappa"] = f"{evaluation.kappa:.3f}"
    if evaluation.without_leaks is not None:
        figures["without leaked images"] = f"{evaluation.without_leaks.accuracy:.1%}"
    if evaluation.without_doubts is not None:
        figures["without suspect labels"] = f"{evaluation.without_doubts.accuracy:.1%}"
    lines = [f"{name:<22} {value}" for name, value in figures.items()]
    if math.isnan(evaluation.log_loss):
        lines.append("It gives no probabilities: what needs them is left out.")
    width = max(len(name) for name in evaluation.confusion.classes)
    lines += ["", f"{'class':<{width}}  precision  recall     F1  images"]
    lines += [
        f"{s.name:<{width}}  {s.precision:9.1%}  {s.recall:6.1%}  {s.f1:5.3f}  {s.support:6d}"
        for s in evaluation.per_class
    ]
    pairs = evaluation.confusion.most_confused(5)
    lines += ["", "most confused"] if pairs else []
    lines += [f"{count:>6} × {true} taken for {taken}" for true, taken, count in pairs]
    return "\n".join(lines)


def _listed() -> Iterator[str]:
    """Names of files on standard input, one per line, whatever bytes they are of."""
    for line in sys.stdin.buffer:
        yield os.fsdecode(line.rstrip(b"\r\n"))


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
