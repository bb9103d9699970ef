"""Runs are killed wherever what is on disk changes, and at random moments, and gone on with.

Each must end with exactly the numbers of the run that nobody disturbed. What is asserted
never depends on when a signal arrives: where it arrives at an event, the place is exact.
"""

from __future__ import annotations

import csv
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from zygote import Outcome, Zygote

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

Numbers = dict[str, Any]
Again = Callable[[signal.Signals, int], tuple[Outcome, Outcome, Path]]


def numbers(run: Path) -> Numbers:
    """All that must be the same; seconds never are."""
    with (run / "history.csv").open(encoding="utf-8") as file:
        history = [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]
    names = ("model/model.safetensors", "predictions_val.csv", "predictions_test.csv")
    return {"history": history} | {name: (run / name).read_bytes() for name in names}


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote() as server:
        yield server


METHODS = {
    "finetune": "--method finetune --epochs 2 --batch-size 12",
    "gradual": "--method gradual --epochs 3 --batch-size 6 --unfreeze 0=head,1=layer4,2=layer2 "
    "--ema 0.9 --accumulate 2 --soup 2",
}
GRADUAL = pytest.mark.parametrize("command", ["gradual"], indirect=True)


@pytest.fixture(scope="module")
def command(shapes: Path, weights: Path, request: pytest.FixtureRequest) -> list[str]:
    """Probe, training from the cache, training from the images, all in a second."""
    options = (
        f"--model test_resnet --weights {weights} --image-size 32 --workers 1 "
        f"--precision float32 --offline --out run {METHODS[getattr(request, 'param', 'finetune')]}"
    )
    return ["train", str(shapes), *options.split()]


@pytest.fixture(scope="module")
def undisturbed(
    zygote: Zygote, command: list[str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Numbers, list[str], float]:
    """Numbers, events and seconds of the run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    began = time.monotonic()
    outcome = zygote.run(command, folder=folder)
    assert outcome.code == 0, outcome.stderr
    return numbers(folder / "run"), outcome.events, time.monotonic() - began


@pytest.fixture
def again(zygote: Zygote, command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Again:
    """Start a run, send it a signal at an event, and resume it."""

    def went(number: signal.Signals, event: int) -> tuple[Outcome, Outcome, Path]:
        folder = tmp_path_factory.mktemp("victim")
        first = zygote.run(command, folder=folder, number=number, event=event)
        return first, zygote.run(["resume", "run"], folder=folder), folder / "run"

    return went


def folder_is_whole(events: list[str]) -> int:
    """The event with which there is something to go on with: the second note of facts."""
    return [n for n, name in enumerate(events) if name == "written environment.json"][1]


def first_and_last(events: list[str]) -> list[int]:
    """Numbers of the first and the last event of each kind after the run's folder is whole."""
    whole = folder_is_whole(events)
    places: dict[str, list[int]] = {}
    for number, name in enumerate(events):
        if number >= whole:
            places.setdefault(name, []).append(number)
    return sorted({place for found in places.values() for place in (found[0], found[-1])})


@pytest.mark.parametrize("command", METHODS, indirect=True)
def test_the_events_are_the_same_every_time(
    zygote: Zygote,
    command: list[str],
    undisturbed: tuple[Numbers, list[str], float],
    tmp_path: Path,
) -> None:
    outcome = zygote.run(command, folder=tmp_path)
    assert outcome.events == undisturbed[1]
    assert numbers(tmp_path / "run") == undisturbed[0]
    assert {"step", "features kept", "report"} <= set(outcome.events)


def test_killed_before_the_folder_is_whole(
    again: Again, undisturbed: tuple[Numbers, list[str], float]
) -> None:
    """Nothing is lost, since nothing was there; and the error says so in one sentence."""
    events = undisturbed[1]
    for event in range(0, folder_is_whole(events), 3):
        killed, resumed, run = again(signal.SIGKILL, event)
        assert killed.code == -signal.SIGKILL
        assert resumed.code == 1, events[event]
        assert resumed.stderr.startswith("bowerbird: ")
        assert resumed.stderr.count("\n") == 1
        assert run.name in resumed.stderr


def test_killed_wherever_something_is_written(
    again: Again, undisturbed: tuple[Numbers, list[str], float]
) -> None:
    expected, events, _ = undisturbed
    places = first_and_last(events)
    chosen = [places[0], *sorted(random.Random(20).sample(places[1:-1], 9)), places[-1]]
    for event in chosen:
        killed, resumed, run = again(signal.SIGKILL, event)
        assert killed.code == -signal.SIGKILL, events[event]
        assert resumed.code == 0, f"{events[event]}: {resumed.stderr}"
        assert numbers(run) == expected, f"killed at {events[event]} ({event})"
        assert not list(run.rglob(".part-*"))


@GRADUAL
def test_killed_in_any_step_of_gradual_unfreezing(
    again: Again, undisturbed: tuple[Numbers, list[str], float]
) -> None:
    """With a moving average, accumulation and a soup."""
    expected, events, _ = undisturbed
    assert "epochs dropped" in events
    assert any("best-1-epoch" in name for name in events)
    places = range(events.index("written plan.json"), len(events))
    for event in sorted(random.Random(5).sample(places, 7)):
        killed, resumed, run = again(signal.SIGKILL, event)
        assert killed.code == -signal.SIGKILL, events[event]
        assert resumed.code == 0, f"{events[event]}: {resumed.stderr}"
        assert numbers(run) == expected, f"killed at {events[event]} ({event})"
        assert len(list(run.rglob("*epoch*"))) == 2


@pytest.mark.parametrize(
    ("command", "seed"), [("finetune", 0), ("finetune", 1)], indirect=["command"]
)
def test_killed_at_random_moments_again_and_again(
    seed: int,
    zygote: Zygote,
    command: list[str],
    undisturbed: tuple[Numbers, list[str], float],
    tmp_path: Path,
) -> None:
    """The moments are spread over the whole run; where one falls is left to chance."""
    expected, _, seconds = undisturbed
    moments = random.Random(seed)
    outcome = zygote.run(
        command, folder=tmp_path, number=signal.SIGKILL, delay=moments.uniform(0.2, 1) * seconds
    )
    for _ in range(2):
        facts = tmp_path / "run" / "environment.json"
        if not facts.is_file() or "network_given" not in facts.read_text():
            pytest.skip("killed before there was anything to go on with")
        assert outcome.code in (0, -signal.SIGKILL), outcome.stderr
        delay = moments.uniform(0, 1) * seconds
        outcome = zygote.run(["resume", "run"], folder=tmp_path, number=signal.SIGKILL, delay=delay)
    outcome = zygote.run(["resume", "run"], folder=tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert numbers(tmp_path / "run") == expected


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_stops_with_130_and_the_command_to_go_on(
    number: signal.Signals, again: Again, undisturbed: tuple[Numbers, list[str], float]
) -> None:
    expected, events, _ = undisturbed
    names = {
        signal.SIGINT: ["folder made", "features kept", "step", "writing predictions_test.csv"],
        signal.SIGTERM: ["writing plan.json", "written last-2.safetensors", "report"],
    }
    for name in names[number]:
        stopped, resumed, run = again(number, events.index(name))
        assert stopped.code == 130, f"{name}: {stopped.stderr}"
        last = stopped.stderr.splitlines()[-1]
        assert last.startswith("bowerbird: Stopped; "), f"{name}: {last}"
        assert last.endswith(f"bowerbird resume {run}"), f"{name}: {last}"
        assert "Traceback" not in stopped.stderr
        assert stopped.stdout == ""
        assert resumed.code == 0, f"{name}: {resumed.stderr}"
        assert numbers(run) == expected, name


def test_interrupted_at_the_very_beginning(
    zygote: Zygote, command: list[str], tmp_path: Path
) -> None:
    outcome = zygote.run(command, folder=tmp_path, number=signal.SIGTERM, delay=0.02)
    assert outcome.code in (130, -signal.SIGTERM)  # the latter before Python can listen
    assert "Traceback" not in outcome.stderr


def test_the_command_itself_is_killed(
    command: list[str], undisturbed: tuple[Numbers, list[str], float], tmp_path: Path
) -> None:
    """``python -m bowerbird`` in a process of its own, with imports and report."""
    expected, _, seconds = undisturbed
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "BOWERBIRD_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        line = [sys.executable, "-m", "bowerbird", *arguments]
        return subprocess.Popen(
            line, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    run, moments = tmp_path / "run", random.Random(4)
    arguments = command
    for beginning in ("environment.json", "history.csv"):
        victim = start(*arguments)
        appeared(run / beginning, victim)
        time.sleep(moments.uniform(0, 0.5) * seconds)
        victim.kill()
        victim.communicate()
        arguments = ["resume", "run"]
    last = start(*arguments)
    output, errors = last.communicate()
    assert last.returncode == 0, errors.decode()
    assert numbers(run) == expected
    assert (run / "report.html").stat().st_size > 10_000
    assert f"bowerbird predict {run} IMAGES" in output.decode()


def appeared(file: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until there is a file, or the process has ended."""
    for _ in itertools.count():
        if file.exists() or process.poll() is not None:
            return
        time.sleep(0.01)
