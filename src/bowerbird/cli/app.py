"""The application: what every command shares, from reading options to exit codes.

Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, CycloptsError, Parameter
from pydantic import BaseModel, ValidationError, model_validator

from bowerbird import machine, progress
from bowerbird.config import (
    Recipe,
    Settings,
    SplitConfig,
    TrainConfig,
    load_recipe,
    mistake,
    validated,
)
from bowerbird.errors import BowerbirdError, ConfigError, Interrupted

if TYPE_CHECKING:
    from bowerbird.evaluation.results import Evaluation
    from bowerbird.runs import Run

__all__ = [
    "Flat",
    "Json",
    "SplitOptions",
    "TrainOptions",
    "app",
    "as_options",
    "main",
    "print_json",
    "print_run",
    "recipe_of",
    "terminal_width",
]


def _unless_empty(default: Any) -> Any:
    """A default as --help shows it."""
    return None if default == () else default


app = App(
    name="bowerbird",
    help="From a folder of labelled images to an honest, explained classifier.",
    version="",
    help_format="plaintext",
    default_parameter=Parameter(negative_iterable=(), show_default=_unless_empty),
    suppress_keyboard_interrupt=False,  # `main` has words for it
)


class TrainOptions(TrainConfig):
    """Options as given; whether they agree shows when the recipe's settings are beside them."""

    @model_validator(mode="after")
    def _agree(self) -> TrainOptions:
        return self


class SplitOptions(SplitConfig):
    """Options as given, too."""

    @model_validator(mode="after")
    def _agree(self) -> SplitOptions:
        return self


Flat = Parameter(name="*")
Json = Annotated[bool, Parameter(name="--json", negative="")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code."""
    code = _run(list(sys.argv[1:] if arguments is None else arguments))
    machine.settle()
    sys.exit(code)


def recipe_of(
    data: str | None, config: Path | None, given: Mapping[str, Settings | None]
) -> Recipe:
    """The recipe file, overridden by what was given on the command line."""
    values: dict[str, Any] = load_recipe(config).model_dump() if config else {}
    for section, settings in given.items():
        if settings is not None:
            chosen = settings.model_dump(include=settings.model_fields_set)
            values[section] = values.get(section, {}) | chosen
    if data is not None:
        values["data"] = data
    return validated(Recipe, values, "the settings")


def print_run(run: Run, evaluations: Mapping[str, Evaluation], as_json: bool) -> None:
    """Scores, where they are, and what to do next; once, where several processes train."""
    if not machine.is_first_process():
        return
    from bowerbird.comparison.diagnosis import read_diagnosis

    diagnosis = read_diagnosis(run)
    if as_json:
        scores = {name: e.to_dict() for name, e in evaluations.items()}
        said = diagnosis.to_dict() if diagnosis else None
        print_json(run.to_dict() | {"evaluations": scores, "diagnosis": said})
        return
    for evaluation in evaluations.values():
        print(evaluation)
    for line in diagnosis.lines if diagnosis else ():
        print(line)
    print(f"Run:     {run.path}")
    print(f"Report:  {run.path / 'report.html'}")
    print(f"Use it:  bowerbird predict {run.path} IMAGES")


def as_options(config: BaseModel | None) -> str:
    """What is set in a part of a recipe, as options of the next command, with a blank before each.

    >>> from bowerbird.config import NetworkConfig
    >>> as_options(NetworkConfig(head="512", pretrained=False, surgery=("cut blocks.5",)))
    " --no-pretrained --head 512 --surgery 'cut blocks.5'"
    """
    given = config.model_dump(mode="json", exclude_defaults=True) if config else {}
    words = []
    for name, value in given.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            values = value if isinstance(value, list) else [value]
            words += [f"--{option} {shlex.quote(str(each))}" for each in values]
    return "".join(f" {word}" for word in words)


def terminal_width() -> int | None:
    """Characters in a line of the terminal; None where the output goes elsewhere."""
    return shutil.get_terminal_size().columns if progress.in_terminal() else None


def print_json(value: Any) -> None:
    """A value for machines."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _run(arguments: list[str]) -> int:
    app.version = _version()
    machine.keep_freed_memory()
    machine.take_over()
    if isinstance(sys.stdout, io.TextIOWrapper):  # names that it can't show are written out
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with progress.show(), _terminable():
            app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        return _fail(_worded(error), 2)
    except ConfigError as error:
        return _fail(str(error), 2)
    except Interrupted as error:
        return _fail(str(error), 130) if machine.is_first_process() else 130
    except BowerbirdError as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return _fail("Stopped; nothing is lost. Run the command again.", 130)
    except BrokenPipeError:  # the reader of our output has gone, e.g. `| head`
        sys.stderr.close()
        return 0
    except SystemExit as end:  # the same, while help was printed
        if not isinstance(end.__context__, BrokenPipeError):
            raise
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
    name, words = mistake(error.__cause__)
    return f"--{name[-1].replace('_', '-')}: {words}" if name else words


def _fail(message: str, code: int) -> int:
    print(f"bowerbird: {message}", file=sys.stderr)
    return code


def _version() -> str:
    from importlib.metadata import version

    return version("bowerbird")
