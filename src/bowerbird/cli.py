"""The command line: parse, call one public function, print. No logic lives here.

Results go to stdout (with ``--json`` for machines), progress and messages to stderr.
Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted. Every command ends with the
next sensible command. Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, CycloptsError, Parameter
from pydantic import ValidationError

from bowerbird import machine, progress
from bowerbird.config import (
    ReadConfig,
    Recipe,
    Settings,
    SplitConfig,
    TrainConfig,
    load_recipe,
    validated,
)
from bowerbird.errors import BowerbirdError, ConfigError, Interrupted

if TYPE_CHECKING:
    from bowerbird.evaluation.results import Evaluation
    from bowerbird.runs import Run

app = App(
    name="bowerbird",
    help="From a folder of labelled images to an honest, explained classifier.",
    version="",
    help_format="plaintext",
)

Flat = Parameter(name="*")
Json = Annotated[bool, Parameter(name="--json", negative="")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code."""
    sys.exit(_run(list(sys.argv[1:] if arguments is None else arguments)))


@app.command
def train(
    data: str | None = None,
    *,
    config: Path | None = None,
    out: Path | None = None,
    read: Annotated[ReadConfig | None, Flat] = None,
    split: Annotated[SplitConfig | None, Flat] = None,
    settings: Annotated[TrainConfig | None, Flat] = None,
    as_json: Json = False,
) -> None:
    """Train a classifier on labelled images, evaluate it and write a report.

    Parameters
    ----------
    data
        A folder with a folder per class, or a table (CSV, TSV) of images and labels.
    config
        A recipe, e.g. the config.toml of an earlier run; options given here override it.
    out
        Folder of the run; by default a new one in runs/.
    as_json
        Print the result as JSON.
    """
    from bowerbird.workflow import train as go

    recipe = _recipe(data, config, {"read": read, "split": split, "train": settings})
    run, evaluations = go(recipe, out)
    _print_run(run, evaluations, as_json)


@app.command
def resume(run: Path, *, as_json: Json = False) -> None:
    """Go on with a training that was interrupted, as if nothing had happened.

    Parameters
    ----------
    run
        The run's folder.
    as_json
        Print the result as JSON.
    """
    from bowerbird.runs import load_run
    from bowerbird.workflow import resume as go

    finished, evaluations = go(load_run(run))
    _print_run(finished, evaluations, as_json)


@app.command
def evaluate(run: Path, *, on: str = "test", again: bool = False, as_json: Json = False) -> None:
    """Score a trained run on its test, validation or training images.

    Parameters
    ----------
    run
        The run's folder.
    on
        train, val or test.
    again
        Predict anew, even if the run holds its predictions.
    as_json
        Print the result as JSON.
    """
    from bowerbird.evaluation.predict import evaluate as go
    from bowerbird.runs import load_run

    evaluation = go(load_run(run), on, again=again)
    if as_json:
        _print_json(evaluation.to_dict())
        return
    print(_described(evaluation))
    print(f"\nPictures and curves: bowerbird report {run}")


@app.command
def predict(
    run: Path,
    images: Annotated[list[str] | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    output: Path | None = None,
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
    as_json
        Write JSON instead of CSV.
    """
    from bowerbird.workflow import predict as go

    names = images if images and images != ["-"] else [line.rstrip("\r\n") for line in sys.stdin]
    go(run, names, output, as_json=as_json)


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

    finish(load_run(run))
    print(run / "report.html")


@app.command
def models(pattern: str = "*", *, as_json: Json = False) -> None:
    """List networks by name, and whether their pretrained weights are on this machine.

    Parameters
    ----------
    pattern
        Names to list, e.g. 'resnet*' or 'torchvision:*'.
    as_json
        Print the result as JSON.
    """
    from bowerbird.models.catalogue import list_networks

    found = list_networks(pattern)
    if as_json:
        _print_json([entry.to_dict() for entry in found])
        return
    for entry in found:
        print(f"{entry.name:<58} {entry.weights}")
    print(f"{len(found)} networks. Train with one: bowerbird train DATA --model NAME")


@app.command
def demo(*, out: Path | None = None, as_json: Json = False) -> None:
    """Train on handwritten digits that come with scikit-learn, and write a report.

    Parameters
    ----------
    out
        Folder for the images and the run; by default bowerbird-demo, or the next free number.
    as_json
        Print the result as JSON.
    """
    from bowerbird.workflow import demo as go

    run, evaluations = go(out)
    _print_run(run, evaluations, as_json)


@app.command
def cache(*, clear: bool = False, as_json: Json = False) -> None:
    """Show what the feature cache holds, or clear it.

    Parameters
    ----------
    clear
        Delete everything in it; it is computed again when needed.
    as_json
        Print the result as JSON.
    """
    from bowerbird.features.cache import FeatureCache

    store = FeatureCache()
    if clear:
        freed = store.clear()
        if as_json:
            _print_json({"freed": freed, "folder": str(store.folder)})
        else:
            print(f"{_size(freed)} freed in {store.folder}")
        return
    contents = store.contents()
    if as_json:
        _print_json([info.to_dict() for info in contents])
        return
    for info in contents:
        print(f"{_size(info.size):>9}  {info.network}  to {info.cut}  {info.view}")
    total = sum(info.size for info in contents)
    print(f"{_size(total):>9}  of {_size(store.limit)} in {store.folder}")


def _run(arguments: list[str]) -> int:
    app.version = _version()
    machine.keep_freed_memory()
    try:
        with progress.show(), _terminable():
            app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        return _fail(_worded(error), 2)
    except ConfigError as error:
        return _fail(str(error), 2)
    except Interrupted as error:
        return _fail(str(error), 130)
    except BowerbirdError as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return _fail("Stopped; nothing is lost. Run the command again.", 130)
    except BrokenPipeError:  # the reader of our output has gone, e.g. `| head`
        sys.stderr.close()
        return 0
    return 0


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM does what Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _worded(error: CycloptsError) -> str:
    """One sentence; a value that a setting refuses is named with its option."""
    if not isinstance(error.__cause__, ValidationError):
        return str(error)
    first = error.__cause__.errors()[0]
    option = "-".join(str(part) for part in first["loc"]).replace("_", "-")
    return f"--{option}: {first['msg']}. Found: {first['input']!r}."


def _fail(message: str, code: int) -> int:
    print(f"bowerbird: {message}", file=sys.stderr)
    return code


def _recipe(data: str | None, config: Path | None, given: Mapping[str, Settings | None]) -> Recipe:
    """The recipe file, overridden by what was given on the command line."""
    values: dict[str, Any] = load_recipe(config).model_dump() if config else {}
    for section, settings in given.items():
        if settings is not None:
            chosen = settings.model_dump(include=settings.model_fields_set)
            values[section] = values.get(section, {}) | chosen
    if data is not None:
        values["data"] = data
    return validated(Recipe, values, "the settings")


def _print_run(run: Run, evaluations: Mapping[str, Evaluation], as_json: bool) -> None:
    if as_json:
        scores = {name: e.to_dict() for name, e in evaluations.items()}
        _print_json(run.to_dict() | {"evaluations": scores})
        return
    for evaluation in evaluations.values():
        print(evaluation)
    print(f"Run:     {run.path}")
    print(f"Report:  {run.path / 'report.html'}")
    print(f"Use it:  bowerbird predict {run.path} IMAGES")


def _described(evaluation: Evaluation) -> str:
    figures = {
        "accuracy": f"{evaluation.accuracy:.1%}  95 % interval "
        f"{evaluation.interval.low:.1%} to {evaluation.interval.high:.1%}, {evaluation.n} images",
        "balanced accuracy": f"{evaluation.balanced_accuracy:.1%}",
        "macro F1": f"{evaluation.macro_f1:.3f}",
        "always the commonest": f"{evaluation.majority_baseline:.1%}",
        "log loss": f"{evaluation.log_loss:.3f}",
    }
    figures |= {f"top {k}": f"{share:.1%}" for k, share in evaluation.top_k.items()}
    if evaluation.roc_auc is not None:
        figures["ROC AUC"] = f"{evaluation.roc_auc:.3f}"
    if evaluation.kappa is not None:
        figures["quadratic kappa"] = f"{evaluation.kappa:.3f}"
    if evaluation.without_leaks is not None:
        figures["without leaked images"] = f"{evaluation.without_leaks.accuracy:.1%}"
    lines = [f"{name:<22} {value}" for name, value in figures.items()]
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


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _version() -> str:
    from importlib.metadata import version

    return version("bowerbird")
